//! Inspection of a proxy by identifiers: its inbounds and outbounds, and what configures them.

mod support;

use serde_json::{Value, json};
use support::{ALONE, Api};

/// A mesh whose services are MeshServices, with a proxy and two services of its zone.
async fn mesh() -> Api {
    let api = Api::start(ALONE).await;
    api.load(json!({ "type": "Mesh", "name": "m", "meshServices": { "mode": "Exclusive" } })).await;
    proxy(&api, json!({})).await;
    for name in ["api", "db"] {
        let ports = json!([{ "name": "main", "port": 80, "targetPort": 8080, "appProtocol": "http" }, { "port": 90 }]);
        api.load(json!({
            "type": "MeshService", "mesh": "m", "name": name, "labels": { "kuma.io/zone": "zone-1" },
            "spec": { "selector": { "dataplaneTags": { "kuma.io/service": name } }, "ports": ports },
        }))
        .await;
    }
    api
}

async fn proxy(api: &Api, transparent_proxying: Value) {
    api.load(json!({
        "type": "Dataplane", "mesh": "m", "name": "dp", "labels": { "kuma.io/zone": "zone-1" },
        "networking": {
            "address": "10.0.0.1",
            "inbound": [
                { "port": 8080, "name": "web", "tags": { "kuma.io/service": "api", "kuma.io/protocol": "http" } },
                { "port": 9090, "tags": { "kuma.io/service": "admin" } },
            ],
            "transparentProxying": transparent_proxying,
        },
    }))
    .await;
}

async fn policy(api: &Api, kind: &str, name: &str, spec: Value) {
    api.load(json!({ "type": kind, "mesh": "m", "name": name, "spec": spec })).await;
}

fn timeout(target: Value, seconds: u32) -> Value {
    json!({ "targetRef": target, "default": { "idleTimeout": format!("{seconds}s") } })
}

