//! What differs between the two receiving sides: which kinds are accepted, what is forced onto a resource, and which
//! stored resources belong to the peer.
//!
//! Source of the rules: Kuma `pkg/kds/v2/store/sync.go` and `pkg/kds/{global,zone}`.

use std::collections::BTreeMap;

use prost::Message;
use tandem_model::{DecodeError, Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::mesh::v1alpha1::{Dataplane, ZoneEgress, ZoneIngress};
use tandem_store::Author;

/// The receiving side of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inlet {
    /// Global, receiving from a zone.
    Global {
        /// Name of the zone, as it introduced itself on the connection; what its resources say does not count.
        zone: String,
    },
    /// A zone, receiving from global.
    Zone,
}

impl Inlet {
    /// True for kinds that travel in this direction.
    pub(crate) fn receives(&self, kind: Kind) -> bool {
        let direction = kind.descriptor().direction;
        match self {
            Self::Global { .. } => direction.sent_to_global(),
            Self::Zone => direction.sent_to_zones(),
        }
    }

    /// Forces labels, and ties the content to the zone it came from. Returns what the resource claimed to be instead:
    /// nothing, from an honest peer.
    pub(crate) fn adapt(&self, resource: &mut Resource) -> Result<Vec<String>, DecodeError> {
        let Self::Global { zone } = self else { return Ok(Vec::new()) };
        let mut claims = Vec::new();
        for (name, value) in [(label::ZONE, zone.as_str()), (label::ORIGIN, label::ORIGIN_ZONE)] {
            let claimed = resource.labels.insert(name.to_owned(), value.to_owned());
            claims.extend(
                claimed
                    .filter(|claimed| !claimed.is_empty() && claimed != value)
                    .map(|claimed| format!("{name}={claimed}")),
            );
        }
        claims.extend(pin(resource, zone)?);
        Ok(claims)
    }

    /// True for stored resources that the peer manages: it may change and delete them.
    pub(crate) fn owns(&self, resource: &Resource) -> bool {
        match self {
            Self::Global { zone } => {
                resource.label(label::ZONE) == Some(zone) && resource.label(label::ORIGIN) != Some(label::ORIGIN_GLOBAL)
            }
            Self::Zone => {
                let provided_here = resource.kind().descriptor().direction.provided_by_zone();
                !provided_here || resource.label(label::ORIGIN).is_some_and(|origin| origin != label::ORIGIN_ZONE)
            }
        }
    }

    /// The peer: name of the zone, or `global`.
    pub(crate) fn peer(&self) -> &str {
        match self {
            Self::Global { zone } => zone,
            Self::Zone => "global",
        }
    }

    /// The peer, as histories name it.
    pub(crate) fn author(&self) -> Author {
        Author::Peer(self.peer().to_owned())
    }

    /// Resource that owns what is received.
    pub(crate) fn owner(&self) -> Option<ResourceKey> {
        match self {
            Self::Global { zone } => Some(ResourceKey::global(Kind::Zone, zone)),
            Self::Zone => None,
        }
    }

    /// True when the status is the peer's; else it is made here and stays as it is.
    pub(crate) fn takes_status(&self) -> bool {
        matches!(self, Self::Global { .. })
    }
}

/// Makes the specification name `zone` wherever it names a zone; returns what it named instead.
fn pin(resource: &mut Resource, zone: &str) -> Result<Vec<String>, DecodeError> {
    let mut pins = Pins { zone, changed: false, claims: Vec::new() };
    match resource.kind() {
        Kind::ZoneIngress => {
            let mut ingress: ZoneIngress = resource.proto()?;
            for service in &mut ingress.available_services {
                pins.tag(&mut service.tags);
            }
            if pins.changed {
                resource.spec = Spec::Proto(ingress.encode_to_vec().into());
            }
            if pins.differs(&ingress.zone) {
                merge(
                    resource,
                    &ZoneIngress { zone: zone.to_owned(), ..ZoneIngress::default() },
                    ingress.zone.is_empty(),
                );
            }
        }
        Kind::ZoneEgress => {
            let egress: ZoneEgress = resource.proto()?;
            if pins.differs(&egress.zone) {
                merge(resource, &ZoneEgress { zone: zone.to_owned(), ..ZoneEgress::default() }, egress.zone.is_empty());
            }
        }
        Kind::Dataplane => {
            let mut dataplane: Dataplane = resource.proto()?;
            if let Some(networking) = &mut dataplane.networking {
                for inbound in &mut networking.inbound {
                    pins.tag(&mut inbound.tags);
                }
                if let Some(gateway) = &mut networking.gateway {
                    pins.tag(&mut gateway.tags);
                }
            }
            if pins.changed {
                resource.spec = Spec::Proto(dataplane.encode_to_vec().into());
            }
        }
        _ => {}
    }
    Ok(pins.claims)
}

/// Ties parts of a specification to a zone.
struct Pins<'a> {
    zone: &'a str,
    changed: bool,
    claims: Vec<String>,
}

