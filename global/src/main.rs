//! `global-cp`: the control plane that owns the meshes.

use std::process::ExitCode;

use tandem_runtime::cli::{self, Program};
use tandem_runtime::config::Role;

/// Many small, long-lived pieces and bursts of short-lived ones: the allocator of the system leaves gaps behind.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        role: Role::Global,
        about: "Global control plane: owns meshes and policies, and keeps the zones in step",
        tools: &[global_cp::ZONES, tandem_control_plane::EXPLAIN_AT_GLOBAL],
    };
    cli::main(program, global_cp::run)
}
