
use serde_json::{Value, json};
use tandem_model::{Kind, ResourceKey};
use std::collections::BTreeMap;
use super::zone_proxies::{resource, run};
use super::{Resources, canonical, differences};
use crate::testing::envoy_json;
use crate::metadata::{Features, ProxyMetadata};

fn recorded(name: &str) -> Resources {
    let text = std::fs::read_to_string(format!("/work/shared/recordings/config_dump-{name}.json")).unwrap();
    let dump: Value = serde_json::from_str(&text).unwrap();
    let mut out = Resources::new();
    let mut add = |message: &Value, static_ok: bool| {
        let mut message = message.clone();
        let ty = message["@type"].as_str().unwrap().to_owned();
        let full = ty.rsplit('/').next().unwrap().to_owned();
        message.as_object_mut().unwrap().remove("@type");
        let bytes = envoy_json::from_json(&full, &message);
        let mut json = envoy_json::to_json(&full, &bytes);
        json["@type"] = json!(ty);
        let name = json["name"].as_str().or(json["clusterName"].as_str()).unwrap().to_owned();
        let _ = static_ok;
        out.insert((ty, name), canonical(json));
    };
    for c in dump["configs"].as_array().unwrap() {
        for x in c["dynamic_active_clusters"].as_array().into_iter().flatten() { add(&x["cluster"], false); }
        for x in c["dynamic_listeners"].as_array().into_iter().flatten() { add(&x["active_state"]["listener"], false); }
        for x in c["dynamic_active_secrets"].as_array().into_iter().flatten() { add(&x["secret"], false); }
        for x in c["dynamic_endpoint_configs"].as_array().into_iter().flatten() {
            let mut e = x["endpoint_config"].clone();
            e.as_object_mut().unwrap().remove("policy");
            for l in e["endpoints"].as_array_mut().into_iter().flatten() {
                let l = l.as_object_mut().unwrap();
                l.remove("load_balancing_weight");
                for ep in l["lb_endpoints"].as_array_mut().unwrap() {
                    let ep = ep.as_object_mut().unwrap();
                    ep.remove("health_status");
                    ep["endpoint"].as_object_mut().unwrap().remove("health_check_config");
                }
            }
            add(&e, false);
        }
    }
    // assignments of static clusters are shown there too
    let eds: Vec<String> = out.iter().filter(|((t, _), v)| t.ends_with(".Cluster") && v["type"] == "EDS").map(|((_, n), _)| n.clone()).collect();
    out.retain(|(t, n), _| !t.ends_with("ClusterLoadAssignment") || eds.contains(n));
    out
}