async fn get(api: &Api, path: &str) -> Value {
    let answer = api.get(&format!("/meshes/m/dataplanes/dp/{path}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn kris(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|entry| entry["kri"].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn layout() {
    let api = mesh().await;
    let layout = get(&api, "_layout").await;
    assert_eq!(
        (&layout["kri"], &layout["labels"]),
        (&json!("kri_dp_m_zone-1__dp_"), &json!({ "kuma.io/zone": "zone-1" }))
    );
    assert_eq!(
        layout["inbounds"],
        json!([
            { "kri": "kri_dp_m_zone-1__dp_web", "port": 8080, "protocol": "http", "proxyResourceName": "self_inbound_dp_web" },
            { "kri": "kri_dp_m_zone-1__dp_9090", "port": 9090, "protocol": "", "proxyResourceName": "self_inbound_dp_9090" },
        ])
    );
    let outbounds = ["api_90", "api_main", "db_90", "db_main"].map(|port| format!("kri_msvc_m_zone-1__{port}"));
    assert_eq!(kris(&layout["outbounds"]), outbounds);
    assert_eq!(
        layout["outbounds"][1],
        json!({ "kri": outbounds[1], "port": 80, "protocol": "http", "proxyResourceName": outbounds[1] })
    );
    assert_eq!(layout["outbounds"][0]["protocol"], "tcp");

    proxy(&api, json!({ "reachableBackends": { "refs": [{ "kind": "MeshService", "name": "db", "port": 90 }] } }))
        .await;
    assert_eq!(kris(&get(&api, "_layout").await["outbounds"]), ["kri_msvc_m_zone-1__db_90"]);
    proxy(&api, json!({ "reachableBackends": {} })).await;
    assert_eq!(get(&api, "_layout").await["outbounds"], json!([]));
}

#[tokio::test]
async fn the_most_specific_level_holds() {
    let api = mesh().await;
    let service =
        json!({ "kind": "MeshService", "labels": { "kuma.io/zone": "zone-1", "kuma.io/display-name": "api" } });
    api.load(json!({
        "type": "MeshService", "mesh": "m", "name": "api",
        "labels": { "kuma.io/zone": "zone-1", "kuma.io/display-name": "api" },
        "spec": { "ports": [{ "name": "main", "port": 80 }, { "port": 90 }] },
    }))
    .await;
    let mut port = service.clone();
    port["sectionName"] = json!("main");
    let rule = json!({ "matches": [{ "path": { "type": "PathPrefix", "value": "/v1" } }], "default": {} });
    policy(&api, "MeshHTTPRoute", "r", json!({ "to": [{ "targetRef": service, "rules": [rule] }] })).await;
    policy(&api, "MeshTimeout", "whole", json!({ "to": [timeout(json!({ "kind": "Mesh" }), 1)] })).await;
    policy(&api, "MeshTimeout", "service", json!({ "to": [timeout(service.clone(), 2)] })).await;
    policy(&api, "MeshTimeout", "port", json!({ "to": [timeout(port, 3)] })).await;
    let holds = async |path: &str| {
        let policies = get(&api, path).await;
        let policies = policies["policies"].as_array().expect("a list").clone();
        let timeouts = policies.iter().find(|entry| entry["kind"] == "MeshTimeout").expect("timeouts").clone();
        let origin = timeouts["origins"].as_array().and_then(|origins| origins.last()).expect("an origin");
        (timeouts["conf"][0]["idleTimeout"].as_str().unwrap_or_default().to_owned(), origin["kri"].clone())
    };
    let api_main = "_outbounds/kri_msvc_m_zone-1__api_main";
    assert_eq!(holds(&format!("{api_main}/_policies")).await, ("3s".into(), json!("kri_mt_m___port_")));
    let other_port = holds("_outbounds/kri_msvc_m_zone-1__api_90/_policies").await;
    assert_eq!(other_port, ("2s".into(), json!("kri_mt_m___service_")));
    let other = holds("_outbounds/kri_msvc_m_zone-1__db_main/_policies").await;
    assert_eq!(other, ("1s".into(), json!("kri_mt_m___whole_")));
    let route = format!("{api_main}/_routes/kri_mhttpr_m___r_/_policies");
    assert_eq!(holds(&route).await.0, "3s", "nothing is said about the route");
    let to_route = json!({ "kind": "MeshHTTPRoute", "name": "r" });
    policy(&api, "MeshTimeout", "route", json!({ "to": [timeout(to_route, 4)] })).await;
    assert_eq!(holds(&route).await, ("4s".into(), json!("kri_mt_m___route_")));
    assert_eq!(holds(&format!("{api_main}/_policies")).await.0, "3s");
    let kinds = |list: &Value| -> Vec<String> {
        let list = list["policies"].as_array().expect("a list").iter();
        list.map(|entry| entry["kind"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(kinds(&get(&api, &format!("{api_main}/_policies")).await), ["MeshHTTPRoute", "MeshTimeout"]);
    assert_eq!(kinds(&get(&api, &route).await), ["MeshTimeout"], "routes do not configure routes");

    assert_eq!(
        get(&api, &format!("{api_main}/_routes")).await,
        json!({ "routes": [{
            "kind": "MeshHTTPRoute",
            "rules": [{ "conf": {}, "kri": "kri_mhttpr_m___r_", "matches": rule["matches"] }],
            "origins": [{ "kri": "kri_mhttpr_m___r_" }],
        }] })
    );
    assert_eq!(get(&api, "_outbounds/kri_msvc_m_zone-1__db_main/_routes").await, json!({ "routes": [] }));
}

#[tokio::test]
async fn policies_of_inbounds_and_of_the_proxy() {
    let api = mesh().await;
    let of_web = json!({ "kind": "Dataplane", "sectionName": "web" });
    let rules = json!([{ "default": { "idleTimeout": "5s" } }]);
    policy(&api, "MeshTimeout", "web", json!({ "targetRef": of_web, "rules": rules })).await;
    let rule = json!({ "kri": "kri_mt_m___web_", "conf": { "idleTimeout": "5s" } });
    let expected = json!({ "policies": [{
        "kind": "MeshTimeout", "rules": [rule], "origins": [{ "kri": "kri_mt_m___web_" }],
    }] });
    for section in ["web", ""] {
        assert_eq!(get(&api, &format!("_inbounds/kri_dp_m_zone-1__dp_{section}/_policies")).await, expected);
    }
    assert_eq!(get(&api, "_inbounds/kri_dp_m_zone-1__dp_9090/_policies").await, json!({ "policies": [] }));
    let unknown = api.get("/meshes/m/dataplanes/dp/_inbounds/kri_dp_m_zone-1__dp_nope/_policies").await;
    let text = r#"Dataplane "dp" has no inbound "nope""#;
    assert_eq!(unknown.problem(), (404, "Failed building response".into(), text.into()));

    assert_eq!(get(&api, "_policies").await, json!({ "policies": [] }));
    policy(&api, "MeshPassthrough", "p", json!({ "default": { "passthroughMode": "None" } })).await;
    let expected = json!({ "policies": [{
        "conf": { "passthroughMode": "None" }, "kind": "MeshPassthrough", "origins": [{ "kri": "kri_mp_m___p_" }],
    }] });
    assert_eq!(get(&api, "_policies").await, expected);
}

#[tokio::test]
async fn refusals() {
    let api = mesh().await;
    let outbound = "_outbounds/kri_msvc_m_zone-1__api_main";
    let paths = [
        "_policies".to_owned(),
        "_inbounds/kri_dp_m___dp_web/_policies".to_owned(),
        format!("{outbound}/_policies"),
        format!("{outbound}/_routes"),
        format!("{outbound}/_routes/kri_mhttpr_m___r_/_policies"),
    ];
    let problem = async |path: &str| api.get(path).await.problem();
    for path in &paths {
        let unknown = problem(&format!("/meshes/nope/dataplanes/dp/{path}")).await;
        assert_eq!(unknown, (404, "Failed to retrieve Mesh".into(), "Not found".into()), "{path}");
        let unknown = problem(&format!("/meshes/m/dataplanes/nope/{path}")).await;
        assert_eq!(unknown, (404, "Could not retrieve Dataplane".into(), "Not found".into()), "{path}");
    }
    let unknown = problem("/meshes/nope/dataplanes/dp/_layout").await;
    assert_eq!(unknown, (404, "Failed to build MeshContext".into(), "Not found".into()));
    let unknown = problem("/meshes/m/dataplanes/nope/_layout").await;
    assert_eq!(unknown, (404, "Failed to retrieve Dataplane".into(), "Not found".into()));

    let wrong = [
        ("nope", r#"invalid identifier string: "nope""#),
        ("id_dp_m___dp_web", r#"identifier must start with 'kri': "id_dp_m___dp_web""#),
        ("kri_xx_m___dp_web", r#"unknown short name of resource type: "xx""#),
    ];
    for (kri, text) in wrong {
        let refusal = (400, "Bad Request".to_owned(), format!("bad request: {text}"));
        for path in [
            format!("_inbounds/{kri}/_policies"),
            format!("_outbounds/{kri}/_policies"),
            format!("_outbounds/{kri}/_routes"),
            format!("_outbounds/{kri}/_routes/kri_mhttpr_m___r_/_policies"),
            format!("{outbound}/_routes/{kri}/_policies"),
        ] {
            assert_eq!(problem(&format!("/meshes/m/dataplanes/dp/{path}")).await, refusal, "{path}");
        }
    }

    api.load(json!({ "type": "Mesh", "name": "m", "meshServices": { "mode": "Everywhere" } })).await;
    for path in paths.iter().map(String::as_str).chain(["_layout"]) {
        let endpoint = if path == "_layout" { path } else { "_policies" };
        let text = format!("bad request: can't use {endpoint} endpoint without meshService enabled");
        assert_eq!(problem(&format!("/meshes/m/dataplanes/dp/{path}")).await, (400, "Bad Request".into(), text));
    }
}
