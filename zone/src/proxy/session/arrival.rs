//! What a proxy says of itself when it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use tandem_model::{Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::SharedStore;
use tandem_xds::ProxyMetadata;
use tonic::Status;
use tracing::warn;

use crate::proxy::resource;

/// The resource in the metadata. One that cannot be read is ignored, as Kuma does: the stored one serves then.
pub(super) fn brought_resource(metadata: &ProxyMetadata, key: &ResourceKey) -> Result<Option<Resource>, Status> {
    let Some(text) = &metadata.resource else { return Ok(None) };
    let resource = match resource::parse(text) {
        Ok(resource) => resource,
        Err(error) => {
            warn!(proxy = %key, %error, "ignoring the resource that a proxy brought");
            return Ok(None);
        }
    };
    if resource.key != *key {
        return Err(Status::unknown(format!("proxyId {key} does not match proxy resource {}", resource.key)));
    }
    Ok(Some(resource))
}

/// The resource of a proxy that brought none.
pub(super) async fn stored_resource(
    store: &SharedStore,
    key: &ResourceKey,
    node_id: &str,
) -> Result<Arc<Resource>, Status> {
    let stored = store.get(key).await.map_err(|error| Status::unknown(error.to_string()))?;
    stored.ok_or_else(|| {
        Status::unknown(format!(
            "resource {node_id:?} not found; create a {} in Kuma CP first or pass it as an argument to kuma-dp",
            key.kind
        ))
    })
}

/// The versions of a proxy's programs.
pub(super) fn version(metadata: &ProxyMetadata) -> pb::Version {
    let versions = &metadata.versions;
    let text = |of: &BTreeMap<String, String>, name: &str| of.get(name).cloned().unwrap_or_default();
    pb::Version {
        kuma_dp: Some(pb::KumaDpVersion {
            version: text(&versions.kuma_dp, "version"),
            git_tag: text(&versions.kuma_dp, "gitTag"),
            git_commit: text(&versions.kuma_dp, "gitCommit"),
            build_date: text(&versions.kuma_dp, "buildDate"),
            kuma_cp_compatible: tandem_runtime::version::is_compatible(&text(&versions.kuma_dp, "version")),
        }),
        envoy: Some(pb::EnvoyVersion {
            version: text(&versions.envoy, "version"),
            build: text(&versions.envoy, "build"),
            kuma_dp_compatible: text(&versions.envoy, "kumaDpCompatible") == "true",
        }),
        dependencies: versions.dependencies.clone(),
    }
}

/// The metadata of a node in the type that insights hold; both are `google.protobuf.Struct` on the wire.
pub(super) fn node_metadata(node: &Node) -> Option<prost_types::Struct> {
    let metadata = node.metadata.as_ref()?;
    prost_types::Struct::decode(metadata.encode_to_vec().as_slice()).ok()
}
