//! Inspection: which policies concern which proxies, and what they amount to.

pub mod confs;
pub mod dataplanes;
mod exclusive;
pub mod gateway_proxies;
pub mod layout;
pub mod legacy_rules;
pub mod policy_proxies;
pub mod proxy_policies;
pub mod routes;
pub mod rules;
