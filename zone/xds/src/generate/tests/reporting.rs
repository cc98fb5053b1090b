//! What MeshAccessLogs and MeshTraces make of a proxy.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{CLUSTER, LISTENER, key};
use crate::metadata::ProxyMetadata;
use crate::testing::{Zone, json, metadata, names, stored};
use crate::{Features, Generated};

const INBOUND: &str = "inbound:10.0.0.1:8080";
const OUTBOUND: &str = "outbound:127.0.0.1:9000";

fn mesh(mode: &str) -> Resource {
    let mesh = json!({"type": "Mesh", "name": "default", "meshServices": {"mode": mode}});
    from_json(mesh, None, Unknown::Refuse).expect("a Mesh").resource
}

/// A policy as it is stored.
fn policy(kind: Kind, name: &str, mut spec: Value) -> Resource {
    let checked = tandem_policy::check(kind, &mut spec);
    assert!(checked.violations.is_empty(), "{name}: {}", checked.violations);
    Resource::from_json(ResourceKey::new(kind, "default", name), spec)
}

/// A Dataplane of the service `web` at an address, with an outbound to the service `db` and further members of its networking.
fn web(name: &str, address: &str, more: Value) -> Resource {
    let tags = json!({"kuma.io/service": "web", "kuma.io/protocol": "http"});
    let mut networking = json!({
        "address": address,
        "inbound": [{"port": 8080, "tags": tags}],
        "outbound": [{"port": 9000, "tags": {"kuma.io/service": "db"}}],
    });
    for (name, member) in more.as_object().into_iter().flatten() {
        networking[name] = member.clone();
    }
    stored(Kind::Dataplane, "default", name, &json!({"networking": networking}))
}

fn db() -> Resource {
    let tags = json!({"kuma.io/service": "db", "kuma.io/protocol": "http"});
    let networking = json!({"address": "10.0.0.9", "inbound": [{"port": 80, "tags": tags}]});
    stored(Kind::Dataplane, "default", "db", &json!({"networking": networking}))
}

fn file(format: &str) -> Value {
    json!({"type": "File", "file": {"path": "/log", "format": {"type": "Plain", "plain": format}}})
}

fn collector(endpoint: &str) -> Value {
    json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": endpoint, "body": {"stringValue": "x"}}})
}

/// Logs of everything that goes out.
fn outgoing(backends: Value) -> Resource {
    let to = json!([{"targetRef": {"kind": "Mesh"}, "default": {"backends": backends}}]);
    policy(Kind::MeshAccessLog, "outgoing", json!({"to": to}))
}

/// Logs of everything that comes in.
fn incoming(backends: Value) -> Resource {
    policy(Kind::MeshAccessLog, "incoming", json!({"rules": [{"default": {"backends": backends}}]}))
}

fn generated(zone: &Zone, name: &str) -> Generated {
    zone.generate(&key(name), None).expect("everything is there")
}

fn warnings(generated: &Generated) -> Vec<String> {
    generated.warnings.iter().map(ToString::to_string).collect()
}

/// What the first filter of the first chain of a listener has at a path.
fn of_filter(generated: &Generated, listener: &str, path: &str) -> Value {
    let listener = json(generated, LISTENER, listener);
    listener.pointer(&format!("/filterChains/0/filters/0/typedConfig{path}")).cloned().unwrap_or_default()
}

/// The lines of the first log of a listener.
fn line(generated: &Generated, listener: &str) -> Value {
    of_filter(generated, listener, "/accessLog/0/typedConfig/logFormat/textFormatSource/inlineString")
}

const EVERYTHING: &str = "%KUMA_MESH% %KUMA_TRAFFIC_DIRECTION% %KUMA_SOURCE_SERVICE% %KUMA_DESTINATION_SERVICE% \
                          %KUMA_SOURCE_ADDRESS% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%";

