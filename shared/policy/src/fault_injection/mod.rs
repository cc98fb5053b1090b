//! MeshFaultInjection: faults to try out how a mesh copes with them.

pub(crate) mod envoy;
mod schema;
mod validation;

pub use envoy::Faults;
pub use schema::{Abort, Conf, Delay, Fault, ResponseBandwidth, Rule, Spec};
