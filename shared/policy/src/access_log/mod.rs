//! MeshAccessLog: which requests and connections are logged, and where logs go.

mod schema;
mod validation;

pub use schema::{
    Backend, BackendType, Conf, FileBackend, Format, FormatType, JsonValue, OtelBackend, Spec, TcpBackend,
};
