//! Policies selected by `targetRef`.

use serde_json::{Value, json};
use tandem_model::Kind;

use crate::choice::Choice;
use crate::slots::{Make, Place, SERVICES};

/// Kinds and contents.
pub const KINDS: [(Kind, Make); 13] = [
    (Kind::MeshTimeout, timeout),
    (Kind::MeshRetry, retry),
    (Kind::MeshCircuitBreaker, circuit_breaker),
    (Kind::MeshTrafficPermission, traffic_permission),
    (Kind::MeshTLS, tls),
    (Kind::MeshLoadBalancingStrategy, load_balancing),
    (Kind::MeshHealthCheck, health_check),
    (Kind::MeshHTTPRoute, http_route),
    (Kind::MeshTCPRoute, tcp_route),
    (Kind::MeshAccessLog, access_log),
    (Kind::MeshTrace, trace),
    (Kind::MeshMetric, metric),
    (Kind::MeshPassthrough, passthrough),
];

/// Which proxies it is for.
fn target(choice: &mut Choice) -> Value {
    match choice.below(5) {
        0 => json!({"kind": "Mesh"}),
        1 => json!({"kind": "Dataplane", "labels": {"team": choice.of(&["one", "two"])}}),
        2 => json!({"kind": "MeshSubset", "tags": {"version": choice.of(&["v1", "v2"])}}),
        3 => json!({"kind": "Dataplane", "name": choice.of(&["dp-0", "dp-1"])}),
        _ => json!({"kind": "MeshService", "name": choice.of(&SERVICES)}),
    }
}

/// Which destinations it is for.
fn destination(choice: &mut Choice) -> Value {
    match choice.below(6) {
        0 => json!({"kind": "Mesh"}),
        1 => json!({"kind": "MeshService", "name": choice.of(&SERVICES)}),
        2 => json!({"kind": "MeshService", "name": "web", "sectionName": choice.of(&["80", "main"])}),
        3 => json!({"kind": "MeshService", "labels": {"group": choice.of(&["one", "two"])}}),
        4 => json!({"kind": "MeshMultiZoneService", "name": "web"}),
        _ => json!({"kind": "MeshExternalService", "name": "outside"}),
    }
}

/// As [`target`], or for whom a route is for.
fn target_or_route(choice: &mut Choice) -> Value {
    match choice.below(4) {
        3 => json!({"kind": "MeshHTTPRoute", "name": choice.of(&["policy", "shared"])}),
        _ => target(choice),
    }
}

/// A policy for connections of workloads or to them.
fn policy(choice: &mut Choice, conf: &Value) -> Value {
    let mut spec = json!({"targetRef": target(choice)});
    match choice.below(3) {
        0 => spec["to"] = json!([{"targetRef": destination(choice), "default": conf}]),
        1 => spec["from"] = json!([{"targetRef": {"kind": "Mesh"}, "default": conf}]),
        _ => spec["rules"] = json!([{"default": conf}]),
    }
    let mut labels = json!({"kuma.io/policy-role": "system"});
    if choice.below(8) == 7 {
        labels["kuma.io/effect"] = json!("shadow");
    }
    json!({"labels": labels, "spec": spec})
}

fn timeout(place: &Place, choice: &mut Choice) -> Value {
    let conf = match choice.below(3) {
        0 => json!({"idleTimeout": place.duration()}),
        1 => json!({"connectionTimeout": place.duration(), "http": {"requestTimeout": place.duration()}}),
        _ => json!({"http": {"streamIdleTimeout": place.duration(), "maxStreamDuration": place.duration()}}),
    };
    policy(choice, &conf)
}

fn retry(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({"http": {"perTryTimeout": place.duration(), "numRetries": 1 + choice.below(3)}});
    let to = json!([{"targetRef": destination(choice), "default": conf}]);
    json!({"spec": {"targetRef": target_or_route(choice), "to": to}})
}

