//! Command line of the load generator.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Parser};

use super::definition::NEIGHBOURS;
use super::kds::options::KdsOptions;
use super::soak::options::SoakOptions;
use super::storm::options::StormOptions;

/// Connects simulated proxies to a zone, changes a policy at global in rounds, and reports how long the change took to
/// arrive and what it cost.
///
/// Works against Tandem and against Kuma alike.
#[derive(Debug, Clone, Parser)]
#[command(name = "load", group = ArgGroup::new("starts").args(["start", "kds"]).multiple(true))]
pub struct Options {
    /// Number of simulated proxies.
    #[arg(long, default_value_t = 100)]
    pub proxies: usize,

    /// Number of services that the proxies share among them.
    #[arg(long, default_value_t = 20)]
    pub services: usize,

    /// Inbounds of each proxy; each belongs to another service.
    #[arg(long, default_value_t = 1)]
    pub inbounds: usize,

    /// Outbounds of each proxy; each leads to another service.
    #[arg(long, default_value_t = 3)]
    pub outbounds: usize,

    /// Redirect the traffic of the proxies, so that they reach MeshServices at virtual addresses in place of their own outbounds;
    /// in a mesh with `meshServices.mode: Exclusive`. --mesh must name one that does not exist.
    #[arg(long)]
    pub transparent_proxy: bool,

    /// With --transparent-proxy: number of services that each proxy lists as `reachableBackends`; all by default.
    #[arg(long, value_name = "COUNT", requires = "transparent_proxy")]
    pub reachable: Option<usize>,

    /// With --transparent-proxy: move an endpoint of a service that so many of the proxies use, and measure when they have it and
    /// what it costs. A row for each number; only the number of proxies makes sense without --reachable.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', requires = "transparent_proxy")]
    pub users: Vec<usize>,

    /// With --users: how often each endpoint moves.
    #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "users")]
    pub moves: usize,

    /// Time over which the connections are spread, in seconds.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub ramp: Duration,

    /// Speak the state-of-the-world variant of the discovery protocol in place of the delta one.
    #[arg(long)]
    pub sotw: bool,

    /// Number of policy changes.
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,

    /// Policies to write before the proxies connect, each for one of them. Then, as often as --rounds says, one is changed for one
    /// proxy, one for all, and one is added for none, and what each costs is measured.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub policies: usize,

    /// Length of the quiet window over which idle processor time is measured, in seconds; 0 leaves it out.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub idle: Duration,

    /// Mesh of the proxies; created when global does not have it.
    #[arg(long, default_value = "default")]
    pub mesh: String,

    /// Create the mesh with mutual TLS, so that each proxy gets a certificate; --mesh must name one that does not exist.
    #[arg(long)]
    pub mtls: bool,

    /// HTTP API of the global control plane.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5681")]
    pub global: String,

    /// HTTP API of the zone; asked for the mesh to arrive and for a token.
    #[arg(long, value_name = "URL")]
    pub zone: Option<String>,

    /// Data plane server of the zone; several share the proxies among them. By default port 5678 on the host of --zone.
    #[arg(long, value_name = "URL")]
    pub zone_dp: Vec<String>,

    /// Dataplane token for all proxies; by default one is issued by the zone, if --zone is given.
    #[arg(long)]
    pub token: Option<String>,

    /// File with that token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// Connect without a token.
    #[arg(long, conflicts_with_all = ["token", "token_file"])]
    pub no_token: bool,

    /// Compose the node metadata here in place of fetching a bootstrap configuration for each proxy.
    #[arg(long)]
    pub no_bootstrap: bool,

    /// Extensions that each proxy lists of itself; a real Envoy 1.36 lists 430, and repeats them in every delta request.
    #[arg(long, value_name = "COUNT", default_value_t = 430)]
    pub node_extensions: usize,

    /// Process of a control plane, measured under this name, such as zone=4711. Can be repeated.
    #[arg(long, value_name = "NAME=PID")]
    pub pid: Vec<WatchedPid>,

    /// Start a global and a zone control plane for the run, in a temporary folder. Builds them in release mode.
    #[arg(long, conflicts_with_all = ["zone", "zone_dp", "pid"])]
    pub start: bool,

