//! The proxies of the zone: who is connected, who may, what they bring, and what is recorded of them.

pub mod abandoned;
pub mod arrivals;
pub mod authentication;
pub mod context;
pub mod departure;
pub mod document;
pub mod expired;
pub mod insight;
pub mod life;
pub mod node_key;
pub mod preview;
pub mod problem_metrics;
pub mod problems;
pub mod registry;
pub mod removal;
pub mod resource;
pub mod returning;
pub mod session;
mod supposition;
#[cfg(test)]
mod tests;
pub mod waking;
mod workload;
