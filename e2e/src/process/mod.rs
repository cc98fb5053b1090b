//! Control planes as child processes: finding or building their binaries, free ports, start, readiness, kill and restart.
//!
//! The load generator, the demonstration and the end-to-end tests all start control planes through [`ControlPlane`]. It
//! knows nothing but the command `run`, environment variables and ports, so the binaries may as well be Kuma's.

mod binary;
mod control_plane;

pub use binary::{Profile, build};
pub use control_plane::{ControlPlane, ControlPlaneOptions};
