//! What inspection works on: one mesh with its policies ready for matching, and one proxy of it.
//!
//! Read anew for every request, from the store; matching and merging are [`tandem_policy`]'s.

mod mesh;
mod meta;
mod proxy;

pub use mesh::{MeshView, POLICY_ORDER, gateways, policies};
pub use meta::meta;
pub use proxy::Proxy;
