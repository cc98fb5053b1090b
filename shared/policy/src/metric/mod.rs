//! MeshMetric: which metrics are published, and where.

mod schema;
mod validation;

pub use schema::{
    Application, Backend, BackendType, Conf, OpenTelemetry, Profile, ProfileName, Profiles, Prometheus, PrometheusTls,
    Selector, SelectorType, Sidecar, Spec, TlsMode,
};
