//! Health discovery: proxies probe their applications and report, and the readiness of inbounds follows.

mod report;
mod service;
mod specifier;

pub use service::HealthService;
pub use specifier::HdsSettings;
