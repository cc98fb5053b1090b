//! Which destinations that are resources a Dataplane asks for.
//!
//! Source of the rules: Kuma `pkg/xds/context/destination_index.go`, `pkg/xds/sync/dataplane_proxy_builder.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::kind::Kind;
use tandem_model::kri::Kri;
use tandem_model::resource::Resource;
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::outbound::BackendRef;

use crate::destinations::{Destination, DestinationPort, Destinations};

/// Kinds that a Dataplane can ask for.
pub const BACKEND_KINDS: [Kind; 3] = [Kind::MeshService, Kind::MeshExternalService, Kind::MeshMultiZoneService];

/// A port of a destination.
#[derive(Debug, Clone, Copy)]
pub struct Backend<'a> {
    /// The destination.
    pub destination: &'a Arc<Destination>,
    /// The port.
    pub port: &'a DestinationPort,
}

impl Backend<'_> {
    /// Identifier of the port.
    pub fn kri(&self) -> Kri {
        self.destination.kri.clone().with_section(self.port.section.clone())
    }
}

/// The destinations of a mesh from the point of view of one Dataplane.
#[derive(Debug)]
pub struct Reach<'a> {
    dataplane: &'a Dataplane,
    own: Kri,
    destinations: &'a Destinations,
}

impl<'a> Reach<'a> {
    /// `dataplane` is the specification of `resource`.
    pub fn new(resource: &Resource, dataplane: &'a Dataplane, destinations: &'a Destinations) -> Self {
        let own = Kri::of(resource).expect("Dataplanes have a short name and so an identifier");
        Self { dataplane, own, destinations }
    }

    /// The port that an outbound leads to: of the oldest destination when labels fit several. `None` when it leads nowhere.
    pub fn outbound(&self, reference: &BackendRef) -> Option<Backend<'a>> {
        let found = self.find(&reference.kind, &reference.name, "", &reference.labels);
        let destination = found.into_iter().min_by_key(|destination| destination.resource.created)?;
        Some(Backend { destination, port: destination.port(&reference.port.to_string())? })
    }

    /// The ports that the Dataplane restricts itself to; `None` when it does not. The outbounds it lists go before
    /// `reachableBackends`, unless none of them leads anywhere.
    pub fn selected(&self) -> Option<Vec<Backend<'a>>> {
        let references = self.dataplane.outbounds().iter().filter_map(|outbound| outbound.backend_ref.as_ref());
        let outbounds: Vec<_> = references.filter_map(|reference| self.outbound(reference)).collect();
        if !outbounds.is_empty() {
            return Some(outbounds);
        }
        let section = self.dataplane.networking.as_ref()?.transparent_proxying.as_ref()?;
        let references = &section.reachable_backends.as_ref()?.refs;
        let mut selected = Vec::new();
        for reference in references {
            for destination in self.find(&reference.kind, &reference.name, &reference.namespace, &reference.labels) {
                match reference.port.and_then(|number| destination.port(&number.to_string())) {
                    Some(port) => selected.push(Backend { destination, port }),
                    // Without a port, and with one that the destination does not have, all are meant.
                    None => selected.extend(backends(destination)),
                }
            }
        }
        Some(selected)
    }

    /// All ports that the Dataplane asks for, each once, sorted by identifier.
    pub fn backends(&self) -> BTreeMap<Kri, Backend<'a>> {
        let all =
            || BACKEND_KINDS.iter().flat_map(|kind| self.destinations.of_kind(*kind)).flat_map(backends).collect();
        self.selected().unwrap_or_else(all).into_iter().map(|backend| (backend.kri(), backend)).collect()
    }

    /// What a reference means: the destinations with all the labels or, without labels or any such destination, the one
    /// with the name in the zone of the proxy and the namespace given, else that of the proxy.
    fn find(
        &self,
        kind: &str,
        name: &str,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<&'a Arc<Destination>> {
        let Some(kind) = BACKEND_KINDS.into_iter().find(|known| known.name() == kind) else { return Vec::new() };
        let labelled = if labels.is_empty() { Vec::new() } else { self.destinations.labelled(kind, labels) };
        if !labelled.is_empty() {
            return labelled;
        }
        let namespace = if namespace.is_empty() { &self.own.namespace } else { namespace };
        let kri = Kri { kind, name: name.to_owned(), namespace: namespace.to_owned(), ..self.own.clone() };
        self.destinations.get(&kri).into_iter().collect()
    }
}

