//! MeshMetric: which metrics are published, and where.

mod published;
mod rules;
mod schema;
mod validation;

pub use published::{PATH, document};
pub use rules::Rules;
pub use schema::{
    Application, Backend, BackendType, Conf, OpenTelemetry, Profile, ProfileName, Profiles, Prometheus, PrometheusTls,
    Selector, SelectorType, Sidecar, Spec, TlsMode,
};
