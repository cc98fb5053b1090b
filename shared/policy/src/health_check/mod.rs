//! MeshHealthCheck: how endpoints are checked.

mod schema;
mod validation;

pub use schema::{Conf, Grpc, Http, Spec, Tcp};
