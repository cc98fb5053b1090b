//! MeshAccessLog: which requests and connections are logged, and where logs go; and access logs of Envoy in general.

mod any_value;
mod connection;
pub(crate) mod envoy;
mod log;
mod needs;
mod schema;
mod validation;

pub use connection::{Connection, TrafficDirection};
pub(crate) use connection::{HTTP_FORMAT, TCP_FORMAT};
pub use log::AccessLog;
pub(crate) use log::Logger;
pub use needs::Needs;
pub(crate) use needs::unusable;
pub use schema::{
    Backend, BackendType, Conf, FileBackend, Format, FormatType, JsonValue, OtelBackend, Spec, TcpBackend,
};
