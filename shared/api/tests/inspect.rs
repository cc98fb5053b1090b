//! Inspection in both directions: what concerns a proxy, and which proxies a policy or service concerns.

mod support;

use serde_json::{Value, json};
use support::{ALONE, Api};

/// A running API with two meshes: `m` has the resources of the tests, `other` nothing.
async fn start(resources: impl IntoIterator<Item = Value>) -> Api {
    let api = Api::start(ALONE).await;
    api.mesh("m").await;
    api.mesh("other").await;
    for resource in resources {
        api.load(resource).await;
    }
    api
}

fn dataplane(name: &str, service: &str) -> Value {
    json!({
        "type": "Dataplane", "mesh": "m", "name": name, "labels": {"app": service},
        "networking": {
            "address": "10.0.0.1",
            "inbound": [
                {"port": 80, "name": "web", "tags": {"kuma.io/service": service}},
                {"port": 90, "tags": {"kuma.io/service": format!("{service}-admin"), "version": "1"}},
            ],
            "outbound": [
                {"port": 10001, "tags": {"kuma.io/service": "backend"}},
                {"port": 10002, "address": "127.0.0.2", "tags": {"kuma.io/service": "backend"}},
                {"port": 10003, "tags": {"kuma.io/service": "db"}},
            ],
        },
    })
}

fn gateway_proxy(name: &str) -> Value {
    let tags = json!({"kuma.io/service": "edge"});
    json!({
        "type": "Dataplane", "mesh": "m", "name": name,
        "networking": {"address": "10.0.0.9", "gateway": {"type": "BUILTIN", "tags": tags}},
    })
}

fn gateway() -> Value {
    json!({
        "type": "MeshGateway", "mesh": "m", "name": "gw", "labels": {"team": "edge"},
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"listeners": [{"port": 8080, "protocol": "HTTP", "tags": {"port": "http"}}]},
    })
}

fn policy(kind: &str, name: &str, spec: Value) -> Value {
    json!({"type": kind, "mesh": "m", "name": name, "spec": spec})
}

fn service() -> Value {
    let spec =
        json!({"selector": {"dataplaneTags": {"kuma.io/service": "backend"}}, "ports": [{"port": 80, "name": "http"}]});
    json!({"type": "MeshService", "mesh": "m", "name": "backend", "labels": {"a": "b"}, "spec": spec})
}

/// The values at a place in every item of a list.
fn each<'a>(list: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().map(|item| item.pointer(pointer).unwrap_or(&Value::Null)).collect()
}

