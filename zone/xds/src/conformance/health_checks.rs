//! MeshHealthCheck: what it decides about clusters.
//!
//! Upstream's tests apply the plugin to clusters made for the test, without discovery. Here the same is done, with the policy as a user
//! writes it; compared is what the policy decides.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, Kri, Protocol, Resource, ResourceKey};
use tandem_policy::destinations::Destinations;
use tandem_policy::envoy::{Draft, DraftSet, Origin};
use tandem_policy::policy::Policy;
use tandem_policy::subject::Subject;
use tandem_policy::{MeshPolicies, outbound_cluster};

use super::report::{Report, folder};
use super::{canonical, compare, of_set, yaml};
use crate::generate::shape::{self, Discovery};
use crate::testing::dataplane;

const FOLDER: &str = "policy-plugins/meshhealthcheck/plugin-v1alpha1";

/// Of a cluster what is decided here.
fn decided(cluster: &Value) -> Value {
    let members = ["healthChecks", "commonLbConfig"];
    let decided: Map<String, Value> =
        members.into_iter().filter_map(|name| Some((name.to_owned(), cluster.get(name)?.clone()))).collect();
    Value::Object(decided)
}

/// What a policy decides about the cluster of a service that speaks `protocol`, for the proxy of upstream's tests. The service is one by
/// its tag, or a MeshService.
fn cluster(conf: &Value, name: &str, protocol: Protocol, is_resource: bool) -> Value {
    let target = match is_resource {
        false => json!({"kind": "Mesh"}),
        true => json!({"kind": "MeshService", "name": name}),
    };
    let mut spec = json!({"to": [{"targetRef": target, "default": conf}]});
    let checked = tandem_policy::check(Kind::MeshHealthCheck, &mut spec);
    assert!(checked.violations.is_empty(), "{}", checked.violations);
    let key = ResourceKey::new(Kind::MeshHealthCheck, "default", "policy");
    let policy = Policy::decode(Arc::new(Resource::from_json(key, spec))).expect("just checked");
    let service = json!({"ports": [{"port": 80}]});
    let service = Resource::from_json(ResourceKey::new(Kind::MeshService, "default", name), service);
    let identifier = Kri::of(&service).expect("a MeshService has one").with_section("80");
    let destinations = Arc::new(Destinations::new([Arc::new(service)]));
    let policies = MeshPolicies::new("default", [Arc::new(policy)], destinations);
    let proxy = dataplane("default", "backend").inbound(80, "backend");
    let resource = proxy.resource();
    let policies = policies.for_proxy(&Subject::new(&resource, &proxy.spec, &[]));
    let own = policies.outbound.own_tags(|| proxy.spec.all_tags());
    let draft = Draft::new(Origin::Outbound, shape::cluster(name, Discovery::Static));
    let mut draft = match is_resource {
        false => draft.for_service(name),
        true => draft.serving(Arc::new(identifier)),
    };
    draft.protocol = protocol;
    outbound_cluster(&policies.outbound, &own, &mut draft);
    let mut set = DraftSet::default();
    set.add_cluster(draft);
    decided(&of_set(&set).into_values().next().expect("one resource"))
}

#[test]
fn health_checks() {
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let brief = |checker: &str, conf: Value| json!({"interval": "10s", "timeout": "2s", "unhealthyThreshold": 3, "healthyThreshold": 1, checker: conf});
    let mut by_request = brief(
        "http",
        json!({
            "disabled": false,
            "path": "/health",
            "requestHeadersToAdd": {
                "add": [{"name": "x-some-header", "value": "value"}],
                "set": [{"name": "x-some-other-header", "value": "value"}],
            },
            "expectedStatuses": [200, 201],
        }),
    );
    let more = json!({
        "initialJitter": "13s",
        "intervalJitter": "15s",
        "intervalJitterPercent": 10,
        "healthyPanicThreshold": "62.9",
        "failTrafficOnPanic": true,
        "eventLogPath": "/tmp/log.txt",
        "alwaysLogHealthCheckFailures": false,
        "noTrafficInterval": "16s",
        "reuseConnection": true,
    });
    for (name, value) in more.as_object().expect("an object") {
        by_request[name] = value.clone();
    }
    let by_connection = brief("tcp", json!({"disabled": false, "send": "cGluZwo=", "receive": ["cG9uZwo="]}));
    let by_call =
        brief("grpc", json!({"serviceName": "grpc-client", "authority": "grpc-client.default.svc.cluster.local"}));
    let cases = [
        ("basic_http_health_check_cluster", &by_request, "echo-http", Protocol::Http, false),
        ("basic_http_health_check_split_cluster", &by_request, "echo-http-_0_", Protocol::Http, false),
        ("basic_tcp_health_check_cluster", &by_connection, "echo-tcp", Protocol::Tcp, false),
        ("basic_tcp_health_check_cluster_real_ms", &by_connection, "echo-tcp", Protocol::Tcp, true),
        ("basic_grpc_health_check_cluster", &by_call, "echo-grpc", Protocol::Grpc, false),
    ];
    for (name, conf, service, protocol, is_resource) in cases {
        let expected = decided(&canonical(yaml(&folder.join(format!("{name}.golden.yaml")))));
        let mut found = Vec::new();
        compare::compare("", &cluster(conf, service, protocol, is_resource), &expected, &mut found);
        report.case(name, found);
    }
    report.skip("basic_egress_meshexternalservice_cluster", "no test of upstream makes it");
    for name in [
        "basic",
        "basic-meshhttproute",
        "real-mesh-service-meshhttproute",
        "real-mesh-service-target-real-mesh-service-meshhttproute",
    ] {
        report.skip(format!("{name}.gateway_cluster"), "MeshGateway");
    }
    report.finish();
}
