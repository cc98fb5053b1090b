//! MeshHealthCheck: how endpoints are checked.

mod envoy;
mod schema;
mod validation;

pub use envoy::Checks;
pub use schema::{Conf, Grpc, Http, Spec, Tcp};
