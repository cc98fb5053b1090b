//! Deleting the resource of a proxy that is gone.
//!
//! What was decided on has to be true still at the moment of the deletion. Against streams of this instance the caller holds the place
//! of the proxy ([`Registry::vacate`](super::registry::Registry::vacate)); against everybody else, the insight that says that the proxy
//! is gone is deleted at the version that was looked at, in the same transaction.

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::{SharedStore, StoreError, Write};
use tracing::warn;

use super::insight::insight_key;

/// How often what was written meanwhile is looked at anew.
const ATTEMPTS: usize = 5;

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The resource is deleted, with its insight.
    Done,
    /// There is no such resource.
    Absent,
    /// The insight says that the proxy is not gone.
    Kept,
}

/// Deletes the resource of a proxy if the subscriptions in its insight, none if it has no insight, say that it is `gone`.
///
/// # Errors
/// Those of the store, and a conflict when the insight is written again and again.
pub async fn remove(
    store: &SharedStore,
    proxy: &ResourceKey,
    gone: impl Fn(&[pb::DiscoverySubscription]) -> bool,
) -> Result<Removal, StoreError> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        // Before the insight: what is written between the two readings fails the commit.
        let Some(resource) = store.get(proxy).await? else { return Ok(Removal::Absent) };
        let insight = store.get(&insight_key(proxy)).await?;
        let subscriptions = insight.as_deref().map(subscriptions).unwrap_or_default();
        if !gone(&subscriptions) {
            return Ok(Removal::Kept);
        }
        let delete =
            |resource: &Resource| Write::Delete { key: resource.key.clone(), expected: Some(resource.version) };
        let writes = insight.as_deref().into_iter().chain([&*resource]).map(delete).collect();
        match store.commit(writes).await {
            Ok(_) => return Ok(Removal::Done),
            Err(StoreError::Conflict(_) | StoreError::NotFound(_)) if attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// The subscriptions of an insight; none when it cannot be read.
pub fn subscriptions(insight: &Resource) -> Vec<pb::DiscoverySubscription> {
    let subscriptions = match insight.kind() {
        Kind::ZoneIngressInsight => insight.proto::<pb::ZoneIngressInsight>().map(|insight| insight.subscriptions),
        Kind::ZoneEgressInsight => insight.proto::<pb::ZoneEgressInsight>().map(|insight| insight.subscriptions),
        _ => insight.proto::<pb::DataplaneInsight>().map(|insight| insight.subscriptions),
    };
    subscriptions.unwrap_or_else(|error| {
        warn!(insight = %insight.key, %error, "the insight of a proxy cannot be read");
        Vec::new()
    })
}
