//! MeshTrace: which requests are traced, and where traces go.

mod schema;
mod validation;

pub use schema::{
    Backend, BackendType, Conf, Datadog, HeaderTag, OpenTelemetry, Sampling, Spec, Tag, Zipkin, ZipkinApi,
};
