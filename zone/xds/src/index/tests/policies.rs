//! Whom policies selected by `targetRef` touch.

use serde_json::{Value, json};
use tandem_policy::PolicySettings;

use super::*;

fn key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, "default", name)
}

/// An index of two Dataplanes: `web`, which has a label, and `api`.
fn two_proxies(settings: PolicySettings) -> MeshIndex {
    let mut index = MeshIndex::new(ZoneSettings { policies: Arc::new(settings), ..ZoneSettings::new("east") });
    put(&mut index, mesh("default").resource());
    put(&mut index, dataplane("default", "web").inbound(80, "web").resource().with_labels([("app", "web")]));
    put(&mut index, dataplane("default", "api").inbound(80, "api").resource());
    index
}

fn timeout(name: &str, target: &Value, timeout: &str) -> Resource {
    let to = json!([{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": timeout}}]);
    testing::policy("default", name, json!({"targetRef": target, "to": to}))
}

fn route(name: &str, target: &Value) -> Resource {
    let rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "default": {}});
    let to = json!([{"targetRef": {"kind": "MeshService", "name": "api"}, "rules": [rule]}]);
    Resource::from_json(ResourceKey::new(Kind::MeshHTTPRoute, "default", name), json!({"targetRef": target, "to": to}))
}

fn of_label(label: &str) -> Value {
    json!({"kind": "Dataplane", "labels": {"app": label}})
}

#[test]
fn a_policy_touches_the_proxies_that_it_selects() {
    let mut index = two_proxies(PolicySettings::default());
    let touched =
        |proxies: &[&str]| Touched { proxies: proxies.iter().map(|name| key(name)).collect(), ..Touched::default() };
    let all = || Touched { meshes: ["default".to_owned()].into(), ..Touched::default() };
    assert_eq!(put(&mut index, timeout("t", &json!({"kind": "Mesh"}), "1s")), all());
    assert_eq!(put(&mut index, timeout("t", &json!({"kind": "Mesh"}), "2s")), all());
    // Those of the version before are concerned as well.
    assert_eq!(put(&mut index, timeout("t", &of_label("web"), "2s")), all());
    assert_eq!(put(&mut index, timeout("t", &of_label("web"), "3s")), touched(&["web"]));
    let api = json!({"kind": "Dataplane", "name": "api"});
    assert_eq!(put(&mut index, timeout("t", &api, "3s")), touched(&["web", "api"]));
    assert_eq!(put(&mut index, timeout("t", &json!({"kind": "MeshService", "name": "api"}), "3s")), touched(&["api"]));
    assert_eq!(delete(&mut index, &timeout("t", &Value::Null, "").key), touched(&["api"]));
}

#[test]
fn a_policy_that_selects_nothing_or_is_on_trial_touches_nobody() {
    let mut index = two_proxies(PolicySettings::default());
    assert!(put(&mut index, timeout("t", &of_label("nobody"), "1s")).is_empty());
    assert!(put(&mut index, timeout("r", &json!({"kind": "MeshHTTPRoute", "name": "none"}), "1s")).is_empty());
    let on_trial = timeout("s", &of_label("web"), "1s").with_labels([("kuma.io/effect", "shadow")]);
    assert!(put(&mut index, on_trial).is_empty());
    assert!(!put(&mut index, timeout("s", &of_label("web"), "1s")).is_empty(), "it takes effect");
}

#[test]
fn kinds_that_are_switched_off_have_no_effect() {
    let enabled = Some([Kind::MeshRetry].into());
    let mut index = two_proxies(PolicySettings { enabled, ..PolicySettings::default() });
    assert!(put(&mut index, timeout("t", &json!({"kind": "Mesh"}), "1s")).is_empty());
    let snapshot = index.snapshot();
    let web = snapshot.dataplane("default", "web").expect("it was put");
    let policies = snapshot.meshes.get("default").expect("it was put").compiled.for_proxy(&web.subject());
    assert!(policies.outbound.timeouts.is_empty());
}

/// A policy about a route is for whom the route is for, and of several with one name one is meant.
#[test]
fn a_route_touches_whom_it_and_its_namesakes_select() {
    let mut index = two_proxies(PolicySettings::default());
    put(&mut index, timeout("t", &json!({"kind": "MeshHTTPRoute", "name": "r"}), "1s"));
    assert_eq!(put(&mut index, route("r", &of_label("web"))).proxies, [key("web")].into());
    let named = |name: &str, target: &Value| route(name, target).with_labels([("kuma.io/display-name", "r")]);
    let touched = put(&mut index, named("another", &json!({"kind": "Dataplane", "name": "api"})));
    assert_eq!(touched.meshes, ["default".to_owned()].into(), "both");
    assert_eq!(delete(&mut index, &key_of_route("another")).meshes, ["default".to_owned()].into());
}

fn key_of_route(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::MeshHTTPRoute, "default", name)
}