#[tokio::test]
async fn rules_of_a_proxy() {
    let timeout = |seconds: u32| json!({"idleTimeout": format!("{seconds}s")});
    let api = start([
        dataplane("web", "web"),
        service(),
        policy("MeshTrace", "trace", json!({"default": {"backends": [{"type": "Datadog", "datadog": {"url": "http://a:1"}}]}})),
        policy(
            "MeshTimeout",
            "timeouts",
            json!({
                "to": [
                    {"targetRef": {"kind": "MeshService", "name": "backend", "sectionName": "http"}, "default": timeout(1)},
                    {"targetRef": {"kind": "Mesh"}, "default": timeout(2)},
                ],
                "rules": [{"default": timeout(3)}],
            }),
        ),
        policy(
            "MeshTrafficPermission",
            "permissions",
            json!({
                "targetRef": {"kind": "Dataplane", "sectionName": "90"},
                "from": [{"targetRef": {"kind": "MeshSubset", "tags": {"app": "x"}}, "default": {"action": "Allow"}}],
            }),
        ),
        policy(
            "MeshHTTPRoute",
            "routes",
            json!({"to": [{
                "targetRef": {"kind": "MeshService", "name": "db"},
                "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "default": {}}],
            }]}),
        ),
    ])
    .await;
    let answer = api.get("/meshes/m/dataplanes/web/_rules").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["resource"], json!({"type": "Dataplane", "mesh": "m", "name": "web", "labels": {"app": "web"}}));
    let rules = &answer["rules"];
    assert_eq!(each(rules, "/type"), ["MeshHTTPRoute", "MeshTrace", "MeshTimeout", "MeshTrafficPermission"]);

    let hash = &answer["httpMatches"][0]["hash"];
    assert_eq!(answer["httpMatches"][0]["match"], json!([{"path": {"type": "PathPrefix", "value": "/"}}]));
    assert_eq!(answer["httpMatches"].as_array().map(Vec::len), Some(1));
    assert!(hash.as_str().is_some_and(|hash| hash.len() == 44), "{hash}");

    let trace = json!({"type": "MeshTrace", "mesh": "m", "name": "trace", "labels": {}});
    assert_eq!(rules[1]["proxyRule"]["origin"], json!([trace]));
    assert_eq!(rules[1]["toRules"], json!([]));
    assert_eq!(rules[1]["warnings"], json!([]));

    let timeouts = &rules[2];
    let origin = json!({"type": "MeshTimeout", "mesh": "m", "name": "timeouts", "labels": {}});
    assert_eq!(
        each(&timeouts["toRules"], "/matchers"),
        [&json!([{"key": "kuma.io/service", "value": "backend", "not": false}]), &json!([])]
    );
    assert_eq!(each(&timeouts["toRules"], "/origin"), [&json!([origin]), &json!([origin])]);
    assert_eq!(each(&timeouts["toResourceRules"], "/resourceMeta/name"), ["backend", "m"]);
    assert_eq!(each(&timeouts["toResourceRules"], "/resourceSectionName"), ["http", ""]);
    assert_eq!(each(&timeouts["toResourceRules"], "/resourceMeta/labels"), [&json!({"a": "b"}), &json!({})]);
    assert_eq!(timeouts["toResourceRules"][0]["origin"][1], json!({"resourceMeta": origin, "ruleIndex": 0}));
    let tags = json!({"kuma.io/service": "web-admin", "version": "1"});
    assert_eq!(
        each(&timeouts["inboundRules"], "/inbound"),
        [&json!({"name": "web", "port": 80, "tags": {"kuma.io/service": "web"}}), &json!({"port": 90, "tags": tags})]
    );
    assert_eq!(
        timeouts["inboundRules"][0]["rules"],
        json!([{"conf": [timeout(3)], "origin": [{"resourceMeta": origin, "ruleIndex": 0}]}])
    );
    assert_eq!(timeouts["fromRules"], json!([]));
    assert_eq!(timeouts.get("proxyRule"), None);

    let permissions = &rules[3]["fromRules"];
    assert_eq!(each(permissions, "/inbound/port"), [90], "the other inbound is not selected");
    assert_eq!(permissions[0]["rules"][0]["matchers"], json!([{"key": "app", "value": "x", "not": false}]));
    assert_eq!(permissions[0]["rules"][0]["conf"], json!({"action": "Allow"}));
}

#[tokio::test]
async fn services_by_tags_have_no_rules_in_a_mesh_of_mesh_services() {
    let to = json!([{"targetRef": {"kind": "MeshService", "name": "backend"}, "default": {"idleTimeout": "1s"}}]);
    let api = start([dataplane("web", "web"), service(), policy("MeshTimeout", "t", json!({"to": to}))]).await;
    let rules = async || api.get("/meshes/m/dataplanes/web/_rules").await.json()["rules"][0].clone();
    assert_eq!(rules().await["toRules"].as_array().map(Vec::len), Some(1));
    api.load(json!({"type": "Mesh", "name": "m", "meshServices": {"mode": "Exclusive"}})).await;
    assert_eq!(rules().await["toRules"], json!([]));
    assert_eq!(each(&rules().await["toResourceRules"], "/resourceMeta/type"), ["MeshService"]);
}

#[tokio::test]
async fn rules_about_resources_alone_are_rules() {
    let external = json!({"match": {"port": 443, "protocol": "tcp"}, "endpoints": [{"address": "a.com", "port": 443}]});
    let to =
        json!([{"targetRef": {"kind": "MeshExternalService", "name": "a"}, "default": {"http": {"numRetries": 1}}}]);
    let api = start([
        dataplane("web", "web"),
        policy("MeshExternalService", "a", external),
        policy("MeshRetry", "r", json!({"to": to})),
    ])
    .await;
    let rules = api.get("/meshes/m/dataplanes/web/_rules").await.json()["rules"].clone();
    assert_eq!(each(&rules, "/toResourceRules/0/resourceMeta/name"), ["a"]);
}

