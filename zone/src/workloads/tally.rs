//! How many proxies each Workload has, kept by adding and taking away single proxies.

use std::collections::{BTreeMap, BTreeSet};

use tandem_model::core::workload::DataplaneProxies;
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _};
use tandem_model::{Kind, Resource, ResourceKey, label, name};
use tandem_proto::mesh::v1alpha1::{Dataplane, DataplaneInsight};

/// Numbers of proxies by Workload.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By key of the Dataplane.
    proxies: BTreeMap<ResourceKey, Proxy>,
    workloads: BTreeMap<ResourceKey, DataplaneProxies>,
}

/// What counts of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Proxy {
    /// The Workload; `None` for a Dataplane that names none, or does not exist (yet).
    workload: Option<ResourceKey>,
    healthy: bool,
    connected: bool,
}

impl Tally {
    /// The numbers of a Workload; `None` when no Dataplane names it.
    pub(super) fn of(&self, workload: &ResourceKey) -> Option<&DataplaneProxies> {
        self.workloads.get(workload)
    }

    /// All Workloads that Dataplanes name.
    pub(super) fn workloads(&self) -> impl Iterator<Item = &ResourceKey> {
        self.workloads.keys()
    }

    /// Takes notice of a resource that is now so, or is gone, and adds the Workloads whose numbers may differ to `changed`.
    pub(super) fn apply(&mut self, key: &ResourceKey, new: Option<&Resource>, changed: &mut BTreeSet<ResourceKey>) {
        let proxy = ResourceKey { kind: Kind::Dataplane, ..key.clone() };
        let old = self.proxies.get(&proxy).cloned().unwrap_or_default();
        let new = match key.kind {
            Kind::Dataplane => {
                let workload = new.and_then(workload_of);
                let healthy = workload.is_some() && new.is_some_and(is_healthy);
                Proxy { workload, healthy, connected: old.connected }
            }
            Kind::DataplaneInsight => Proxy { connected: new.is_some_and(is_connected), ..old.clone() },
            _ => return,
        };
        if new == old {
            return;
        }
        self.count(&old, changed, |number, by| number - by);
        self.count(&new, changed, |number, by| number + by);
        if new == Proxy::default() {
            self.proxies.remove(&proxy);
        } else {
            self.proxies.insert(proxy, new);
        }
    }

    fn count(&mut self, proxy: &Proxy, changed: &mut BTreeSet<ResourceKey>, step: impl Fn(u32, u32) -> u32) {
        let Some(workload) = &proxy.workload else { return };
        let numbers = self.workloads.entry(workload.clone()).or_default();
        numbers.total = step(numbers.total, 1);
        numbers.healthy = step(numbers.healthy, proxy.healthy.into());
        numbers.connected = step(numbers.connected, proxy.connected.into());
        if numbers.total == 0 {
            self.workloads.remove(workload);
        }
        changed.insert(workload.clone());
    }
}

fn workload_of(dataplane: &Resource) -> Option<ResourceKey> {
    let workload = dataplane.label(label::WORKLOAD).filter(|workload| !workload.is_empty())?;
    if !name::is_dns1035_label(workload) {
        tracing::warn!(dataplane = %dataplane.key, workload, "the label kuma.io/workload is no DNS label; the proxy counts for no workload");
        return None;
    }
    Some(ResourceKey::new(Kind::Workload, dataplane.key.mesh.clone(), workload))
}

/// A proxy is healthy with one healthy inbound, so gateways never are.
fn is_healthy(dataplane: &Resource) -> bool {
    match dataplane.proto::<Dataplane>() {
        Ok(dataplane) => dataplane.inbounds().iter().any(|inbound| inbound.is_healthy()),
        Err(error) => {
            tracing::warn!(%error, "a proxy counts as not healthy");
            false
        }
    }
}

fn is_connected(insight: &Resource) -> bool {
    match insight.proto::<DataplaneInsight>() {
        Ok(insight) => tandem_insights::is_online(&insight.subscriptions),
        Err(error) => {
            tracing::warn!(%error, "a proxy counts as not connected");
            false
        }
    }
}
