//! MeshTCPRoute: where connections go.

mod schema;
mod validation;

pub use schema::{Rule, RuleConf, Spec, To};
