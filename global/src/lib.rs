//! The global control plane: owns meshes and policies, and keeps the zones in step.

mod envoys;
mod run;
mod zones;

pub use run::run;
pub use zones::ZONES;
