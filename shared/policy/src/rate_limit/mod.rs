//! MeshRateLimit: how many requests and connections pass.

mod schema;
mod validation;

pub use schema::{Conf, Local, LocalHttp, LocalTcp, OnRateLimit, Rate, Spec};
