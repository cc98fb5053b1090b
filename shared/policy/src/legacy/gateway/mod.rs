//! Listeners of builtin gateways, the MeshGatewayRoutes they follow, and the policies for what these lead to.
//!
//! Source: Kuma `pkg/plugins/runtime/gateway`.

mod destination;
mod hostname;
mod listener;

pub use destination::{DestinationPolicies, destinations};
pub use listener::{HostGroup, Listener, VirtualHost, listeners};
