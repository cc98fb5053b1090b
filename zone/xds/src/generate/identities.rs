//! The certificates that proxies need.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::label::SERVICE_TAG;
use tandem_model::{Kind, Labels, ResourceKey, spiffe};

use super::outside::has_services;
use super::tls;
use crate::index::{MeshIdentityView, MeshView, Snapshot};
use crate::input::{IdentityRequest, SpiffeId, WorkloadRequest};

/// The certificates from authorities of meshes that a proxy needs before [`generate`](super::generate) can succeed, at most one
/// per mesh, sorted by mesh. None for a proxy that is not known (yet).
pub fn identity_requests(snapshot: &Snapshot, proxy: &ResourceKey) -> Vec<IdentityRequest> {
    let request = |mesh: &MeshView, tags| {
        let mtls = mesh.mtls.as_ref()?;
        Some(IdentityRequest {
            mesh: mesh.name.to_string(),
            backend: mtls.backend.clone(),
            tags,
            expiration: mtls.expiration.clone(),
            mtls_digest: mtls.digest,
        })
    };
    match proxy.kind {
        Kind::Dataplane => {
            let known = snapshot.mesh(&proxy.mesh).zip(snapshot.dataplane(&proxy.mesh, &proxy.name));
            known.and_then(|(mesh, dataplane)| request(mesh, dataplane.spec.all_tags())).into_iter().collect()
        }
        Kind::ZoneEgress if snapshot.egress(&proxy.name).is_some() => {
            let meshes = snapshot.meshes.values().filter(|mesh| has_services(snapshot, mesh));
            let tags = || BTreeMap::from([(SERVICE_TAG.to_owned(), [tls::ZONE_EGRESS.to_owned()].into())]);
            meshes.filter_map(|mesh| request(mesh.config.as_ref()?, tags())).collect()
        }
        _ => Vec::new(),
    }
}

/// The MeshIdentity that a Dataplane with these labels belongs to, whether it is ready or not; `None` for none.
pub fn mesh_identity<'a>(snapshot: &'a Snapshot, mesh: &str, labels: &Labels) -> Option<&'a Arc<MeshIdentityView>> {
    let identities = &snapshot.meshes.get(mesh)?.identities;
    spiffe::best_match(identities.iter().map(|(name, identity)| (&**name, &identity.spec, identity)), labels)
}

/// The certificate that a Dataplane needs from the MeshIdentity that selects it; `None` when none does. Without it the Dataplane
/// is as one that none selects.
///
/// The MeshIdentity may not be ready: then nothing is to be issued.
pub fn workload_request(snapshot: &Snapshot, proxy: &ResourceKey) -> Option<WorkloadRequest> {
    let dataplane = snapshot.dataplane(&proxy.mesh, &proxy.name).filter(|_| proxy.kind == Kind::Dataplane)?;
    let identity = mesh_identity(snapshot, &proxy.mesh, &dataplane.resource.labels)?;
    let spiffe_id = || {
        let trust_domain = identity.spec.trust_domain(&identity.resource, &snapshot.settings.zone)?;
        let uri = identity.spec.spiffe_id(&trust_domain, &dataplane.resource)?;
        Ok::<_, spiffe::SpiffeError>(SpiffeId { trust_domain, uri })
    };
    Some(WorkloadRequest { identity: identity.clone(), spiffe_id: spiffe_id().map_err(|error| error.to_string()) })
}