fn circuit_breaker(place: &Place, choice: &mut Choice) -> Value {
    let conf = if choice.flag() {
        json!({"connectionLimits": {"maxConnections": place.marker()}})
    } else {
        let detectors = json!({"totalFailures": {"consecutive": 10}});
        json!({"outlierDetection": {"interval": place.duration(), "detectors": detectors}})
    };
    policy(choice, &conf)
}

fn traffic_permission(place: &Place, choice: &mut Choice) -> Value {
    let action = choice.of(&["Allow", "Deny", "AllowWithShadowDeny"]);
    if choice.below(3) == 2 {
        let id = json!({"type": "Exact", "value": format!("spiffe://{}.east.mesh.local/x", place.mesh())});
        let list = choice.of(&["allow", "deny"]);
        return json!({"spec": {"targetRef": target(choice), "rules": [{"default": {list: [{"spiffeID": id}]}}]}});
    }
    let from = match choice.below(3) {
        0 => json!({"kind": "Mesh"}),
        1 => json!({"kind": "MeshSubset", "tags": {"mesh-of-it": place.mesh()}}),
        _ => json!({"kind": "MeshService", "name": choice.of(&SERVICES)}),
    };
    let spec = json!({"targetRef": target(choice), "from": [{"targetRef": from, "default": {"action": action}}]});
    json!({"spec": spec})
}

fn tls(_: &Place, choice: &mut Choice) -> Value {
    let conf = match choice.below(3) {
        0 => json!({"mode": choice.of(&["Permissive", "Strict"])}),
        1 => json!({"tlsVersion": {"min": "TLS13", "max": "TLS13"}}),
        _ => json!({"tlsVersion": {"min": "TLS12"}, "tlsCiphers": ["ECDHE-RSA-AES256-GCM-SHA384"]}),
    };
    let target = if choice.flag() {
        json!({"kind": "Dataplane", "labels": {"team": choice.of(&["one", "two"])}})
    } else {
        json!({"kind": "Mesh"})
    };
    let list = choice.of(&["from", "rules"]);
    let mut item = json!({"default": conf});
    if list == "from" {
        item["targetRef"] = json!({"kind": "Mesh"});
    }
    json!({"spec": {"targetRef": target, list: [item]}})
}

fn backend(choice: &mut Choice) -> Value {
    match choice.below(6) {
        0 => json!({"kind": "MeshService", "name": choice.of(&SERVICES)}),
        1 => json!({"kind": "MeshServiceSubset", "name": choice.of(&SERVICES), "tags": {"version": "v1"}}),
        4 => json!({"kind": "MeshService", "labels": {"group": choice.of(&["one", "two"])}, "port": 80}),
        5 => json!({"kind": "MeshService", "name": "web", "sectionName": choice.of(&["80", "main"])}),
        2 => json!({"kind": "MeshMultiZoneService", "name": "web", "port": 80}),
        _ => json!({"kind": "MeshExternalService", "name": "outside", "port": 443}),
    }
}

fn http_route(place: &Place, choice: &mut Choice) -> Value {
    let matches = json!([{"path": {"type": "PathPrefix", "value": format!("/{}", place.mesh())}}]);
    let mut rule = json!({"matches": matches, "default": {"backendRefs": [backend(choice)]}});
    if choice.flag() {
        let copy = json!({"backendRef": {"kind": "MeshService", "name": choice.of(&SERVICES)}});
        rule["default"]["filters"] = json!([{"type": "RequestMirror", "requestMirror": copy}]);
    }
    let to = json!([{"targetRef": {"kind": "MeshService", "name": choice.of(&SERVICES)}, "rules": [rule]}]);
    let mut route = json!({"spec": {"targetRef": target(choice), "to": to}});
    if choice.flag() {
        route["labels"] = json!({"kuma.io/display-name": "shared"});
    }
    route
}

