//! Both variants of the protocol against what Envoy does, without a connection.

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message as _;
use tandem_xds::{Encoded, ResourceSet, ResourceType};

use super::delta::Delta;
use super::request::{DeltaRequest, Refusal, SotwRequest};
use super::sotw::StateOfTheWorld;
use super::variant::{Received, Variant};
use crate::grpc::PREFIX;

use ResourceType::{Cluster, Endpoint, Listener};

fn set(resources: &[(ResourceType, &str, &str)]) -> ResourceSet {
    ResourceSet::collect(
        resources.iter().map(|(kind, name, content)| (*kind, Arc::new(Encoded::new(*kind, *name, content.as_bytes())))),
    )
}

fn sotw(kind: ResourceType, names: &[&str], version: &str, nonce: &str) -> SotwRequest {
    SotwRequest {
        type_url: kind.type_url().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        version_info: version.to_owned(),
        response_nonce: nonce.to_owned(),
        ..SotwRequest::default()
    }
}

fn delta(kind: ResourceType, subscribe: &[&str], unsubscribe: &[&str], nonce: &str) -> DeltaRequest {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    DeltaRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: owned(subscribe),
        resource_names_unsubscribe: owned(unsubscribe),
        response_nonce: nonce.to_owned(),
        ..DeltaRequest::default()
    }
}

/// The message behind its prefix, which has to tell its length.
fn message(framed: Bytes) -> Bytes {
    assert_eq!(framed[..PREFIX], [&[0][..], &u32::try_from(framed.len() - PREFIX).unwrap().to_be_bytes()].concat());
    framed.slice(PREFIX..)
}

fn next_sotw(state: &mut StateOfTheWorld, resources: &ResourceSet) -> Option<DiscoveryResponse> {
    state.next(resources, "cp").map(|push| DiscoveryResponse::decode(message(push.body)).expect("a response decodes"))
}

