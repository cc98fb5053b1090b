//! The resources that `to` entries can refer to, and how references find them.
//!
//! Source: Kuma `pkg/plugins/policies/core/rules/resolve`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::kri::Kri;
use tandem_model::label;
use tandem_model::protocol::Protocol;
use tandem_model::resource::{Resource, Spec};

use crate::target_ref::{TargetKind, TargetRef};

/// A resource that traffic can be sent to: a service, a route or, standing for all of them, the mesh.
#[derive(Debug)]
pub struct Destination {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its identifier, without section.
    pub kri: Kri,
    /// Its ports; `None` for kinds that have no ports to choose from.
    pub ports: Option<Vec<DestinationPort>>,
}

/// A port of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationPort {
    /// Name, or the number as text for a port without one.
    pub section: String,
    /// Number.
    pub number: u32,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// A destination or one of its ports.
#[derive(Debug, Clone)]
pub struct Section {
    /// The destination.
    pub destination: Arc<Destination>,
    /// Name of the port; empty for the whole destination.
    pub name: String,
}

impl Section {
    /// Identifier of the section.
    pub fn kri(&self) -> Kri {
        self.destination.kri.clone().with_section(self.name.clone())
    }
}

/// The destinations of one mesh.
#[derive(Debug, Default, Clone)]
pub struct Destinations {
    by_kri: HashMap<Kri, Arc<Destination>>,
    by_kind: BTreeMap<Kind, Vec<Arc<Destination>>>,
}

/// Kinds of resources that are destinations.
pub const DESTINATION_KINDS: [Kind; 5] =
    [Kind::Mesh, Kind::MeshService, Kind::MeshExternalService, Kind::MeshMultiZoneService, Kind::MeshHTTPRoute];

impl Destination {
    /// The resource as destination; `None` when it is none.
    fn new(resource: Arc<Resource>) -> Option<Self> {
        if !DESTINATION_KINDS.contains(&resource.kind()) {
            return None;
        }
        let kri = Kri::of(&resource)?;
        let ports = ports(&resource);
        Some(Self { resource, kri, ports })
    }

    /// The port with a name, or else a number as text.
    pub fn port(&self, name: &str) -> Option<&DestinationPort> {
        self.ports.iter().flatten().find(|port| port.section == name || port.number.to_string() == name)
    }
}

/// The ports of a resource that traffic can be sent to; `None` for kinds that have no ports to choose from.
pub fn ports(resource: &Resource) -> Option<Vec<DestinationPort>> {
    let Spec::Json(spec) = &resource.spec else { return None };
    match resource.kind() {
        Kind::MeshService | Kind::MeshMultiZoneService => {
            let ports = spec["ports"].as_array().into_iter().flatten();
            Some(ports.map(|entry| port(entry, &entry["appProtocol"])).collect())
        }
        Kind::MeshExternalService => Some(vec![port(&spec["match"], &spec["match"]["protocol"])]),
        _ => None,
    }
}

fn port(entry: &Value, protocol: &Value) -> DestinationPort {
    let number = entry["port"].as_u64().and_then(|port| u32::try_from(port).ok()).unwrap_or_default();
    let name = entry["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    DestinationPort {
        section: name.unwrap_or_else(|| number.to_string()),
        number,
        // The schemas of all kinds have this default.
        protocol: protocol.as_str().map_or(Protocol::Tcp, Protocol::parse),
    }
}

impl Destinations {
    /// The destinations among some resources; others are left out.
    pub fn new(resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut destinations = Self::default();
        for destination in resources.into_iter().filter_map(Destination::new).map(Arc::new) {
            destinations.by_kri.insert(destination.kri.clone(), Arc::clone(&destination));
            destinations.by_kind.entry(destination.resource.kind()).or_default().push(destination);
        }
        destinations
    }

    /// The destination with an identifier without section.
    pub fn get(&self, kri: &Kri) -> Option<&Arc<Destination>> {
        self.by_kri.get(kri)
    }

