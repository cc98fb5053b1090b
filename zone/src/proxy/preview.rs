//! What a proxy would be sent now, for people: as JSON, without keys, and with policies on trial if they are asked for.
//!
//! Source of the behaviour: Kuma `pkg/core/xds/inspect/config.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use serde_json::{Map, Value};
use tandem_api::{ProxyConfigurationError, ProxyConfigurations, SupposedChange, Supposition};
use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1::DataplaneInsight;
use tandem_xds::{
    AdminTls, Cache, Encoded, GenerateError, Generated, Identity, ProxyInput, ProxyMetadata, ResourceSet, Snapshot,
    WorkloadIdentity,
};

use super::supposition::Supposed;
use crate::mesh_state::CurrentSnapshot;

/// What stands in the place of certificates and keys.
const AUTHORITY: &[u8] = b"CA";
const CERTIFICATE: &[u8] = b"CERT";
const KEY: &[u8] = b"KEY";

/// Makes configurations for people.
pub struct Previews(pub CurrentSnapshot);

impl ProxyConfigurations for Previews {
    fn make(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
        with_shadow: bool,
    ) -> Result<Map<String, Value>, ProxyConfigurationError> {
        let snapshot = self.0.load().preview(&dataplane.mesh, AUTHORITY, with_shadow);
        // Nothing of a preview may reach a proxy, so it shares no cache with them.
        let generated = generate(&snapshot, &Cache::default(), dataplane, &metadata(insight))?;
        to_json(&generated.resources)
    }

    fn suppose(&self, before: &[SupposedChange], after: &[SupposedChange]) -> Option<Box<dyn Supposition>> {
        Some(Box::new(Supposed::new(&self.0.load(), before, after)))
    }

    fn left_out(&self) -> Vec<(ResourceKey, Vec<String>)> {
        let snapshot = self.0.load();
        snapshot.problems().map(|(key, reasons)| (key.clone(), reasons.to_vec())).collect()
    }
}

/// The same state with placeholders for the root certificates of all meshes.
pub(super) fn of_people(snapshot: &Snapshot) -> Snapshot {
    let meshes: Vec<_> = snapshot.meshes().map(|mesh| mesh.name.clone()).collect();
    meshes.iter().fold(snapshot.clone(), |snapshot, mesh| snapshot.preview(mesh, AUTHORITY, false))
}

/// The configuration of a proxy with placeholders for its certificates.
pub(super) fn generate(
    snapshot: &Snapshot,
    cache: &Cache,
    proxy: &ResourceKey,
    metadata: &ProxyMetadata,
) -> Result<Generated, ProxyConfigurationError> {
    let identity = Arc::new(Identity { certificate_chain: CERTIFICATE.to_vec(), private_key: KEY.to_vec() });
    let identities: BTreeMap<String, Arc<Identity>> = tandem_xds::identity_requests(snapshot, proxy)
        .into_iter()
        .map(|request| (request.mesh, identity.clone()))
        .collect();
    let workload = tandem_xds::workload_request(snapshot, proxy)
        .filter(|request| request.identity.ready && request.spiffe_id.is_ok())
        .map(|request| WorkloadIdentity { name: request.identity.kri.to_string().into(), certificate: identity });
    let workload = workload.map(Arc::new);
    // Of the port for administration, not even placeholders are shown.
    let admin_tls = AdminTls::default();
    let input = ProxyInput {
        key: proxy,
        metadata,
        identities: &identities,
        workload: workload.as_ref(),
        admin_tls: Some(&admin_tls),
        previous: None,
    };
    tandem_xds::generate(snapshot, &input, cache).map_err(|error| match error {
        GenerateError::ProxyNotFound(_) => ProxyConfigurationError::NotFound,
        other => ProxyConfigurationError::Failed(other.to_string()),
    })
}

/// What the proxy said of itself when it connected.
pub(super) fn metadata(insight: &DataplaneInsight) -> ProxyMetadata {
    // Both are `google.protobuf.Struct` on the wire.
    let metadata = insight.metadata.as_ref().map(|metadata| metadata.encode_to_vec());
    let metadata = metadata.and_then(|bytes| prost::Message::decode(bytes.as_slice()).ok());
    ProxyMetadata::from_node(&Node { metadata, ..Node::default() })
}

/// Resources by type URL and name.
pub(super) fn to_json(resources: &ResourceSet) -> Result<Map<String, Value>, ProxyConfigurationError> {
    let mut types: Map<String, Value> = Map::new();
    for (resource_type, resource) in resources.iter() {
        let value = resource_to_json(resource)?;
        let by_name = types.entry(resource_type.type_url()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(by_name) = by_name.as_object_mut() {
            by_name.insert(resource.name.to_string(), value);
        }
    }
    Ok(types)
}

/// A resource without its type, which is told beside it.
pub(super) fn resource_to_json(resource: &Encoded) -> Result<Value, ProxyConfigurationError> {
    let mut value = tandem_envoy_json::any_to_json(&resource.body)
        .map_err(|error| ProxyConfigurationError::Failed(format!("{}: {error}", resource.name)))?;
    if let Some(members) = value.as_object_mut() {
        members.shift_remove("@type");
    }
    Ok(value)
}
