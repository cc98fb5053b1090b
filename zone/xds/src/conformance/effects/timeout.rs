//! Cases of MeshTimeout.

use serde_json::{Value, json};
use tandem_model::Kind;

use super::{
    Case, GATEWAY, Way, any_path, case, incoming, of_route, one_path, route, run, split, to, to_all, to_service,
};

#[test]
fn mesh_timeout() {
    let conf = || {
        json!({
            "connectionTimeout": "10s", "idleTimeout": "1h",
            "http": {
                "requestTimeout": "5s", "streamIdleTimeout": "1s", "maxStreamDuration": "10m", "maxConnectionDuration": "10m",
            }
        })
    };
    let external = json!({
        "connectionTimeout": "10s", "idleTimeout": "1h",
        "http": {
            "requestTimeout": "99s", "streamIdleTimeout": "9s", "maxStreamDuration": "7m", "maxConnectionDuration": "18m",
        }
    });
    let without_http = || json!({"connectionTimeout": "10s", "idleTimeout": "1h"});
    let requests = |request: &str, idle: &str| json!({"http": {"requestTimeout": request, "streamIdleTimeout": idle}});
    let per_route = json!({"to": [
        {"targetRef": {"kind": "MeshService", "name": "other"}, "default": requests("99s", "999s")},
        {"targetRef": {"kind": "MeshHTTPRoute", "name": "other-0"}, "default": requests("88s", "888s")},
    ]});
    let http = Way::ToTag("http");
    let mut cases = vec![
        case("http_outbound_listener", http, to_all(conf())),
        case("http_outbound_cluster", http, to_all(conf())),
        case(
            "basic_tcp_listener",
            Way::ToTag("tcp"),
            to_service(json!({"connectionTimeout": "10s", "idleTimeout": "30s"})),
        ),
        case(
            "basic_tcp_cluster",
            Way::ToTag("tcp"),
            to_service(json!({"connectionTimeout": "10s", "idleTimeout": "30s"})),
        ),
        case("outbound_with_defaults_listener", http, to_service(without_http())),
        case("outbound_with_defaults_cluster", http, to_service(without_http())),
        case("modified_outbound_listener", http, to_service(without_http())),
        case("modified_outbound_cluster", http, to_service(without_http())),
        case("default_outbound_cluster", http, Value::Null),
        case("original_outbound_cluster", http, Value::Null),
        case("real_mesh_service.listener", Way::ToService, to_service(conf())),
        case("real_mesh_service.cluster", Way::ToService, to_service(conf())),
        case(
            "real_mesh_external_service.listener",
            Way::ToExternal,
            to(json!({"kind": "MeshExternalService", "name": "other"}), external.clone()),
        ),
        case(
            "real_mesh_external_service.cluster",
            Way::ToExternal,
            to(json!({"kind": "MeshExternalService", "name": "other"}), external),
        ),
        Case {
            file: "outbound_listener_with_different_timeouts_per_real_meshhttproute".into(),
            way: Way::ToService,
            spec: per_route,
            others: vec![(Kind::MeshHTTPRoute, route(one_path()))],
        },
        Case {
            file: "outbound_listener_with_different_timeouts_per_route".into(),
            way: http,
            spec: of_route("other-0", requests("99s", "999s")),
            others: vec![
                (Kind::MeshHTTPRoute, route(any_path())),
                (Kind::MeshHTTPRoute, route(one_path())),
                (Kind::MeshTimeout, of_route("other-1", requests("88s", "888s"))),
            ],
        },
        Case { file: "http_outbound_split_cluster".into(), way: http, spec: to_all(conf()), others: split() },
        case("basic_inbound_cluster_unified_naming", Way::InUnified, incoming(conf())),
    ];
    for file in
        ["basic_inbound_listener", "basic_inbound_cluster", "modified_inbound_listener", "modified_inbound_cluster"]
    {
        cases.push(case(file, Way::In, incoming(conf())));
    }
    for file in [
        "basic_without_defaults_inbound_listener",
        "basic_without_defaults_inbound_cluster",
        "default_inbound_listener",
        "default_inbound_cluster",
        "original_inbound_listener",
        "original_inbound_cluster",
    ] {
        cases.push(case(file, Way::In, Value::Null));
    }
    let no_rules = "upstream's test has no rules where Kuma always has a list of them, if an empty one";
    let mut skipped =
        vec![("original_outbound_listener.golden.yaml", no_rules), ("default_outbound_listener.golden.yaml", no_rules)];
    let gateways: Vec<String> = ["basic", "no-default-idle-timeout", "no-route-level-timeouts", "route-level-timeouts"]
        .iter()
        .flat_map(|case| ["cluster", "listener", "route"].map(|part| format!("{case}.gateway.{part}.golden.yaml")))
        .collect();
    skipped.extend(gateways.iter().map(|name| (name.as_str(), GATEWAY)));
    run("policy-plugins/meshtimeout/plugin", Kind::MeshTimeout, &[".golden", ""], cases, &skipped);
}
