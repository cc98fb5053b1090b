//! MeshTCPRoute: where connections go.

mod schema;
mod split;
mod validation;

pub use schema::{Rule, RuleConf, Spec, To};
pub use split::Split;
