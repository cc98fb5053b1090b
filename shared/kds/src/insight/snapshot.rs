//! What is written into an insight at once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tandem_proto::system::v1alpha1::{
    EnvoyAdminStreams, HealthCheck, KdsStream, KdsStreams, KdsSubscription, ZoneInsight,
};

use super::{InsightSettings, StreamKind, wire_time};

/// News about the connections of a zone.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Open connections, and those that were closed since the last write.
    pub(super) subscriptions: Vec<KdsSubscription>,
    /// Streams that were opened since the last write.
    pub(super) opened: BTreeMap<StreamKind, Timestamp>,
    /// The last sign of life, if there was one since the last write.
    pub(super) health_check: Option<Timestamp>,
}

impl Snapshot {
    /// Brings an insight up to date.
    pub(super) fn write_into(
        &self,
        insight: &mut ZoneInsight,
        settings: &InsightSettings,
        now: prost_types::Timestamp,
    ) {
        self.write_subscriptions(insight, now);
        let excess = insight.subscriptions.len().saturating_sub(settings.subscription_limit);
        insight.subscriptions.drain(..excess);
        if settings.compact_finished
            && let Some((_, finished)) = insight.subscriptions.split_last_mut()
        {
            for subscription in finished {
                subscription.config.clear();
                if let Some(status) = &mut subscription.status {
                    status.stat.clear();
                }
            }
        }
        if let Some(time) = self.health_check {
            insight.health_check = Some(HealthCheck { time: Some(wire_time(time)) });
        }
        if !self.opened.is_empty() {
            self.write_streams(insight, &settings.instance);
        }
    }

    fn write_subscriptions(&self, insight: &mut ZoneInsight, now: prost_types::Timestamp) {
        let mut ordered: Vec<_> = self.subscriptions.iter().collect();
        ordered.sort_by_key(|subscription| subscription.connect_time.map(|time| (time.seconds, time.nanos)));
        let newest = ordered.iter().rev().find(|subscription| is_open(subscription)).map(|newest| newest.id.as_str());
        for subscription in ordered {
            let known = insight.subscriptions.iter_mut().find(|known| known.id == subscription.id);
            match known {
                Some(known) => known.clone_from(subscription),
                // The newest connection is the one that counts, also against those that nobody closed.
                None if newest == Some(subscription.id.as_str()) => {
                    for earlier in &mut insight.subscriptions {
                        earlier.disconnect_time.get_or_insert(now);
                    }
                    insight.subscriptions.push(subscription.clone());
                }
                // It was over before anyone heard of it.
                None if !is_open(subscription) => {
                    let at = insight.subscriptions.iter().position(is_open).unwrap_or(insight.subscriptions.len());
                    insight.subscriptions.insert(at, subscription.clone());
                }
                // One that is about to end, and forgotten already.
                None => {}
            }
        }
    }

    #[allow(deprecated)] // older readers look at the superseded member
    fn write_streams(&self, insight: &mut ZoneInsight, instance: &str) {
        let streams: &mut KdsStreams = insight.kds_streams.get_or_insert_default();
        let admin: &mut EnvoyAdminStreams = insight.envoy_admin_streams.get_or_insert_default();
        for (kind, time) in &self.opened {
            let stream = KdsStream { global_instance_id: instance.to_owned(), connect_time: Some(wire_time(*time)) };
            let (slot, superseded) = match kind {
                StreamKind::GlobalToZone => (&mut streams.global_to_zone, None),
                StreamKind::ZoneToGlobal => (&mut streams.zone_to_global, None),
                StreamKind::ConfigDump => (&mut streams.config_dump, Some(&mut admin.config_dump_global_instance_id)),
                StreamKind::Stats => (&mut streams.stats, Some(&mut admin.stats_global_instance_id)),
                StreamKind::Clusters => (&mut streams.clusters, Some(&mut admin.clusters_global_instance_id)),
            };
            *slot = Some(stream);
            if let Some(superseded) = superseded {
                instance.clone_into(superseded);
            }
        }
    }
}

fn is_open(subscription: &KdsSubscription) -> bool {
    subscription.disconnect_time.is_none()
}
