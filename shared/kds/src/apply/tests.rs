use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tandem_model::{Path, label};
use tandem_proto::system::v1alpha1::Zone;
use tandem_store::{MemoryStore, StoreId};

use super::*;
use crate::{mapper, wire};

mod guard;
mod isolation;
mod model;

mod order;
mod ownership;
mod speed;

/// An applier with an empty store. Its validation refuses what carries the label `invalid`.
fn applier(inlet: Inlet) -> Arc<Applier> {
    applier_of(Arc::new(MemoryStore::new()), inlet)
}

fn applier_of(store: SharedStore, inlet: Inlet) -> Arc<Applier> {
    let validate: Validate = Arc::new(|resource| {
        if resource.label("invalid").is_some() {
            Violations::one(&Path::new("spec.to[0].default"), "at least one timeout should be configured")
        } else {
            Violations::none()
        }
    });
    Applier::new(store, inlet, validate, DeletionGuard { minimum: 3, ..DeletionGuard::default() })
}

fn east() -> Inlet {
    Inlet::Global { zone: "east".into() }
}

fn timeout(name: &str, value: u32, labels: &[(&str, &str)]) -> Resource {
    Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", name), json!({"value": value}))
        .with_labels(labels.iter().copied())
}

fn from_global(resource: &Resource) -> Bytes {
    mapper::encode_for_zones(resource, false, &[]).expect("encodable").body
}

