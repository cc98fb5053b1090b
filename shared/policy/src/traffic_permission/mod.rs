//! MeshTrafficPermission: which clients may use an inbound.

mod clients;
mod envoy;
mod exceptions;
mod identities;
mod schema;
mod validation;

pub use envoy::Permission;
pub use schema::{Action, Conf, Rule, RuleConf, Spec};
