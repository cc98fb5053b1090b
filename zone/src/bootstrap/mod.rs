//! `POST /bootstrap`: the Envoy configuration a proxy starts with.
//!
//! Source of the behaviour: Kuma `pkg/xds/bootstrap/{handler,generator}.go`.

mod envoy;
mod handler;
mod limits;
mod request;
mod server_certificate;

pub use envoy::BootstrapInput;
pub use handler::{BootstrapContext, BootstrapSettings, router};
pub use limits::{BootstrapLimitSettings, BootstrapLimits};
pub use request::{BootstrapRequest, EnvoyVersion, KumaDpVersion, ProxyVersions};
pub use server_certificate::{CaError, ServerCertificate, check_is_ca};
