//! The proxies of the zone: who is connected, who may, what they bring, and what is recorded of them.

pub mod abandoned;
pub mod authentication;
pub mod context;
pub mod departure;
pub mod expired;
pub mod insight;
pub mod preview;
pub mod problem_metrics;
pub mod problems;
pub mod registry;
pub mod resource;
pub mod session;
mod supposition;
mod workload;