#[test]
fn logs_tell_whose_they_are() {
    let redirection = json!({"transparentProxying": {
        "redirectPortInbound": 15006, "redirectPortOutbound": 15001, "directAccessServices": ["*"],
    }, "advertisedAddress": "192.0.2.1"});
    let all = || [mesh("Disabled"), db(), outgoing(json!([file(EVERYTHING)])), incoming(json!([file(EVERYTHING)]))];
    let zone = Zone::new("east", all().into_iter().chain([web("web", "10.0.0.1", json!({}))]));
    let plain = generated(&zone, "web");
    assert_eq!(line(&plain, INBOUND), "default INBOUND unknown web 10.0.0.1:0 10.0.0.1\n");
    assert_eq!(line(&plain, OUTBOUND), "default OUTBOUND web db 10.0.0.1:0 10.0.0.1\n");

    // Where connections are redirected, everything that they can leave by has logs: also every address of another proxy, where Kuma
    // logs only one.
    let zone = Zone::new(
        "east",
        all().into_iter().chain([web("web", "10.0.0.1", redirection), web("other", "10.0.0.2", json!({}))]),
    );
    let redirected = generated(&zone, "web");
    let expected = |destination: &str| format!("default OUTBOUND web {destination} 192.0.2.1:0 192.0.2.1\n");
    for family in ["ipv4", "ipv6"] {
        assert_eq!(line(&redirected, &format!("outbound:passthrough:{family}")), expected("external"));
        assert_eq!(line(&redirected, &format!("inbound:passthrough:{family}")), Value::Null);
    }
    for address in ["direct_access_10.0.0.2:8080", "direct_access_10.0.0.9:80"] {
        assert_eq!(line(&redirected, address), expected(address));
    }
}

#[test]
fn logs_follow_changes_of_policies() {
    let mut zone = Zone::new("east", [mesh("Disabled"), db(), web("web", "10.0.0.1", json!({}))]);
    assert_eq!(line(&generated(&zone, "web"), OUTBOUND), Value::Null);
    assert!(zone.put(outgoing(json!([file("a")]))).concerns(&key("web"), &Default::default()));
    assert_eq!(line(&generated(&zone, "web"), OUTBOUND), "a\n");
    assert!(zone.put(outgoing(json!([file("b")]))).concerns(&key("web"), &Default::default()));
    assert_eq!(line(&generated(&zone, "web"), OUTBOUND), "b\n");
    assert!(zone.put(outgoing(json!([]))).concerns(&key("web"), &Default::default()));
    assert_eq!(line(&generated(&zone, "web"), OUTBOUND), Value::Null);
}

