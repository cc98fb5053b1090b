//! Prepares MeshIdentities for their proxies: the authority of the bundled provider, the MeshTrust that tells whom to trust,
//! and conditions that say how far it got.
//!
//! Work follows the change: a MeshIdentity is looked at again when it, its mesh, a Secret of the mesh or its MeshTrust
//! changes. Source of the rules and texts: Kuma `pkg/core/resources/apis/meshidentity/status/updater.go`.

pub(crate) mod authority;
mod conditions;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::core::MeshIdentity;
use tandem_model::core::mesh_identity::{MeshTrustCreation, ProviderType, Status};
use tandem_model::mesh::MeshExt as _;
use tandem_model::{Kind, Kri, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;
use tandem_store::{ChangeBatch, SharedStore, StoreError, Write};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use conditions::{Outcome, conditions};

/// Pause that gathers what happens together.
const GATHER: Duration = Duration::from_millis(20);

/// Pause before what did not succeed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Settings of [`run`].
#[derive(Debug, Clone)]
pub struct MeshIdentitySettings {
    /// Name of this zone.
    pub zone: String,
    /// Least time between two looks.
    pub min_interval: Duration,
}

/// Prepares MeshIdentities as the store changes, until cancelled or the store is closed.
pub async fn run(store: SharedStore, settings: MeshIdentitySettings, cancel: CancellationToken) {
    let mut feed = store.changes(0);
    let mut known = Known::default();
    let mut due: Option<Instant> = None;
    let mut free = Instant::now();
    loop {
        if !known.due.is_empty() {
            due.get_or_insert_with(|| free.max(Instant::now() + GATHER));
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = feed.next() => match batch {
                Some(batch) => known.take(&batch),
                None => return,
            },
            () = sleep_until(due.unwrap_or(free)), if due.is_some() => {
                due = None;
                free = Instant::now() + settings.min_interval;
                for key in std::mem::take(&mut known.due) {
                    let Some((identity, exclusive)) = known.get(&key) else { continue };
                    if let Err(error) = prepare(&store, &settings.zone, &identity, exclusive).await {
                        tracing::debug!(identity = %key, %error, "cannot be prepared, trying again");
                        known.due.insert(key);
                        free = Instant::now() + RETRY;
                    }
                }
            }
        }
    }
}

/// MeshIdentities and the modes of their meshes.
#[derive(Debug, Default)]
struct Known {
    /// Meshes, and whether their services are MeshServices only.
    meshes: BTreeMap<String, bool>,
    identities: BTreeMap<ResourceKey, Arc<Resource>>,
    /// Those to be looked at again.
    due: BTreeSet<ResourceKey>,
}

impl Known {
    fn take(&mut self, batch: &ChangeBatch) {
        if batch.is_reset() {
            *self = Self::default();
        }
        batch.iter().for_each(|(key, new)| self.apply(key, new));
    }

    fn apply(&mut self, key: &ResourceKey, new: Option<&Arc<Resource>>) {
        match key.kind {
            Kind::Mesh => {
                let mesh = new.and_then(|resource| resource.proto::<Mesh>().ok());
                let before = self.meshes.remove(&key.name);
                let exclusive = mesh.map(|mesh| mesh.mesh_services_mode() == Mode::Exclusive);
                self.meshes.extend(exclusive.map(|exclusive| (key.name.clone(), exclusive)));
                if before != exclusive {
                    self.mesh_is_due(&key.name);
                }
            }
            Kind::Secret => self.mesh_is_due(&key.mesh),
            Kind::MeshTrust => {
                let identity = ResourceKey::new(Kind::MeshIdentity, key.mesh.as_str(), key.name.as_str());
                if self.identities.contains_key(&identity) {
                    self.due.insert(identity);
                }
            }
            Kind::MeshIdentity => {
                match new {
                    Some(new) => self.identities.insert(key.clone(), new.clone()),
                    None => self.identities.remove(key),
                };
                self.due.insert(key.clone());
            }
            _ => {}
        }
    }

    fn mesh_is_due(&mut self, mesh: &str) {
        let first = ResourceKey::new(Kind::MeshIdentity, mesh, "");
        let identities = self.identities.range((Bound::Included(first), Bound::Unbounded)).map(|(key, _)| key);
        self.due.extend(identities.take_while(|key| key.mesh == mesh).cloned());
    }

    /// A MeshIdentity whose mesh exists, and whether the services of the mesh are MeshServices only.
    fn get(&self, key: &ResourceKey) -> Option<(Arc<Resource>, bool)> {
        Some((self.identities.get(key)?.clone(), *self.meshes.get(&key.mesh)?))
    }
}

/// Does what a MeshIdentity needs, and writes how far it got if that differs.
///
/// # Errors
/// When the store fails, or somebody else wrote the same meanwhile.
async fn prepare(store: &SharedStore, zone: &str, identity: &Resource, exclusive: bool) -> Result<(), StoreError> {
    let spec: MeshIdentity = match identity.json() {
        Ok(spec) => spec,
        Err(error) => {
            tracing::warn!(%error, "left out of the identities");
            return Ok(());
        }
    };
    let outcome = if exclusive { initialize(store, zone, identity, &spec).await? } else { Outcome::NotExclusive };
    let conditions = conditions(outcome);
    let told: Option<Status> = identity.status.clone().and_then(|status| serde_json::from_value(status).ok());
    if told.is_some_and(|told| told.conditions == conditions) {
        return Ok(());
    }
    let mut resource = identity.clone();
    let status = serde_json::to_value(Status { conditions });
    resource.status = Some(status.expect("conditions are text"));
    store.commit(vec![Write::Update { resource, expected: Some(identity.version) }]).await?;
    Ok(())
}

async fn initialize(
    store: &SharedStore,
    zone: &str,
    identity: &Resource,
    spec: &MeshIdentity,
) -> Result<Outcome, StoreError> {
    let Some(provider) = &spec.provider else { return Ok(Outcome::IdentitiesOnly) };
    let bundled = match (provider.kind, &provider.bundled) {
        (ProviderType::Spire, _) => {
            let message =
                "provider Spire is not supported by this version: use Bundled, or leave the provider out to have \
                           SPIFFE IDs told only"
                    .to_owned();
            return Ok(Outcome::Failed { reason: conditions::NOT_FOUND, message });
        }
        (ProviderType::Bundled, Some(bundled)) => bundled,
        (ProviderType::Bundled, None) => {
            let message = "spec.provider.bundled: configuration needs to be defined".to_owned();
            return Ok(Outcome::Failed { reason: conditions::INITIALIZATION, message });
        }
    };
    let domain = spec.trust_domain(identity, zone).map_err(|error| error.to_string());
    let root = authority::root(store, identity, bundled, &domain).await?;
    let root = match root {
        Ok(root) => root,
        Err((reason, message)) => return Ok(Outcome::Failed { reason, message }),
    };
    if bundled.mesh_trust_creation == Some(MeshTrustCreation::Disabled) {
        return Ok(Outcome::Provided { trust: None });
    }
    let (domain, root) = match (domain, root) {
        (Ok(domain), Ok(root)) => (domain, root),
        (Err(error), _) | (_, Err(error)) => return Ok(Outcome::Provided { trust: Some(Err(error)) }),
    };
    let key = ResourceKey::new(Kind::MeshTrust, identity.key.mesh.as_str(), identity.key.name.as_str());
    let existing = store.get(&key).await?;
    let origin = Kri::of(identity).map(|kri| kri.to_string()).unwrap_or_default();
    let trust = match trust::wanted(existing.as_deref(), key, &origin, &domain, &root) {
        Ok(Some(write)) => store.commit(vec![write]).await.map(|_| Ok(()))?,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    Ok(Outcome::Provided { trust: Some(trust) })
}

#[cfg(test)]
mod tests;
