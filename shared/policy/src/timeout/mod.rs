//! MeshTimeout: how long connections, requests and streams may take.

pub(crate) mod envoy;
mod schema;
mod validation;

pub use schema::{Conf, Http, Spec};
