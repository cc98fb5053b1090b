//! MeshTrace: which requests are traced, and where traces go; and tracing by Envoy in general.

mod envoy;
mod schema;
mod tracing;
mod validation;

pub use envoy::Rules;
pub use schema::{
    Backend, BackendType, Conf, Datadog, HeaderTag, OpenTelemetry, Sampling, Spec, Tag, Zipkin, ZipkinApi,
};
pub(crate) use tracing::Shares;
pub use tracing::{Direction, Provider, Tracing};
