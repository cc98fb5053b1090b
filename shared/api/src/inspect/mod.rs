//! What inspection works on: one mesh with its policies ready for matching, and one proxy of it.
//!
//! Read anew for every request, from the store; matching and merging are [`tandem_policy`]'s.

mod attachments;
mod gateway;
mod legacy;
mod mesh;
mod meta;
mod proxy;

pub use attachments::{attachments, matched};
pub use gateway::{GatewayView, by_kind, key_json};
pub use legacy::legacy_policies;
pub use mesh::{MeshView, POLICY_ORDER, gateways, policies};
pub use meta::meta;
pub use proxy::Proxy;