#[tokio::test]
async fn rules_of_a_gateway() {
    let api = start([
        gateway(),
        policy(
            "MeshTimeout",
            "on-gateway",
            json!({
                "targetRef": {"kind": "MeshGateway", "name": "gw"},
                "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}],
            }),
        ),
        policy(
            "MeshTimeout",
            "elsewhere",
            json!({
                "targetRef": {"kind": "MeshGateway", "name": "other"},
                "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "2s"}}],
            }),
        ),
        policy(
            "MeshRateLimit",
            "limit",
            json!({
                "from": [{"targetRef": {"kind": "Mesh"}, "default": {"local": {"tcp": {"disabled": true}}}}],
            }),
        ),
    ])
    .await;
    let answer = api.get("/meshes/m/meshgateways/gw/_rules").await.json();
    assert_eq!(
        answer["resource"],
        json!({"type": "MeshGateway", "mesh": "m", "name": "gw", "labels": {"team": "edge"}})
    );
    assert_eq!(each(&answer["rules"], "/type"), ["MeshRateLimit", "MeshTimeout"]);
    let inbound = json!({"port": 8080, "tags": {"kuma.io/service": "edge"}});
    assert_eq!(each(&answer["rules"][0]["fromRules"], "/inbound"), [&inbound]);
    assert_eq!(each(&answer["rules"][1]["toRules"][0]["origin"], "/name"), ["on-gateway"]);

    api.load(json!({"type": "MeshGateway", "mesh": "m", "name": "idle", "conf": {"listeners": []}})).await;
    let (status, title, _) = api.get("/meshes/m/meshgateways/idle/_rules").await.problem();
    assert_eq!((status, title.as_str()), (400, "Invalid MeshGateway"));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let api = start([]).await;
    for (path, title) in [
        ("/meshes/no/dataplanes/d/_rules", "Failed to retrieve Mesh"),
        ("/meshes/m/dataplanes/d/_rules", "Could not retrieve Dataplane"),
        ("/meshes/no/meshgateways/d/_rules", "Failed to retrieve Mesh"),
        ("/meshes/m/meshgateways/d/_rules", "Could not retrieve MeshGateway"),
        ("/meshes/no/dataplanes/d/rules", "Could not build MeshContext"),
        ("/meshes/m/dataplanes/d/rules", "Could not get MatchedPolicies"),
        ("/meshes/no/meshtimeouts/t/_resources/dataplanes", "Failed to retrieve Mesh"),
        ("/meshes/m/meshtimeouts/t/_resources/dataplanes", "Could not retrieve policy"),
        ("/meshes/no/meshservices/t/_dataplanes", "Could not retrieve policy"),
        ("/meshes/m/meshservices/t/_resources/dataplanes", "Could not retrieve policy"),
    ] {
        let problem = api.get(path).await.problem();
        assert_eq!(problem, (404, title.to_owned(), "Not found".to_owned()), "{path}");
    }
}

/// Names of the proxies in an answer.
async fn proxies(api: &Api, path: &str) -> Vec<String> {
    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let answer = answer.json();
    let names: Vec<String> =
        each(&answer["items"], "/name").iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(answer["total"], names.len());
    names
}

#[tokio::test]
async fn proxies_of_a_policy() {
    let to = json!([{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}]);
    let timeout = |name: &str, target: Value| policy("MeshTimeout", name, json!({"targetRef": target, "to": to}));
    let api = start([
        dataplane("backend", "backend"),
        dataplane("web", "web"),
        gateway_proxy("edge"),
        gateway(),
        timeout("all", json!({"kind": "Mesh"})),
        timeout("sidecars", json!({"kind": "Mesh", "proxyTypes": ["Sidecar"]})),
        timeout("labelled", json!({"kind": "Dataplane", "labels": {"app": "web"}})),
        timeout("at-gateway", json!({"kind": "MeshGateway", "name": "gw"})),
        timeout("at-route", json!({"kind": "MeshHTTPRoute", "name": "route"})),
        timeout("at-no-route", json!({"kind": "MeshHTTPRoute", "name": "none"})),
        policy(
            "MeshHTTPRoute",
            "route",
            json!({
                "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "backend"}}, "to": [],
            }),
        ),
    ])
    .await;
    for (name, expected) in [
        ("all", &["backend", "edge", "web"][..]),
        ("sidecars", &["backend", "web"]),
        ("labelled", &["web"]),
        ("at-gateway", &["edge"]),
        ("at-route", &["backend"]),
        ("at-no-route", &[]),
    ] {
        assert_eq!(
            proxies(&api, &format!("/meshes/m/meshtimeouts/{name}/_resources/dataplanes")).await,
            expected,
            "{name}"
        );
    }
    let same = api.get("/meshes/m/meshtimeouts/all/-resources/dataplanes").await;
    assert_eq!(same.json(), api.get("/meshes/m/meshtimeouts/all/_resources/dataplanes").await.json());
}

