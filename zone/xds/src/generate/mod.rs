//! From a snapshot to the configuration of one proxy.
//!
//! Resources are built as drafts, edited by the effects of policies, and encoded. What does not depend on the proxy alone is
//! built once and shared by all proxies through the [`Cache`].

pub(crate) mod admin;
mod assignment;
pub(crate) mod collect;
pub(crate) mod dns;
mod egress;
mod external;
pub(crate) mod http;
pub(crate) mod inbound;
mod ingress;
pub(crate) mod names;
mod outbound;
mod outbounds;
mod passthrough;
mod real;
pub(crate) mod secrets;
mod services;
mod shape;
mod sidecar;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
pub(crate) mod transparent;

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::label::SERVICE_TAG;
use tandem_model::{Kind, ResourceKey};
use tandem_policy::{InboundPolicies, OutboundPolicies};

use crate::cache::{Canonical, Fingerprints, Shared};
use crate::encoded::Encoded;
use crate::index::{Authority, MeshState, MeshView, Snapshot};
use crate::input::{GenerateError, Generated, Identity, IdentityRequest, ProxyInput};

/// What was computed for some proxies and serves others too. One per control plane; threads may use it at the same time.
///
/// It needs no care: what no proxy uses any more is dropped.
#[derive(Debug, Default)]
pub struct Cache {
    pub(crate) fingerprints: Fingerprints,
    destinations: Shared<services::DestinationKey, outbound::Destination>,
    assignments: Shared<services::AssignmentKey, Encoded>,
    clusters: Shared<sidecar::ClusterKey, Encoded>,
    listeners: Shared<sidecar::ListenerKey, Encoded>,
    zone_clusters: Shared<services::ZoneClusterKey, Encoded>,
    inbounds: inbound::CommonCache,
    inbound_policies: Canonical<InboundPolicies>,
    outbound_policies: Canonical<OutboundPolicies>,
    authorities: Shared<(String, Arc<[u8]>), Encoded>,
}

/// Makes the configuration of a proxy.
///
/// # Errors
/// When the proxy or its mesh does not exist, or something that it needs is missing; the error names it.
pub fn generate(snapshot: &Snapshot, input: &ProxyInput<'_>, cache: &Cache) -> Result<Generated, GenerateError> {
    let collector = collect::Collector::new(cache, input.previous);
    match input.key.kind {
        Kind::Dataplane => sidecar::generate(snapshot, input, cache, collector),
        Kind::ZoneIngress => ingress::generate(snapshot, input, cache, collector),
        Kind::ZoneEgress => egress::generate(snapshot, input, cache, collector),
        _ => Err(GenerateError::NotAProxy(input.key.clone())),
    }
}

/// The certificates that a proxy needs before [`generate`] can succeed, at most one per mesh, sorted by mesh. None for a
/// proxy that is not known (yet).
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
            let meshes = snapshot.meshes.values().filter(|mesh| egress::ends_tls(snapshot, mesh));
            let tags = || BTreeMap::from([(SERVICE_TAG.to_owned(), [tls::ZONE_EGRESS.to_owned()].into())]);
            meshes.filter_map(|mesh| request(mesh.config.as_ref()?, tags())).collect()
        }
        _ => Vec::new(),
    }
}

/// The certificate of a proxy in a mesh and the root certificates of the mesh.
struct Credentials<'a> {
    identity: &'a Arc<Identity>,
    root: &'a Arc<[u8]>,
}

fn credentials<'a>(state: &'a MeshState, mesh: &str, input: &ProxyInput<'a>) -> Result<Credentials<'a>, GenerateError> {
    let missing = |reason: &str| GenerateError::AuthorityMissing { mesh: mesh.to_owned(), reason: reason.to_owned() };
    let root = match &state.authority {
        Authority::Root(root) => root,
        Authority::Missing(reason) => return Err(missing(reason)),
        Authority::Off => return Err(missing("mutual TLS is off")),
    };
    let identity = input.identities.get(mesh).ok_or_else(|| GenerateError::IdentityMissing(mesh.to_owned()))?;
    Ok(Credentials { identity, root })
}

/// Adds the secrets of a proxy in a mesh.
fn add_secrets(
    collector: &mut collect::Collector<'_>,
    cache: &Cache,
    mesh: &str,
    naming: names::Naming,
    credentials: &Credentials<'_>,
) {
    use crate::encoded::ResourceType::Secret;
    use prost::Message as _;
    let name = naming.authority_secret(mesh);
    let build = || {
        let secret = secrets::authority(name.clone(), credentials.root);
        Ok::<_, std::convert::Infallible>(Arc::new(Encoded::new(Secret, name.as_str(), &secret.encode_to_vec())))
    };
    let authority = cache
        .authorities
        .get_or_build((name.clone(), credentials.root.clone()), build)
        .unwrap_or_else(|never| match never {});
    collector.add(Secret, authority);
    let name = naming.identity_secret(mesh);
    // The result keeps the identity, so its address stands for its content.
    collector.keep(credentials.identity.clone());
    let built = collector.own("identity", (&name, Arc::as_ptr(credentials.identity).addr()), |set| {
        let secret = secrets::identity(name.clone(), credentials.identity);
        set.add_secret(tandem_policy::envoy::Draft::new(tandem_policy::envoy::Origin::Secrets, secret));
        Ok::<_, std::convert::Infallible>(())
    });
    built.unwrap_or_else(|never| match never {});
}
