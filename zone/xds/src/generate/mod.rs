//! From a snapshot to the configuration of one proxy.
//!
//! Resources are built as drafts, edited by the effects of policies, and encoded. What does not depend on the proxy alone is
//! built once and shared by all proxies through the [`Cache`].

pub(crate) mod admin;
pub(crate) mod assignment;
pub(crate) mod collect;
pub(crate) mod credential;
pub(crate) mod direct_access;
pub(crate) mod dns;
pub(crate) mod dynconf;
mod egress;
mod external;
pub(crate) mod http;
mod identities;
pub(crate) mod inbound;
mod ingress;
pub(crate) mod matched;
pub(crate) mod mesh_metric;
pub(crate) mod names;
mod observability;
mod outbound;
mod outbounds;
mod outside;
mod passthrough;
pub(crate) mod probes;
pub(crate) mod prometheus;
mod real;
mod routes;
pub(crate) mod secrets;
mod services;
pub(crate) mod shape;
mod shares;
mod sidecar;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
pub(crate) mod tracing;
pub(crate) mod traffic_route;
pub(crate) mod transparent;

use std::sync::Arc;

use tandem_model::Kind;
use tandem_policy::proxy_patch::Patches;
use tandem_policy::{InboundPolicies, OutboundPolicies, OutsidePolicies, legacy};

use crate::cache::{ByAddress, Canonical, Fingerprints, Shared};
use crate::encoded::Encoded;
use crate::index::{Snapshot, TrustBundle};
use crate::input::{GenerateError, Generated, ProxyInput};
use crate::modifications::{EditedCache, ModifiedCache, PatchesCache, TemplateCache};

pub use identities::{identity_requests, mesh_identity, workload_request};
pub(crate) use names::host_port;
use secrets::{add_secrets, credentials};
pub use transparent::is_redirected;

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
    routed_clusters: Shared<traffic_route::RoutedClusterKey, Encoded>,
    routed_listeners: Shared<traffic_route::RoutedListenerKey, Encoded>,
    zone_clusters: Shared<services::ZoneClusterKey, Encoded>,
    inbounds: inbound::CommonCache,
    inbound_policies: Canonical<InboundPolicies>,
    outbound_policies: Canonical<OutboundPolicies>,
    outside_policies: Canonical<OutsidePolicies>,
    legacy_inbounds: Canonical<legacy::InboundPolicies>,
    authorities: Shared<(String, Arc<[u8]>), Encoded>,
    outlooks: sidecar::outlook::Outlooks,
    pub(crate) templates: TemplateCache,
    pub(crate) proxy_patches: PatchesCache,
    patches: Canonical<Patches>,
    pub(crate) modified: ModifiedCache,
    pub(crate) edited: EditedCache,
    trust_bundles: Shared<ByAddress<TrustBundle>, Encoded>,
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
