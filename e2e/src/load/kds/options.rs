//! Options of the load on synchronization.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// What `--kds` does.
#[derive(Debug, Clone, Args)]
pub struct KdsOptions {
    /// Load synchronization in place of proxies: real zones that join, and simulated zones that wait for changes. Starts
    /// the control planes itself.
    #[arg(long)]
    pub kds: bool,

    /// With --kds: what to measure; everything by default.
    #[arg(long, value_name = "PHASE", value_delimiter = ',', requires = "kds")]
    pub phase: Vec<Phase>,

    /// With --kds: number of policies that a fresh zone is sent.
    #[arg(long, value_name = "COUNT", default_value_t = 5_000, requires = "kds")]
    pub fresh_policies: usize,

    /// With --kds: how many zones join one after the other, each a new process with an empty store.
    #[arg(long, value_name = "COUNT", default_value_t = 5, requires = "kds")]
    pub fresh_zones: usize,

    /// With --kds: simulated zones and policies over which one policy changes.
    #[arg(
        long,
        value_name = "ZONESxPOLICIES",
        value_delimiter = ',',
        default_value = "100x100,10x1000,100x1000,200x1000,1000x1000,100x10000",
        requires = "kds"
    )]
    pub fan_out: Vec<Scale>,

    /// With --kds: simulated zones and policies at the restart of global.
    #[arg(long, value_name = "ZONESxPOLICIES", default_value = "200x1000", requires = "kds")]
    pub restart: Scale,

    /// With --kds: do the same with this binary of Kuma's control plane, and report both side by side.
    #[arg(long, value_name = "FILE", requires = "kds")]
    pub kuma_cp: Option<PathBuf>,
}

impl KdsOptions {
    /// True when `phase` is to be measured.
    pub fn measures(&self, phase: Phase) -> bool {
        self.phase.is_empty() || self.phase.contains(&phase)
    }

    /// Checks what the parts cannot check on their own.
    ///
    /// # Errors
    /// A sentence that names the option and what it needs.
    pub fn check(&self) -> Result<(), String> {
        if self.fresh_policies == 0 || self.fresh_zones == 0 {
            return Err("--fresh-policies and --fresh-zones must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// A part of the load on synchronization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// A zone with an empty store joins a global with many policies.
    FreshZone,
    /// One policy changes while zones are connected.
    FanOut,
    /// Global is killed and started again while zones are connected.
    Restart,
}

/// So many zones, and so many policies at global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Simulated zones.
    pub zones: usize,
    /// Policies at global besides those that every mesh has.
    pub policies: usize,
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text
            .split_once('x')
            .and_then(|(zones, policies)| Some(Self { zones: zones.parse().ok()?, policies: policies.parse().ok()? }));
        numbers.filter(|scale| scale.zones > 0).ok_or_else(|| {
            format!("{text:?} is not of the form ZONESxPOLICIES, such as 200x1000, with at least one zone")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::tests::parse;

    #[test]
    fn scales_are_two_numbers() {
        let options = parse(&["--kds", "--fan-out", "2x0,10x30"]).expect("parses").kds;
        assert_eq!(options.fan_out, [Scale { zones: 2, policies: 0 }, Scale { zones: 10, policies: 30 }]);
        for wrong in ["0x1", "1", "x", "1x", "ax1", "-1x2"] {
            assert!(parse(&["--kds", &format!("--restart={wrong}")]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn phases_are_chosen_by_name() {
        let all = parse(&["--kds"]).expect("parses").kds;
        assert!(all.measures(Phase::FreshZone) && all.measures(Phase::FanOut) && all.measures(Phase::Restart));
        let one = parse(&["--kds", "--phase", "fan-out"]).expect("parses").kds;
        assert!(!one.measures(Phase::FreshZone) && one.measures(Phase::FanOut) && !one.measures(Phase::Restart));
        assert!(parse(&["--kds", "--phase", "other"]).is_err());
        assert!(parse(&["--start", "--phase", "restart"]).is_err(), "belongs to --kds");
        assert!(parse(&["--kds", "--fresh-zones", "0"]).is_err());
    }
}
