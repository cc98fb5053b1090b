//! Options of a soak.

use std::time::Duration;

use clap::Args;

use super::super::options::{period, seconds};

/// What goes on for a long time, once all proxies are in service.
#[derive(Debug, Clone, Args)]
pub struct SoakOptions {
    /// Once all proxies are in service, let proxies leave, arrive and come back and change the configuration for so long, and watch what
    /// the control planes hold: memory, files, threads, and the size of their stores. Fails when one of them grows. An interrupt
    /// (Ctrl-C) ends it early and gives the report so far.
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub soak: Option<Duration>,

    /// With --soak: how many of a hundred proxies leave in a minute; for each one comes back or another arrives.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, requires = "soak")]
    pub soak_churn: f64,

    /// With --soak: pause between two changes for a fortieth of the proxies, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds, value_name = "SECONDS", requires = "soak")]
    pub soak_changes: Duration,

    /// With --mtls: how long certificates of proxies are valid (dpCert.rotation.expiration); 24 hours by default. With --soak a shorter
    /// time compresses the days: nobody may hold a certificate that is older.
    #[arg(long, value_name = "PERIOD", value_parser = period, requires = "mtls")]
    pub certificates: Option<Duration>,
}

impl SoakOptions {
    /// Checks what the parts cannot check on their own.
    ///
    /// # Errors
    /// A sentence that names the option and what it needs.
    pub fn check(&self) -> Result<(), String> {
        if self.soak.is_some_and(|time| time.is_zero()) || self.certificates.is_some_and(|time| time.is_zero()) {
            return Err("--soak and --certificates must be more than 0".to_owned());
        }
        if !(self.soak_churn > 0.0 && self.soak_churn <= 1_000.0) {
            return Err("--soak-churn must be more than 0 and at most 1000".to_owned());
        }
        if self.soak_changes.is_zero() {
            return Err("--soak-changes must be more than 0".to_owned());
        }
        Ok(())
    }
}