    /// With --start or --kds: binary of the global control plane to use in place of ours.
    #[arg(long, value_name = "FILE", requires = "starts")]
    pub global_binary: Option<PathBuf>,

    /// With --start or --kds: binary of the zone control plane to use in place of ours.
    #[arg(long, value_name = "FILE", requires = "starts")]
    pub zone_binary: Option<PathBuf>,

    /// With --start or --kds: environment variable for both control planes. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "starts", value_parser = key_value)]
    pub env: Vec<(String, String)>,

    /// Load the HTTP API of a zone without a global one in place of its proxies: durable writes, reads, pages of a list.
    #[arg(long)]
    pub api: bool,

    /// With --api: number of dataplanes to write.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, requires = "api")]
    pub resources: usize,

    /// With --api: clients that write.
    #[arg(long, value_name = "COUNT", default_value_t = 8, requires = "api")]
    pub clients: usize,

    /// With --api: clients that read single resources.
    #[arg(long, value_name = "COUNT", default_value_t = 32, requires = "api")]
    pub readers: usize,

    /// With --api: length of the phases that read, in seconds.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS", requires = "api")]
    pub time: Duration,

    #[command(flatten)]
    #[allow(missing_docs)] // a text here would stand in for that of the command
    pub kds: KdsOptions,

    #[command(flatten)]
    #[allow(missing_docs)] // a text here would stand in for that of the command
    pub storm: StormOptions,

    #[command(flatten)]
    #[allow(missing_docs)] // a text here would stand in for that of the command
    pub soak: SoakOptions,

    /// Threads of the generator itself.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,

    /// Print one JSON object in place of the report for people.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Checks what the parts cannot check on their own.
    ///
    /// # Errors
    /// A sentence that names the option and what it needs.
    pub fn check(&self) -> Result<(), String> {
        if self.proxies == 0 || self.services == 0 || self.inbounds == 0 || self.threads == 0 {
            return Err("--proxies, --services, --inbounds and --threads must be at least 1".to_owned());
        }
        if self.outbounds == 0 && self.rounds > 0 {
            return Err("--rounds needs --outbounds of at least 1: the policy changes clusters of outbounds".to_owned());
        }
        if self.inbounds > self.services || self.outbounds > self.services {
            return Err("--services must be at least --inbounds and --outbounds: each leads to another one".to_owned());
        }
        if let Some(users) = self.users.iter().find(|users| **users == 0 || **users > self.proxies) {
            return Err(format!("--users {users}: must be between 1 and the number of --proxies"));
        }
        if self.reachable.is_none() && self.users.iter().any(|users| *users != self.proxies) {
            return Err(
                "--users below --proxies needs --reachable: without it every proxy uses every service".to_owned()
            );
        }
        if self.reachable.is_some_and(|count| count > self.services) {
            return Err("--services must be at least --reachable: each leads to another one".to_owned());
        }
        if self.resources == 0 || self.clients == 0 || self.readers == 0 {
            return Err("--resources, --clients and --readers must be at least 1".to_owned());
        }
        self.kds.check()?;
        self.storm.check(self.proxies)?;
        self.soak.check()?;
        if self.outbounds == 0 && self.groups() > 0 {
            return Err(
                "--storm and --soak need --outbounds of at least 1: changes concern clusters of outbounds".to_owned()
            );
        }
        if !self.start && !self.kds.kds && self.zone.is_none() && self.zone_dp.is_empty() {
            return Err("give --start or --kds, or --zone or --zone-dp of a running zone".to_owned());
        }
        Ok(())
    }
}

impl Options {
    /// Number of groups of proxies that small changes concern; 0 without such changes.
    pub(super) fn groups(&self) -> usize {
        /// Of a soak, which changes them for so long that each has its turn.
        const SOAKED: usize = 40;
        let neighbours = self.proxies.div_ceil(NEIGHBOURS);
        match (self.storm.wanted(), self.soak.soak) {
            (true, _) => neighbours,
            (false, Some(_)) => neighbours.min(SOAKED),
            (false, None) => 0,
        }
    }
}

