//! Explaining what policies do: gathers, from the store and from generation, what [`tandem_policy::explain`] works on.

mod carriers;
mod envoy;
pub mod routes;
mod scene;
mod supposed;

pub use envoy::{elsewhere, name_resources, patch};
pub use scene::{Inspected, Wanted, proxy_name, wanted};
pub use supposed::Supposed;
