//! Which policies win at which parts of proxies, as `kumactl inspect` shows it.

mod support;

use serde_json::{Value, json};
use support::{ALONE, Api};

async fn start(resources: impl IntoIterator<Item = Value>) -> Api {
    let api = Api::start(ALONE).await;
    api.mesh("m").await;
    for resource in resources {
        api.load(resource).await;
    }
    api
}

fn service(name: &str) -> Value {
    json!({"kuma.io/service": name})
}

fn of_mesh(kind: &str, name: &str, members: Value) -> Value {
    let mut resource = json!({"type": kind, "mesh": "m", "name": name});
    for (member, value) in members.as_object().into_iter().flatten() {
        resource[member] = value.clone();
    }
    resource
}

fn between(kind: &str, name: &str, source: &str, destination: &str) -> Value {
    let selector = |name| json!([{"match": service(name)}]);
    of_mesh(kind, name, json!({"sources": selector(source), "destinations": selector(destination)}))
}

fn sidecar(name: &str, of: &str, to: &str) -> Value {
    let inbound = json!({"port": 80, "servicePort": 8080, "tags": service(of)});
    let outbound = json!({"port": 9000, "tags": service(to)});
    of_mesh(
        "Dataplane",
        name,
        json!({"networking": {"address": "10.0.0.1", "inbound": [inbound], "outbound": [outbound]}}),
    )
}

fn gateway() -> [Value; 3] {
    let proxy = json!({"networking": {"address": "10.0.0.9", "gateway": {"type": "BUILTIN", "tags": service("edge")}}});
    let listeners = json!([
        {"port": 8080, "protocol": "HTTP", "hostname": "*.example.com"},
        {"port": 8081, "protocol": "TCP"},
    ]);
    let selectors = json!([{"match": service("edge")}]);
    let rule = json!({
        "matches": [{"path": {"match": "PREFIX", "value": "/"}}],
        "backends": [{"destination": service("web")}, {"destination": service("db")}],
    });
    [
        of_mesh("Dataplane", "edge-1", proxy),
        of_mesh("MeshGateway", "edge", json!({"selectors": selectors, "conf": {"listeners": listeners}})),
        of_mesh("MeshGatewayRoute", "route", json!({"selectors": selectors, "conf": {"http": {"rules": [rule]}}})),
    ]
}

/// Attachments with the names of their policies by kind.
fn summary(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().expect("a list");
    assert_eq!(answer["total"], items.len());
    let summary = items.iter().map(|item| {
        let text = |member: &str| item[member].as_str().unwrap_or("-").to_owned();
        let policies = item["matchedPolicies"].as_object().expect("an object").iter().map(|(kind, policies)| {
            let names = policies.as_array().expect("a list").iter().map(|policy| {
                assert_eq!(policy["type"], *kind);
                policy["name"].as_str().expect("a name").to_owned()
            });
            format!("{kind}={}", names.collect::<Vec<_>>().join(","))
        });
        let policies = policies.collect::<Vec<_>>().join(" ");
        format!("{} {} {}: {policies}", text("type"), text("name"), text("service"))
    });
    summary.collect()
}

#[tokio::test]
async fn policies_of_a_sidecar_by_what_they_are_attached_to() {
    let retry = json!({"spec": {"targetRef": {"kind": "Mesh"}, "to": [
        {"targetRef": {"kind": "Mesh"}, "default": {"tcp": {"maxConnectAttempt": 3}}}]}});
    let mut on_trial = of_mesh("MeshRetry", "on-trial", retry.clone());
    on_trial["labels"] = json!({"kuma.io/effect": "shadow"});
    let api = start([
        sidecar("web-1", "web", "db"),
        between("Timeout", "exact", "web", "db"),
        between("Timeout", "general", "*", "*"),
        between("TrafficPermission", "allow", "*", "*"),
        between("CircuitBreaker", "breaker", "*", "*"),
        of_mesh("ProxyTemplate", "template", json!({})),
        of_mesh("MeshRetry", "retry", retry),
        on_trial,
    ])
    .await;
    let answer = api.get("/meshes/m/dataplanes/web-1/policies").await.json();
    assert_eq!(answer["kind"], "SidecarDataplane");
    assert_eq!(
        summary(&answer),
        [
            "dataplane - -: MeshRetry=retry ProxyTemplate=template",
            "inbound 10.0.0.1:80:8080 web: TrafficPermission=allow",
            "outbound 127.0.0.1:9000 db: Timeout=exact",
            "service db db: CircuitBreaker=breaker",
        ]
    );
    let shown = &answer["items"][0]["matchedPolicies"]["MeshRetry"][0];
    assert_eq!(shown["kri"], "kri_mr_m___retry_");
    assert!(shown["creationTime"].is_string() && shown.get("spec").is_none());
}

