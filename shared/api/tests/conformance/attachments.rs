//! The files `inspect_*` about policies and what they are attached to. Upstream builds the resources they are about in code
//! (`pkg/api-server/inspect_endpoints_test.go`); so does this.
//!
//! Items are compared in the order of their names, which is the order of lists here; upstream's run lists them as they were
//! created.

use serde_json::{Value, json};

use crate::support::Api;
use crate::{case, root};

/// Where an inbound of a service starts to listen, and its workload.
const PORTS: (u32, u32) = (80, 8080);
/// Port of the first outbound.
const FIRST_OUTBOUND: u32 = 10001;

fn service(name: &str) -> Value {
    json!({"match": {"kuma.io/service": name}})
}

fn http_service(name: &str) -> Value {
    json!({"match": {"kuma.io/service": name, "kuma.io/protocol": "http"}})
}

fn any() -> Value {
    json!([service("*")])
}

fn of_mesh(mesh: &str, kind: &str, name: &str, members: Value) -> Value {
    let mut resource = json!({"type": kind, "mesh": mesh, "name": name});
    for (member, value) in members.as_object().into_iter().flatten() {
        resource[member] = value.clone();
    }
    resource
}

fn from_anywhere(mesh: &str, kind: &str, name: &str, destinations: Value) -> Value {
    of_mesh(mesh, kind, name, json!({"sources": any(), "destinations": destinations}))
}

/// A sidecar with an inbound for each of the first services, and outbounds to the others.
fn sidecar(mesh: &str, name: &str, inbounds: &[Value], outbounds: &[&str]) -> Value {
    let inbound = |(index, selector): (u32, &Value)| json!({"port": PORTS.0 + index, "servicePort": PORTS.1 + index, "tags": selector["match"]});
    let outbound = |(index, to): (u32, &&str)| json!({"port": FIRST_OUTBOUND + index, "tags": service(to)["match"]});
    let inbounds: Vec<_> = (0..).zip(inbounds).map(inbound).collect();
    let outbounds: Vec<_> = (0..).zip(outbounds).map(outbound).collect();
    let networking = json!({"address": "127.0.0.1", "inbound": inbounds, "outbound": outbounds});
    of_mesh(mesh, "Dataplane", name, json!({"networking": networking}))
}

fn builtin_gateway(mesh: &str, name: &str, of: &str) -> Value {
    let gateway = json!({"type": "BUILTIN", "tags": service(of)["match"]});
    of_mesh(mesh, "Dataplane", name, json!({"networking": {"address": "127.0.0.1", "gateway": gateway}}))
}

fn mesh_gateway(mesh: &str, name: &str, of: &str) -> Value {
    let listeners = json!([{"port": 80, "protocol": "HTTP"}]);
    of_mesh(mesh, "MeshGateway", name, json!({"selectors": [service(of)], "conf": {"listeners": listeners}}))
}

/// A route of a gateway that sends exact paths to services of the same name.
fn gateway_route(mesh: &str, name: &str, of: &str, to: &[&str]) -> Value {
    let rule = |to: &&str| {
        let path = json!({"match": "EXACT", "value": format!("/{to}")});
        json!({"matches": [{"path": path}], "backends": [{"destination": service(to)["match"]}]})
    };
    let rules: Vec<_> = to.iter().map(rule).collect();
    let conf = json!({"http": {"rules": rules}});
    of_mesh(mesh, "MeshGatewayRoute", name, json!({"selectors": [service(of)], "conf": conf}))
}

/// Sidecars that several files have in common.
fn two_sidecars() -> [Value; 2] {
    [
        sidecar("mesh-1", "backend-1", &[service("backend")], &["redis", "elastic", "web"]),
        sidecar("mesh-1", "redis-1", &[service("redis")], &["elastic", "web"]),
    ]
}

fn three_sidecars() -> [Value; 3] {
    [
        sidecar("mesh-1", "backend-1", &[service("backend")], &["redis", "elastic", "web"]),
        sidecar("mesh-1", "redis-1", &[service("redis")], &["redis", "elastic", "web"]),
        sidecar("mesh-1", "web-1", &[service("web")], &["elastic", "backend"]),
    ]
}

/// A policy about connections to two services.
fn to_two(kind: &str, name: &str) -> Value {
    from_anywhere("mesh-1", kind, name, json!([service("redis"), service("elastic")]))
}

/// Removes what differs between runs, and the order of creation.
fn settled(mut answer: Value, in_items: bool) -> Value {
    fn visit(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if matches!(name.as_str(), "creationTime" | "modificationTime") {
                        *value = Value::Null;
                    }
                    visit(value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(visit),
            _ => {}
        }
    }
    visit(&mut answer);
    if in_items && let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
        items.sort_by_key(|item| item["dataplane"]["name"].as_str().map(str::to_owned));
    }
    answer
}

