//! MeshRateLimit: how many requests and connections pass.

pub(crate) mod envoy;
mod schema;
mod validation;

pub use envoy::Limits;
pub use schema::{Conf, Local, LocalHttp, LocalTcp, OnRateLimit, Rate, Spec};
