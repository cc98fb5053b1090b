//! Cases of MeshRetry.

use serde_json::{Value, json};
use tandem_model::Kind;

use super::{Case, GATEWAY, Way, any_path, case, of_route, one_path, route, run, to, to_all, to_service};

/// The configuration of upstream's first retries.
fn first() -> Value {
    json!({"http": {
        "numRetries": 1, "perTryTimeout": "2s",
        "backOff": {"baseInterval": "3s", "maxInterval": "4s"},
        "rateLimitedBackOff": {"maxInterval": "5s", "resetHeaders": [
            {"name": "retry-after-http", "format": "Seconds"}, {"name": "x-retry-after-http", "format": "UnixTimestamp"},
        ]},
        "retryOn": [
            "5xx", "GatewayError", "Reset", "Retriable4xx", "ConnectFailure", "EnvoyRatelimited", "RefusedStream",
            "Http3PostConnectFailure", "HttpMethodConnect", "HttpMethodDelete", "HttpMethodGet", "HttpMethodHead",
            "HttpMethodOptions", "HttpMethodPatch", "HttpMethodPost", "HttpMethodPut", "HttpMethodTrace", "429",
        ],
        "retriableResponseHeaders": [
            {"type": "RegularExpression", "name": "x-retry-regex", "value": ".*"},
            {"type": "Exact", "name": "x-retry-exact", "value": "exact-value"},
        ],
        "retriableRequestHeaders": [{"type": "Prefix", "name": "x-retry-prefix", "value": "prefix-"}],
        "hostSelection": [
            {"predicate": "OmitPreviousHosts"},
            {"predicate": "OmitPreviousPriorities", "updateFrequency": 2},
            {"predicate": "OmitHostsWithTags", "tags": {"test": "test"}},
        ],
        "hostSelectionMaxAttempts": 2,
    }})
}

/// The configuration of upstream's other retries.
fn second() -> Value {
    json!({"http": {
        "numRetries": 6, "perTryTimeout": "77s",
        "backOff": {"baseInterval": "88s", "maxInterval": "999s"},
        "rateLimitedBackOff": {
            "maxInterval": "11s", "resetHeaders": [{"name": "x-retry-after-http", "format": "UnixTimestamp"}],
        },
        "retryOn": ["499"],
        "retriableResponseHeaders": [{"type": "RegularExpression", "name": "x-retry-regex", "value": ".*"}],
        "retriableRequestHeaders": [{"type": "Prefix", "name": "x-retry-prefix", "value": "prefix-another"}],
        "hostSelection": [
            {"predicate": "OmitPreviousHosts"},
            {"predicate": "OmitPreviousPriorities", "updateFrequency": 5},
            {"predicate": "OmitHostsWithTags", "tags": {"another-test": "another-test"}},
        ],
        "hostSelectionMaxAttempts": 99,
    }})
}

#[test]
fn mesh_retry() {
    let grpc = json!({"grpc": {
        "numRetries": 11, "perTryTimeout": "12s",
        "backOff": {"baseInterval": "13s", "maxInterval": "14s"},
        "rateLimitedBackOff": {"maxInterval": "15s", "resetHeaders": [
            {"name": "retry-after-grpc", "format": "Seconds"}, {"name": "x-retry-after-grpc", "format": "UnixTimestamp"},
        ]},
        "retryOn": ["Canceled", "DeadlineExceeded", "Internal", "ResourceExhausted", "Unavailable"],
    }});
    let external = json!({"kind": "MeshExternalService", "name": "other"});
    let http = Way::ToTag("http");
    let cases = vec![
        case("http", http, to_all(first())),
        case("http_0_numretries", http, to_all(json!({"http": {"numRetries": 0, "perTryTimeout": "2s"}}))),
        case("grpc", Way::ToTag("grpc"), to_service(grpc)),
        case(
            "grpc_0_numretries",
            Way::ToTag("grpc"),
            to_service(json!({"grpc": {"numRetries": 0, "perTryTimeout": "12s"}})),
        ),
        case("tcp", Way::ToTag("tcp"), to_all(json!({"tcp": {"maxConnectAttempt": 21}}))),
        case("http-real-mesh-service", Way::ToService, to_service(first())),
        case("http-real-mesh-external-service", Way::ToExternal, to(external, first())),
        Case {
            file: "retry_per_http_route".into(),
            way: http,
            spec: of_route("other-0", first()),
            others: vec![
                (Kind::MeshHTTPRoute, route(any_path())),
                (Kind::MeshHTTPRoute, route(one_path())),
                (Kind::MeshRetry, of_route("other-1", second())),
            ],
        },
        Case {
            file: "http-real-meshhttproute".into(),
            way: Way::ToService,
            spec: json!({"to": [
                {"targetRef": {"kind": "MeshService", "name": "other"}, "default": second()},
                {"targetRef": {"kind": "MeshHTTPRoute", "name": "other-0"}, "default": first()},
            ]}),
            others: vec![(Kind::MeshHTTPRoute, route(one_path()))],
        },
    ];
    let skipped = [
        "gateway.http.listeners",
        "gateway.http.routes",
        "gateway.tcp.listeners",
        "per-route-configuration.gateway.http.listeners",
        "per-route-configuration.gateway.http.routes",
    ];
    let skipped = skipped.map(|name| (name, GATEWAY));
    run("policy-plugins/meshretry/plugin-v1alpha1", Kind::MeshRetry, &[".listeners.golden"], cases, &skipped);
}