impl Pins<'_> {
    /// True when `named` is not the zone. An empty name is no claim.
    fn differs(&mut self, named: &str) -> bool {
        if !named.is_empty() && named != self.zone {
            self.claims.push(format!("zone={named}"));
        }
        named != self.zone
    }

    /// Overwrites the zone tag, if there is one.
    fn tag(&mut self, tags: &mut BTreeMap<String, String>) {
        if let Some(tag) = tags.get_mut(label::ZONE)
            && self.differs(tag)
        {
            self.zone.clone_into(tag);
            self.changed = true;
        }
    }
}

/// Sets the fields of `part` and keeps all others, also unknown ones: encodings put together decode as one message.
/// Of a field that is there twice the last one counts; an absent one goes to the front, where encoders write field 1.
fn merge(resource: &mut Resource, part: &impl Message, absent: bool) {
    if let Spec::Proto(bytes) = &mut resource.spec {
        let part = part.encode_to_vec();
        *bytes = if absent { [&part, &bytes[..]].concat() } else { [&bytes[..], &part].concat() }.into();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
    use tandem_proto::mesh::v1alpha1::zone_ingress::AvailableService;

    use super::*;

    fn global() -> Inlet {
        Inlet::Global { zone: "east".into() }
    }

    fn tags(zone: Option<&str>) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::from([("kuma.io/service".to_owned(), "web".to_owned())]);
        tags.extend(zone.map(|zone| (label::ZONE.to_owned(), zone.to_owned())));
        tags
    }

    #[test]
    fn global_believes_the_connection_and_not_the_labels() {
        let mut resource = Resource::from_json(ResourceKey::new(Kind::MeshService, "m", "s"), json!({})).with_labels([
            (label::ZONE, "west"),
            (label::ORIGIN, "global"),
            ("team", "a"),
        ]);
        global().adapt(&mut resource).expect("nothing to decode");
        assert_eq!(resource.label(label::ZONE), Some("east"));
        assert_eq!(resource.label(label::ORIGIN), Some("zone"));
        assert_eq!(resource.label("team"), Some("a"));
    }

    #[test]
    fn ingresses_and_egresses_name_their_zone_and_keep_unknown_fields() {
        let service = |zone| AvailableService { tags: tags(zone), instances: 1, ..AvailableService::default() };
        let ingress =
            ZoneIngress { available_services: vec![service(Some("west")), service(None)], ..ZoneIngress::default() };
        let mut resource = Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, "i"), &ingress);
        global().adapt(&mut resource).expect("decodable");
        let pinned: ZoneIngress = resource.proto().expect("decodable");
        assert_eq!(pinned.zone, "east");
        assert_eq!(pinned.available_services[0].tags, tags(Some("east")));
        assert_eq!(pinned.available_services[1].tags, tags(None));

        let unknown = b"\xc2\x3e\x01a";
        let spec = Spec::Proto(unknown.to_vec().into());
        let mut resource = Resource::new(ResourceKey::global(Kind::ZoneEgress, "e"), spec);
        global().adapt(&mut resource).expect("decodable");
        assert_eq!(resource.proto::<ZoneEgress>().expect("decodable").zone, "east");
        let once = resource.spec.clone();
        assert!(matches!(&once, Spec::Proto(bytes) if **bytes == *[b"\x0a\x04east", &unknown[..]].concat()));
        global().adapt(&mut resource).expect("decodable");
        assert_eq!(resource.spec, once);
    }

    #[test]
    fn tags_of_dataplanes_name_their_zone() {
        let inbound = |zone| Inbound { port: 80, tags: tags(zone), ..Inbound::default() };
        let networking = Networking { inbound: vec![inbound(Some("west")), inbound(None)], ..Networking::default() };
        let dataplane = Dataplane { networking: Some(networking), ..Dataplane::default() };
        let mut resource = Resource::from_proto(ResourceKey::new(Kind::Dataplane, "m", "d"), &dataplane);
        global().adapt(&mut resource).expect("decodable");
        let inbounds = resource.proto::<Dataplane>().expect("decodable").networking.expect("kept").inbound;
        assert_eq!(inbounds[0].tags, tags(Some("east")));
        assert_eq!(inbounds[1].tags, tags(None));
    }

    #[test]
    fn who_owns_what() {
        let resource = |kind, labels: &[(&str, &str)]| {
            Resource::new(ResourceKey::new(kind, "", "r"), Spec::Proto(Default::default()))
                .with_labels(labels.iter().copied())
        };
        assert!(global().owns(&resource(Kind::Dataplane, &[(label::ZONE, "east")])));
        assert!(!global().owns(&resource(Kind::Dataplane, &[(label::ZONE, "west")])));
        assert!(!global().owns(&resource(Kind::MeshTimeout, &[])));

        let zone = Inlet::Zone;
        assert!(zone.owns(&resource(Kind::Mesh, &[])), "zones provide no Mesh, so all of them are global's");
        assert!(zone.owns(&resource(Kind::MeshTimeout, &[(label::ORIGIN, "global")])));
        assert!(!zone.owns(&resource(Kind::MeshTimeout, &[(label::ORIGIN, "zone")])));
        assert!(!zone.owns(&resource(Kind::Secret, &[])));
    }

    #[test]
    fn as_many_kinds_are_received_as_in_kuma() {
        assert_eq!(Kind::all().filter(|&kind| Inlet::Zone.receives(kind)).count(), 43);
        assert_eq!(Kind::all().filter(|&kind| global().receives(kind)).count(), 29);
    }
}
