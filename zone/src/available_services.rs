//! Keeps the list of available services in the ZoneIngresses of this zone up to date.
//!
//! Other zones learn from it what they reach through the ingress. Work follows the change: the list is computed again
//! when something on it may have changed, and a ZoneIngress is written only when its list differs.

mod offers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::ZoneIngress;
use tandem_proto::mesh::v1alpha1::zone_ingress::AvailableService;
use tandem_store::{ChangeBatch, SharedStore, StoreError, Write};
use tokio_util::sync::CancellationToken;

use offers::Offers;

use crate::pace::Pace;

/// Settings of [`run`].
#[derive(Debug, Clone)]
pub struct AvailableServicesSettings {
    /// Name of this zone.
    pub zone: String,
    /// Prefixes of the tags that are listed; empty lists all (`experimental.ingressTagFilters`).
    pub tag_filters: Vec<String>,
    /// Least time between two new lists (`multizone.zone.ingressUpdateInterval`; 1 s in Kuma).
    pub min_interval: Duration,
}

/// Updates the ZoneIngresses of this zone as the store changes, until cancelled or the store is closed.
pub async fn run(store: SharedStore, settings: AvailableServicesSettings, cancel: CancellationToken) {
    let mut feed = store.changes(0);
    let mut publisher = Publisher {
        offers: Offers::new(settings.zone.clone(), settings.tag_filters),
        zone: settings.zone,
        ingresses: BTreeMap::new(),
        list: None,
    };
    let mut pace = Pace::new(settings.min_interval);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => {
                    if publisher.take(&batch) {
                        pace.want();
                    }
                }
                None => return,
            },
            () = pace.round() => {
                pace.begin();
                if !publisher.publish(&store).await {
                    pace.want_again();
                }
            }
        }
    }
}

/// A ZoneIngress of this zone.
#[derive(Debug)]
struct Ingress {
    resource: Arc<Resource>,
    spec: ZoneIngress,
}

#[derive(Debug)]
struct Publisher {
    offers: Offers,
    zone: String,
    ingresses: BTreeMap<ResourceKey, Ingress>,
    /// The list as computed last; none while nobody needs one.
    list: Option<Vec<AvailableService>>,
}

impl Publisher {
    /// True when there may be something to publish.
    fn take(&mut self, batch: &ChangeBatch) -> bool {
        if batch.is_reset() {
            self.offers.clear();
            self.ingresses.clear();
        }
        // Each change has to be applied, also after one that makes a difference.
        batch.iter().fold(batch.is_reset(), |any, (key, new)| any | self.apply(key, new))
    }

    fn apply(&mut self, key: &ResourceKey, new: Option<&Arc<Resource>>) -> bool {
        if key.kind != Kind::ZoneIngress {
            return self.offers.apply(key, new.map(|resource| &**resource));
        }
        self.ingresses.remove(key);
        let Some(resource) = new else { return false };
        match resource.proto::<ZoneIngress>() {
            // Empty in the zone itself.
            Ok(spec) if spec.zone.is_empty() || spec.zone == self.zone => {
                let differs = self.list.as_ref() != Some(&spec.available_services);
                self.ingresses.insert(key.clone(), Ingress { resource: resource.clone(), spec });
                differs
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "zone ingress gets no list of available services");
                false
            }
        }
    }

    /// Writes the list to each ZoneIngress that has another one; false when that has to be tried again.
    async fn publish(&mut self, store: &SharedStore) -> bool {
        if self.ingresses.is_empty() {
            self.list = None;
            return true;
        }
        let list = self.list.insert(self.offers.list());
        let mut done = true;
        for (key, ingress) in &self.ingresses {
            if ingress.spec.available_services == *list {
                continue;
            }
            let spec = ZoneIngress { available_services: list.clone(), ..ingress.spec.clone() };
            let mut resource = (*ingress.resource).clone();
            resource.spec = Resource::from_proto(key.clone(), &spec).spec;
            let expected = Some(ingress.resource.version);
            match store.commit(vec![Write::Update { resource, expected }]).await {
                Ok(_) => tracing::debug!(ingress = key.name, services = list.len(), "available services updated"),
                // Changed or deleted meanwhile; the feed is about to tell.
                Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "available services cannot be updated, trying again");
                    done = false;
                }
            }
        }
        done
    }
}

#[cfg(test)]
mod tests;