    /// The destinations of a kind in stored order.
    pub fn of_kind(&self, kind: Kind) -> &[Arc<Destination>] {
        self.by_kind.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// What a `to` reference in the policy with identifier `policy` refers to: one resource by name, any number by
    /// labels; with a section only those that have it. References to sets described by tags refer to nothing here.
    pub fn resolve(&self, target: &TargetRef, policy: &Kri) -> Vec<Section> {
        if let Some(service) = LegacyService::of(target) {
            return self.with_port(self.labelled(Kind::MeshService, &service.labels), Port::Number(service.port));
        }
        let Some(kind) = target.kind.resource_kind() else { return Vec::new() };
        let found = match target.labels() {
            Some(labels) => self.labelled(kind, labels),
            None => target.kri(policy).and_then(|kri| self.by_kri.get(&kri)).into_iter().collect(),
        };
        self.with_port(found, Port::Name(target.section_name()))
    }

    /// The destinations of a kind that have all the labels, in stored order.
    pub(crate) fn labelled(&self, kind: Kind, labels: &BTreeMap<String, String>) -> Vec<&Arc<Destination>> {
        let has_all = |destination: &&Arc<Destination>| {
            labels.iter().all(|(label, value)| destination.resource.label(label) == Some(value))
        };
        self.of_kind(kind).iter().filter(has_all).collect()
    }

    fn with_port(&self, found: Vec<&Arc<Destination>>, port: Port<'_>) -> Vec<Section> {
        let section = |destination: &Arc<Destination>| {
            let name = match (&destination.ports, port) {
                (_, Port::Name("") | Port::Number(0)) | (None, _) => String::new(),
                (Some(ports), Port::Name(name)) => ports.iter().find(|port| port.section == name)?.section.clone(),
                (Some(ports), Port::Number(number)) => ports.iter().find(|port| port.number == number)?.section.clone(),
            };
            Some(Section { destination: Arc::clone(destination), name })
        };
        found.into_iter().filter_map(section).collect()
    }
}

/// How a port is asked for; an empty name and number zero ask for none.
#[derive(Clone, Copy)]
enum Port<'a> {
    Name(&'a str),
    Number(u32),
}

/// A service as Kubernetes policies named it before services were resources: `<name>_<namespace>_svc[_<port>]`.
struct LegacyService {
    labels: BTreeMap<String, String>,
    port: u32,
}

impl LegacyService {
    fn of(target: &TargetRef) -> Option<Self> {
        if target.kind != TargetKind::MeshService || !target.section_name().is_empty() {
            return None;
        }
        let parts: Vec<&str> = target.name().split('_').collect();
        let (name, namespace, port) = match parts.as_slice() {
            [name, namespace, _, port] => (name, namespace, port.parse().ok()?),
            [name, namespace, _] => (name, namespace, 0),
            _ => return None,
        };
        let labels = [(label::K8S_NAMESPACE, namespace), (label::DISPLAY_NAME, name)];
        Some(Self { labels: labels.map(|(label, value)| (label.to_owned(), (*value).to_owned())).into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tandem_model::resource::ResourceKey;

    fn service(name: &str, labels: &[(&str, &str)]) -> Arc<Resource> {
        let spec = json!({"ports": [{"port": 80, "name": "http"}, {"port": 90}]});
        let key = ResourceKey::new(Kind::MeshService, "m", name);
        Arc::new(Resource::from_json(key, spec).with_labels(labels.iter().copied()))
    }

    fn resolved(target: Value) -> Vec<String> {
        let destinations = Destinations::new([
            service("a", &[("team", "x")]),
            service("b", &[("team", "x")]),
            service("c", &[("k8s.kuma.io/namespace", "ns"), ("kuma.io/display-name", "c")]),
        ]);
        let target: TargetRef = serde_json::from_value(target).expect("a reference");
        let policy: Kri = "kri_mt_m___p_".parse().expect("an identifier");
        destinations.resolve(&target, &policy).iter().map(|section| section.kri().to_string()).collect()
    }

    #[test]
    fn references_find_resources() {
        assert_eq!(resolved(json!({"kind": "MeshService", "name": "a"})), ["kri_msvc_m___a_"]);
        assert_eq!(resolved(json!({"kind": "MeshService", "name": "none"})), [""; 0]);
        assert_eq!(
            resolved(json!({"kind": "MeshService", "labels": {"team": "x"}, "sectionName": "90"})),
            ["kri_msvc_m___a_90", "kri_msvc_m___b_90"]
        );
        assert_eq!(resolved(json!({"kind": "MeshService", "name": "a", "sectionName": "80"})), [""; 0]);
        assert_eq!(resolved(json!({"kind": "MeshService", "name": "c_ns_svc_80"})), ["kri_msvc_m__ns_c_http"]);
        assert_eq!(resolved(json!({"kind": "MeshService", "name": "c_ns_svc"})), ["kri_msvc_m__ns_c_"]);
        assert_eq!(resolved(json!({"kind": "MeshSubset", "tags": {"a": "b"}})), [""; 0]);
    }
}
