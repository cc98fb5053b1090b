//! Policies selected by `targetRef`: their schemas and validation, which proxies and destinations they apply to, and what
//! they do to Envoy configuration.
//!
//! No I/O. A control plane uses three parts: checking what is written ([`check`]), computing rules from stored policies, and
//! the effects of the rules on [`envoy::DraftSet`].

mod check;
pub mod circuit_breaker;
pub mod envoy;
mod merge;
mod protocol;
mod registry;
pub mod retry;
mod role;
pub mod schema;
mod subset;
pub mod target_ref;
#[cfg(test)]
mod testing;
pub mod timeout;
pub mod traffic_permission;
mod validation;

pub use check::{Checked, check, check_as};
pub use protocol::Protocol;
pub use role::{PolicyOrigin, Role};
pub use subset::{Subset, TagCondition};
