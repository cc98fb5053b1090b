//! MeshTimeout: how long connections, requests and streams may take.

mod schema;
mod validation;

pub use schema::{Conf, Http, Spec};
