//! MeshRetry: when failed connections and requests are tried again.

mod conditions;
pub(crate) mod envoy;
mod schema;
mod validation;

pub use envoy::Retries;
pub use schema::{
    BackOff, Conf, Grpc, GrpcRetryOn, Http, Predicate, PredicateType, RateLimitedBackOff, ResetFormat, ResetHeader,
    Spec, Tcp,
};