#[tokio::test]
async fn redirected_proxies_do_not_use_the_outbounds_they_list() {
    let mut redirected = sidecar("web-1", "web", "db");
    redirected["networking"]["transparentProxying"] =
        json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    let policies = [between("Timeout", "t", "*", "*"), between("TrafficPermission", "p", "*", "*")];
    let api = start(policies.into_iter().chain([redirected.clone()])).await;
    let answer = api.get("/meshes/m/dataplanes/web-1/policies").await.json();
    assert_eq!(summary(&answer), ["inbound 10.0.0.1:80:8080 web: TrafficPermission=p"]);

    // They reach services at virtual addresses, but for those that they do not ask for and their own.
    let target = |service: &str| json!({"Port": 0, "TagSet": {"kuma.io/service": service}, "Origin": "service"});
    let vips = json!({
        "0:db": {"address": "240.0.0.0", "outbounds": [target("db")]},
        "0:cache": {"address": "240.0.0.1", "outbounds": [target("cache")]},
        "0:own": {"address": "10.0.0.1", "outbounds": [target("own")]},
    });
    api.load(json!({"type": "Config", "name": "kuma-m-dns-vips", "config": vips.to_string()})).await;
    let outbounds = async || {
        let answer = api.get("/meshes/m/dataplanes/web-1/policies").await.json();
        summary(&answer).into_iter().filter(|line| line.starts_with("outbound")).collect::<Vec<_>>()
    };
    let (db, cache) = ("outbound 240.0.0.0:80 db: Timeout=t", "outbound 240.0.0.1:80 cache: Timeout=t");
    assert_eq!(outbounds().await, [db, cache]);
    redirected["networking"]["transparentProxying"]["reachableServices"] = json!(["cache"]);
    api.load(redirected).await;
    assert_eq!(outbounds().await, [cache]);
    api.load(json!({"type": "Mesh", "name": "m", "meshServices": {"mode": "Exclusive"}})).await;
    assert!(outbounds().await.is_empty(), "services have no virtual address by their tags");
}

#[tokio::test]
async fn the_inbound_for_metrics_has_permissions_too() {
    let backend = json!({"name": "p", "type": "prometheus", "conf": {"port": 5670, "tags": service("metrics")}});
    let api = start([sidecar("web-1", "web", "db"), between("TrafficPermission", "scrape", "*", "metrics")]).await;
    api.load(json!({"type": "Mesh", "name": "m", "metrics": {"enabledBackend": "p", "backends": [backend]}})).await;
    let answer = api.get("/meshes/m/dataplanes/web-1/policies").await.json();
    assert_eq!(summary(&answer), ["inbound 10.0.0.1:5670:5670 -: TrafficPermission=scrape"]);
}

#[tokio::test]
async fn policies_of_a_gateway_by_destination() {
    let mut resources = Vec::from(gateway());
    resources.push(between("Retry", "retry", "edge", "web"));
    resources.push(between("TrafficLog", "log", "*", "*"));
    let api = start(resources).await;
    let answer = api.get("/meshes/m/dataplanes/edge-1/policies").await.json();
    assert_eq!(
        (&answer["kind"], &answer["gateway"]),
        (&json!("MeshGatewayDataplane"), &json!({"mesh": "m", "name": "edge"}))
    );
    assert_eq!(answer["policies"]["TrafficLog"]["name"], "log");
    let listeners = answer["listeners"].as_array().expect("a list");
    assert_eq!(listeners.len(), 2);
    assert_eq!((&listeners[0]["port"], &listeners[0]["protocol"]), (&json!(8080), &json!("HTTP")));
    let host = &listeners[0]["hosts"][0];
    assert_eq!((&host["hostName"], &host["routes"][0]["route"]), (&json!("*.example.com"), &json!("route")));
    let destinations = host["routes"][0]["destinations"].as_array().expect("a list");
    assert_eq!(destinations[0], json!({"tags": service("db"), "policies": {}}));
    assert_eq!(destinations[1]["tags"], service("web"));
    assert_eq!(destinations[1]["policies"]["Retry"]["name"], "retry");
    // The route is none for TCP.
    assert_eq!(listeners[1]["hosts"], json!([{"hostName": "*", "routes": []}]));
}

