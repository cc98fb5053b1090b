//! What has to hold, judged from outside: from the stores, what both sides say about each other, and the filter and the
//! mapper applied to the origin's store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tandem_kds::feature::Features;
use tandem_kds::filter::{self, ToZone};
use tandem_kds::{codec, mapper};
use tandem_model::{Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::mesh::v1alpha1::{ZoneEgress, ZoneIngress};
use tandem_proto::system::v1alpha1::Zone;
use tandem_store::Store as _;

use crate::ledger::{self, GLOBAL, identify, is_from_global};
use crate::process::ControlPlane;

/// Versions by id.
pub type Versions = BTreeMap<String, u64>;

/// Zones that are disabled, as the store of a control plane says; only that of global does.
pub async fn disabled_zones(global: &ControlPlane) -> BTreeSet<String> {
    let zones = global.store().list(Kind::Zone, None).await.expect("memory can be read");
    disabled(&zones)
}

/// Those of the zones that are disabled.
pub fn disabled(zones: &[Arc<Resource>]) -> BTreeSet<String> {
    let disabled = |zone: &&Arc<Resource>| zone.proto::<Zone>().is_ok_and(|zone| zone.enabled == Some(false));
    zones.iter().filter(disabled).map(|zone| zone.key.name.clone()).collect()
}

/// One direction between global and a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop<'a> {
    /// What the zone gets.
    Down(&'a str),
    /// What the zone sends.
    Up(&'a str),
}

impl Hop<'_> {
    /// Who receives.
    fn receiver(&self) -> &str {
        match self {
            Self::Down(zone) => zone,
            Self::Up(_) => GLOBAL,
        }
    }

    /// The zone at one of its ends.
    pub fn zone(&self) -> &str {
        let (Self::Down(zone) | Self::Up(zone)) = self;
        zone
    }

    /// Kinds that take this way.
    fn carries(&self, kind: Kind) -> bool {
        let direction = kind.descriptor().direction;
        match self {
            Self::Down(_) => direction.sent_to_zones(),
            Self::Up(_) => direction.sent_to_global(),
        }
    }

    /// True for what the sender has to send.
    fn admits(&self, resource: &Resource, disabled_zones: &BTreeSet<String>) -> bool {
        match self {
            Self::Down(zone) => ToZone { zone, features: Features::all(), disabled_zones }.admits(resource),
            Self::Up(_) => filter::zone_sends(resource),
        }
    }

    /// True for what the receiver has because of the sender.
    fn brought(&self, resource: &Resource) -> bool {
        match self {
            Self::Down(_) => is_from_global(resource),
            Self::Up(zone) => resource.label(label::ZONE) == Some(zone),
        }
    }

    /// Versions that the receiver ought to have, of what the simulation wrote and the receiver does not refuse; and ids of
    /// what it refuses.
    pub fn expected<'r>(
        &self,
        sent: impl IntoIterator<Item = &'r Arc<Resource>>,
        disabled_zones: &BTreeSet<String>,
    ) -> (Versions, BTreeSet<String>) {
        let (mut versions, mut refused) = (Versions::new(), BTreeSet::new());
        for resource in sent {
            let Some((id, version)) = identify(resource) else { continue };
            if !self.admits(resource, disabled_zones) {
                continue;
            }
            if ledger::refuses(self.receiver(), resource) {
                refused.insert(id.to_owned());
            } else {
                versions.insert(id.to_owned(), version);
            }
        }
        (versions, refused)
    }

    /// Versions that the receiver has.
    pub fn actual<'r>(&self, stored: impl IntoIterator<Item = &'r Arc<Resource>>) -> Versions {
        let brought = stored.into_iter().filter(|resource| self.brought(resource));
        brought.filter_map(|resource| identify(resource).map(|(id, version)| (id.to_owned(), version))).collect()
    }

    /// The resource as the receiver has to store it.
    fn stored(&self, resource: &Resource) -> Resource {
        let encoded = match self {
            Self::Down(_) => mapper::encode_for_zones(resource, true, &[]),
            Self::Up(zone) => mapper::encode_for_global(resource, zone, &[]),
        };
        let encoded = encoded.expect("the simulation writes what can be encoded");
        let mut stored = codec::decode(resource.kind(), &encoded.body).expect("what is encoded can be decoded");
        if let Self::Up(zone) = self {
            match stored.kind() {
                Kind::ZoneIngress => {
                    let ingress = stored.proto::<ZoneIngress>().expect("an ingress");
                    stored.spec =
                        Resource::from_proto(stored.key.clone(), &ZoneIngress { zone: (*zone).to_owned(), ..ingress })
                            .spec;
                }
                Kind::ZoneEgress => {
                    let egress = stored.proto::<ZoneEgress>().expect("an egress");
                    stored.spec =
                        Resource::from_proto(stored.key.clone(), &ZoneEgress { zone: (*zone).to_owned(), ..egress })
                            .spec;
                }
                _ => {}
            }
        }
        stored
    }
}