fn response(resources: &[Bytes], removed: &[&str], origin: Option<Origin>) -> DeltaResponse {
    DeltaResponse {
        system_version_info: origin.map(|origin| origin.to_string()).unwrap_or_default(),
        resources: resources.to_vec(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaResponse::default()
    }
}

/// What becomes of a full state on a new stream.
async fn full(applier: &Arc<Applier>, kind: Kind, resources: &[Bytes]) -> Applied {
    applier.open().apply(kind, &response(resources, &[], None)).await.expect("the store works")
}

/// What becomes of a later response on a stream of which the first one found everything as it is.
async fn later(applier: &Arc<Applier>, kind: Kind, resources: &[Bytes], removed: &[&str]) -> Applied {
    let mut intake = applier.open();
    intake.seen.insert(kind);
    intake.apply(kind, &response(resources, removed, None)).await.expect("the store works")
}

async fn stored(applier: &Applier) -> Vec<(String, serde_json::Value)> {
    let all = applier.store.list(Kind::MeshTimeout, None).await.expect("readable");
    all.iter().map(|r| (r.key.name.clone(), r.json::<serde_json::Value>().expect("JSON")["value"].clone())).collect()
}

async fn seed(applier: &Applier, resource: Resource) {
    applier.store.commit(vec![Write::Put(resource)]).await.expect("a valid write");
}

#[tokio::test]
async fn a_full_state_replaces_what_the_peer_manages() {
    let zone = applier(Inlet::Zone);
    seed(&zone, timeout("local", 1, &[(label::ORIGIN, "zone")])).await;
    seed(&zone, timeout("old", 1, &[(label::ORIGIN, "global")])).await;
    seed(&zone, timeout("kept", 1, &[(label::ORIGIN, "global")])).await;
    let bodies = [from_global(&timeout("kept", 2, &[])), from_global(&timeout("new", 3, &[]))];
    let applied = full(&zone, Kind::MeshTimeout, &bodies).await;
    assert_eq!((applied.created, applied.updated, applied.deleted), (1, 1, 1));
    assert_eq!(applied.complaint(), None);
    let expected = [("kept", 2), ("local", 1), ("new", 3)].map(|(name, value)| (name.to_owned(), json!(value)));
    assert_eq!(stored(&zone).await, expected);

    let revision = zone.store.revision();
    let again = full(&zone, Kind::MeshTimeout, &bodies).await;
    assert_eq!((again.created, again.updated, again.deleted), (0, 0, 0));
    assert_eq!(zone.store.revision(), revision, "nothing changed");
}

#[tokio::test]
async fn histories_name_the_peer() {
    for (inlet, author) in [(Inlet::Zone, "kds:global"), (east(), "kds:east")] {
        let applier = applier(inlet);
        seed(&applier, Resource::from_proto(ResourceKey::global(Kind::Zone, "east"), &Zone::default())).await;
        for value in [1, 2] {
            let body = from_global(&timeout("t", value, &[]));
            full(&applier, Kind::MeshTimeout, &[body]).await;
        }
        full(&applier, Kind::MeshTimeout, &[]).await;
        let key = ResourceKey::new(Kind::MeshTimeout, "default", "t");
        let history = applier.store.history(&key).await.expect("readable");
        let authors: Vec<_> = history.iter().map(|entry| entry.author.as_str()).collect();
        assert_eq!(authors, [author; 3]);
        assert!(history.last().is_some_and(|last| last.after.is_none()));
    }
}

#[tokio::test]
async fn later_responses_change_only_what_they_name() {
    let zone = applier(Inlet::Zone);
    for name in ["a", "b"] {
        seed(&zone, timeout(name, 1, &[(label::ORIGIN, "global")])).await;
    }
    seed(&zone, timeout("local", 1, &[(label::ORIGIN, "zone")])).await;
    let removed = ["b.default", "local.default", "never-seen.default"];
    let bodies = [from_global(&timeout("a", 2, &[]))];
    let applied = later(&zone, Kind::MeshTimeout, &bodies, &removed).await;
    assert_eq!((applied.created, applied.updated, applied.deleted), (0, 1, 1));
    assert_eq!(stored(&zone).await, [("a".to_owned(), json!(2)), ("local".to_owned(), json!(1))]);
}

#[tokio::test]
async fn what_is_wrong_stays_alone_and_keeps_its_last_good_state() {
    let zone = applier(Inlet::Zone);
    for name in ["invalid", "undecodable"] {
        seed(&zone, timeout(name, 1, &[(label::ORIGIN, "global")])).await;
    }
    let broken: Bytes = prost::Message::encode_to_vec(&wire::DeltaResource {
        name: "undecodable.default".into(),
        ..wire::DeltaResource::default()
    })
    .into();
    let bodies =
        [from_global(&timeout("invalid", 2, &[("invalid", "")])), broken, from_global(&timeout("good", 1, &[]))];
    let applied = full(&zone, Kind::MeshTimeout, &bodies).await;
    let expected =
        [("good", 1), ("invalid", 1), ("undecodable", 1)].map(|(name, value)| (name.to_owned(), json!(value)));
    assert_eq!(stored(&zone).await, expected);
    let complaint = applied.complaint().expect("two were left out");
    assert_eq!(
        complaint.lines().collect::<Vec<_>>(),
        [
            "type=\"MeshTimeout\" name=\"invalid\" mesh=\"default\": spec.to[0].default: at least one timeout \
             should be configured",
            "could not decode type=\"MeshTimeout\" name=\"undecodable\" mesh=\"default\": no content",
        ]
    );
}

#[tokio::test]
async fn garbage_without_a_name_deletes_nothing() {
    let zone = applier(Inlet::Zone);
    seed(&zone, timeout("a", 1, &[(label::ORIGIN, "global")])).await;
    let bodies = [Bytes::from_static(&[0xff])];
    let applied = full(&zone, Kind::MeshTimeout, &bodies).await;
    assert_eq!(applied.rejected.len(), 1);
    assert_eq!(stored(&zone).await.len(), 1);
}

#[tokio::test]
async fn a_local_secret_wins_over_one_of_global() {
    let zone = applier(Inlet::Zone);
    let secret = |value: &str, labels: &[(&str, &str)]| {
        let spec = tandem_proto::system::v1alpha1::Secret { data: Some(value.into()) };
        Resource::from_proto(ResourceKey::new(Kind::Secret, "default", "zs1"), &spec)
            .with_labels(labels.iter().copied())
    };
    seed(&zone, secret("local", &[])).await;
    let bodies = [from_global(&secret("global", &[]))];
    let applied = full(&zone, Kind::Secret, &bodies).await;
    assert_eq!(
        applied.complaint().as_deref(),
        Some("user error\nresource already exists: type=\"Secret\" name=\"zs1\" mesh=\"default\"")
    );
    let kept = zone.store.get(&secret("", &[]).key).await.expect("readable").expect("still there");
    assert_eq!(kept.spec, secret("local", &[]).spec);
}

#[tokio::test]
async fn a_zone_keeps_the_status_it_computed() {
    let zone = applier(Inlet::Zone);
    let mut service = Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "s"), json!({"state": "a"}))
        .with_labels([(label::ORIGIN, "zone"), (label::ZONE, "west")]);
    service.status = Some(json!({"vips": [{"ip": "10.0.0.1"}]}));
    let body = |service: &Resource| vec![from_global(service)];
    full(&zone, Kind::MeshService, &body(&service)).await;
    let key = service.key.clone();
    let present = zone.store.get(&key).await.expect("readable").expect("created");
    assert_eq!(present.status, Some(json!({})));
    let mut local = (*present).clone();
    local.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
    seed(&zone, local).await;
    service.spec = tandem_model::Spec::Json(json!({"state": "b"}));
    later(&zone, Kind::MeshService, &body(&service), &[]).await;
    let present = zone.store.get(&key).await.expect("readable").expect("created");
    assert_eq!(present.status, Some(json!({"vips": [{"ip": "241.0.0.1"}]})));
    assert_eq!(present.spec, service.spec);
}

#[tokio::test]
async fn global_ties_resources_to_their_zone() {
    let global = applier(east());
    seed(&global, timeout("of-global", 1, &[])).await;
    seed(&global, timeout("of-west", 1, &[(label::ZONE, "west"), (label::ORIGIN, "zone")])).await;
    let body = |value| mapper::encode_for_global(&timeout("t", value, &[]), "liar", &[]).expect("encodable").body;
    let applied = full(&global, Kind::MeshTimeout, &[body(1)]).await;
    assert_eq!((applied.created, applied.deleted), (1, 0), "the Zone was created on the way");
    let name = tandem_model::name::hashed("default", "t", ["liar"]);
    let key = ResourceKey::new(Kind::MeshTimeout, "default", name);
    let present = global.store.get(&key).await.expect("readable").expect("created");
    assert_eq!(present.label(label::ZONE), Some("east"));
    assert_eq!(present.owner, Some(ResourceKey::global(Kind::Zone, "east")));

    let applied = full(&global, Kind::MeshTimeout, &[]).await;
    assert_eq!(applied.deleted, 1);
    assert_eq!(stored(&global).await.len(), 2);
}
