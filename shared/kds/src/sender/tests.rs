use prost::Message;
use serde_json::json;
use tandem_model::label;

use super::*;
use crate::wire::{DeltaResource, ErrorDetail};
use crate::{filter, mapper};

struct FromZone;

impl Outlet for FromZone {
    fn identifier(&self) -> &str {
        "east"
    }

    fn sends(&self, kind: Kind) -> bool {
        kind.descriptor().direction.sent_to_global()
    }

    fn admits(&self, resource: &Resource, _: &BTreeSet<String>) -> bool {
        filter::zone_sends(resource)
    }

    fn encode(&self, entry: &Entry) -> Result<Arc<Encoded>, Arc<str>> {
        if entry.resource.label("broken").is_some() {
            return Err("broken".into());
        }
        mapper::encode_for_global(&entry.resource, "east", &[]).map(Arc::new).map_err(Arc::from)
    }
}

fn timeout(name: &str, value: &str) -> Resource {
    Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", name), json!({"value": value}))
}

fn news(resources: impl IntoIterator<Item = Resource>) -> News {
    let resources = resources.into_iter().map(|r| (Arc::new(r.key.clone()), Some(entry(r)))).collect();
    News { loaded: true, revision: 1, resources, disabled_zones: Arc::default() }
}

fn entry(resource: Resource) -> Arc<Entry> {
    Arc::new(Entry::new(Arc::new(resource)))
}

fn gone(name: &str) -> News {
    let resources = BTreeMap::from([(Arc::new(timeout(name, "").key), None)]);
    News { loaded: true, revision: 2, resources, disabled_zones: Arc::default() }
}

fn request(nonce: &str) -> DeltaRequest {
    DeltaRequest { type_url: "MeshTimeout".into(), response_nonce: nonce.into(), ..DeltaRequest::default() }
}

fn names(response: &DeltaResponse) -> Vec<String> {
    let name = |body: &bytes::Bytes| DeltaResource::decode(body.clone()).expect("a resource").name;
    let mut names: Vec<_> = response.resources.iter().map(name).collect();
    names.sort();
    names
}

fn wire_name(name: &str) -> String {
    format!("{}.default", tandem_model::name::hashed("default", name, ["east"]))
}

fn sender() -> DeltaSender<FromZone> {
    DeltaSender::new(FromZone, 10_000)
}

#[test]
fn nothing_is_said_before_the_store_was_read() {
    let mut sender = sender();
    sender.request(request("")).expect("names a type");
    assert!(!sender.has_work());
    assert!(sender.next_response().is_none());
    sender.absorb(news([]));
    let first = sender.next_response().expect("owed although empty");
    assert!(first.response.resources.is_empty() && first.response.removed_resources.is_empty());
    assert_eq!(first.response.nonce, "1");
    assert_eq!(first.response.control_plane.expect("set").identifier, "east");
}

#[test]
fn one_response_at_a_time_with_the_newest_state() {
    let mut sender = sender();
    sender.absorb(news([timeout("a", "1")]));
    assert!(sender.next_response().is_none(), "nobody asked");
    assert_eq!(sender.request(request("")).expect("names a type"), Meaning::Subscribe);
    let first = sender.next_response().expect("owed");
    assert_eq!(names(&first.response), [wire_name("a")]);
    assert_eq!(first.resources, 1);

    sender.absorb(news([timeout("a", "2"), timeout("b", "1")]));
    sender.absorb(news([timeout("a", "3")]));
    sender.absorb(gone("b"));
    assert!(sender.next_response().is_none(), "the first is not answered");
    assert_eq!(sender.request(request("1")).expect("names a type"), Meaning::Ack);
    let second = sender.next_response().expect("changed");
    assert_eq!(names(&second.response), [wire_name("a")]);
    assert!(second.response.removed_resources.is_empty(), "the peer never had b");
    let resource = crate::codec::decode(Kind::MeshTimeout, &second.response.resources[0]).expect("decodable");
    assert_eq!(resource.spec, timeout("a", "3").spec);

    let rejected = DeltaRequest { error_detail: Some(ErrorDetail { code: 0, message: "no".into() }), ..request("2") };
    assert_eq!(sender.request(rejected).expect("names a type"), Meaning::Nack("no".into()));
    assert!(sender.next_response().is_none(), "a rejected response is not repeated");
    sender.absorb(gone("a"));
    let third = sender.next_response().expect("changed");
    assert_eq!(third.response.removed_resources, [wire_name("a")]);
    assert_eq!(third.resources, 0);
}

