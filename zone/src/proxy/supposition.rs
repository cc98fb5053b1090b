//! What proxies would be sent if some policies were others.

use std::sync::Arc;

use serde_json::{Map, Value};
use tandem_api::{Difference, ProxyConfigurationError, SupposedChange, Supposition};
use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1::DataplaneInsight;
use tandem_xds::{Cache, Encoded, ResourceSet, ResourceType, Snapshot, Touched};

use super::preview::{generate, metadata, of_people, resource_to_json, to_json};

/// Two states, and whom the step from one to the other touches.
pub(super) struct Supposed {
    before: Side,
    after: Side,
    touched: Touched,
    zone: String,
}

/// A state with what proxies share in it.
struct Side {
    snapshot: Snapshot,
    cache: Cache,
}

impl Side {
    fn new(snapshot: &Snapshot) -> Self {
        Self { snapshot: of_people(snapshot), cache: Cache::default() }
    }

    fn resources(
        &self,
        proxy: &ResourceKey,
        insight: &DataplaneInsight,
    ) -> Result<ResourceSet, ProxyConfigurationError> {
        Ok(generate(&self.snapshot, &self.cache, proxy, &metadata(insight))?.resources)
    }
}

impl Supposed {
    /// What follows from the state of now after some changes, and after others.
    pub fn new(now: &Snapshot, before: &[SupposedChange], after: &[SupposedChange]) -> Self {
        let after_all =
            |changes: &[SupposedChange]| now.suppose(changes.iter().map(|(key, resource)| (key, resource.as_ref())));
        let ((before, mut touched), (after, more)) = (after_all(before), after_all(after));
        touched.merge(more);
        let zone = now.settings().zone.clone();
        Self { before: Side::new(&before), after: Side::new(&after), touched, zone }
    }
}

impl Supposition for Supposed {
    fn concerned(&self) -> Vec<ResourceKey> {
        // Changes of policies add and remove no proxies.
        let snapshot = &self.before.snapshot;
        let dataplanes = snapshot.meshes().flat_map(|mesh| snapshot.dataplanes(&mesh.name));
        let egresses = snapshot.egresses().filter(|egress| egress.zone.is_empty() || egress.zone == self.zone);
        let all = dataplanes.map(|view| &view.resource.key).chain(egresses.map(|egress| &egress.resource.key));
        let mut concerned: Vec<ResourceKey> =
            all.filter(|key| self.touched.concerns(key, &Default::default())).cloned().collect();
        concerned.sort();
        concerned
    }

    fn before(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
    ) -> Result<Map<String, Value>, ProxyConfigurationError> {
        to_json(&self.before.resources(dataplane, insight)?)
    }

    fn compare(
        &self,
        proxy: &ResourceKey,
        insight: &DataplaneInsight,
    ) -> Result<Option<Difference>, ProxyConfigurationError> {
        let (before, after) = (self.before.resources(proxy, insight)?, self.after.resources(proxy, insight)?);
        let mut difference = Difference::default();
        for resource_type in ResourceType::ALL {
            let (old, new) = (before.of(resource_type), after.of(resource_type));
            if !old.is_empty() && !new.is_empty() {
                for side in [&mut difference.before, &mut difference.after] {
                    side.insert(resource_type.type_url().to_owned(), Value::Object(Map::new()));
                }
            }
            let differing = |one: &Arc<Encoded>, other: &ResourceSet| {
                other.get(resource_type, &one.name).is_none_or(|other| other.version != one.version)
            };
            for resource in old.iter().filter(|resource| differing(resource, &after)) {
                insert(&mut difference.before, resource_type, resource)?;
            }
            for resource in new.iter().filter(|resource| differing(resource, &before)) {
                insert(&mut difference.after, resource_type, resource)?;
            }
        }
        Ok((difference.before != difference.after).then_some(difference))
    }
}

fn insert(
    types: &mut Map<String, Value>,
    resource_type: ResourceType,
    resource: &Encoded,
) -> Result<(), ProxyConfigurationError> {
    let by_name = types.entry(resource_type.type_url()).or_insert_with(|| Value::Object(Map::new()));
    if let Some(by_name) = by_name.as_object_mut() {
        by_name.insert(resource.name.to_string(), resource_to_json(resource)?);
    }
    Ok(())
}
