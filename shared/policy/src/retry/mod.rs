//! MeshRetry: when failed connections and requests are tried again.

mod conditions;
mod schema;
mod validation;

pub use schema::{
    BackOff, Conf, Grpc, GrpcRetryOn, Http, Predicate, PredicateType, RateLimitedBackOff, ResetFormat, ResetHeader,
    Spec, Tcp,
};
