//! The aggregated discovery service that Envoy gets its configuration from, in both variants of the protocol.

mod delta;
mod request;
mod response;
mod retries;
mod service;
mod sotw;
mod stream;
mod transition;
mod variant;

#[cfg(test)]
mod tests;

pub use service::AdsService;
pub use stream::credential;