#[tokio::test]
async fn proxies_of_older_policies() {
    let selector = |service: &str| json!([{"match": {"kuma.io/service": service}}]);
    let api = start([
        dataplane("backend", "backend"),
        dataplane("web", "web"),
        dataplane("db", "db"),
        json!({"type": "ProxyTemplate", "mesh": "m", "name": "p", "selectors": selector("db"), "conf": {"imports": ["default-proxy"]}}),
        json!({
            "type": "TrafficPermission", "mesh": "m", "name": "p",
            "sources": selector("web"), "destinations": selector("backend"),
        }),
        json!({"type": "TrafficTrace", "mesh": "m", "name": "p", "selectors": selector("*")}),
    ])
    .await;
    for (path, expected) in [
        ("proxytemplates", &["db"][..]),
        ("traffic-permissions", &["backend", "web"]),
        ("traffic-traces", &["backend", "db", "web"]),
    ] {
        assert_eq!(proxies(&api, &format!("/meshes/m/{path}/p/_resources/dataplanes")).await, expected, "{path}");
    }
}

#[tokio::test]
async fn proxies_come_in_pages() {
    let all = policy("MeshTrace", "t", json!({"default": {"backends": []}}));
    let names = ["a-1", "a-2", "a-3", "b-1"];
    let api = start(names.map(|name| dataplane(name, "web")).into_iter().chain([all])).await;
    let path = "/meshes/m/meshtraces/t/_resources/dataplanes";
    let page = api.get(&format!("{path}?name=a-&size=2")).await.json();
    assert_eq!(page["total"], 3);
    assert_eq!(each(&page["items"], "/name"), ["a-1", "a-2"]);
    let next = format!("http://{}{path}?name=a-&offset=2&size=2", api.address);
    assert_eq!(page["next"], next);
    let page = api.get(&format!("{path}?name=a-&offset=2&size=2")).await.json();
    assert_eq!(each(&page["items"], "/name"), ["a-3"]);
    assert_eq!(page.get("next"), None);
    let (status, title, _) = api.get(&format!("{path}?size=2000")).await.problem();
    assert_eq!((status, title.as_str()), (400, "Could not retrieve policy"));
}

#[tokio::test]
async fn proxies_of_a_service() {
    let by_name = json!({"selector": {"dataplaneRef": {"name": "web"}}, "ports": []});
    let api = start([
        dataplane("backend", "backend"),
        dataplane("web", "web"),
        service(),
        json!({"type": "MeshService", "mesh": "m", "name": "one", "spec": by_name}),
        json!({"type": "MeshService", "mesh": "m", "name": "nobody", "spec": {"ports": []}}),
    ])
    .await;
    for (service, expected) in [("backend", &["backend"][..]), ("one", &["web"]), ("nobody", &[])] {
        for list in ["_dataplanes", "_resources/dataplanes"] {
            assert_eq!(proxies(&api, &format!("/meshes/m/meshservices/{service}/{list}")).await, expected, "{service}");
        }
    }
}

#[tokio::test]
async fn rules_by_attachment() {
    let api = start([
        dataplane("web", "web"),
        policy(
            "MeshTimeout",
            "t",
            json!({
                "to": [{"targetRef": {"kind": "MeshService", "name": "backend"}, "default": {"idleTimeout": "1s"}}],
            }),
        ),
        policy(
            "MeshTrafficPermission",
            "p",
            json!({
                "targetRef": {"kind": "Dataplane", "sectionName": "web"},
                "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Deny"}}],
            }),
        ),
        policy("MeshProxyPatch", "x", json!({"default": {"appendModifications": []}})),
    ])
    .await;
    let answer = api.get("/meshes/m/dataplanes/web/rules").await.json();
    let origin = |name: &str| json!([{"mesh": "m", "name": name}]);
    let expected = json!({"total": 3, "items": [
        {
            "type": "SingleItem", "policyType": "MeshProxyPatch", "subset": {},
            "conf": {"appendModifications": []}, "origins": origin("x"),
        },
        {
            "type": "DestinationSubset", "name": "backend", "addresses": ["127.0.0.1:10001", "127.0.0.2:10002"],
            "service": "backend", "tags": {"kuma.io/service": "backend"}, "policyType": "MeshTimeout",
            "subset": {"kuma.io/service": "backend"}, "conf": {"idleTimeout": "1s"}, "origins": origin("t"),
        },
        {
            "type": "ClientSubset", "name": "web", "addresses": ["10.0.0.1:80"], "service": "web",
            "tags": {"kuma.io/service": "web"}, "policyType": "MeshTrafficPermission", "subset": {},
            "conf": {"action": "Deny"}, "origins": origin("p"),
        },
    ]});
    assert_eq!(answer, expected);
}
