//! Policies of the older generation in the index.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{MeshIndex, Touched, delete, index, put};
use crate::testing::{dataplane, mesh, stored};

fn between(source: &str, destination: &str) -> Value {
    let selectors = |service: &str| json!([{"match": {"kuma.io/service": service}}]);
    json!({"sources": selectors(source), "destinations": selectors(destination)})
}

/// A mesh with the proxies of `web`, `api` and `db`.
fn three() -> MeshIndex {
    let mut index = index();
    put(&mut index, mesh("default").resource());
    for service in ["web", "api", "db"] {
        put(&mut index, dataplane("default", service).inbound(80, service).resource());
    }
    index
}

fn proxies(names: &[&str]) -> BTreeSet<ResourceKey> {
    names.iter().map(|name| ResourceKey::new(Kind::Dataplane, "default", *name)).collect()
}

#[test]
fn a_policy_touches_the_proxies_it_selects() {
    let mut index = three();
    let retry = stored(Kind::Retry, "default", "retries", &between("web", "api"));
    let expected = Touched { proxies: proxies(&["web", "api"]), ..Touched::default() };
    assert_eq!(put(&mut index, retry.clone()), expected);
    assert!(put(&mut index, Resource { version: 2, ..retry.clone() }).is_empty(), "the same again");
    let moved = stored(Kind::Retry, "default", "retries", &between("web", "db"));
    assert_eq!(put(&mut index, moved).proxies, proxies(&["web", "api", "db"]), "those it selected and selects");
    let removed = delete(&mut index, &retry.key);
    assert_eq!(removed, Touched { proxies: proxies(&["web", "db"]), ..Touched::default() });
    assert!(delete(&mut index, &retry.key).is_empty());
    let selectors = json!({"selectors": [{"match": {"kuma.io/service": "db"}}]});
    let of_proxies = stored(Kind::TrafficTrace, "default", "trace", &selectors);
    assert_eq!(put(&mut index, of_proxies), Touched { proxies: proxies(&["db"]), ..Touched::default() });
}

#[test]
fn the_first_and_the_last_route_touch_the_whole_mesh() {
    let mut index = three();
    let whole = Touched { meshes: ["default".to_owned()].into(), zone_proxies: true, ..Touched::default() };
    let route = |name: &str| stored(Kind::TrafficRoute, "default", name, &between("web", "*"));
    assert_eq!(put(&mut index, route("one")), whole);
    let second = put(&mut index, route("two"));
    assert!(second.meshes.is_empty() && second.zone_proxies, "{second:?}");
    assert!(delete(&mut index, &route("two").key).meshes.is_empty());
    assert_eq!(delete(&mut index, &route("one").key), whole);
}

#[test]
fn a_permission_for_an_external_service_concerns_all_who_may_use_it() {
    let mut index = three();
    let outside = json!({"networking": {"address": "192.0.2.1:443"}, "tags": {"kuma.io/service": "outside"}});
    put(&mut index, stored(Kind::ExternalService, "default", "outside", &outside));
    let permission = stored(Kind::TrafficPermission, "default", "web-only", &between("web", "outside"));
    let touched = put(&mut index, permission);
    assert!(touched.meshes.contains("default") && touched.zone_proxies, "{touched:?}");
    let between_others = stored(Kind::TrafficPermission, "default", "api-db", &between("api", "db"));
    assert_eq!(put(&mut index, between_others).proxies, proxies(&["api", "db"]));
}

#[test]
fn a_policy_that_does_not_decode_is_left_out_and_reported() {
    let mut index = three();
    let good = stored(Kind::Timeout, "default", "timeouts", &between("web", "*"));
    put(&mut index, good.clone());
    let bad = Resource { spec: tandem_model::Spec::Proto(bytes::Bytes::from_static(b"\xff")), ..good.clone() };
    let touched = put(&mut index, bad);
    assert_eq!(touched.proxies.len(), 3, "whom it selected: {touched:?}");
    let problems = index.take_problems();
    assert_eq!(problems.iter().map(|problem| &problem.key).collect::<Vec<_>>(), [&good.key]);
    assert!(index.snapshot().meshes.get("default").expect("exists").legacy.policies().is_empty());
    assert_eq!(put(&mut index, good).proxies.len(), 3);
}

#[test]
fn proxies_that_are_selected_alike_share_what_policies_amount_to() {
    let mut index = three();
    put(&mut index, dataplane("default", "web-2").inbound(80, "web").resource());
    put(&mut index, stored(Kind::Timeout, "default", "timeouts", &between("web", "*")));
    put(&mut index, stored(Kind::TrafficPermission, "default", "permissions", &between("*", "web")));
    let snapshot = index.snapshot();
    let state = snapshot.meshes.get("default").expect("exists");
    let of = |name: &str| state.legacy.for_proxy(&snapshot.dataplane("default", name).expect("exists").spec);
    let (web, web_2, api) = (of("web"), of("web-2"), of("api"));
    assert!(Arc::ptr_eq(&web.outbound, &web_2.outbound) && Arc::ptr_eq(&web.inbounds[0], &web_2.inbounds[0]));
    assert!(web.outbound.timeouts.of("api").is_some() && api.outbound.timeouts.of("api").is_none());
    assert!(web.inbounds[0].traffic_permission.is_some() && api.inbounds[0].traffic_permission.is_none());
}
