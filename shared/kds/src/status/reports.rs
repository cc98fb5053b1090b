//! Puts together what this process remembers of peers and what the store knows of zones.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::{KdsSubscription, Zone, ZoneInsight};
use tandem_store::{SharedStore, StoreError};
use tokio::time::Instant;

use super::compose::Now;
use super::report::{PeerReport, SyncOverview, SyncTotal};
use super::{PeerStatus, ReleaseError, State, SyncStatus};
use crate::zone::GLOBAL;

/// Who the peers of a control plane are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// Those of global: every zone that there is.
    Zones,
    /// That of a zone: global.
    Global,
    /// Those of a zone on its own.
    None,
}

/// Tells how far synchronization is. Cheap to clone.
#[derive(Clone)]
pub struct SyncReports {
    status: SyncStatus,
    store: SharedStore,
    peers: Peers,
    instance: Arc<str>,
}

impl SyncReports {
    /// Reports about what is noted in `status`; `instance` is this process.
    pub fn new(status: SyncStatus, store: SharedStore, peers: Peers, instance: &str) -> Self {
        Self { status, store, peers, instance: instance.into() }
    }

    /// Who the peers are.
    pub fn peers(&self) -> Peers {
        self.peers
    }

    /// All peers.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn overview(&self) -> Result<SyncOverview, StoreError> {
        let items = match self.peers {
            Peers::None => Vec::new(),
            Peers::Global => vec![self.global()],
            Peers::Zones => self.zones().await?,
        };
        let mut total = SyncTotal { peers: items.len(), ..SyncTotal::default() };
        for state in State::ALL {
            total.states.insert(state.text().to_owned(), 0);
        }
        for item in &items {
            *total.states.entry(item.state.text().to_owned()).or_default() += 1;
            total.pending += item.pending.unwrap_or_default();
            total.left_out += item.left_out;
            total.held_deletions += item.held_deletions;
        }
        Ok(SyncOverview { instance: self.instance.to_string(), revision: self.store.revision(), total, items })
    }

    /// Everything about a zone; `None` when there is no such zone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn zone(&self, name: &str) -> Result<Option<PeerReport>, StoreError> {
        let Some(zone) = self.store.get(&ResourceKey::global(Kind::Zone, name)).await? else { return Ok(None) };
        let insight = self.store.get(&ResourceKey::global(Kind::ZoneInsight, name)).await?;
        Ok(Some(self.zone_report(&zone, insight.as_deref(), true)))
    }

    /// Has the held deletions of a type of a zone, or of global on a zone, carried out; returns how many there are.
    ///
    /// # Errors
    /// When there are none, or the peer is not connected.
    pub fn release(&self, zone: Option<&str>, kind: Kind) -> Result<usize, ReleaseError> {
        self.status.release(zone.unwrap_or(GLOBAL), kind)
    }

    async fn zones(&self) -> Result<Vec<PeerReport>, StoreError> {
        let zones = self.store.list(Kind::Zone, None).await?;
        let insights = self.store.list(Kind::ZoneInsight, None).await?;
        let insights: BTreeMap<&str, &Resource> =
            insights.iter().map(|insight| (insight.key.name.as_str(), &**insight)).collect();
        let report =
            |zone: &Arc<Resource>| self.zone_report(zone, insights.get(zone.key.name.as_str()).copied(), false);
        Ok(zones.iter().map(report).collect())
    }

    fn global(&self) -> PeerReport {
        match self.status.peer(GLOBAL) {
            Some(peer) => self.report(GLOBAL, &peer, true),
            None => PeerReport::unknown(GLOBAL, State::Offline),
        }
    }

    fn report(&self, name: &str, peer: &PeerStatus, detailed: bool) -> PeerReport {
        let waiting = if peer.connected.is_none() { self.status.waiting(name, peer) } else { None };
        let now = Now { instant: Instant::now(), wall: Timestamp::now() };
        PeerReport::new(name, peer, waiting.as_ref(), detailed, now)
    }

    fn zone_report(&self, zone: &Resource, insight: Option<&Resource>, detailed: bool) -> PeerReport {
        let name = zone.key.name.as_str();
        let mut report = match self.status.peer(name) {
            Some(peer) => self.report(name, &peer, detailed),
            None => PeerReport::unknown(name, State::Offline),
        };
        if report.state == State::Offline {
            let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
            if let Some(last) = insight.subscriptions.last() {
                self.remember(&mut report, last);
            }
            // A zone that cannot be read is taken as enabled everywhere. Of one that is connected its streams know whether
            // they rest.
            if zone.proto::<Zone>().is_ok_and(|zone| zone.enabled == Some(false)) {
                report.state = State::Disabled;
            }
        }
        report
    }

    /// What the store knows of a zone that is not connected to this process.
    fn remember(&self, report: &mut PeerReport, last: &KdsSubscription) {
        let time = |time: &Option<prost_types::Timestamp>| {
            time.as_ref().and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        };
        let version = last.version.as_ref().and_then(|version| version.kuma_cp.as_ref());
        let elsewhere = last.disconnect_time.is_none() && *last.global_instance_id != *self.instance;
        if elsewhere {
            // What that instance has confirmed is known there.
            report.connected_to = Some(last.global_instance_id.clone());
            report.connected_since = time(&last.connect_time);
            report.disconnected_since = None;
            report.pending = None;
            report.lag_seconds = None;
        } else if report.disconnected_since.is_none() {
            report.disconnected_since = time(&last.disconnect_time);
        }
        let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        if elsewhere || report.instance.is_none() {
            report.instance = known(&last.zone_instance_id);
            report.version = version.and_then(|version| known(&version.version));
        }
    }
}
