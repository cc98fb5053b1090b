//! What the scenarios share.

pub mod addresses;
pub mod ads;
pub mod apps;
pub mod collector;
pub mod ledger;
pub mod load;
pub mod network;
pub mod outside;
pub mod pipe;
pub mod raw;
pub mod recorder;
pub mod requests;
pub mod shop;
pub mod stage;
pub mod web;
pub mod workload;

pub use ads::{Ads, DeltaAds};
pub use apps::{answered, call, zone_proxies};
pub use stage::Stage;

use std::time::Duration;

/// Longest wait for anything that is expected to happen. Long, so that a busy machine fails no scenario.
pub const PATIENCE: Duration = Duration::from_secs(60);
