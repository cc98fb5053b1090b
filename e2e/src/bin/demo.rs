//! `cargo demo`: one mesh over two zones, shown step by step. See [`tandem_e2e::demo`].

use std::process::ExitCode;

use clap::Parser as _;
use tandem_e2e::demo::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match demo::run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
