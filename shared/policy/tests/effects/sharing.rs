//! Proxies that the same policies select share what these amount to.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::kind::Kind::{MeshHTTPRoute, MeshTimeout, MeshTrafficPermission};
use tandem_policy::matching::unresolved;
use tandem_policy::subject::Subject;
use tandem_policy::{MeshPolicies, ProxyPolicies};

use crate::{dataplane, policies};

fn for_ports(policies: &MeshPolicies, name: &str, ports: &[u32]) -> ProxyPolicies {
    let (resource, dataplane) = dataplane(name, ports);
    policies.for_proxy(&Subject::new(&resource, &dataplane, &[]))
}

fn allow(target: Value) -> Value {
    json!({"targetRef": target, "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]})
}

#[test]
fn proxies_selected_alike_share_everything() {
    let timeout = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}]});
    let policies =
        policies(&[(MeshTrafficPermission, "a", allow(json!({"kind": "Mesh"}))), (MeshTimeout, "b", timeout)]);
    let one = for_ports(&policies, "one", &[80]);
    let other = for_ports(&policies, "other", &[80, 90]);
    assert!(Arc::ptr_eq(&one.outbound, &other.outbound) && Arc::ptr_eq(&one.own, &other.own));
    assert!(Arc::ptr_eq(one.inbound(0), other.inbound(0)));
    assert!(Arc::ptr_eq(other.inbound(0), other.inbound(1)));
}

#[test]
fn inbounds_selected_differently_differ() {
    let subset = json!({"kind": "MeshSubset", "tags": {"port": "80"}});
    let policies = policies(&[(MeshTrafficPermission, "a", allow(subset))]);
    let mixed = for_ports(&policies, "mixed", &[80, 90]);
    assert!(mixed.inbound(0).permission.is_some());
    assert!(mixed.inbound(1).permission.is_none());
    let longer = for_ports(&policies, "longer", &[80, 90, 91]);
    assert!(Arc::ptr_eq(mixed.inbound(1), longer.inbound(2)));
    assert!(Arc::ptr_eq(&mixed.outbound, &longer.outbound));
    let unselected = for_ports(&policies, "unselected", &[90]);
    assert!(unselected.inbound(0).permission.is_none());
}

#[test]
fn proxies_are_selected_by_type_and_labels() {
    let gateways = json!({"kind": "Mesh", "proxyTypes": ["Gateway"]});
    let labelled = json!({"kind": "Dataplane", "labels": {"app": "web"}});
    let policies = policies(&[
        (MeshTimeout, "g", json!({"targetRef": gateways, "rules": [{"default": {"connectionTimeout": "1s"}}]})),
        (MeshTimeout, "l", json!({"targetRef": labelled, "rules": [{"default": {"connectionTimeout": "2s"}}]})),
    ]);
    let plain = for_ports(&policies, "plain", &[80]);
    assert_eq!(plain.inbound(0).timeouts.connection_timeout, None);
    let (resource, dataplane) = dataplane("web", &[80]);
    let resource = resource.with_labels([("app", "web")]);
    let web = policies.for_proxy(&Subject::new(&resource, &dataplane, &[]));
    let timeout = web.inbound(0).timeouts.connection_timeout.map(|timeout| timeout.to_std().as_secs());
    assert_eq!(timeout, Some(2));
}

#[test]
fn policies_about_a_missing_route_have_no_effect() {
    let policy = json!({
        "targetRef": {"kind": "MeshHTTPRoute", "name": "missing"},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"requestTimeout": "4s"}}}]
    });
    let policies = policies(&[(MeshTimeout, "a", policy)]);
    assert!(for_ports(&policies, "dp", &[80]).warnings.is_empty());
    let reason = unresolved(&policies.of_kind(MeshTimeout)[0], policies.of_kind(MeshHTTPRoute));
    let expected = "couldn't resolve MeshHTTPRoute targetRef with name 'missing'";
    assert_eq!(reason.map(|reason| reason.to_string()).as_deref(), Some(expected));
}
