//! The way between configurations, with a client that answers what it is told to.

use bytes::Bytes;
use tonic::Status;

use super::super::variant::{Push, Received};
use super::*;

/// A client that has everything it was shown of some types, and asks for some endpoints.
#[derive(Default)]
struct Client {
    has: Vec<ResourceType>,
    asks: Vec<&'static str>,
}

impl Variant for Client {
    type Request = ();

    fn node(_: &()) -> Bytes {
        Bytes::new()
    }

    fn receive(&mut self, _: ()) -> Result<Received, Status> {
        Ok(Received::Ignored)
    }

    fn resend(&mut self, _: ResourceType) {}

    fn ask(&mut self, _: &ResourceSet) -> bool {
        false
    }

    fn is_refusing(&self, _: ResourceType) -> bool {
        false
    }

    fn is_current(&self, resource_type: ResourceType, _: &ResourceSet) -> bool {
        self.has.contains(&resource_type)
    }

    fn asks_for(&self, _: ResourceType, name: &str) -> bool {
        self.asks.contains(&name)
    }

    fn subscription_size(&self) -> usize {
        0
    }

    fn next(&mut self, _: &ResourceSet, _: &str) -> Option<Push> {
        None
    }
}

fn set(cluster: &str, listener: &str) -> ResourceSet {
    let resources = [(Cluster, cluster), (Endpoint, cluster), (Listener, listener)];
    ResourceSet::collect(resources.map(|(kind, name)| (kind, Arc::new(Encoded::new(kind, name, cluster.as_bytes())))))
}

fn names(set: &ResourceSet, kind: ResourceType) -> Vec<String> {
    set.of(kind).iter().map(|resource| resource.name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn listeners_wait_for_clusters_and_old_clusters_for_connections() {
    let (old, new) = (set("a", "one"), set("b", "two"));
    let (mut transition, mut client) = (Transition::default(), Client::default());
    transition.begin(&old, &new);
    let first = transition.stage(&new, &client);
    assert_eq!(
        (names(first, Cluster), names(first, Endpoint)),
        (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(names(first, Listener), ["one"]);

    client.has = vec![Cluster, Endpoint, Secret];
    assert_eq!(names(transition.stage(&new, &client), Listener), ["one"], "the client has not asked for the endpoints");
    client.asks = vec!["b"];
    let second = transition.stage(&new, &client);
    assert_eq!((names(second, Listener), names(second, Cluster)), (vec!["two".into()], vec!["a".into(), "b".into()]));

    let begin = Instant::now();
    client.has.push(Listener);
    assert_eq!(names(transition.stage(&new, &client), Cluster), ["a", "b"], "connections may go on");
    transition.wait().await;
    assert_eq!(begin.elapsed(), DRAIN);
    assert_eq!(*transition.stage(&new, &client), new);
    assert!(tokio::time::timeout(DRAIN * 2, transition.wait()).await.is_err(), "nothing is left to be done");
}

#[tokio::test(start_paused = true)]
async fn clusters_that_do_not_become_ready_hold_nothing_up_for_long() {
    let (old, new) = (set("a", "one"), set("b", "two"));
    let (mut transition, client) = (Transition::default(), Client::default());
    transition.begin(&old, &new);
    let begin = Instant::now();
    transition.wait().await;
    assert_eq!(begin.elapsed(), PATIENCE);
    assert_eq!(names(transition.stage(&new, &client), Listener), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn clusters_stay_while_the_client_keeps_listeners_that_speak_of_them() {
    let (old, new) = (set("a", "one"), set("b", "two"));
    let (mut transition, mut client) = (Transition::default(), Client::default());
    transition.begin(&old, &new);
    client.asks = vec!["b"];
    client.has = vec![Cluster, Endpoint, Secret];
    transition.stage(&new, &client);
    transition.rejected(Listener);
    client.has.push(Listener);
    assert_eq!(names(transition.stage(&new, &client), Cluster), ["a", "b"]);
    assert!(tokio::time::timeout(DRAIN * 2, transition.wait()).await.is_err(), "it is refused");
    transition.accepted(Listener);
    transition.stage(&new, &client);
    transition.wait().await;
    assert_eq!(*transition.stage(&new, &client), new);
}

#[tokio::test(start_paused = true)]
async fn a_change_on_the_way_is_taken_along() {
    let (first, second, third) = (set("a", "one"), set("b", "two"), set("c", "three"));
    let (mut transition, client) = (Transition::default(), Client::default());
    transition.begin(&first, &second);
    transition.begin(&second, &third);
    let shown = transition.stage(&third, &client);
    assert_eq!(names(shown, Cluster), ["a", "b", "c"]);
    assert_eq!(names(shown, Listener), ["one"], "the client has no other yet");
    transition.begin(&third, &first);
    let shown = transition.stage(&first, &client);
    assert_eq!(
        (names(shown, Cluster), names(shown, Listener)),
        (vec!["a".into(), "b".into(), "c".into()], vec!["one".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn what_brings_no_new_cluster_is_sent_at_once() {
    let (old, new) = (set("a", "one"), set("a", "two"));
    let mut transition = Transition::default();
    transition.begin(&old, &new);
    assert_eq!(*transition.stage(&new, &Client::default()), new);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_needs_no_secrets_need_not_ask_for_them() {
    let (old, new) = (set("a", "one"), set("b", "two"));
    let (mut transition, client) = (Transition::default(), Client { has: vec![Cluster, Endpoint], asks: vec!["b"] });
    transition.begin(&old, &new);
    assert_eq!(names(transition.stage(&new, &client), Listener), ["two"]);
}

#[test]
fn a_cluster_that_a_listener_still_speaks_of_is_meant_to_be_missing() {
    let listener = |text: &str| {
        let message = prost::Message::encode_to_vec(&text.to_owned());
        (Listener, Arc::new(Encoded::new(Listener, "passthrough", &message)))
    };
    let cluster = (Cluster, Arc::new(Encoded::new(Cluster, "elsewhere", b"")));
    for (speaks_of, expected) in [("elsewhere", &[][..]), ("elsewhere-2", &["elsewhere"][..])] {
        let old = ResourceSet::collect([listener(speaks_of), cluster.clone()]);
        let new = ResourceSet::collect([listener(speaks_of)]);
        let mut transition = Transition::default();
        transition.begin(&old, &new);
        assert_eq!(names(transition.stage(&new, &Client::default()), Cluster), expected, "{speaks_of}");
    }
}