fn tcp_route(_: &Place, choice: &mut Choice) -> Value {
    let rule = json!({"default": {"backendRefs": [backend(choice)]}});
    let to = json!([{"targetRef": {"kind": "MeshService", "name": choice.of(&SERVICES)}, "rules": [rule]}]);
    json!({"spec": {"targetRef": target(choice), "to": to}})
}

fn load_balancing(place: &Place, choice: &mut Choice) -> Value {
    let conf = match choice.below(4) {
        0 => json!({"localityAwareness": {"disabled": choice.flag()}}),
        1 => {
            let tag = json!({"key": choice.of(&["team", "version"]), "weight": place.marker()});
            json!({"localityAwareness": {"localZone": {"affinityTags": [tag]}}})
        }
        2 => {
            let zones = json!([choice.of(&["west", "north"])]);
            let rule = json!({"to": {"type": choice.of(&["Only", "AnyExcept"]), "zones": zones}});
            json!({"localityAwareness": {"crossZone": {"failover": [rule]}}})
        }
        _ => {
            let header = json!({"type": "Header", "header": {"name": place.host("hashed")}});
            json!({"loadBalancer": {"type": "Maglev"}, "hashPolicies": [header]})
        }
    };
    json!({"spec": {"targetRef": target(choice), "to": [{"targetRef": destination(choice), "default": conf}]}})
}

fn health_check(place: &Place, choice: &mut Choice) -> Value {
    let checker = choice.of(&["tcp", "http", "grpc"]);
    let conf = json!({"interval": place.duration(), checker: {}});
    json!({"spec": {"targetRef": target(choice), "to": [{"targetRef": destination(choice), "default": conf}]}})
}

fn access_log(place: &Place, choice: &mut Choice) -> Value {
    let file =
        |text: String| json!({"type": "File", "file": {"path": "/log", "format": {"type": "Plain", "plain": text}}});
    let backend = match choice.below(4) {
        0 => file(place.host("logged")),
        1 => file(format!("{} %KUMA_SOURCE_SERVICE% %KUMA_SOURCE_ADDRESS%", place.mesh())),
        2 => json!({"type": "Tcp", "tcp": {"address": format!("{}:5000", place.host("logs"))}}),
        _ => json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": place.host("collector")}}),
    };
    policy(choice, &json!({"backends": [backend]}))
}

fn trace(place: &Place, choice: &mut Choice) -> Value {
    let host = place.host("traces");
    let backend = match choice.below(3) {
        0 => json!({"type": "Zipkin", "zipkin": {"url": format!("http://{host}:9411/spans")}}),
        1 => json!({"type": "Datadog", "datadog": {"url": format!("http://{host}:8126"), "splitService": true}}),
        _ => json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": host}}),
    };
    json!({"spec": {"targetRef": target(choice), "default": {"backends": [backend]}}})
}

fn metric(place: &Place, choice: &mut Choice) -> Value {
    let conf = match choice.below(3) {
        0 => json!({"backends": [{"type": "Prometheus", "prometheus": {"path": format!("/{}", place.mesh())}}]}),
        1 => json!({"backends": [{"type": "OpenTelemetry", "openTelemetry": {"endpoint": place.host("metrics")}}]}),
        _ => json!({"applications": [{"port": 1000, "path": format!("/{}", place.mesh())}]}),
    };
    json!({"spec": {"targetRef": target(choice), "default": conf}})
}

fn passthrough(place: &Place, choice: &mut Choice) -> Value {
    let host =
        |protocol: &str| json!({"type": "Domain", "value": place.host("outside"), "port": 80, "protocol": protocol});
    let conf = match choice.below(4) {
        0 => json!({"passthroughMode": "All"}),
        1 => json!({"passthroughMode": "None"}),
        2 => json!({"appendMatch": [host("http")]}),
        _ => json!({"appendMatch": [host("grpc")]}),
    };
    json!({"spec": {"targetRef": target(choice), "default": conf}})
}
