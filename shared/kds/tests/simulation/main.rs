//! Both sides of synchronization under a simulated network, clock and disk: one global and several zones, random writes
//! everywhere, and everything that can fail failing. What happens follows from a number, the seed, and from nothing else,
//! so a run that finds something can be repeated.
//!
//! The streams are real: gRPC over HTTP/2, over connections in memory. Time is simulated: it passes when nobody has
//! anything to do.

#[path = "../common/mod.rs"]
mod common;

mod checks;
mod connection;
mod faults;
mod frames;
mod ledger;
mod looks;
mod network;
mod process;
mod run;
mod store;
mod world;
mod writes;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::Fault;
use parking_lot::Mutex;
use run::{Options, Report};
use store::Sabotage;

/// Seeds that every test run tries.
const SEEDS: Range<u64> = 0..1000;

#[test]
fn promises_hold_whatever_happens() {
    if let Some(seed) = variable("TANDEM_SIM_SEED") {
        let seed: u64 = seed.parse().expect("TANDEM_SIM_SEED is a number");
        log();
        let report = run::seed(seed, Options::default());
        println!("digest {:016x}, faults {:?}", report.digest, report.faults);
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
        return;
    }
    let seeds = variable("TANDEM_SIM_SEEDS").map_or(SEEDS, |range| {
        let (from, to) = range.split_once("..").expect("TANDEM_SIM_SEEDS is from..to");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let count = seeds.end - seeds.start;
    let (failures, sum) = run_all(seeds, Options::default());
    println!("{count} seeds: {sum:?}");
    if count >= SEEDS.end {
        assert!(Fault::NAMES.iter().all(|name| sum.faults.contains_key(name)), "some fault never happened: {sum:?}");
        let looked = [sum.compared, sum.in_sync, sum.stalled, sum.held];
        assert!(looked.iter().all(|&count| count > 0), "some check had nothing to look at: {sum:?}");
    }
    assert!(failures.is_empty(), "{} of {count} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

/// A run that cannot be repeated would be of no use.
#[test]
fn a_seed_always_does_the_same() {
    for seed in [3, 14, 159] {
        let digests: Vec<_> = (0..3).map(|_| run::seed(seed, Options::default()).digest).collect();
        assert!(digests.iter().all(|&digest| digest == digests[0]), "seed {seed}: {digests:x?}");
    }
}

/// Each promise, broken on purpose, is found to be broken.
#[test]
fn checks_see_what_they_are_for() {
    for (promise, sabotage) in [
        ("R1", Sabotage::DropUpdates),
        ("R2", Sabotage::DeleteAnother),
        ("R3", Sabotage::Resurrect),
        ("R4", Sabotage::RefuseType),
        ("R5", Sabotage::PutBack),
        ("R7", Sabotage::DropUpdates),
        ("R8", Sabotage::LeakTasks),
        ("R10", Sabotage::KeepDeleted),
    ] {
        let options = Options { sabotage: Some(sabotage), only: Some(promise), ..Options::default() };
        let found = (0..30).any(|seed| !run::seed(seed, options).findings.is_empty());
        assert!(found, "{sabotage:?} does not break {promise}");
        let honest = Options { only: Some(promise), ..Options::default() };
        let findings = run::seed(0, honest).findings;
        assert!(findings.is_empty(), "{promise} is broken without sabotage: {findings:?}");
    }
}

/// R8, with more connections than any seed makes.
#[test]
fn connections_leave_nothing_behind() {
    let options = Options { resets: 50, ..Options::default() };
    let findings = run::seed(8, options).findings;
    assert!(findings.is_empty(), "{findings:#?}");
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What happened in all runs together.
#[derive(Debug, Default)]
struct Sum {
    faults: BTreeMap<&'static str, usize>,
    copies: u64,
    compared: usize,
    in_sync: usize,
    stalled: usize,
    held: usize,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        for (name, count) in &report.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.copies += report.copies;
        self.compared += report.seen.compared;
        self.in_sync += report.seen.in_sync;
        self.stalled += report.seen.stalled;
        self.held += report.seen.held;
    }
}

/// Runs seeds on all cores; returns what failed, with how to repeat it.
fn run_all(seeds: Range<u64>, options: Options) -> (Vec<String>, Sum) {
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((Vec::new(), Sum::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = std::panic::catch_unwind(|| run::seed(seed, options));
                    let mut results = results.lock();
                    let findings = match &report {
                        Ok(report) => {
                            results.1.add(report);
                            report.findings.join("\n    ")
                        }
                        Err(_) => "panicked".to_owned(),
                    };
                    if !findings.is_empty() {
                        results.0.push(format!(
                            "seed {seed}; repeat it with: TANDEM_SIM_SEED={seed} cargo test -p tandem-kds --test \
                             simulation -- --nocapture promises\n    {findings}"
                        ));
                    }
                }
            });
        }
    });
    results.into_inner()
}

/// Shows what happens, with simulated times. `RUST_LOG` says what of it.
fn log() {
    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::FormatTime;

    struct Simulated(std::sync::OnceLock<tokio::time::Instant>);
    impl FormatTime for Simulated {
        fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
            let now = tokio::time::Instant::now();
            let began = self.0.get_or_init(|| now);
            write!(writer, "{:9.3}", (now - *began).as_secs_f64())
        }
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "simulation=info,tandem_kds=info".into());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(Simulated(std::sync::OnceLock::new()));
    subscriber.with_test_writer().init();
}
