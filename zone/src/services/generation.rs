//! MeshServices from the tags of Dataplanes: which there are to be, and what becomes of those that exist.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/meshservice/generate/generator.go`.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::core::mesh_service::Port;
use tandem_model::label::{
    DELETION_GRACE_PERIOD_STARTED_AT, DISPLAY_NAME, ENV, ENV_UNIVERSAL, MANAGED_BY, MESH, ORIGIN, ORIGIN_ZONE, ZONE,
};
use tandem_model::schema::IntOrString;
use tandem_model::{Labels, Mode, Resource, label, name};

use super::facts::{Inbound, MeshFacts, Proxy, age};

/// Value of the label `kuma.io/managed-by` of what is generated here.
pub(super) const MANAGER: &str = "meshservice-generator";

/// The ports that the Dataplanes of a service ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) ports: Vec<Port>,
    /// Dataplanes that ask for others, which they do not get.
    pub(super) conflicting: Vec<String>,
}

/// What is to become of a MeshService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It stays as it is, or is none of our business.
    Keep,
    /// It is to be created.
    Create(Vec<Port>),
    /// It gets these ports, and is needed.
    Update(Vec<Port>),
    /// Nobody provides it any more; it is to go when nobody has for the grace period.
    StartGrace,
    /// It is to be deleted.
    Delete,
    /// It would be created, but somebody wrote one of that name.
    NameTaken,
}

/// What the Dataplanes of a mesh ask for under a name; `None` when no MeshService can be made from it. Ports that exist
/// already stay while at least one Dataplane has them; else the oldest Dataplane decides.
pub(super) fn candidate(mesh: &MeshFacts, service: &str, existing: Option<&[Port]>) -> Option<Candidate> {
    if !name::is_dns1035_label(service) {
        return None;
    }
    let (_, oldest) = mesh.providers(service).min_by_key(|(name, proxy)| age(name, proxy))?;
    let is_asked_for = |ports: &[Port]| mesh.providers(service).any(|(_, proxy)| asks_for(proxy, service, ports));
    let ports =
        existing.filter(|existing| is_asked_for(existing)).map_or_else(|| ports(oldest, service), <[Port]>::to_vec);
    let others = mesh.providers(service).filter(|(_, proxy)| !asks_for(proxy, service, &ports));
    let mut others: Vec<_> = others.collect();
    others.sort_by_key(|(name, proxy)| age(name, proxy));
    let conflicting = others.into_iter().map(|(name, _)| name.to_owned()).collect();
    Some(Candidate { ports, conflicting })
}

fn inbounds<'a>(proxy: &'a Proxy, service: &'a str) -> impl Iterator<Item = &'a Inbound> {
    proxy.inbounds.iter().filter(move |inbound| inbound.service() == service)
}

/// The ports that a Dataplane asks for.
fn ports(proxy: &Proxy, service: &str) -> Vec<Port> {
    let port = |inbound: &Inbound| Port {
        name: Some(section(inbound).into_owned()),
        port: inbound.port,
        target_port: Some(IntOrString::Int(inbound.port.into())),
        app_protocol: inbound.protocol().name().to_owned(),
    };
    inbounds(proxy, service).map(port).collect()
}

/// What a port is called: as the inbound, or by its number when that has no name.
fn section(inbound: &Inbound) -> Cow<'_, str> {
    if inbound.name.is_empty() { inbound.port.to_string().into() } else { inbound.name.as_str().into() }
}

/// Whether they are these. Asked of every Dataplane of a service, so no ports are made for it.
fn asks_for(proxy: &Proxy, service: &str, ports: &[Port]) -> bool {
    let matches = |inbound: &Inbound, port: &Port| {
        port.port == inbound.port
            && port.name.as_deref() == Some(&*section(inbound))
            && port.target_port == Some(IntOrString::Int(inbound.port.into()))
            && port.app_protocol == inbound.protocol().name()
    };
    let mut asked = inbounds(proxy, service);
    ports.iter().all(|port| asked.next().is_some_and(|inbound| matches(inbound, port))) && asked.next().is_none()
}

/// What becomes of a MeshService given the Dataplanes of its mesh. `wanted` is what they ask for, `existing` what is stored
/// and its ports, if its specification can be read.
pub(super) fn decide(
    generates: bool,
    wanted: Option<Vec<Port>>,
    existing: Option<(&Resource, Option<&[Port]>)>,
    grace_period: Duration,
    now: Timestamp,
) -> Decision {
    let wanted = wanted.filter(|_| generates);
    let Some((resource, ports)) = existing else {
        return wanted.map_or(Decision::Keep, Decision::Create);
    };
    if !is_generated(resource) {
        return if wanted.is_some() { Decision::NameTaken } else { Decision::Keep };
    }
    let label = resource.label(DELETION_GRACE_PERIOD_STARTED_AT);
    match wanted {
        Some(wanted) if ports != Some(&wanted) || label.is_some() => Decision::Update(wanted),
        Some(_) => Decision::Keep,
        None if !generates => Decision::Delete,
        None => match grace_end(resource, grace_period) {
            Some(end) if end < now => Decision::Delete,
            Some(_) => Decision::Keep,
            None => Decision::StartGrace,
        },
    }
}

/// True for a MeshService of this zone that was generated.
pub(super) fn is_generated(resource: &Resource) -> bool {
    resource.label(MANAGED_BY) == Some(MANAGER) && is_local(resource)
}

/// True for a MeshService of this zone.
pub(super) fn is_local(resource: &Resource) -> bool {
    label::is_locally_originated(Mode::Zone { federated: true }, &resource.labels)
}

/// When the grace period of a MeshService ends; `None` when it has none, or none that can be read.
pub(super) fn grace_end(resource: &Resource, grace_period: Duration) -> Option<Timestamp> {
    let started: Timestamp = resource.label(DELETION_GRACE_PERIOD_STARTED_AT)?.parse().ok()?;
    // A period longer than time itself never ends.
    Some(started.checked_add(grace_period).unwrap_or(Timestamp::MAX))
}

/// Labels of a MeshService that is generated.
pub(super) fn labels(mesh: &str, name: &str, zone: &str) -> Labels {
    let pairs = [
        (MESH, mesh),
        (DISPLAY_NAME, name),
        (MANAGED_BY, MANAGER),
        (ENV, ENV_UNIVERSAL),
        (ZONE, zone),
        (ORIGIN, ORIGIN_ZONE),
    ];
    pairs.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}
