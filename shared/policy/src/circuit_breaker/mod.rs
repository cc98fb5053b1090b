//! MeshCircuitBreaker: limits on what is open to a destination, and outlier detection.

mod schema;
mod validation;

pub use schema::{
    Conf, ConnectionLimits, ConsecutiveFailures, Detectors, FailurePercentage, OutlierDetection, Spec, SuccessRate,
};
