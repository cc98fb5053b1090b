//! Effects at a ZoneEgress.

use std::sync::Arc;

use serde_json::json;
use tandem_model::kind::Kind::{MeshCircuitBreaker, MeshTrafficPermission};
use tandem_model::kri::Kri;
use tandem_model::protocol::Protocol;
use tandem_policy::envoy::{ChainDraft, NetworkFilter, names};
use tandem_policy::{OwnTags, egress_chain, egress_cluster, egress_external_service_chain, outbound_cluster};

use crate::drafts::{cluster, tcp};
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