#[tokio::test]
async fn a_gateway_without_mesh_gateway_listens_for_nothing() {
    let [proxy, ..] = gateway();
    let api = start([proxy]).await;
    let answer = api.get("/meshes/m/dataplanes/edge-1/policies").await.json();
    let expected = json!({"kind": "MeshGatewayDataplane", "gateway": {"mesh": "", "name": ""}, "listeners": []});
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn proxies_of_a_policy_are_those_where_it_wins() {
    let mut resources = Vec::from(gateway());
    resources.extend([
        sidecar("api-1", "api", "db"),
        sidecar("web-1", "web", "db"),
        between("Retry", "of-web", "web", "db"),
        between("Retry", "of-all", "*", "db"),
    ]);
    let api = start(resources).await;
    let answer = api.get("/meshes/m/retries/of-all/dataplanes").await.json();
    let db = json!({"type": "service", "name": "db", "service": "db"});
    let route = json!({"route": "route", "destinations": [service("db")]});
    let host = json!({"hostName": "*.example.com", "routes": [route]});
    let expected = json!({"total": 2, "items": [
        {"kind": "SidecarDataplane", "dataplane": {"mesh": "m", "name": "api-1"}, "attachments": [db]},
        {"kind": "MeshGatewayDataplane", "dataplane": {"mesh": "m", "name": "edge-1"},
         "gateway": {"mesh": "m", "name": "edge"},
         "listeners": [{"port": 8080, "protocol": "HTTP", "hosts": [host]}]},
    ]});
    assert_eq!(answer, expected);
    let of_web = api.get("/meshes/m/retries/of-web/dataplanes").await.json();
    assert_eq!((&of_web["total"], &of_web["items"][0]["dataplane"]["name"]), (&json!(1), &json!("web-1")));
    let none = json!({"total": 0, "items": []});
    assert_eq!(api.get("/meshes/m/retries/unknown/dataplanes").await.json(), none);
    assert_eq!(api.get("/meshes/m/meshretries/unknown/dataplanes").await.json(), none);
}

#[tokio::test]
async fn gateways_and_their_routes_have_proxies() {
    let mut resources = Vec::from(gateway());
    resources.push(sidecar("web-1", "web", "db"));
    let api = start(resources).await;
    let expected = json!({"total": 1, "items": [{"dataplane": {"mesh": "m", "name": "edge-1"}}]});
    assert_eq!(api.get("/meshes/m/meshgateways/edge/dataplanes").await.json(), expected);
    assert_eq!(api.get("/meshes/m/meshgatewayroutes/route/dataplanes").await.json(), expected);
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let api = start([]).await;
    for (path, title) in [
        ("/meshes/x/dataplanes/web-1/policies", "Could not build MeshContext"),
        ("/meshes/m/dataplanes/web-1/policies", "Could not get MatchedPolicies"),
        ("/meshes/x/retries/r/dataplanes", "Could not list Dataplanes"),
        ("/meshes/x/meshgateways/edge/dataplanes", "Could not build mesh context"),
        ("/meshes/m/meshgateways/edge/dataplanes", "Could not find MeshGateway"),
        ("/meshes/m/meshgatewayroutes/route/dataplanes", "Could not find MeshGatewayRoute"),
    ] {
        let (status, found, _) = api.get(path).await.problem();
        assert_eq!((status, found.as_str()), (404, title), "{path}");
    }
    assert_eq!(api.get("/meshes/m/virtual-outbounds/v/dataplanes").await.status, 404);
}