#[test]
fn what_stays_equal_for_the_peer_is_not_sent() {
    let mut sender = sender();
    sender.absorb(news([timeout("a", "1")]));
    sender.request(request("")).expect("names a type");
    sender.next_response().expect("owed");
    sender.request(request("1")).expect("names a type");
    sender.absorb(news([timeout("a", "1").with_labels([(label::ZONE, "east")])]));
    assert!(sender.has_work());
    assert!(sender.next_response().is_none());
    assert!(!sender.has_work());
    // It leaves when a label keeps it local, and comes back.
    sender.absorb(news([timeout("a", "1").with_labels([(label::KDS_SYNC, "disabled")])]));
    assert_eq!(sender.next_response().expect("changed").response.removed_resources, [wire_name("a")]);
    sender.request(request("2")).expect("names a type");
    sender.absorb(news([timeout("a", "1")]));
    assert_eq!(names(&sender.next_response().expect("changed").response), [wire_name("a")]);
}

#[test]
fn every_type_is_answered_but_a_request_must_name_one() {
    let mut sender = sender();
    sender.absorb(news([]));
    for unknown in ["Mesh", "NoSuchType"] {
        sender.request(DeltaRequest { type_url: unknown.into(), ..DeltaRequest::default() }).expect("names a type");
        let due = sender.next_response().expect("owed");
        assert_eq!((due.response.type_url.as_str(), due.kind), (unknown, None));
    }
    assert!(sender.request(DeltaRequest::default()).is_err());
}

#[test]
fn what_a_peer_makes_a_sender_remember_is_bounded() {
    let named = |type_url: &str| DeltaRequest { type_url: type_url.into(), ..DeltaRequest::default() };
    let mut sender = sender();
    for index in 0..64 {
        sender.request(named(&format!("Unknown{index}"))).expect("not too many");
        sender.request(named(&format!("Unknown{index}"))).expect("the same again");
    }
    assert_eq!(sender.request(named("Unknown64")), Err(BadRequest::ForeignTypes));
    sender.request(named("Dataplane")).expect("known types do not count");

    let versions = |count: usize| (0..count).map(|index| (format!("{index:0>100}"), String::new())).collect();
    let mut announce = |type_url: &str, count| {
        sender.request(DeltaRequest { initial_resource_versions: versions(count), ..named(type_url) })
    };
    announce("MeshTimeout", 60).expect("6,000 of 10,000 bytes");
    assert_eq!(announce("MeshRetry", 60), Err(BadRequest::Announced(10_000)));
    announce("MeshRetry", 30).expect("fits beside the first");
}

#[test]
fn versions_the_peer_has_are_not_repeated() {
    let mut first = sender();
    first.absorb(news([timeout("a", "1"), timeout("b", "1")]));
    first.request(request("")).expect("names a type");
    let due = first.next_response().expect("owed");
    let mut versions: BTreeMap<String, String> = due
        .response
        .resources
        .iter()
        .map(|body| DeltaResource::decode(body.clone()).expect("a resource"))
        .map(|resource| (resource.name, resource.version))
        .collect();
    versions.insert("gone.default".into(), "x".into());

    let mut second = sender();
    second.absorb(news([timeout("a", "1"), timeout("b", "2")]));
    second.request(DeltaRequest { initial_resource_versions: versions, ..request("") }).expect("names a type");
    let due = second.next_response().expect("owed");
    assert_eq!(names(&due.response), [wire_name("b")]);
    assert_eq!(due.response.removed_resources, ["gone.default"]);
    assert_eq!(due.resources, 2);
}

