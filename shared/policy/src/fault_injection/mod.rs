//! MeshFaultInjection: faults to try out how a mesh copes with them.

mod schema;
mod validation;

pub use schema::{Abort, Conf, Delay, Fault, ResponseBandwidth, Rule, Spec};
