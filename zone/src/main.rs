//! `zone-cp`: the control plane of one cluster.

use std::process::ExitCode;

use tandem_runtime::cli::{self, Program};
use tandem_runtime::config::Role;

fn main() -> ExitCode {
    let program = Program {
        role: Role::Zone,
        about: "Control plane of one zone: configures the proxies of its cluster, and learns meshes and policies from global",
    };
    cli::main(program, zone_cp::run::run)
}
