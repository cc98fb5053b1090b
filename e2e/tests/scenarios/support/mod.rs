//! What the scenarios share.

pub mod ads;
pub mod apps;
pub mod ledger;
pub mod raw;
pub mod stage;

pub use ads::{Ads, DeltaAds};
pub use apps::{answered, call, zone_proxies};
pub use stage::Stage;

use std::time::Duration;

/// Longest wait for anything that is expected to happen. Long, so that a busy machine fails no scenario.
pub const PATIENCE: Duration = Duration::from_secs(60);
