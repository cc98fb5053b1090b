//! Policies of the older generation.

use serde_json::{Value, json};
use tandem_model::Kind;

use crate::choice::Choice;
use crate::slots::{Make, Place, SERVICES};

/// Kinds and contents.
pub const KINDS: [(Kind, Make); 13] = [
    (Kind::TrafficPermission, permission),
    (Kind::TrafficRoute, route),
    (Kind::TrafficLog, log),
    (Kind::TrafficTrace, trace),
    (Kind::Timeout, timeout),
    (Kind::Retry, retry),
    (Kind::CircuitBreaker, circuit_breaker),
    (Kind::HealthCheck, health_check),
    (Kind::FaultInjection, fault_injection),
    (Kind::RateLimit, rate_limit),
    (Kind::ProxyTemplate, proxy_template),
    (Kind::MeshGatewayRoute, gateway_route),
    (Kind::MeshGateway, gateway),
];

fn selector(choice: &mut Choice) -> Value {
    let mut tags = json!({"kuma.io/service": choice.of(&["*", "web", "api", "db"])});
    if choice.below(4) == 3 {
        tags["version"] = json!(choice.of(&["v1", "v2"]));
    }
    json!([{"match": tags}])
}

fn service(choice: &mut Choice) -> Value {
    json!([{"match": {"kuma.io/service": choice.of(&["*", "web", "api", "db", "outside"])}}])
}

fn between(choice: &mut Choice, destinations: Value, conf: Value) -> Value {
    json!({"sources": selector(choice), "destinations": destinations, "conf": conf})
}

fn permission(_: &Place, choice: &mut Choice) -> Value {
    json!({"sources": selector(choice), "destinations": selector(choice)})
}

fn route(place: &Place, choice: &mut Choice) -> Value {
    let other = || json!({"kuma.io/service": "api", "mesh-of-it": place.mesh()});
    let conf = match choice.below(4) {
        0 => json!({"destination": {"kuma.io/service": "*"}}),
        1 => json!({"destination": other()}),
        2 => json!({"split": [
            {"weight": 1, "destination": {"kuma.io/service": choice.of(&SERVICES)}},
            {"weight": 2, "destination": {"kuma.io/service": "*", "version": "v2"}},
        ]}),
        _ => json!({
            "http": [{"match": {"path": {"prefix": format!("/{}", place.mesh())}}, "destination": other()}],
            "destination": {"kuma.io/service": "*"},
            "loadBalancer": {"leastRequest": {"choiceCount": 3}},
        }),
    };
    let destinations = service(choice);
    between(choice, destinations, conf)
}

fn log(_: &Place, choice: &mut Choice) -> Value {
    let conf = choice.of(&[json!({"backend": "log"}), json!({})]);
    let destinations = service(choice);
    between(choice, destinations, conf)
}

fn trace(_: &Place, choice: &mut Choice) -> Value {
    json!({"selectors": selector(choice), "conf": {"backend": "zipkin"}})
}

fn timeout(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({
        "connectTimeout": place.duration(),
        "tcp": {"idleTimeout": place.duration()},
        "http": {"requestTimeout": place.duration()},
    });
    let destinations = service(choice);
    between(choice, destinations, conf)
}

fn retry(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({"http": {"numRetries": 3, "perTryTimeout": place.duration()}});
    let destinations = service(choice);
    between(choice, destinations, conf)
}

fn circuit_breaker(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({"interval": place.duration(), "detectors": {"totalErrors": {"consecutive": 5}}});
    let destinations = service(choice);
    between(choice, destinations, conf)
}

fn health_check(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({
        "interval": place.duration(),
        "timeout": "2s",
        "unhealthyThreshold": 3,
        "healthyThreshold": 1,
        "http": {"path": format!("/{}", place.mesh())},
    });
    let destinations = service(choice);
    between(choice, destinations, conf)
}

fn fault_injection(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({"delay": {"percentage": 50, "value": place.duration()}});
    let mut destinations = selector(choice);
    destinations[0]["match"]["kuma.io/protocol"] = json!("http");
    between(choice, destinations, conf)
}

fn rate_limit(place: &Place, choice: &mut Choice) -> Value {
    let conf = json!({"http": {"requests": place.marker(), "interval": "10s"}});
    let destinations = selector(choice);
    between(choice, destinations, conf)
}

fn proxy_template(place: &Place, choice: &mut Choice) -> Value {
    let value = format!("connectTimeout: {}\n", place.duration());
    let operation = json!({"operation": "patch", "match": {"origin": "inbound"}, "value": value});
    let conf = json!({"imports": ["default-proxy"], "modifications": [{"cluster": operation}]});
    json!({"selectors": selector(choice), "conf": conf})
}

fn gateway_route(place: &Place, choice: &mut Choice) -> Value {
    let matches = json!([{"path": {"match": "PREFIX", "value": format!("/{}", place.mesh())}}]);
    let destination = json!({"kuma.io/service": choice.of(&SERVICES), "version": choice.of(&["v1", "v2"])});
    let rule = json!({"matches": matches, "backends": [{"weight": 1, "destination": destination}]});
    json!({"selectors": selector(choice), "conf": {"http": {"rules": [rule]}}})
}

fn gateway(place: &Place, choice: &mut Choice) -> Value {
    let tags = json!({"gateway-of": place.mesh()});
    let listener = json!({"port": 8080, "protocol": "HTTP", "hostname": place.host("gateway"), "tags": tags});
    json!({"selectors": selector(choice), "conf": {"listeners": [listener]}})
}
