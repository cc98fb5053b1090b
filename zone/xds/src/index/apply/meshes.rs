//! Changes of meshes, their certificate authorities and their readiness for TLS.

use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1 as pb;

use super::New;
use crate::index::MeshIndex;
use crate::index::mesh::MeshView;
use crate::index::touched::Touched;

/// True when what policies may refer to has to be gathered again.
pub(super) fn mesh(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) -> bool {
    let name = key.name.as_str();
    let view = index.decoded(key, new, MeshView::decode);
    let old = index.state.mesh(name);
    if view.is_none() && old.is_none() {
        return false;
    }
    if let (Some(old), Some(view)) = (old, &view)
        && old.resource.spec == view.resource.spec
        && old.resource.labels == view.resource.labels
    {
        return false;
    }
    let revision = index.next_revision();
    let state = index.mesh_mut(name);
    state.config = view;
    state.config_revision = revision;
    index.refresh_authority(name);
    index.refresh_readiness(name, touched);
    index.drop_mesh_if_empty(name);
    touched.meshes.insert(name.to_owned());
    touched.zone_proxies = true;
    true
}

pub(super) fn secret(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let state = index.mesh_mut(&key.mesh);
    match new {
        Some(resource) => {
            state.secrets.insert_mut(key.name.as_str().into(), resource.clone());
        }
        None => {
            state.secrets.remove_mut(key.name.as_str());
        }
    }
    let of_identities = index.is_authority_of_identity(&key.mesh, &key.name);
    if index.refresh_authority(&key.mesh) || of_identities {
        let revision = index.next_revision();
        index.mesh_mut(&key.mesh).config_revision = revision;
        touched.meshes.insert(key.mesh.clone());
        touched.zone_proxies = true;
    }
    index.drop_mesh_if_empty(&key.mesh);
}

pub(super) fn insight(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let state = index.mesh_mut(&key.mesh);
    match new {
        Some(resource) => {
            state.insights.insert_mut(key.name.as_str().into(), resource.clone());
        }
        None => {
            state.insights.remove_mut(key.name.as_str());
        }
    }
    if state.config.as_ref().is_some_and(|config| config.permissive()) {
        index.refresh_readiness(&key.mesh, touched);
    }
    index.drop_mesh_if_empty(&key.mesh);
}

/// Which services have a certificate of the backend on every proxy.
pub(super) fn readiness(insight: pb::ServiceInsight, backend: &str) -> impl Iterator<Item = (String, bool)> {
    insight.services.into_iter().map(move |(name, service)| {
        let proxies = service.dataplanes.unwrap_or_default();
        let issued = service.issued_backends.get(backend).copied().unwrap_or_default();
        (name, issued == proxies.online.saturating_add(proxies.offline))
    })
}
