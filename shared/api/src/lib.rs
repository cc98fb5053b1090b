//! The HTTP API: one implementation with two faces, global and zone.
//!
//! What people and tools (kumactl, a GUI, CI) see of a control plane: resources of every kind, overviews, insights,
//! tokens, the configuration. Routes follow from the registry of kinds; what may be written, and what a write brings with
//! it, is decided by [`tandem_admission`]. Paths, shapes and texts are those of Kuma (`pkg/api-server`).
//!
//! Deliberate differences from Kuma: unknown members of a body are refused (400); bodies may be YAML; a proxy that the
//! constraints of its mesh keep out is refused with 400 and the reason instead of 500; a body over the limit gets 413;
//! an undecodable token request is told why; `GET` of a service insight works on federated zones; requests that make
//! Kuma's handlers crash (negative offset, unfinished filter) get 400.

mod access;
mod body;
mod conditional;
mod context;
mod cors;
mod explain;
mod format;
mod handlers;
mod identity;
mod inspect;
mod json;
mod json_patch;
mod names;
mod negotiation;
mod openapi;
mod problem;
mod proxies;
mod query;
mod representation;
mod router;
mod routes;
mod server;
mod uri;

pub use context::{ApiContext, ApiSettings, Authentication, DEFAULT_BODY_LIMIT, GuiSettings, Identity, SharedContext};
pub use problem::Problem;
pub use proxies::{
    Difference, EnvoyAdmin, EnvoyAdminError, Proxies, ProxyConfigurationError, ProxyConfigurations, SupposedChange,
    Supposition,
};
pub use server::{Listeners, serve};
