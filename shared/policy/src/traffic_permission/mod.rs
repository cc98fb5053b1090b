//! MeshTrafficPermission: which clients may use an inbound.

mod schema;
mod validation;

pub use schema::{Action, Conf, Rule, RuleConf, Spec};