fn next_delta(state: &mut Delta, resources: &ResourceSet) -> Option<DeltaDiscoveryResponse> {
    state
        .next(resources, "cp")
        .map(|push| DeltaDiscoveryResponse::decode(message(push.body)).expect("a response decodes"))
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[test]
fn sotw_answers_once_and_again_only_when_something_changed() {
    let mut state = StateOfTheWorld::default();
    let one = set(&[(Cluster, "a", "1")]);
    assert_eq!(state.receive(sotw(Cluster, &[], "", "")).unwrap(), Received::Subscribed);
    let response = next_sotw(&mut state, &one).expect("the first request is answered");
    assert_eq!((response.resources.len(), response.nonce.as_str()), (1, "1"));
    assert_eq!(response.control_plane.unwrap().identifier, "cp");
    assert!(next_sotw(&mut state, &one).is_none());
    let two = set(&[(Cluster, "a", "2")]);
    assert!(next_sotw(&mut state, &two).is_none(), "an unanswered response holds back the next");
    let ack = state.receive(sotw(Cluster, &[], &response.version_info, "1")).unwrap();
    assert_eq!(ack, Received::Acknowledged(Cluster));
    assert_eq!(next_sotw(&mut state, &two).expect("the change is sent").nonce, "2");
}

#[test]
fn sotw_leaves_a_returning_client_alone_that_has_everything() {
    let resources = set(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    let mut first = StateOfTheWorld::default();
    first.receive(sotw(Cluster, &[], "", "")).unwrap();
    let version = next_sotw(&mut first, &resources).unwrap().version_info;
    let mut again = StateOfTheWorld::default();
    again.receive(sotw(Cluster, &[], &version, "")).unwrap();
    assert!(next_sotw(&mut again, &resources).is_none());
}

#[test]
fn sotw_does_not_repeat_what_was_refused_until_it_changes() {
    let mut state = StateOfTheWorld::default();
    state.receive(sotw(Listener, &[], "", "")).unwrap();
    next_sotw(&mut state, &set(&[(Listener, "a", "bad")])).unwrap();
    let mut refusal = sotw(Listener, &[], "", "1");
    refusal.error_detail = Some(Refusal { message: "no".to_owned() });
    assert_eq!(state.receive(refusal).unwrap(), Received::Rejected(Listener, "no".to_owned()));
    assert!(next_sotw(&mut state, &set(&[(Listener, "a", "bad")])).is_none());
    assert!(next_sotw(&mut state, &set(&[(Listener, "a", "good")])).is_some());
}

#[test]
fn sotw_sends_endpoints_again_after_clusters_and_only_those_asked_for() {
    let mut state = StateOfTheWorld::default();
    let before = set(&[(Cluster, "a", "1"), (Endpoint, "a", "e"), (Endpoint, "b", "e")]);
    state.receive(sotw(Cluster, &[], "", "")).unwrap();
    next_sotw(&mut state, &before).unwrap();
    state.receive(sotw(Cluster, &[], "v", "1")).unwrap();
    state.receive(sotw(Endpoint, &["a"], "", "")).unwrap();
    assert_eq!(next_sotw(&mut state, &before).unwrap().resources.len(), 1);
    state.receive(sotw(Endpoint, &["a"], "v", "2")).unwrap();
    let after = set(&[(Cluster, "a", "2"), (Endpoint, "a", "e"), (Endpoint, "b", "e")]);
    assert_eq!(next_sotw(&mut state, &after).unwrap().type_url, Cluster.type_url());
    assert_eq!(
        next_sotw(&mut state, &after).expect("a warming cluster needs its endpoints").type_url,
        Endpoint.type_url()
    );
}

#[test]
fn sotw_ignores_answers_to_earlier_responses_and_types_that_are_not_served() {
    let mut state = StateOfTheWorld::default();
    state.receive(sotw(Cluster, &[], "", "")).unwrap();
    next_sotw(&mut state, &set(&[(Cluster, "a", "1")])).unwrap();
    assert_eq!(state.receive(sotw(Cluster, &[], "", "7")).unwrap(), Received::Ignored);
    let unknown = SotwRequest { type_url: "type.googleapis.com/x".to_owned(), ..SotwRequest::default() };
    assert_eq!(state.receive(unknown).unwrap(), Received::Ignored);
    assert_eq!(state.receive(SotwRequest::default()).unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[test]
fn a_listener_waits_for_the_clusters_before_it() {
    let mut state = StateOfTheWorld::default();
    let one = set(&[(Cluster, "a", "1"), (Listener, "l", "1")]);
    state.receive(sotw(Cluster, &[], "", "")).unwrap();
    state.receive(sotw(Listener, &[], "", "")).unwrap();
    next_sotw(&mut state, &one).unwrap();
    next_sotw(&mut state, &one).unwrap();
    state.receive(sotw(Listener, &[], "v", "2")).unwrap();
    let two = set(&[(Cluster, "a", "2"), (Listener, "l", "2")]);
    assert!(next_sotw(&mut state, &two).is_none(), "the clusters are unanswered yet");
    state.receive(sotw(Cluster, &[], "v", "1")).unwrap();
    assert_eq!(next_sotw(&mut state, &two).unwrap().type_url, Cluster.type_url());
    assert_eq!(next_sotw(&mut state, &two).unwrap().type_url, Listener.type_url());
}

#[test]
fn delta_sends_what_changed_and_names_what_is_gone() {
    let mut state = Delta::default();
    state.receive(delta(Cluster, &[], &[], "")).unwrap();
    let first = next_delta(&mut state, &set(&[(Cluster, "a", "1"), (Cluster, "b", "1")])).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(state.receive(delta(Cluster, &[], &[], "1")).unwrap(), Received::Acknowledged(Cluster));
    let second = next_delta(&mut state, &set(&[(Cluster, "b", "2"), (Cluster, "c", "1")])).unwrap();
    assert_eq!((names(&second), second.removed_resources.clone()), (vec!["b", "c"], vec!["a".to_owned()]));
    assert!(second.resources.iter().all(|resource| resource.resource.is_some() && !resource.version.is_empty()));
}

#[test]
fn delta_answers_the_first_wildcard_even_when_there_is_nothing() {
    let mut state = Delta::default();
    state.receive(delta(Listener, &[], &[], "")).unwrap();
    assert!(next_delta(&mut state, &set(&[])).expect("answered").resources.is_empty());
    assert!(next_delta(&mut state, &set(&[])).is_none());
}

#[test]
fn delta_believes_a_returning_client_what_it_has() {
    let resources = set(&[(Cluster, "a", "1"), (Cluster, "b", "2")]);
    let version = resources.get(Cluster, "a").unwrap().version_text();
    let mut request = delta(Cluster, &["*"], &[], "");
    request.initial_resource_versions = [("a".to_owned(), version), ("gone".to_owned(), "x".to_owned())].into();
    let mut state = Delta::default();
    state.receive(request).unwrap();
    let response = next_delta(&mut state, &resources).unwrap();
    assert_eq!((names(&response), response.removed_resources.clone()), (vec!["b"], vec!["gone".to_owned()]));
}

#[test]
fn delta_follows_subscriptions_by_name() {
    let mut state = Delta::default();
    let resources = set(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    state.receive(delta(Endpoint, &["a"], &[], "")).unwrap();
    assert_eq!(names(&next_delta(&mut state, &resources).unwrap()), ["a"]);
    state.receive(delta(Endpoint, &["b"], &["a"], "1")).unwrap();
    assert_eq!(names(&next_delta(&mut state, &resources).unwrap()), ["b"]);
    state.receive(delta(Endpoint, &["b"], &[], "2")).unwrap();
    assert_eq!(names(&next_delta(&mut state, &resources).expect("asked again, sent again")), ["b"]);
    state.receive(delta(Endpoint, &["missing"], &[], "3")).unwrap();
    assert_eq!(next_delta(&mut state, &resources).unwrap().removed_resources, ["missing"]);
}

#[test]
fn delta_sends_the_endpoints_of_changed_clusters_again() {
    let mut state = Delta::default();
    let before = set(&[(Cluster, "a", "1"), (Cluster, "b", "1"), (Endpoint, "a", "e"), (Endpoint, "b", "e")]);
    state.receive(delta(Cluster, &[], &[], "")).unwrap();
    next_delta(&mut state, &before).unwrap();
    state.receive(delta(Endpoint, &["a", "b"], &[], "")).unwrap();
    next_delta(&mut state, &before).unwrap();
    state.receive(delta(Cluster, &[], &[], "1")).unwrap();
    state.receive(delta(Endpoint, &[], &[], "2")).unwrap();
    let after = set(&[(Cluster, "a", "2"), (Cluster, "b", "1"), (Endpoint, "a", "e"), (Endpoint, "b", "e")]);
    assert_eq!(names(&next_delta(&mut state, &after).unwrap()), ["a"]);
    let endpoints = next_delta(&mut state, &after).expect("a warming cluster needs its endpoints");
    assert_eq!((endpoints.type_url.as_str(), names(&endpoints)), (Endpoint.type_url(), vec!["a"]));
}

#[test]
fn a_node_is_told_apart_without_decoding_it_whole() {
    use envoy_types::pb::envoy::config::core::v3::Node;
    let node = Node { id: "default.a".to_owned(), cluster: "x".to_owned(), ..Node::default() };
    let encoded = Bytes::from(node.encode_to_vec());
    assert_eq!(super::request::node_id(encoded.clone()).unwrap(), "default.a");
    assert_eq!(super::request::node(encoded).unwrap().cluster, "x");
    assert!(super::request::node(Bytes::from_static(b"\xff")).is_err());
}

#[test]
fn what_was_refused_is_sent_again_when_it_is_time() {
    let resources = set(&[(Listener, "a", "1"), (Listener, "b", "1")]);
    let refusal = Some(Refusal { message: "no".to_owned() });

    let mut sotw_state = StateOfTheWorld::default();
    sotw_state.receive(sotw(Listener, &[], "", "")).unwrap();
    let response = next_sotw(&mut sotw_state, &resources).unwrap();
    assert!(!sotw_state.is_current(Listener, &resources), "the answer is awaited");
    sotw_state.receive(SotwRequest { error_detail: refusal.clone(), ..sotw(Listener, &[], "", "1") }).unwrap();
    assert!(next_sotw(&mut sotw_state, &resources).is_none());
    sotw_state.resend(Listener);
    assert_eq!(next_sotw(&mut sotw_state, &resources).expect("sent again").resources, response.resources);
    sotw_state.receive(sotw(Listener, &[], &response.version_info, "2")).unwrap();
    assert!(sotw_state.is_current(Listener, &resources));
    assert!(!sotw_state.is_current(Listener, &set(&[(Listener, "a", "1")])));

    let mut delta_state = Delta::default();
    delta_state.receive(delta(Listener, &[], &[], "")).unwrap();
    next_delta(&mut delta_state, &set(&[(Listener, "a", "1")])).unwrap();
    delta_state.receive(delta(Listener, &[], &[], "1")).unwrap();
    assert_eq!(names(&next_delta(&mut delta_state, &resources).unwrap()), ["b"]);
    delta_state.receive(DeltaRequest { error_detail: refusal, ..delta(Listener, &[], &[], "2") }).unwrap();
    assert!(next_delta(&mut delta_state, &resources).is_none());
    // Something else that it takes does not end the refusal.
    let resources = set(&[(Listener, "a", "2"), (Listener, "b", "1")]);
    assert_eq!(names(&next_delta(&mut delta_state, &resources).unwrap()), ["a"]);
    delta_state.receive(delta(Listener, &[], &[], "3")).unwrap();
    assert!(delta_state.is_refusing(Listener));
    delta_state.resend(Listener);
    assert_eq!(names(&next_delta(&mut delta_state, &resources).expect("sent again")), ["b"]);
    assert!(!delta_state.is_current(Listener, &resources), "the answer is awaited");
    delta_state.receive(delta(Listener, &[], &[], "4")).unwrap();
    assert!(delta_state.is_current(Listener, &resources) && !delta_state.is_refusing(Listener));
    delta_state.resend(Listener);
    assert!(next_delta(&mut delta_state, &resources).is_none(), "nothing is refused any more");
}

#[test]
fn who_is_asked_for_a_sign_of_life_is_sent_what_changes_nothing() {
    let resources = set(&[(Cluster, "a", "1"), (Listener, "l", "1")]);
    let mut state = StateOfTheWorld::default();
    assert!(!state.ask(&resources), "it has asked for nothing yet");
    for (kind, nonce) in [(Cluster, "1"), (Listener, "2")] {
        state.receive(sotw(kind, &[], "", "")).unwrap();
        let version = next_sotw(&mut state, &resources).unwrap().version_info;
        state.receive(sotw(kind, &[], &version, nonce)).unwrap();
    }
    assert!(next_sotw(&mut state, &resources).is_none());
    assert!(state.ask(&resources));
    let question = next_sotw(&mut state, &resources).expect("there is something to answer");
    assert_eq!((question.type_url.as_str(), question.resources.len()), (Listener.type_url(), 1));
    assert!(next_sotw(&mut state, &resources).is_none());

    let mut state = Delta::default();
    assert!(!state.ask(&resources), "it has asked for nothing yet");
    state.receive(delta(Cluster, &[], &[], "")).unwrap();
    next_delta(&mut state, &resources).unwrap();
    state.receive(delta(Cluster, &[], &[], "1")).unwrap();
    assert!(next_delta(&mut state, &resources).is_none());
    assert!(state.ask(&resources));
    let question = next_delta(&mut state, &resources).expect("there is something to answer");
    assert!(question.resources.is_empty() && question.removed_resources.is_empty());
    assert!(next_delta(&mut state, &resources).is_none(), "once");
}
