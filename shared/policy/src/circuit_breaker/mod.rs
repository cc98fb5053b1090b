//! MeshCircuitBreaker: limits on what is open to a destination, and outlier detection.

mod envoy;
mod schema;
mod validation;

pub use envoy::Breakers;
pub use schema::{
    Conf, ConnectionLimits, ConsecutiveFailures, Detectors, FailurePercentage, OutlierDetection, Spec, SuccessRate,
};
