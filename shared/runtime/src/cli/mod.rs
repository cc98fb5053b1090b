//! The command line of both programs: `run`, `version`, `config show`, and what a program adds.

mod show;

pub use show::{columns, print};

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Loaded, Role};
use crate::instance::InstanceId;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::version::{KUMA_VERSION, PRODUCT, Version};
use crate::{limits, log, shutdown};

/// What distinguishes one program from the other.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Which control plane it is.
    pub role: Role,
    /// One line for `--help`.
    pub about: &'static str,
    /// Commands that the other program does not have.
    pub tools: &'static [Tool],
}

/// A command of one program.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its arguments.
    pub command: fn() -> Command,
    /// Does what they say; status 1 and the text of the error when it fails.
    pub run: fn(&ArgMatches) -> anyhow::Result<()>,
}

/// What a control plane starts with.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub loaded: Loaded,
    /// Identity of the process.
    pub instance: InstanceId,
    /// Metrics; those of the process are registered.
    pub metrics: Metrics,
    /// Readiness; stops being ready when the process is told to end.
    pub readiness: Readiness,
    /// Cancelled when the process is told to end.
    pub shutdown: CancellationToken,
}

#[derive(Debug, Parser)]
#[command(arg_required_else_help = true, disable_version_flag = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start the control plane and run until SIGTERM or SIGINT.
    Run(Configuration),
    /// Print the version.
    Version {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Print one line for each detail.
        #[arg(long, conflicts_with = "json")]
        detailed: bool,
    },
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show the effective configuration and where each value came from; secrets are masked.
    ///
    /// The same file and variables give the same result as with `run`. Exits with status 1 when they are not valid.
    Show {
        #[command(flatten)]
        configuration: Configuration,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Same as `--output json`.
        #[arg(long, conflicts_with = "output")]
        json: bool,
        /// Also keys of Kuma that this version does not use (table only).
        #[arg(short, long)]
        all: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each key: key, value, source.
    Table,
    /// One JSON object in the shape of the configuration file.
    Json,
    /// A configuration file.
    Yaml,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct Configuration {
    /// YAML file with configuration keys of Kuma; `KUMA_*` variables win over it.
    #[arg(short, long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// off, error, warn, info, debug, trace, or levels by target as in `info,tandem_kds=debug` [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Configuration {
    /// The configuration of a program, from file and environment.
    ///
    /// # Errors
    /// When it is not valid; the text names key and source.
    pub fn load(&self, role: Role) -> anyhow::Result<Loaded> {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let flags = [("log.level", "--log-level", &self.log_level), ("log.format", "--log-format", &self.log_format)];
        let flags: Vec<_> = flags.into_iter().filter_map(|(k, f, v)| v.clone().map(|v| (k, f, v))).collect();
        Ok(config::load(role, self.config_file.as_deref(), environment, &flags)?)
    }
}

/// Entry of a program: does what the command line says; `run` is what `run` starts.
///
/// Returns status 1 after an error, which is printed to standard error.
pub fn main<F, R>(program: Program, run: F) -> ExitCode
where
    F: FnOnce(Start) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let name = program.role.program();
    let command =
        Cli::command().name(name).bin_name(name).about(program.about).after_help(format!(
            "Example:\n  {name} config show -c cp.yaml\n  {name} run -c cp.yaml --log-level debug"
        ));
    let command = command.subcommands(program.tools.iter().map(|tool| (tool.command)()));
    let matches = command.try_get_matches().unwrap_or_else(|error| error.exit());
    let tool = matches.subcommand().and_then(|(name, matches)| {
        let tool = program.tools.iter().find(|tool| (tool.command)().get_name() == name);
        tool.map(|tool| (tool.run)(matches))
    });
    match tool.unwrap_or_else(|| act(program.role, &matches, run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what both programs can do.
fn act<F, R>(role: Role, matches: &ArgMatches, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Start) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    match Cli::from_arg_matches(matches).unwrap_or_else(|error| error.exit()).action {
        Action::Run(configuration) => run_until_end(role, &configuration, run),
        Action::Version { json, detailed } => print(&version(role.program(), json, detailed)),
        Action::Config { command: ConfigCommand::Show { configuration, output, json, all } } => {
            let output = if json { Output::Json } else { output };
            configuration.load(role).and_then(|loaded| show::show(&loaded, output, all))
        }
    }
}

fn version(program: &str, json: bool, detailed: bool) -> String {
    let Version { version, commit } = Version::current();
    if json {
        let json = serde_json::json!({
            "program": program, "version": version, "commit": commit, "product": PRODUCT, "kumaVersion": KUMA_VERSION,
        });
        return format!("{json}\n");
    }
    if detailed {
        return format!(
            "{:<16}{program}\n{:<16}{version}\n{:<16}{}\n{:<16}{PRODUCT} {KUMA_VERSION}\n",
            "Program:",
            "Version:",
            "Git Commit:",
            if commit.is_empty() { "unknown" } else { commit },
            "Compatible:"
        );
    }
    format!("{program} {version} (compatible with {PRODUCT} {KUMA_VERSION})\n")
}

fn run_until_end<F, R>(role: Role, configuration: &Configuration, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Start) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let loaded = configuration.load(role)?;
    log::init(&loaded.config.log.level, &loaded.config.log.format)?;
    // Fails only when a provider is installed already, which then is used.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let instance = InstanceId::generate();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        version = Version::current().version,
        commit = Version::current().short_commit(),
        mode = role.name(),
        instance = instance.as_str(),
        config = %loaded.effective_json(),
        "starting Control Plane"
    );
    limits::raise_open_files();
    let metrics = Metrics::new(match role {
        Role::Global => "Global",
        Role::Zone => &loaded.config.multizone.zone.name,
    });
    metrics.register_identity(Version::current(), &instance);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::on_signal()?;
        let readiness = Readiness::default();
        let stopping = readiness.clone();
        let token = shutdown.clone();
        tokio::spawn(async move {
            token.cancelled().await;
            stopping.stop();
        });
        run(Start { loaded, instance, metrics, readiness, shutdown }).await
    });
    match &result {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!("control plane failed: {error:#}"),
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn versions_name_the_program_and_kuma() {
        assert!(version("zone-cp", false, false).starts_with("zone-cp 0."));
        let json: serde_json::Value = serde_json::from_str(&version("zone-cp", true, false)).expect("JSON");
        assert_eq!(json["kumaVersion"], "2.13.10");
        assert!(version("zone-cp", false, true).contains("Version:        0."));
    }
}