fn backends(destination: &Arc<Destination>) -> impl Iterator<Item = Backend<'_>> {
    destination.ports.iter().flatten().map(move |port| Backend { destination, port })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_model::resource::ResourceKey;
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::transparent_proxying::{
        ReachableBackendRef, ReachableBackends,
    };
    use tandem_proto::mesh::v1alpha1::dataplane::networking::{Outbound, TransparentProxying};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
    }

    fn destination(kind: Kind, name: &str, created: &str, spec: Value) -> Arc<Resource> {
        let mut resource = Resource::from_json(ResourceKey::new(kind, "m", name), spec);
        resource.created = created.parse().expect("a time");
        Arc::new(resource.with_labels([("team", "x"), ("kuma.io/zone", "z")]))
    }

    fn destinations() -> Destinations {
        let ports = json!({"ports": [{"name": "web", "port": 80, "appProtocol": "http"}, {"port": 90}]});
        Destinations::new([
            destination(Kind::MeshService, "a", "2026-01-02T00:00:00Z", ports.clone()),
            destination(Kind::MeshService, "b", "2026-01-01T00:00:00Z", ports),
            destination(Kind::MeshExternalService, "e", "2026-01-01T00:00:00Z", json!({"match": {"port": 443}})),
        ])
    }

    fn reached(networking: Networking) -> Vec<String> {
        let dataplane = Dataplane { networking: Some(networking), ..Dataplane::default() };
        let resource = Resource::from_proto(ResourceKey::new(Kind::Dataplane, "m", "dp"), &dataplane);
        let resource = resource.with_labels([("kuma.io/zone", "z")]);
        let destinations = destinations();
        Reach::new(&resource, &dataplane, &destinations).backends().keys().map(Kri::to_string).collect()
    }

    fn outbound(kind: &str, name: &str, port: u32, with: &[(&str, &str)]) -> Networking {
        let reference = BackendRef { kind: kind.into(), name: name.into(), port, labels: labels(with) };
        let outbound = Outbound { port: 10080, backend_ref: Some(reference), ..Outbound::default() };
        Networking { outbound: vec![outbound], ..Networking::default() }
    }

    fn reachable(refs: Vec<ReachableBackendRef>) -> Networking {
        let section =
            TransparentProxying { reachable_backends: Some(ReachableBackends { refs }), ..Default::default() };
        Networking { transparent_proxying: Some(section), ..Networking::default() }
    }

    const ALL: [&str; 5] = [
        "kri_msvc_m_z__a_90",
        "kri_msvc_m_z__a_web",
        "kri_msvc_m_z__b_90",
        "kri_msvc_m_z__b_web",
        "kri_extsvc_m_z__e_443",
    ];

    fn sorted(mut texts: Vec<String>) -> Vec<String> {
        texts.sort();
        texts
    }

    #[test]
    fn without_restriction_all_is_reachable() {
        let mut all = ALL;
        all.sort_unstable();
        assert_eq!(sorted(reached(Networking::default())), all);
    }

    #[test]
    fn outbounds_lead_to_one_port() {
        assert_eq!(reached(outbound("MeshService", "a", 80, &[])), ["kri_msvc_m_z__a_web"]);
        assert_eq!(reached(outbound("MeshExternalService", "e", 443, &[])), ["kri_extsvc_m_z__e_443"]);
        assert_eq!(reached(outbound("MeshService", "", 90, &[("team", "x")])), ["kri_msvc_m_z__b_90"], "the oldest");
        for (kind, port) in [("MeshService", 81), ("Dataplane", 80)] {
            assert_eq!(
                reached(outbound(kind, "a", port, &[])).len(),
                ALL.len(),
                "leads nowhere, so it restricts nothing"
            );
        }
    }

    #[test]
    fn reachable_backends_restrict() {
        let named = |name: &str, port: Option<u32>| ReachableBackendRef {
            kind: "MeshService".into(),
            name: name.into(),
            port,
            ..ReachableBackendRef::default()
        };
        assert!(reached(reachable(vec![])).is_empty());
        assert!(reached(reachable(vec![named("none", None)])).is_empty());
        assert_eq!(reached(reachable(vec![named("a", Some(90))])), ["kri_msvc_m_z__a_90"]);
        let all = ["kri_msvc_m_z__a_90", "kri_msvc_m_z__a_web"];
        assert_eq!(reached(reachable(vec![named("a", Some(80)), named("a", None)])), all);
        assert_eq!(reached(reachable(vec![named("a", Some(81))])), all, "a port it does not have");
        let labelled = ReachableBackendRef { labels: labels(&[("team", "x")]), ..named("", Some(80)) };
        assert_eq!(reached(reachable(vec![labelled])), ["kri_msvc_m_z__a_web", "kri_msvc_m_z__b_web"]);
    }
}
