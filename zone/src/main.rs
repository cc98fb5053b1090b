//! `zone-cp`: the control plane of one cluster.

use std::process::ExitCode;

use tandem_runtime::cli::{self, Program};
use tandem_runtime::config::Role;

/// Many small, long-lived pieces and bursts of short-lived ones: the allocator of the system leaves gaps behind.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        role: Role::Zone,
        about: "Control plane of one zone: configures the proxies of its cluster, and learns meshes and policies from global",
        tools: &[tandem_control_plane::EXPLAIN_AT_ZONE],
    };
    cli::main(program, zone_cp::run::run)
}
