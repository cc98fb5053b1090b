//! What a change means for proxies.

use std::collections::BTreeSet;

use tandem_model::{Kind, ResourceKey};

use super::zone_proxy::ServiceKey;

/// Which proxies have to be generated again after changes. A proxy is concerned when any of the members names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// All proxies.
    pub everything: bool,
    /// All Dataplanes of these meshes.
    pub meshes: BTreeSet<String>,
    /// The proxies that use endpoints of these services, see [`Generated::services`](crate::Generated::services).
    pub services: BTreeSet<ServiceKey>,
    /// These proxies.
    pub proxies: BTreeSet<ResourceKey>,
    /// All ZoneIngresses and ZoneEgresses.
    pub zone_proxies: bool,
}

impl Touched {
    /// True when no proxy is concerned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in what another change concerns.
    pub fn merge(&mut self, mut other: Self) {
        self.everything |= other.everything;
        self.zone_proxies |= other.zone_proxies;
        self.meshes.append(&mut other.meshes);
        self.services.append(&mut other.services);
        self.proxies.append(&mut other.proxies);
    }

    /// True when a proxy that uses these services is concerned.
    pub fn concerns(&self, proxy: &ResourceKey, services: &BTreeSet<ServiceKey>) -> bool {
        let group = match proxy.kind {
            Kind::Dataplane => self.meshes.contains(&proxy.mesh),
            _ => self.zone_proxies,
        };
        self.everything
            || group
            || self.proxies.contains(proxy)
            || !self.services.is_empty() && self.services.iter().any(|service| services.contains(service))
    }
}

/// A resource that was left out, and why. Nothing else is affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Problem {
    /// The resource.
    pub key: ResourceKey,
    /// Why it was left out.
    pub reason: String,
}
