//! Policies selected by `targetRef`: their schemas and validation, which proxies and destinations they apply to, and what
//! they do to Envoy configuration.
//!
//! No I/O. A control plane uses three parts: checking what is written ([`check`]), computing rules from stored policies, and
//! the effects of the rules on [`envoy::DraftSet`].

mod check;
pub mod circuit_breaker;
pub mod destinations;
pub mod egress;
pub mod envoy;
pub mod http_route;
pub mod matching;
mod merge;
pub mod policy;
mod registry;
pub mod retry;
mod role;
pub mod rules;
pub mod schema;
pub mod subject;
mod subset;
pub mod target_ref;
pub mod tcp_route;
#[cfg(test)]
mod testing;
pub mod timeout;
pub mod traffic_permission;
mod validation;

pub use check::{Checked, check, check_as};
pub use tandem_model::protocol::Protocol;
pub use role::{PolicyOrigin, Role};
pub use subset::{Subset, TagCondition};