/// A hop with who sends and who receives.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub hop: Hop<'a>,
    pub sender: &'a ControlPlane,
    pub receiver: &'a ControlPlane,
}

impl<'a> Way<'a> {
    /// Both directions of all zones.
    pub fn all(global: &'a ControlPlane, zones: &'a [ControlPlane]) -> impl Iterator<Item = Self> {
        zones.iter().flat_map(move |zone| {
            [
                Way { hop: Hop::Down(&zone.name), sender: global, receiver: zone },
                Way { hop: Hop::Up(&zone.name), sender: zone, receiver: global },
            ]
        })
    }
}

/// Everything of the kinds that take a way.
async fn resources(of: &ControlPlane, hop: Hop<'_>) -> Vec<Arc<Resource>> {
    let mut resources = Vec::new();
    for kind in Kind::all().filter(|&kind| hop.carries(kind)) {
        resources.extend(of.store().list(kind, None).await.expect("memory can be read"));
    }
    resources
}

/// Which versions the receiver ought to have and has not, and the other way round; `None` when there are none.
pub async fn missing(way: Way<'_>) -> Option<String> {
    let Way { hop, sender, receiver } = way;
    let disabled = disabled_zones(sender).await;
    let (expected, refused) = hop.expected(&resources(sender, hop).await, &disabled);
    let mut actual = hop.actual(&resources(receiver, hop).await);
    // Of what it refuses it may have an earlier version.
    actual.retain(|id, _| !refused.contains(id));
    if expected == actual {
        return None;
    }
    let missing: Vec<_> = expected.iter().filter(|(id, version)| actual.get(*id) != Some(version)).collect();
    let wrong: Vec<_> = actual.iter().filter(|(id, version)| expected.get(*id) != Some(version)).collect();
    Some(format!("{hop:?}: ought to be {missing:?}, is {wrong:?}"))
}

/// Types whose content is not what it ought to be, although the versions are; compared by a hash of each.
pub async fn spoiled(way: Way<'_>) -> Vec<Kind> {
    let Way { hop, sender, receiver } = way;
    let disabled = disabled_zones(sender).await;
    let sent = resources(sender, hop).await;
    let (expected, _) = hop.expected(&sent, &disabled);
    let is_expected =
        |resource: &&Arc<Resource>| identify(resource).is_some_and(|(id, version)| expected.get(id) == Some(&version));
    let ought = by_type(sent.iter().filter(is_expected).map(|resource| hop.stored(resource)));
    let stored = resources(receiver, hop).await;
    let kept = stored.iter().filter(|resource| hop.brought(resource)).filter(is_expected);
    let is = by_type(kept.map(|resource| (**resource).clone()));
    ought.into_iter().filter(|(kind, digest)| is.get(kind) != Some(digest)).map(|(kind, _)| kind).collect()
}

/// A digest of each type.
fn by_type(resources: impl Iterator<Item = Resource>) -> BTreeMap<Kind, Vec<u8>> {
    let mut sorted: BTreeMap<ResourceKey, Resource> = BTreeMap::new();
    for resource in resources {
        sorted.insert(resource.key.clone(), resource);
    }
    let mut types: BTreeMap<Kind, Sha256> = BTreeMap::new();
    for (key, resource) in sorted {
        let hash = types.entry(key.kind).or_default();
        let spec = match &resource.spec {
            Spec::Proto(bytes) => match key.kind {
                // Encodings that were put together differ from one that was made at once.
                Kind::ZoneIngress => format!("{:?}", resource.proto::<ZoneIngress>()),
                Kind::ZoneEgress => format!("{:?}", resource.proto::<ZoneEgress>()),
                _ => format!("{bytes:?}"),
            },
            Spec::Json(value) => value.to_string(),
        };
        hash.update(format!("{key} {:?} {spec}\n", resource.labels));
    }
    types.into_iter().map(|(kind, hash)| (kind, hash.finalize().to_vec())).collect()
}
