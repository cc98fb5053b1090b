//! Effects at a ZoneEgress.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::kind::Kind::{MeshCircuitBreaker, MeshHealthCheck, MeshLoadBalancingStrategy, MeshTrafficPermission};
use tandem_model::kri::Kri;
use tandem_model::protocol::Protocol;
use tandem_policy::envoy::pb::cluster::cluster::LbPolicy;
use tandem_policy::envoy::pb::core::health_check::HealthChecker;
use tandem_policy::envoy::{ChainDraft, Draft, ListenerDraft, NetworkFilter, Origin, names};
use tandem_policy::{
    OwnTags, egress_chain, egress_cluster, egress_external_service_chain, egress_routes, outbound_cluster,
};

use crate::drafts::{ROUTE, action, cluster, http, tcp};
use crate::{for_one_inbound, policies};

fn external() -> Arc<Kri> {
    Arc::new("kri_extsvc_default___httpbin_443".parse::<Kri>().expect("an identifier"))
}

#[test]
fn limits_of_external_services_are_those_of_the_egress() {
    let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionLimits": {"maxConnections": 7}}}]});
    let breaker = [(MeshCircuitBreaker, "a", spec)];
    let mut at_egress = cluster(Protocol::Http).serving(external());
    egress_cluster(policies(&breaker).for_egress(), &mut at_egress);
    assert!(at_egress.value.message.circuit_breakers.is_some());
    let mut at_client = cluster(Protocol::Http).serving(external());
    outbound_cluster(&for_one_inbound(&breaker).outbound, &OwnTags::default(), &mut at_client);
    assert_eq!(at_client.value.message.circuit_breakers, None);
}

#[test]
fn services_outside_are_checked_and_balanced_by_the_egress() {
    let to_all = |conf: Value| json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]});
    let hash = json!([{"type": "Header", "header": {"name": "x"}}]);
    let of_mesh = [
        (MeshHealthCheck, "a", to_all(json!({"http": {}}))),
        (MeshLoadBalancingStrategy, "b", to_all(json!({"loadBalancer": {"type": "Random"}, "hashPolicies": hash}))),
    ];
    let policies_of_mesh = policies(&of_mesh);
    let mut at_egress = cluster(Protocol::Http).serving(external());
    egress_cluster(policies_of_mesh.for_egress(), &mut at_egress);
    let message = &at_egress.value.message;
    assert_eq!(message.lb_policy(), LbPolicy::Random);
    let [check] = message.health_checks.as_slice() else { panic!("{} checks", message.health_checks.len()) };
    let Some(HealthChecker::HttpHealthCheck(check)) = &check.health_checker else { panic!("a check by request") };
    assert_eq!(check.request_headers_to_add, []);
    let mut chain = ChainDraft { filters: vec![http(ROUTE)], ..ChainDraft::default() };
    egress_routes(policies_of_mesh.for_egress(), &external(), &mut chain);
    let listener = ListenerDraft { chains: vec![chain], ..ListenerDraft::default() };
    assert_eq!(action(&mut Draft::new(Origin::Egress, listener)).hash_policy.len(), 1);

    let mut at_client = cluster(Protocol::Http).serving(external());
    outbound_cluster(&for_one_inbound(&of_mesh).outbound, &OwnTags::default(), &mut at_client);
    assert_eq!(at_client.value.message.health_checks, []);
    assert_eq!(at_client.value.message.lb_policy(), LbPolicy::Random);
}

#[test]
fn clients_are_not_told_apart_by_the_egress() {
    let strategy = |target: Value, to: Value, key: &str| {
        let conf = json!({"localityAwareness": {"localZone": {"affinityTags": [{"key": key}]}}});
        json!({"targetRef": target, "to": [{"targetRef": to, "default": conf}]})
    };
    let kind = MeshLoadBalancingStrategy;
    let (mesh, service) = (|| json!({"kind": "Mesh"}), || json!({"kind": "MeshService", "name": "db"}));
    let some = json!({"kind": "Dataplane", "labels": {"app": "web"}});
    let policies = policies(&[
        (kind, "all", strategy(mesh(), mesh(), "of-all")),
        (kind, "db", strategy(mesh(), service(), "of-db")),
        (kind, "some", strategy(some, service(), "of-some")),
        (kind, "subset", strategy(json!({"kind": "MeshSubset", "tags": {"app": "web"}}), service(), "of-subset")),
    ]);
    let tags = |service: &str| -> Vec<String> {
        let strategy = policies.for_egress().load_balancing_of_services.of(service).expect("a strategy");
        strategy.affinity_tags().map(str::to_owned).collect()
    };
    // Both are of one rank, and what comes first by name is stronger.
    assert_eq!(tags("db"), ["of-all"]);
    assert_eq!(tags("other"), ["of-all"]);
    assert!(crate::policies(&[]).for_egress().load_balancing_of_services.of("db").is_none());
}

/// How many policies the RBAC filter of a chain has; `None` when it has no such filter.
fn permitted(edit: impl FnOnce(&mut ChainDraft)) -> Option<usize> {
    let mut chain = ChainDraft { filters: vec![tcp()], ..ChainDraft::default() };
    edit(&mut chain);
    match &chain.filters[0] {
        NetworkFilter::Rbac(rbac) => {
            assert_eq!(rbac.stat_prefix, "inbound_10_0_0_1_10002.");
            assert_eq!(chain.filters[1].name(), names::TCP_PROXY);
            Some(rbac.rules.as_ref().expect("rules").policies.len())
        }
        _ => None,
    }
}

const LISTENER: &str = "inbound:10.0.0.1:10002";

#[test]
fn mesh_external_services_are_open_unless_the_mesh_forbids_it() {
    assert_eq!(permitted(|chain| egress_external_service_chain(false, LISTENER, chain)), Some(1));
    assert_eq!(permitted(|chain| egress_external_service_chain(true, LISTENER, chain)), Some(0));
}

#[test]
fn external_services_are_closed_unless_a_policy_opens_them() {
    let service = [("kuma.io/service".to_owned(), "db".to_owned())].into();
    let none = policies(&[]).for_outside(&service);
    assert_eq!(permitted(|chain| egress_chain(&none, false, LISTENER, chain)), Some(0));
    assert_eq!(permitted(|chain| egress_chain(&none, true, LISTENER, chain)), None);
    let allow = |name: &str| {
        json!({
            "targetRef": {"kind": "MeshService", "name": name},
            "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]
        })
    };
    for (name, allowed) in [("db", 1), ("other", 0)] {
        let allowing = policies(&[(MeshTrafficPermission, "a", allow(name))]).for_outside(&service);
        assert_eq!(permitted(|chain| egress_chain(&allowing, true, LISTENER, chain)), Some(allowed));
    }
}
