//! What ours has to have in common with what was recorded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tandem_kds::feature::Features;
use tandem_kds::node::identity_of;
use tandem_kds::wire::{self, DeltaRequest};
use tandem_model::{Kind, Resource, ResourceKey, label, rest};
use tandem_store::SharedStore;

use super::api::Api;
use super::common::eventually;
use super::global::PlayedGlobal;
use super::recording::{Session, Way, Wired};
use super::zone::{PlayedZone, State};

/// True when all names are there, with the version where that is known, and nothing that is gone.
pub fn contains(state: &State, expected: &State) -> bool {
    expected.iter().all(|(kind, expected)| {
        let Some(present) = state.get(kind) else { return false };
        let known = expected
            .iter()
            .all(|(name, version)| present.get(name).is_some_and(|of| version.is_empty() || of == version));
        known && (kind.has_status() || present.len() >= expected.len())
    })
}

/// True when a zone has exactly what the recorded one had in the end.
pub fn is_as_recorded(state: &State, kind: Kind, last: &BTreeMap<String, Wired>) -> bool {
    let empty = BTreeMap::new();
    let present = state.get(&kind).unwrap_or(&empty);
    present.keys().eq(last.keys())
        && last.iter().all(|(name, wired)| !wired.exact || present.get(name) == Some(&wired.version))
}

/// Our global asks for the same types, as the same node with the same features.
pub fn global_introduces_itself(zone: &str, session: &Session, asked: &[DeltaRequest]) {
    same_types(&session.subscriptions(Way::Up), asked, "global asks for");
    for request in asked {
        let node = request.node.as_ref().expect("Kuma needs a node in each request");
        assert_eq!(node.id, zone);
        assert_eq!(request.resource_names_subscribe, ["*"]);
        assert!(request.initial_resource_versions.is_empty());
        assert_eq!(Features::of(node), Features::all());
        assert_eq!(identity_of(node).version.version, "2.13.10");
    }
}

/// Our zone asks for the same types, with the same headers and features, and tells its configuration.
pub async fn zone_introduces_itself(zone: &str, session: &Session, global: &PlayedGlobal) {
    let asked = global.asked();
    same_types(&session.subscriptions(Way::Down), &asked, "the zone asks for");
    let recorded = session.subscriptions(Way::Down)[0].node.as_ref().expect("recorded");
    for request in &asked {
        let node = request.node.as_ref().expect("Kuma needs a node in each request");
        assert_eq!(node.id, zone);
        let names = |node: &wire::Node| {
            let metadata = node.metadata.as_ref().expect("metadata");
            metadata.fields.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(node), names(recorded));
        assert_eq!(Features::of(node), Features::of(recorded));
    }
    let config: Value =
        serde_json::from_str(&identity_of(asked[0].node.as_ref().expect("checked")).config).expect("JSON");
    assert!(config["store"]["type"].is_string());
    eventually("two synchronization streams", || global.headers().len() == 2).await;
    for headers in global.headers() {
        for (name, _) in &session.headers[&Way::Down] {
            let of = |all: &[(String, String)]| {
                all.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect::<Vec<_>>()
            };
            let sent: Vec<_> =
                headers.get_all(name.as_str()).iter().map(|value| value.to_str().expect("text").to_owned()).collect();
            assert_eq!(sent, of(&session.headers[&Way::Down]), "header {name}");
        }
    }
}

/// The recorded types are among those asked for; when all of them were recorded, there are no others.
fn same_types(recorded: &[&DeltaRequest], asked: &[DeltaRequest], what: &str) {
    let of = |requests: &mut dyn Iterator<Item = &DeltaRequest>| {
        requests.map(|request| request.type_url.clone()).collect::<BTreeSet<_>>()
    };
    let (recorded, asked) = (of(&mut recorded.iter().copied()), of(&mut asked.iter()));
    assert!(recorded.is_subset(&asked), "{what} {asked:?}");
    if recorded.len() >= 29 {
        assert_eq!(recorded, asked, "{what}");
    }
}

/// Every first request has a response, be it empty.
pub async fn all_are_answered(zone: &PlayedZone, session: &Session) {
    let kinds: Vec<Kind> =
        session.subscriptions(Way::Down).iter().map(|request| request.type_url.parse().expect("a kind")).collect();
    zone.until("every type is answered", |state| kinds.iter().all(|kind| state.contains_key(kind))).await;
}

/// Global stores what a zone sent: under the name and with the labels it came with, tied to the zone.
pub async fn global_has_what_came(store: &SharedStore, zone: &str, session: &Session) {
    for (kind, wired) in session.last_state(Way::Up) {
        for wired in wired.values() {
            let stored = store.get(&wired.resource.key).await.expect("readable");
            let stored = stored.unwrap_or_else(|| panic!("{} is missing", wired.resource.key));
            assert_eq!(stored.labels, wired.resource.labels, "{}", stored.key);
            assert_eq!(stored.owner, Some(ResourceKey::global(Kind::Zone, zone)), "{}", stored.key);
            assert_eq!(shown(&stored), with_zone(shown(&wired.resource), kind, zone));
        }
        let from_zone = store.list(kind, None).await.expect("readable");
        let from_zone = from_zone.iter().filter(|resource| resource.label(label::ZONE) == Some(zone));
        assert_eq!(from_zone.count(), wired.len(), "{kind}");
    }
}

/// The document of a resource without times.
fn shown(resource: &Resource) -> Value {
    without_times(rest::to_json(resource).expect("a valid specification"))
}

fn without_times(mut document: Value) -> Value {
    let members = document.as_object_mut().expect("an object");
    for moving in ["creationTime", "modificationTime", "kri", "status"] {
        members.remove(moving);
    }
    document
}

/// Ingresses and egresses get the name of their zone at global.
fn with_zone(mut document: Value, kind: Kind, zone: &str) -> Value {
    if matches!(kind, Kind::ZoneIngress | Kind::ZoneEgress) {
        document["zone"] = zone.into();
    }
    document
}

/// What came over synchronization is listed as the recorded control plane listed it.
pub async fn listed_alike(store: &SharedStore, api: &Api, control_plane: &str, way: Way) {
    let mut compared = 0;
    for kind in [Kind::Dataplane, Kind::ZoneIngress, Kind::ZoneEgress] {
        for document in api.listed(control_plane, kind) {
            let origin = if way == Way::Up { label::ORIGIN_ZONE } else { label::ORIGIN_GLOBAL };
            if document["labels"][label::ORIGIN] != origin
                || (way == Way::Down && document["labels"][label::ZONE].is_null())
            {
                continue;
            }
            let key = ResourceKey::new(
                kind,
                document["mesh"].as_str().unwrap_or_default(),
                document["name"].as_str().expect("a name"),
            );
            let stored = store.get(&key).await.expect("readable").unwrap_or_else(|| panic!("{key} is missing"));
            assert_eq!(shown(&stored), without_times(document), "{key}");
            compared += 1;
        }
    }
    assert!(compared > 0, "nothing to compare at {control_plane}");
}
