//! Synchronization between a global control plane and its zones, compatible with Kuma's KDS.
//!
//! [`global::Global`] serves zones; [`zone::run`] keeps a zone connected. Both push what changes as it changes: the
//! store's change feed wakes a sender, which sends the newest state as soon as the peer has answered the last response.
//! Nothing is polled, and no queue grows: a slow peer finds fewer, newer states.
//!
//! Invariants: the first response of a type on a stream is its full state; at most one response of a type is unanswered;
//! a resource that cannot be read, checked or stored is left out and reported while everything else goes on.

pub mod admin;
mod apply;
mod catalogue;
pub mod codec;
pub mod feature;
pub mod filter;
pub mod global;
mod inlet;
mod insight;
mod limits;
pub mod mapper;
mod metadata;
mod metrics;
pub mod node;
pub mod origin;
mod pause;
pub mod rpc;
mod sender;
mod settings;
pub mod status;
mod stream;
mod surroundings;
pub mod wire;
pub mod zone;

pub use apply::{DeletionGuard, Validate};
pub use insight::InsightSettings;
pub use metrics::KdsMetrics;
pub use node::Identity;
pub use settings::CommonSettings;
pub use surroundings::Surroundings;