fn shared() -> Vec<Value> {
    vec![
        json!({"type": "Mesh", "name": "default", "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]}, "routing": {"zoneEgress": true, "localityAwareLoadBalancing": true}}),
        json!({"type": "Secret", "mesh": "default", "name": "default.ca-builtin-cert-ca-1", "data": "Q0E="}),
        json!({"type": "MeshTrafficPermission", "mesh": "default", "name": "allow-all", "spec": {"targetRef": {"kind": "Mesh"}, "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]}}),
        json!({"type": "MeshTimeout", "mesh": "default", "name": "mesh-timeout-all-default", "spec": {"targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "5s", "idleTimeout": "1h0m0s", "http": {"requestTimeout": "15s", "streamIdleTimeout": "30m0s"}}}], "from": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "10s", "idleTimeout": "2h0m0s", "http": {"requestTimeout": "0s", "streamIdleTimeout": "1h0m0s", "maxStreamDuration": "0s"}}}]}}),
        json!({"type": "MeshCircuitBreaker", "mesh": "default", "name": "mcb", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionLimits": {"maxConnections": 1024, "maxPendingRequests": 1024, "maxRetries": 3, "maxRequests": 1024}}}]}}),
        json!({"type": "MeshMultiZoneService", "mesh": "default", "name": "echo", "spec": {"selector": {"meshService": {"matchLabels": {"kuma.io/display-name": "echo"}}}, "ports": [{"port": 23001, "appProtocol": "http"}]}}),
        json!({"type": "MeshRetry", "mesh": "default", "name": "mr", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"tcp": {"maxConnectAttempt": 5}, "http": {"numRetries": 5, "perTryTimeout": "16s", "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}}, "grpc": {"numRetries": 5, "perTryTimeout": "16s", "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}}}}]}}),
    ]
}

fn zone1() -> Vec<Value> {
    let mut all = shared();
    all.push(json!({"type": "MeshTimeout", "mesh": "default", "name": "a-zone-local", "labels": {}, "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "30m"}}]}}));
    all.push(json!({"type": "Dataplane", "mesh": "default", "name": "client", "networking": {"address": "127.0.0.1", "inbound": [{"port": 13001, "servicePort": 13000, "tags": {"kuma.io/protocol": "http", "kuma.io/service": "client", "kuma.io/zone": "zone-1"}}], "outbound": [{"port": 13002, "tags": {"kuma.io/service": "echo"}}], "admin": {"port": 19903}}}));
    all.push(json!({"type": "ZoneIngress", "name": "ingress-1", "networking": {"address": "127.0.0.1", "port": 10001, "advertisedAddress": "127.0.0.1", "advertisedPort": 10001}, "availableServices": [{"mesh": "default", "instances": 1, "tags": {"kuma.io/protocol": "http", "kuma.io/service": "client", "kuma.io/zone": "zone-1"}}]}));
    all.push(json!({"type": "ZoneIngress", "name": "ingress-2-hash", "zone": "zone-2", "networking": {"address": "127.0.0.1", "port": 20001, "advertisedAddress": "127.0.0.1", "advertisedPort": 20001}, "availableServices": [{"mesh": "default", "instances": 1, "tags": {"kuma.io/protocol": "http", "kuma.io/service": "echo", "kuma.io/zone": "zone-2"}}]}));
    all.push(json!({"type": "ZoneEgress", "name": "egress-1", "networking": {"address": "127.0.0.1", "port": 10002}}));
    all
}

fn check(zone: &str, all: Vec<Value>, key: ResourceKey, dump: &str, admin_port: u32) {
    let expected = recorded(dump);
    let pipe = expected.iter().find(|((_, n), _)| n == "kuma:readiness").unwrap().1["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["pipe"]["path"].as_str().unwrap().to_owned();
    let metadata = ProxyMetadata {
        admin_port, readiness_port: 9902, dns_port: 15054, admin_address: "127.0.0.1".into(),
        workdir: pipe.trim_end_matches("/kuma-readiness-reporter.sock").into(),
        features: Features::from_names(["feature-embedded-dns", "feature-readiness-unix-socket", "feature-strict-inbound-ports", "feature-reuse-port"]),
        ipv6_enabled: true,
        ..Default::default()
    };
    let mut actual = run(zone, all.iter().map(resource).collect(), &key, &metadata);
    for r in [&mut actual] { r.retain(|(t, _), _| !t.ends_with(".Secret")); }
    let mut expected = expected; 
    println!("{dump}: secrets recorded: {:?}", expected.keys().filter(|(t, _)| t.ends_with(".Secret")).collect::<Vec<_>>());
    expected.retain(|(t, _), _| !t.ends_with(".Secret"));
    let d = differences(&actual, &expected);
    println!("{dump}: {} resources, {} differences", expected.len(), d.len());
    for x in d { println!("   {x}"); }
    let _ = BTreeMap::<u8, u8>::new();
}

#[test]
fn recordings() {
    check("zone-1", zone1(), ResourceKey::new(Kind::Dataplane, "default", "client"), "client", 19903);
    check("zone-1", zone1(), ResourceKey::global(Kind::ZoneIngress, "ingress-1"), "zi1", 19901);
    check("zone-1", zone1(), ResourceKey::global(Kind::ZoneEgress, "egress-1"), "ze1", 19902);
    let mut all = shared();
    all.push(json!({"type": "Dataplane", "mesh": "default", "name": "echo", "networking": {"address": "127.0.0.1", "inbound": [{"port": 23001, "servicePort": 23000, "tags": {"kuma.io/protocol": "http", "kuma.io/service": "echo", "kuma.io/zone": "zone-2"}}], "admin": {"port": 29903}}}));
    all.push(json!({"type": "ZoneIngress", "name": "ingress-2", "networking": {"address": "127.0.0.1", "port": 20001, "advertisedAddress": "127.0.0.1", "advertisedPort": 20001}, "availableServices": [{"mesh": "default", "instances": 1, "tags": {"kuma.io/protocol": "http", "kuma.io/service": "echo", "kuma.io/zone": "zone-2"}}]}));
    all.push(json!({"type": "ZoneIngress", "name": "ingress-1-hash", "zone": "zone-1", "networking": {"address": "127.0.0.1", "port": 10001, "advertisedAddress": "127.0.0.1", "advertisedPort": 10001}, "availableServices": [{"mesh": "default", "instances": 1, "tags": {"kuma.io/protocol": "http", "kuma.io/service": "client", "kuma.io/zone": "zone-1"}}]}));
    all.push(json!({"type": "ZoneEgress", "name": "egress-2", "networking": {"address": "127.0.0.1", "port": 20002}}));
    check("zone-2", all.clone(), ResourceKey::new(Kind::Dataplane, "default", "echo"), "echo", 29903);
    check("zone-2", all.clone(), ResourceKey::global(Kind::ZoneIngress, "ingress-2"), "zi2", 29901);
    check("zone-2", all, ResourceKey::global(Kind::ZoneEgress, "egress-2"), "ze2", 29902);
}