async fn start(resources: impl IntoIterator<Item = Value>) -> Api {
    let api = case::setup().start().await;
    for mesh in ["default", "mesh-1"] {
        api.mesh(mesh).await;
    }
    for resource in resources {
        api.load(resource).await;
    }
    api
}

async fn compare_with(api: &Api, file: &str, path: &str) {
    let Some(root) = root() else { return };
    let expected = std::fs::read_to_string(root.join(file)).expect("a file");
    let expected = settled(serde_json::from_str(&expected).expect("JSON"), true);
    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{file}: {}", answer.text);
    let answer = settled(answer.json(), false);
    assert!(answer == expected, "{file}: answered {answer:#}\nexpected {expected:#}");
}

async fn compare(file: &str, path: &str, resources: impl IntoIterator<Item = Value>) {
    if root().is_some() {
        compare_with(&start(resources).await, file, path).await;
    }
}

#[tokio::test]
async fn policies_of_a_sidecar() {
    let fault = |name: &str| from_anywhere("default", "FaultInjection", name, json!([http_service("backend")]));
    let check = json!({"sources": [service("backend")], "destinations": any()});
    let allow = json!({"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}});
    let resources = [
        sidecar("default", "backend-1", &[http_service("backend")], &["redis", "elastic", "postgres", "web"]),
        from_anywhere("default", "TrafficPermission", "tp-1", any()),
        // Of equal policies the newest comes first. In upstream's run they are of the same time, and the name decides.
        fault("fi-2"),
        fault("fi-1"),
        from_anywhere("default", "Timeout", "t-1", json!([service("redis")])),
        of_mesh("default", "HealthCheck", "hc-1", check),
        of_mesh(
            "default",
            "MeshTrafficPermission",
            "mtp-1",
            json!({"spec": {"targetRef": {"kind": "Mesh"}, "from": [allow]}}),
        ),
    ];
    let path = "/meshes/default/dataplanes/backend-1/policies";
    compare("inspect_dataplane.json", path, resources).await;
    let alone = sidecar("default", "backend-1", &[service("backend")], &["redis", "elastic", "postgres", "web"]);
    compare("inspect_dataplane_empty-response.json", path, [alone]).await;
}

#[tokio::test]
async fn policies_of_a_gateway() {
    let check = json!({"sources": [service("elastic")], "destinations": [service("backend")]});
    let resources = [
        builtin_gateway("default", "gateway-1", "elastic"),
        from_anywhere("default", "TrafficLog", "tl-1", any()),
        from_anywhere("default", "TrafficPermission", "tp-1", any()),
        mesh_gateway("default", "elastic", "elastic"),
        gateway_route("default", "route-1", "elastic", &["redis", "backend"]),
        from_anywhere("default", "Timeout", "t-1", json!([service("redis")])),
        of_mesh("default", "HealthCheck", "hc-1", check),
    ];
    compare("inspect_gateway_dataplane.json", "/meshes/default/dataplanes/gateway-1/policies", resources).await;
}

#[tokio::test]
async fn proxies_of_gateways_and_their_routes() {
    let proxies = |of: &str| {
        [
            builtin_gateway("default", "gateway-1", of),
            builtin_gateway("default", "othergateway-1", "othergateway"),
            sidecar("default", "redis-1", &[service("redis")], &["backend", "elastic"]),
        ]
    };
    let mut resources = Vec::from(proxies("gateway"));
    resources.push(mesh_gateway("default", "gateway", "gateway"));
    let path = "/meshes/default/meshgateways/gateway/dataplanes";
    compare("inspect_gateway_dataplanes.json", path, resources).await;

    let mut resources = Vec::from(proxies("elastic"));
    resources.push(mesh_gateway("default", "elastic", "elastic"));
    resources.push(gateway_route("default", "gatewayroute", "elastic", &["redis"]));
    let path = "/meshes/default/meshgatewayroutes/gatewayroute/dataplanes";
    compare("inspect_gatewayroutes_dataplanes.json", path, resources).await;
}

#[tokio::test]
async fn proxies_of_policies_of_inbounds() {
    let three = || json!([http_service("backend"), http_service("redis"), http_service("elastic")]);
    let outbounds = ["redis", "elastic", "postgres"];
    let resources = [
        from_anywhere("default", "TrafficPermission", "tp-1", three()),
        sidecar("default", "backend-1", &[http_service("backend")], &outbounds),
        sidecar("default", "redis-1", &[http_service("redis")], &outbounds),
        sidecar("default", "elastic-1", &[http_service("elastic")], &outbounds),
        sidecar("default", "web-1", &[service("web")], &[]),
    ];
    let path = "/meshes/default/traffic-permissions/tp-1/dataplanes";
    compare("inspect_traffic-permission.json", path, resources).await;

    let resources = [
        from_anywhere("mesh-1", "FaultInjection", "fi-1", three()),
        sidecar("mesh-1", "backend-redis-1", &[http_service("backend"), http_service("redis")], &[]),
        sidecar("mesh-1", "elastic-1", &[http_service("elastic")], &["backend", "redis"]),
        sidecar("mesh-1", "web-1", &[http_service("web")], &[]),
    ];
    compare("inspect_fault-injection.json", "/meshes/mesh-1/fault-injections/fi-1/dataplanes", resources).await;

    let mut destinations = three();
    destinations.as_array_mut().expect("a list").push(service("es"));
    let resources = [
        from_anywhere("mesh-1", "RateLimit", "rl-1", destinations),
        sidecar("mesh-1", "elastic-1", &[http_service("elastic")], &["backend", "redis", "es"]),
        sidecar("mesh-1", "web-1", &[http_service("web")], &[]),
    ];
    compare("inspect_rate-limit.json", "/meshes/mesh-1/rate-limits/rl-1/dataplanes", resources).await;
}

#[tokio::test]
async fn proxies_of_policies_of_services_and_outbounds() {
    for (kind, path, file) in [
        ("TrafficLog", "traffic-logs", "inspect_traffic-log.json"),
        ("HealthCheck", "health-checks", "inspect_health-check.json"),
        ("CircuitBreaker", "circuit-breakers", "inspect_circuit-breaker.json"),
        ("Timeout", "timeouts", "inspect_timeout.json"),
    ] {
        let mut resources = vec![to_two(kind, "p")];
        resources.extend(two_sidecars());
        compare(file, &format!("/meshes/mesh-1/{path}/p/dataplanes"), resources).await;
    }
    let mut resources = vec![
        mesh_gateway("mesh-1", "gateway", "meshgateway"),
        gateway_route("mesh-1", "route-1", "meshgateway", &["redis", "backend"]),
        to_two("Retry", "r-1"),
        builtin_gateway("mesh-1", "meshgateway-1", "meshgateway"),
    ];
    resources.extend(two_sidecars());
    compare("inspect_retry.json", "/meshes/mesh-1/retries/r-1/dataplanes", resources).await;

    let mut route = from_anywhere("mesh-1", "TrafficRoute", "t-1", any());
    route["conf"] = json!({"destination": {"kuma.io/service": "*", "version": "v1"}});
    let resources = [
        route,
        sidecar("mesh-1", "backend-1", &[service("backend")], &["redis", "web"]),
        sidecar("mesh-1", "redis-1", &[service("redis")], &["elastic", "web"]),
    ];
    compare("inspect_traffic-route.json", "/meshes/mesh-1/traffic-routes/t-1/dataplanes", resources).await;
}

#[tokio::test]
async fn proxies_of_policies_of_proxies() {
    let trace = || of_mesh("mesh-1", "TrafficTrace", "tt-1", json!({"selectors": any()}));
    let mut resources = vec![
        trace(),
        mesh_gateway("mesh-1", "meshgateway", "meshgateway"),
        gateway_route("mesh-1", "route-1", "meshgateway", &["redis"]),
        builtin_gateway("mesh-1", "meshgateway-1", "meshgateway"),
    ];
    resources.extend(three_sidecars());
    let path = "/meshes/mesh-1/traffic-traces/tt-1/dataplanes";
    compare("inspect_traffic-trace.json", path, resources).await;
    compare("inspect_traffic-trace_empty-response.json", path, [trace()]).await;

    let template = of_mesh("mesh-1", "ProxyTemplate", "tt-1", json!({"selectors": any()}));
    let resources = [template].into_iter().chain(three_sidecars());
    compare("inspect_proxytemplate.json", "/meshes/mesh-1/proxytemplates/tt-1/dataplanes", resources).await;

    let allow = json!({"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}});
    let spec = json!({"targetRef": {"kind": "MeshService", "name": "backend"}, "from": [allow]});
    let resources = [
        of_mesh("mesh-1", "MeshTrafficPermission", "mtp-1", json!({"spec": spec})),
        sidecar("mesh-1", "backend-1", &[service("backend")], &[]),
    ];
    let path = "/meshes/mesh-1/meshtrafficpermissions/mtp-1/dataplanes";
    compare("inspect_meshtrafficpermission.json", path, resources).await;
}

#[tokio::test]
async fn proxies_of_a_policy_after_a_change() {
    if root().is_none() {
        return;
    }
    let destinations = json!([http_service("backend"), http_service("redis")]);
    let api = start([
        from_anywhere("default", "TrafficPermission", "tp-1", destinations),
        sidecar("default", "backend-1", &[http_service("backend")], &["redis", "elastic"]),
        sidecar("default", "redis-1", &[http_service("redis")], &["redis", "backend", "elastic"]),
    ])
    .await;
    let path = "/meshes/default/traffic-permissions/tp-1/dataplanes";
    compare_with(&api, "inspect_changed_state_before.json", path).await;
    assert_eq!(api.delete("/meshes/default/dataplanes/backend-1").await.status, 200);
    compare_with(&api, "inspect_changed_state_after.json", path).await;
}