/// A process to measure and its name in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedPid {
    /// Name in the report.
    pub name: String,
    /// Process id.
    pub pid: i32,
}

impl FromStr for WatchedPid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, pid) = key_value(text)?;
        let pid = pid.parse().map_err(|_| format!("{pid:?} is not a process id"))?;
        Ok(Self { name, pid })
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form NAME=VALUE")),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// A period such as `90s`, `30m` or `24h`.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let unit = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        _ => None,
    };
    let parsed = text.chars().last().and_then(unit).and_then(|unit| {
        let number: u32 = text[..text.len() - 1].parse().ok()?;
        Duration::from_secs(unit).checked_mul(number)
    });
    parsed.ok_or_else(|| format!("{text:?} is not a period such as 90s, 30m or 24h"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The options that a command line without the name of the program says.
    pub(in crate::load) fn parse(arguments: &[&str]) -> Result<Options, String> {
        let options = Options::try_parse_from([&["load"], arguments].concat()).map_err(|e| e.to_string())?;
        options.check().map(|()| options)
    }

    #[test]
    fn processes_are_named() {
        let options = parse(&["--zone", "http://z", "--pid", "zone=12", "--pid", "global=7"]).expect("parses");
        assert_eq!(options.pid[0], WatchedPid { name: "zone".into(), pid: 12 });
        assert!(parse(&["--zone", "http://z", "--pid", "12"]).is_err());
        assert!(parse(&["--zone", "http://z", "--pid", "zone=x"]).is_err());
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert!(parse(&["--start", "--proxies", "0"]).is_err());
        assert!(parse(&["--start", "--services", "2", "--outbounds", "3"]).is_err());
        assert!(parse(&["--start", "--outbounds", "0"]).is_err());
        assert!(parse(&["--start", "--outbounds", "0", "--rounds", "0"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--start", "--zone", "http://z"]).is_err());
    }

    #[test]
    fn users_are_some_of_the_proxies() {
        let transparent = ["--start", "--transparent-proxy", "--proxies", "100"];
        let parse = |more: &[&str]| parse(&[&transparent, more].concat());
        assert_eq!(parse(&["--reachable", "5", "--users", "1,100"]).expect("parses").users, [1, 100]);
        assert!(parse(&["--users", "100"]).is_ok());
        assert!(parse(&["--users", "10"]).is_err(), "all proxies use all services");
        assert!(parse(&["--reachable", "5", "--users", "101"]).is_err());
        assert!(parse(&["--reachable", "21"]).is_err(), "there are 20 services");
    }

    #[test]
    fn storms_are_of_some_of_the_proxies() {
        let parse = |more: &[&str]| parse(&[&["--start", "--proxies", "100"], more].concat());
        assert_eq!(parse(&["--storm", "100"]).expect("parses").groups(), 10);
        assert!(parse(&["--storm", "101"]).is_err());
        assert!(parse(&["--storm", "5", "--storm-restart"]).is_err());
        assert!(parse(&["--storm-stale"]).is_err());
        assert!(parse(&["--storm-restart", "--outbounds", "0", "--rounds", "0"]).is_err());
    }

    #[test]
    fn soaks_have_a_length() {
        let options = parse(&["--start", "--mtls", "--soak", "30m", "--certificates", "90s"]).expect("parses");
        assert_eq!(options.soak.soak, Some(Duration::from_secs(1_800)));
        assert_eq!(options.soak.certificates, Some(Duration::from_secs(90)));
        for wrong in ["", "5", "m", "-1m", "1.5h", "5d", "4294967295h0"] {
            assert!(parse(&["--start", "--soak", wrong]).is_err(), "{wrong:?}");
        }
        assert!(parse(&["--start", "--certificates", "90s"]).is_err(), "without certificates");
    }

    #[test]
    fn ramp_takes_fractions() {
        let options = parse(&["--start", "--ramp", "0.5"]).expect("parses");
        assert_eq!(options.ramp, Duration::from_millis(500));
        assert!(parse(&["--start", "--ramp", "-1"]).is_err());
    }
}
