//! What a MeshService tells of its proxies: whether it can be called, their identities, numbers and readiness for TLS.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/meshservice/{match.go,status/updater.go}`.

use std::collections::BTreeSet;

use tandem_model::core::MeshService;
use tandem_model::core::mesh_service::{
    DataplaneProxies, Identity as Told, IdentityType, Port, Selector, State, TlsStatus,
};
use tandem_model::label::SERVICE_TAG;
use tandem_model::schema::IntOrString;
use tandem_model::spiffe::best_match;

use super::facts::{Identity, Inbound, MeshFacts, Proxy};

/// What is seen of a MeshService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) state: State,
    pub(super) identities: Vec<Told>,
    pub(super) tls: TlsStatus,
    pub(super) proxies: DataplaneProxies,
}

/// The health of a MeshService of this zone. `tls` is what was seen before: readiness is not taken back while TLS is on,
/// because new proxies have certificates from the start.
pub(super) fn health(mesh: &MeshFacts, service: &MeshService, tls: Option<TlsStatus>, zone: &str) -> Health {
    let selected = selected(mesh, &service.selector);
    let mut proxies = DataplaneProxies::default();
    for (name, proxy) in &selected {
        proxies.total += 1;
        proxies.connected += u32::from(mesh.connection(name).online);
        proxies.healthy += u32::from(service.ports.iter().all(|port| serves(proxy, port)));
    }
    Health {
        state: if proxies.healthy > 0 { State::Available } else { State::Unavailable },
        identities: identities(mesh, &selected, zone),
        tls: if is_tls_ready(mesh, &selected, tls, zone) { TlsStatus::Ready } else { TlsStatus::NotReady },
        proxies,
    }
}

/// The Dataplanes that a MeshService selects, by name. Those without inbounds never are.
fn selected<'a>(mesh: &'a MeshFacts, selector: &Selector) -> Vec<(&'a str, &'a Proxy)> {
    if let Some(reference) = &selector.dataplane_ref {
        let name = reference.name.as_deref().unwrap_or_default();
        return mesh.proxy(name).filter(|(_, proxy)| !proxy.inbounds.is_empty()).into_iter().collect();
    }
    let Some(tags) = selector.dataplane_tags.as_ref().filter(|tags| !tags.is_empty()) else { return Vec::new() };
    let has_tags = |inbound: &Inbound| tags.iter().all(|(tag, value)| inbound.tags.get(tag) == Some(value));
    let has_inbound = |(_, proxy): &(&str, &Proxy)| proxy.inbounds.iter().any(has_tags);
    match tags.get(SERVICE_TAG) {
        Some(service) => mesh.providers(service).filter(has_inbound).collect(),
        None => mesh.proxies().filter(has_inbound).collect(),
    }
}

fn serves(proxy: &Proxy, port: &Port) -> bool {
    proxy.inbounds.iter().filter(|inbound| inbound.ready).any(|inbound| match &port.target_port {
        Some(IntOrString::Int(number)) => i64::from(inbound.port) == *number,
        Some(IntOrString::String(name)) => inbound.name == *name,
        None => false,
    })
}

fn identities(mesh: &MeshFacts, selected: &[(&str, &Proxy)], zone: &str) -> Vec<Told> {
    let services: BTreeSet<_> = selected.iter().flat_map(|(_, proxy)| &proxy.services).cloned().collect();
    let mut ids = BTreeSet::new();
    for (name, proxy) in selected {
        let told = |identity: &&Identity| {
            let status = &identity.status;
            identity.spec.selects(&proxy.resource.labels) && (status.is_initialized() || status.is_partially_ready())
        };
        for identity in mesh.identities.values().filter(told) {
            let domain = identity.spec.trust_domain(&proxy.resource, zone);
            match domain.and_then(|domain| identity.spec.spiffe_id(&domain, &proxy.resource)) {
                Ok(id) => {
                    ids.insert(id);
                }
                Err(error) => tracing::debug!(dataplane = name, %error, "has no SPIFFE ID"),
            }
        }
    }
    let told = |kind| move |value| Told { kind, value };
    let services = services.into_iter().map(told(IdentityType::ServiceTag));
    services.chain(ids.into_iter().map(told(IdentityType::SpiffeID))).collect()
}

fn is_tls_ready(mesh: &MeshFacts, selected: &[(&str, &Proxy)], before: Option<TlsStatus>, zone: &str) -> bool {
    let mtls = mesh.settings.is_some_and(|settings| settings.mtls);
    if !mtls && mesh.identities.is_empty() {
        return false;
    }
    if before == Some(TlsStatus::Ready) {
        return true;
    }
    if mtls {
        // Any backend counts: its authority may just be replaced.
        return selected.iter().all(|(name, _)| mesh.connection(name).certified);
    }
    selected.iter().all(|(_, proxy)| {
        let identities = mesh.identities.iter().map(|(name, identity)| (name.as_str(), &identity.spec, identity));
        let Some(identity) = best_match(identities, &proxy.resource.labels) else { return false };
        let is_trusted = || identity.spec.trust_domain(&proxy.resource, zone).is_ok_and(|domain| mesh.trusts(&domain));
        identity.status.is_initialized() && (identity.is_spire() || is_trusted())
    })
}
