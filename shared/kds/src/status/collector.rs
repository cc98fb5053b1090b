//! Metrics of synchronization with each peer, computed when they are asked for: a peer that is forgotten has none. Types of
//! which nothing is there are left out, because most types of most peers are like that and there may be many peers.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tandem_model::Kind;
use tokio::time::Instant;

use super::{PeerStatus, State, SyncStatus};

type Peers = BTreeMap<String, PeerStatus>;
/// Labels and value of a series.
type Series = (Vec<(&'static str, String)>, f64);

/// A metric with its series for a peer.
struct Metric {
    name: &'static str,
    help: &'static str,
    series: fn(&str, &PeerStatus, Instant) -> Vec<Series>,
}

const METRICS: [Metric; 13] = [
    Metric {
        name: "kds_sync_state",
        help: "State of synchronization with a peer: 1 for the state that it is in",
        series: |name, peer, now| {
            let present = peer.state(now);
            let states = State::ALL.into_iter();
            states
                .map(|state| (vec![peer_label(name), ("state", state.text().to_owned())], number(state == present)))
                .collect()
        },
    },
    Metric {
        name: "kds_sync_pending",
        help: "Changes that a connected peer has not confirmed, by type",
        series: |name, peer, _| sent(name, peer, |status| Some(count(status.unconfirmed())), true),
    },
    Metric {
        name: "kds_sync_lag_seconds",
        help: "Age of the oldest change that a connected peer has not confirmed, by type",
        series: |name, peer, now| sent(name, peer, |status| Some(status.lag(now).as_secs_f64()), true),
    },
    Metric {
        name: "kds_sync_revision",
        help: "Revision of the store that last changed something of a type that concerns a peer",
        series: |name, peer, _| sent(name, peer, |status| Some(whole(status.revision)), true),
    },
    Metric {
        name: "kds_sync_acknowledged_revision",
        help: "Revision of the store up to which a peer has confirmed everything of a type",
        series: |name, peer, _| sent(name, peer, |status| status.acknowledged_revision.map(whole), false),
    },
    Metric {
        name: "kds_sync_received_revision",
        help: "Revision of the store of a peer that is applied here, by type",
        series: |name, peer, _| received(name, peer, |status| status.revision.map(whole)),
    },
    Metric {
        name: "kds_sync_sent_bytes",
        help: "Size of the responses sent on the present connection, by peer and type",
        series: |name, peer, _| sent(name, peer, |status| Some(whole(status.bytes)), true),
    },
    Metric {
        name: "kds_sync_received_bytes",
        help: "Size of the responses received on the present connection, by peer and type",
        series: |name, peer, _| received(name, peer, |status| Some(whole(status.bytes))),
    },
    Metric {
        name: "kds_resources_left_out",
        help: "Resources that a peer sent and that were left out, by peer and type",
        series: |name, peer, _| received(name, peer, |status| Some(count(status.left_out.len()))),
    },
    Metric {
        name: "kds_resources_rejected",
        help: "Resources that a peer rejected or that cannot be sent to it, by peer and type",
        series: |name, peer, _| sent(name, peer, |status| Some(count(status.left_out.len())), false),
    },
    Metric {
        name: "kds_held_deletions",
        help: "Deletions that a peer asks for by not listing resources, and that are held back, by peer and type",
        series: |name, peer, _| {
            received(name, peer, |status| Some(count(status.held.as_ref().map_or(0, |held| held.resources.len()))))
        },
    },
    Metric {
        name: "kds_resources_relabelled",
        help: "Resources of a peer that claimed to be of another zone or origin, since the start, by peer and type",
        series: |name, peer, _| received(name, peer, |status| Some(whole(status.relabelled))),
    },
    Metric {
        name: "kds_resources_refused",
        help: "Resources of a peer whose name belongs to somebody else, since the start, by peer and type",
        series: |name, peer, _| received(name, peer, |status| Some(whole(status.refused))),
    },
];

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn whole(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    whole(value as u64)
}

fn number(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn peer_label(name: &str) -> (&'static str, String) {
    ("peer", name.to_owned())
}

fn labels(name: &str, kind: Kind) -> Vec<(&'static str, String)> {
    vec![peer_label(name), ("type_url", kind.name().to_owned())]
}

/// Series by type that is sent and of which there is something; with `now`, of a peer that is connected only.
fn sent(name: &str, peer: &PeerStatus, value: impl Fn(&super::SentStatus) -> Option<f64>, now: bool) -> Vec<Series> {
    let types = peer.sent.iter().filter(|(_, status)| {
        let is_used = status.resources > 0 || status.unconfirmed() > 0 || !status.left_out.is_empty();
        is_used && (!now || (peer.connected.is_some() && status.subscribed))
    });
    types.filter_map(|(kind, status)| Some((labels(name, *kind), value(status)?))).collect()
}

fn received(name: &str, peer: &PeerStatus, value: impl Fn(&super::ReceivedStatus) -> Option<f64>) -> Vec<Series> {
    let types = peer.received.iter().filter(|(_, status)| {
        let is_quiet =
            status.left_out.is_empty() && status.held.is_none() && status.relabelled == 0 && status.refused == 0;
        status.resources > 0 || !is_quiet
    });
    types.filter_map(|(kind, status)| Some((labels(name, *kind), value(status)?))).collect()
}

impl SyncStatus {
    /// Adds the metrics of all peers to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    fn encode_versions(peers: &Peers, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut versions: BTreeMap<&str, u32> = BTreeMap::new();
        for peer in peers.values().filter(|peer| peer.connected.is_some() && !peer.version.is_empty()) {
            *versions.entry(&peer.version).or_default() += 1;
        }
        let help = "Connected control planes by version";
        let mut family = encoder.encode_descriptor("kds_delta_client_versions", help, None, MetricType::Gauge)?;
        for (version, number) in versions {
            ConstGauge::new(f64::from(number)).encode(family.encode_family(&[("client_version", version)])?)?;
        }
        Ok(())
    }
}

impl Collector for SyncStatus {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = Instant::now();
        let mut peers = Peers::new();
        self.each(|name, peer| _ = peers.insert(name.to_owned(), peer.clone()));
        for metric in &METRICS {
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
            for (name, peer) in &peers {
                for (labels, value) in (metric.series)(name, peer, now) {
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Self::encode_versions(&peers, &mut encoder)
    }
}
