//! The load on synchronization (`--kds`): zones that join, a policy that changes while zones are connected, and a restart
//! of global with all of them waiting.
//!
//! A simulated zone does on the network what a zone of Kuma does: one TLS connection, its five streams and health checks,
//! gzip, all types subscribed, every response applied and acknowledged at once. It has no proxies. At the end of a phase
//! what each zone has is compared with a zone that was sent everything anew, and that with what global lists.

mod fan_out;
mod fresh;
mod mirror;
pub mod options;
mod report;
mod target;
mod wire;
mod zone;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};

use self::options::{KdsOptions, Phase};
use self::report::{Findings, Report};
use self::target::{Make, Target};
use super::options::Options;
use super::report::round;
use super::target::binary;
use super::usage;

/// Runs the load that the options describe and returns the report, as text or as JSON.
///
/// # Errors
/// When a binary is missing. A phase that fails is part of the report.
pub(super) async fn run(options: &Options) -> Result<String> {
    let tandem = Make {
        name: "tandem",
        global: binary("global-cp", options.global_binary.as_ref()).await?,
        zone: binary("zone-cp", options.zone_binary.as_ref()).await?,
        env: options.env.clone(),
        durable: true,
    };
    let kuma = options.kds.kuma_cp.as_ref().map(|path| {
        let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        let env = vec![("KUMA_STORE_TYPE".to_owned(), "memory".to_owned())];
        anyhow::Ok(Make { name: "kuma", global: path.clone(), zone: path, env, durable: false })
    });
    let kuma = kuma.transpose()?;
    let report = Report {
        tandem: measure(&tandem, options).await,
        kuma: match &kuma {
            Some(kuma) => Some(measure(kuma, options).await),
            None => None,
        },
        rounds: options.rounds,
        generator_cpu_seconds: round(usage::read_self()?.cpu.as_secs_f64()),
    };
    if options.json { Ok(serde_json::to_string(&report)?) } else { Ok(report.text()) }
}

/// All phases with control planes of one make.
async fn measure(make: &Make, options: &Options) -> Findings {
    let kds: &KdsOptions = &options.kds;
    let mut findings = Findings::default();
    if kds.measures(Phase::FreshZone) {
        findings.fresh_zone = attempt(&mut findings.failures, "fresh zone", fresh::run(make, kds, &options.mesh)).await;
    }
    if kds.measures(Phase::FanOut) {
        let failures = &mut findings.failures;
        if let Some(mut target) = attempt(failures, "fan-out", Target::start(make, &options.mesh)).await {
            let mut scales = kds.fan_out.clone();
            // Policies only become more.
            scales.sort_by_key(|scale| (scale.policies, scale.zones));
            for scale in scales {
                let name = format!("fan-out to {} zones with {} policies", scale.zones, scale.policies);
                findings.fan_out.extend(attempt(failures, &name, fan_out::run(&mut target, options, scale)).await);
            }
        }
    }
    if make.durable && kds.measures(Phase::Restart) {
        let restart = async {
            let mut target = Target::start(make, &options.mesh).await?;
            fan_out::restart(&mut target, kds.restart).await
        };
        findings.restart = attempt(&mut findings.failures, "restart", restart).await;
    }
    findings
}

/// What a phase found, or nothing and the reason among the failures.
async fn attempt<T>(failures: &mut Vec<String>, phase: &str, work: impl Future<Output = Result<T>>) -> Option<T> {
    match work.await {
        Ok(found) => Some(found),
        Err(error) => {
            let failure = format!("{phase}: {error:#}");
            eprintln!("{failure}");
            failures.push(failure);
            None
        }
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1_000.0)
}
