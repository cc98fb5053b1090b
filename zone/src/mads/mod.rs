//! Monitoring assignments (MADS v1): Prometheus asks here where the metrics of proxies are fetched.
//!
//! What it is told is made in [`tandem_xds::monitoring`] whenever the meshes change; a request that knows it already waits for the
//! next change.

mod feed;
mod request;
mod server;
#[cfg(test)]
mod tests;

pub use feed::{Feed, follow};
pub use server::{MadsSettings, router};
