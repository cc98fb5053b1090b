//! `cargo load`: many simulated proxies and the cost of serving them. See [`tandem_e2e::load`].

use std::process::ExitCode;

use clap::Parser;
use tandem_e2e::load::{self, options::Options};

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(problem) = options.check() {
        eprintln!("{problem}");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                outcome = load::run(&options) => outcome,
                // A soak sees to it itself.
                _ = tokio::signal::ctrl_c(), if options.soak.soak.is_none() => Err(anyhow::anyhow!("interrupted")),
            }
        })
    });
    match outcome {
        Ok(outcome) => {
            println!("{}", outcome.report.trim_end());
            for broken in &outcome.broken {
                eprintln!("{broken}");
            }
            if outcome.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