#[test]
fn a_resource_that_cannot_be_sent_stays_alone() {
    let mut sender = sender();
    let broken = timeout("a", "1").with_labels([("broken", "")]);
    let key = broken.key.clone();
    let large = timeout("large", &"x".repeat(20_000));
    sender.absorb(news([broken, timeout("b", "1"), large]));
    sender.request(request("")).expect("names a type");
    assert_eq!(names(&sender.next_response().expect("owed").response), [wire_name("b")]);
    let failures: BTreeMap<_, _> = sender.take_failures().into_iter().collect();
    assert_eq!(failures[&key].as_deref(), Some("broken"));
    assert!(failures[&timeout("large", "").key].as_deref().is_some_and(|r| r.contains("more than a message")));
    sender.request(request("1")).expect("names a type");
    sender.absorb(news([timeout("a", "2")]));
    assert_eq!(names(&sender.next_response().expect("changed").response), [wire_name("a")]);
    assert_eq!(sender.take_failures(), [(key, None)]);
}

#[test]
fn changes_are_split_but_a_first_response_is_not() {
    let many = || (0..10).map(|i| timeout(&format!("t{i}"), &"x".repeat(2_000)));
    let mut late = sender();
    late.absorb(news(many()));
    late.request(request("")).expect("names a type");
    assert!(late.next_response().is_none());
    let oversized = late.take_oversized();
    assert_eq!(oversized.len(), 1);
    assert!(oversized[0].0 == Kind::MeshTimeout && oversized[0].1 > 20_000);
    assert!(!late.has_work(), "waits for a change");
    for i in 2..10 {
        late.absorb(gone(&format!("t{i}")));
    }
    assert_eq!(late.next_response().expect("fits now").response.resources.len(), 2);

    let mut early = sender();
    early.absorb(news([]));
    early.request(request("")).expect("names a type");
    early.next_response().expect("owed");
    early.absorb(news(many()));
    let mut received = BTreeSet::new();
    let mut responses = 0;
    loop {
        early.request(request(&(responses + 1).to_string())).expect("names a type");
        let Some(due) = early.next_response() else { break };
        assert!(due.response.encoded_len() <= 10_000);
        received.extend(names(&due.response));
        responses += 1;
    }
    assert_eq!(received.len(), 10);
    assert!(responses > 1);
}

#[test]
fn two_resources_never_share_a_name() {
    let mut sender = sender();
    let impostor = timeout("b", "2").with_labels([(label::DISPLAY_NAME, "a")]);
    sender.absorb(news([timeout("a", "1")]));
    sender.request(request("")).expect("names a type");
    sender.next_response().expect("owed");
    sender.request(request("1")).expect("names a type");
    sender.absorb(news([impostor.clone()]));
    assert!(sender.next_response().is_none());
    let failures = sender.take_failures();
    assert_eq!(failures[0].0, impostor.key);
    assert!(failures[0].1.as_deref().is_some_and(|reason| reason.contains("has the same name")));

    sender.absorb(gone("a"));
    let due = sender.next_response().expect("changed");
    let mut seen = names(&due.response);
    if seen.is_empty() {
        sender.request(request("2")).expect("names a type");
        seen = names(&sender.next_response().expect("the other takes its place").response);
    }
    assert_eq!(seen, [wire_name("a")]);
}

#[test]
fn a_changed_display_name_moves_the_resource() {
    let mut sender = sender();
    sender.absorb(news([timeout("a", "1")]));
    sender.request(request("")).expect("names a type");
    sender.next_response().expect("owed");
    sender.request(request("1")).expect("names a type");
    sender.absorb(news([timeout("a", "1").with_labels([(label::DISPLAY_NAME, "z")])]));
    let due = sender.next_response().expect("changed");
    assert_eq!(names(&due.response), [wire_name("z")]);
    assert_eq!(due.response.removed_resources, [wire_name("a")]);
}
