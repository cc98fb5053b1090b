//! Aggregates over meshes and zones, kept up to date from the store's change feed.
//!
//! [`run`] writes one MeshInsight and one ServiceInsight for each mesh; [`global_insight`] sums them up. The control plane
//! that owns the meshes runs this: global, or a zone that stands alone.
//!
//! Invariants: work follows the change (a proxy that only counts requests causes none); an insight is written only when
//! it differs, and for each mesh at most once per interval; a resource that does not decode is reported and counted as
//! if it said nothing, while everything else goes on.

mod facts;
mod global;
mod mesh;
mod writer;

pub use facts::{ProxyStatus, is_online};
pub use global::{Dataplanes, FullStatus, GlobalInsight, OnlineStatus, Services, Total, Zones, global_insight};
pub use writer::{InsightsSettings, run, service_insight_name};
