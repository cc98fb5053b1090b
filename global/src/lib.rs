//! The global control plane: owns meshes and policies, and keeps the zones in step.

mod envoys;
mod run;

pub use run::run;