#[test]
fn without_a_format_filters_have_lines_of_their_own() {
    let default = json!([{"type": "File", "file": {"path": "/log"}}]);
    let redirection = json!({"transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}});
    let zone = Zone::new(
        "east",
        [mesh("Disabled"), incoming(default.clone()), outgoing(default), web("web", "10.0.0.1", redirection)],
    );
    let generated = generated(&zone, "web");
    let text = |listener: &str| line(&generated, listener).as_str().unwrap_or_default().to_owned();
    assert!(text(INBOUND).contains("\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\""));
    // Here Kuma writes `tcp` and nothing else.
    let expected = "[%START_TIME%] %RESPONSE_FLAGS% default 10.0.0.1(web)->%UPSTREAM_HOST%(external) took %DURATION%ms, \
                    sent %BYTES_SENT% bytes, received: %BYTES_RECEIVED% bytes\n";
    assert_eq!(text("outbound:passthrough:ipv4"), expected);
}

#[test]
fn what_goes_over_tcp_is_written_to_the_pipe_of_kuma_dp() {
    let members = json!([{"key": "b", "value": "%KUMA_SOURCE_SERVICE%"}, {"key": "a", "value": "%REQ(:PATH)%"}]);
    let format = json!({"type": "Json", "json": members, "omitEmptyValues": true});
    let tcp = json!({"type": "Tcp", "tcp": {"address": "logs:5000", "format": format}});
    let zone = Zone::new("east", [mesh("Disabled"), db(), outgoing(json!([tcp])), web("web", "10.0.0.1", json!({}))]);
    let log = of_filter(&generated(&zone, "web"), OUTBOUND, "/accessLog/0/typedConfig");
    assert_eq!(log["path"], "/w/kuma-al-web-default.sock");
    let message = json!({"a": "%REQ(:PATH)%", "b": "web"});
    assert_eq!(log["logFormat"]["jsonFormat"], json!({"address": "logs:5000", "message": message}));
    assert_eq!(log["logFormat"]["omitEmptyValues"], true);
}

/// Names of clusters that logs and spans are sent to.
fn collectors(generated: &Generated) -> Vec<String> {
    let is_one = |name: &&str| name.contains("meshaccesslog") || name.contains("meshtrace");
    names(generated, CLUSTER).into_iter().filter(is_one).map(str::to_owned).collect()
}

#[test]
fn each_collector_has_a_cluster() {
    let all = |mode: &str| {
        [
            mesh(mode),
            db(),
            incoming(json!([collector("otel.Example"), collector("[fd00::1]:5317")])),
            outgoing(json!([collector("otel.Example:4317"), collector("other"), collector("http://otel:4317")])),
            web("web", "10.0.0.1", json!({})),
        ]
    };
    let zone = Zone::new("east", all("Disabled"));
    let generated = generated(&zone, "web");
    let name = |index: u32| format!("meshaccesslog:opentelemetry:{index}");
    assert_eq!(collectors(&generated), [name(0), name(1), name(2)], "two that are written in two ways are one");
    let used = |listener: &str| {
        let logs = of_filter(&generated, listener, "/accessLog");
        let cluster = |log: &Value| {
            log["typedConfig"]["commonConfig"]["grpcService"]["envoyGrpc"]["clusterName"].as_str().map(str::to_owned)
        };
        logs.as_array().into_iter().flatten().filter_map(cluster).collect::<Vec<_>>()
    };
    assert_eq!(used(INBOUND), [name(0), name(1)]);
    assert_eq!(used(OUTBOUND), [name(0), name(2)]);
    let cluster = json(&generated, CLUSTER, &name(1));
    let socket = cluster.pointer("/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress");
    assert_eq!(socket, Some(&json!({"address": "fd00::1", "portValue": 5317})));
    assert_eq!(cluster["type"], "STATIC");
    let warnings = warnings(&generated);
    assert!(warnings.len() == 1 && warnings[0].contains("\"http://otel:4317\""), "{warnings:?}");

    let unified = ProxyMetadata { features: Features { unified_naming: true, ..metadata().features }, ..metadata() };
    let zone = Zone::new("east", all("Exclusive"));
    let generated = zone.generate_with(&key("web"), &unified, &Default::default(), None).expect("everything is there");
    let expected =
        ["fd00--1-5317", "otel--xample-4317", "other-4317"].map(|name| format!("system_meshaccesslog_{name}"));
    assert_eq!(collectors(&generated), expected);
}

#[test]
fn proxies_share_listeners_where_logs_say_the_same() {
    let shared = |backends: Value| {
        let replicas = [web("web-1", "10.0.0.1", json!({})), web("web-2", "10.0.0.2", json!({}))];
        let zone = Zone::new("east", [mesh("Disabled"), db(), outgoing(backends)].into_iter().chain(replicas));
        let made = [generated(&zone, "web-1"), generated(&zone, "web-2")];
        let find = |made: &Generated, kind, name: &str| made.resources.get(kind, name).cloned().expect("is there");
        let is_shared = |kind, name| Arc::ptr_eq(&find(&made[0], kind, name), &find(&made[1], kind, name));
        assert!(is_shared(CLUSTER, "db"), "clusters say nothing of the proxy");
        is_shared(LISTENER, OUTBOUND)
    };
    assert!(shared(json!([file("%KUMA_SOURCE_SERVICE% to %KUMA_DESTINATION_SERVICE%")])));
    assert!(shared(json!([collector("otel")])));
    assert!(!shared(json!([file("%KUMA_SOURCE_ADDRESS%")])));
    assert!(!shared(json!([{"type": "File", "file": {"path": "/log"}}])), "the default tells the address");
    let tcp = json!({"address": "logs:5000", "format": {"type": "Plain", "plain": "x"}});
    assert!(!shared(json!([{"type": "Tcp", "tcp": tcp}])), "each kuma-dp has a pipe of its own");
}

fn trace(backend: Value) -> Resource {
    let sampling = json!({"overall": "10.5", "random": 0});
    policy(Kind::MeshTrace, "trace", json!({"default": {"backends": [backend], "sampling": sampling}}))
}

#[test]
fn requests_are_traced_as_a_policy_says() {
    let mut zone = Zone::new("east", [mesh("Disabled"), db(), web("web", "10.0.0.1", json!({}))]);
    let datadog = json!({"type": "Datadog", "datadog": {"url": "http://agent:8126", "splitService": true}});
    assert!(zone.put(trace(datadog)).concerns(&key("web"), &Default::default()));
    let traced = generated(&zone, "web");
    assert_eq!(collectors(&traced), ["meshtrace:datadog"]);
    let service = |listener: &str| of_filter(&traced, listener, "/tracing/provider/typedConfig/serviceName");
    assert_eq!((service(INBOUND), service(OUTBOUND)), (json!("web_INBOUND"), json!("web_OUTBOUND_db")));
    let tracing = of_filter(&traced, INBOUND, "/tracing");
    assert_eq!(tracing["overallSampling"], json!({"value": 10.5}));
    assert_eq!((&tracing["randomSampling"], &tracing["clientSampling"]), (&json!({}), &Value::Null));

    // A URL without a port has that of its scheme.
    let zipkin = json!({"type": "Zipkin", "zipkin": {"url": "https://zipkin.example/spans"}});
    zone.put(trace(zipkin));
    let traced = generated(&zone, "web");
    let cluster = json(&traced, CLUSTER, "meshtrace:zipkin");
    let port = cluster.pointer("/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress/portValue");
    assert_eq!(port, Some(&json!(443)));
    assert_eq!(of_filter(&traced, OUTBOUND, "/tracing/provider/typedConfig/collectorHostname"), "zipkin.example");

    // What makes no sense is named, and nothing is traced.
    zone.put(trace(json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel:x"}})));
    let without = generated(&zone, "web");
    assert_eq!((collectors(&without), of_filter(&without, INBOUND, "/tracing")), (vec![], Value::Null));
    assert!(warnings(&without)[0].contains("\"otel:x\""), "{:?}", without.warnings);
}

#[test]
fn a_policy_goes_before_the_tracing_of_the_mesh() {
    let backend = json!({"name": "z", "type": "zipkin", "conf": {"url": "http://zipkin:9411/spans"}});
    let members = json!({"type": "Mesh", "name": "default", "tracing": {"defaultBackend": "z", "backends": [backend]}});
    let mesh = from_json(members, None, Unknown::Refuse).expect("a Mesh").resource;
    let any = json!({"selectors": [{"match": {"kuma.io/service": "*"}}]});
    let older = stored(Kind::TrafficTrace, "default", "older", &any);
    let mut zone = Zone::new("east", [mesh, older, db(), web("web", "10.0.0.1", json!({}))]);
    let provider = |zone: &Zone| of_filter(&generated(zone, "web"), INBOUND, "/tracing/provider/name");
    assert_eq!(provider(&zone), "envoy.tracers.zipkin");
    zone.put(trace(json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel"}})));
    assert_eq!(provider(&zone), "envoy.tracers.opentelemetry");
    let clusters = names(&generated(&zone, "web"), CLUSTER).join(" ");
    assert!(clusters.contains("meshtrace:opentelemetry") && clusters.contains("tracing:z"), "{clusters}");
}
