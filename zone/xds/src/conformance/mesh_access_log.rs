//! MeshAccessLog and MeshTrace: what logs and traces say, and where they go.
//!
//! Upstream's tests give listeners to the policies that no proxy has, so of a listener all that is compared is what the policies decide:
//! logs, tracing, the filter for Lua and what it reads of routes.

use std::path::Path;

use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::compare::{canonical, compare};
use super::report::{Report, folder};
use super::{metadata, yaml};
use crate::testing::{Zone, envoy_json, stored};
use crate::{ProxyMetadata, ResourceType};

const UNIFIED: &str = "feature-unified-resource-naming";

const NAMESPACE: &str = "k8s.kuma.io/namespace";

/// Namespace of a MeshService.
fn namespace(service: &str) -> &'static str {
    if service == "backend" { "backend-ns" } else { "other-ns" }
}

/// What a case sets up besides the proxy.
struct Scene {
    /// Names are unified.
    unified: bool,
    /// A second service at the port of the inbound.
    second_service: bool,
    /// Outbounds, as a Dataplane has them.
    outbounds: Vec<Value>,
    /// Resources with their names.
    resources: Vec<(Kind, &'static str, Value)>,
}

impl Scene {
    fn new(policies: Vec<(Kind, &'static str, Value)>) -> Self {
        Self { unified: false, second_service: false, outbounds: Vec::new(), resources: policies }
    }

    /// A scene with an outbound to a service by tags.
    fn to(mut self, service: &str, port: u32) -> Self {
        let tags = json!({"kuma.io/service": service});
        self.outbounds.push(json!({"address": "127.0.0.1", "port": port, "tags": tags}));
        self
    }

    /// A scene with an outbound to a resource with one port.
    fn for_resource(mut self, kind: Kind, name: &'static str, port: u32) -> Self {
        let reference = match kind {
            Kind::MeshService => json!({"kind": "MeshService", "labels": {NAMESPACE: namespace(name)}, "port": port}),
            _ => json!({"kind": kind.name(), "name": name, "port": port}),
        };
        self.outbounds.push(json!({"address": "127.0.0.1", "port": port, "backendRef": reference}));
        let spec = match kind {
            Kind::MeshExternalService => json!({
                "match": {"type": "HostnameGenerator", "port": port, "protocol": "http"},
                "endpoints": [{"address": "example.com", "port": 80}],
            }),
            _ => json!({
                "selector": {"dataplaneTags": {"kuma.io/service": name}},
                "ports": [{"port": port, "targetPort": port, "appProtocol": "http"}],
            }),
        };
        self.resources.push((kind, name, spec));
        self
    }

    fn unified(self) -> Self {
        Self { unified: true, ..self }
    }

    /// What is generated for the proxy: its listeners and clusters by name.
    fn generate(self) -> Vec<Value> {
        let mode = if self.unified { "Exclusive" } else { "Everywhere" };
        let mesh = json!({"type": "Mesh", "name": "default", "meshServices": {"mode": mode}});
        let tags = |service: &str| json!({"kuma.io/service": service, "kuma.io/protocol": "http"});
        let inbound = |service: &str| json!({"port": 17777, "tags": tags(service)});
        let mut inbounds = vec![inbound("backend")];
        inbounds.extend(self.second_service.then(|| inbound("backend-canary")));
        let networking = json!({"address": "127.0.0.1", "inbound": inbounds, "outbound": self.outbounds});
        let server = |port: u32, service: &str, protocol: &str| {
            let tags = json!({"kuma.io/service": service, "kuma.io/protocol": protocol});
            json!({"networking": {"address": "10.0.0.2", "inbound": [{"port": port, "tags": tags}]}})
        };
        let mut all = vec![
            from_json(mesh, None, Unknown::Refuse).expect("a Mesh").resource,
            stored(Kind::Dataplane, "default", "backend", &json!({"networking": networking})),
            stored(Kind::Dataplane, "default", "http", &server(80, "other-service-http", "http")),
            stored(Kind::Dataplane, "default", "other", &server(81, "other-service", "http")),
            stored(Kind::Dataplane, "default", "tcp", &server(82, "other-service-tcp", "tcp")),
        ];
        for (kind, name, mut spec) in self.resources {
            if !matches!(kind, Kind::MeshService | Kind::MeshExternalService) {
                let checked = tandem_policy::check(kind, &mut spec);
                assert!(checked.violations.is_empty(), "{name}: {}", checked.violations);
            }
            let resource = Resource::from_json(ResourceKey::new(kind, "default", name), spec);
            all.push(match kind {
                Kind::MeshService => resource.with_labels([(NAMESPACE, namespace(name)), ("kuma.io/zone", "zone-1")]),
                _ => resource,
            });
        }
        let zone = Zone::new("zone-1", all);
        let features: &[&str] = if self.unified { &[UNIFIED] } else { &[] };
        let metadata = ProxyMetadata { workdir: "/tmp".to_owned(), ..metadata(features) };
        let key = ResourceKey::new(Kind::Dataplane, "default", "backend");
        let made = zone.generate_with(&key, &metadata, &Default::default(), None).expect("nothing is missing");
        let of_type = |kind| made.resources.of(kind).iter().map(|one| canonical(envoy_json::any_to_json(&one.body)));
        of_type(ResourceType::Listener).chain(of_type(ResourceType::Cluster)).collect()
    }
}

/// All that is compared of a listener; a cluster is compared as a whole.
fn reported(resource: &Value) -> Value {
    let Some(chains) = resource["filterChains"].as_array() else {
        let mut cluster = resource.clone();
        cluster.as_object_mut().map(|members| members.remove("@type"));
        return cluster;
    };
    let filters = chains.iter().flat_map(|chain| chain["filters"].as_array().into_iter().flatten());
    let of_filter = |filter: &Value| {
        let config = &filter["typedConfig"];
        let list = |path: &str| config.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
        let http_filters = list("/httpFilters");
        let lua: Vec<_> = http_filters.iter().filter(|filter| filter["name"] == "envoy.filters.http.lua").collect();
        let routes = list("/routeConfig/virtualHosts/0/routes");
        let told = routes.iter().filter(|route| !route["metadata"].is_null());
        let told: Vec<_> = told.map(|route| json!([route["name"], route["match"], route["metadata"]])).collect();
        json!({"logs": config["accessLog"], "tracing": config["tracing"], "lua": lua, "routes": told})
    };
    let parts: Vec<Value> = filters.map(of_filter).collect();
    json!({"name": resource["name"], "filters": parts})
}

/// Differences of one resource from a file.
fn differences(generated: &[Value], golden: Value) -> Vec<String> {
    let golden = canonical(golden);
    // Listeners are told apart by address, as upstream's test does not unify their names.
    let same = |one: &&Value| match &golden["address"] {
        Value::Null => one["name"] == golden["name"],
        address => one["address"] == *address,
    };
    let Some(found) = generated.iter().find(same) else { return vec![format!("{} is missing", golden["name"])] };
    let (mut found, mut golden) = (reported(found), reported(&golden));
    if golden["filters"].is_array() {
        found["name"] = golden["name"].take();
        golden["name"] = found["name"].clone();
    }
    let mut differences = Vec::new();
    compare("", &found, &golden, &mut differences);
    differences
}

fn all_differences(generated: &[Value], folder: &Path, files: &[&str]) -> Vec<String> {
    let of_file = |file: &&str| differences(generated, yaml(&folder.join(format!("{file}.golden.yaml"))));
    files.iter().flat_map(of_file).collect()
}

fn file(path: &str, format: Value) -> Value {
    let mut file = json!({"path": path});
    if !format.is_null() {
        file["format"] = format;
    }
    json!({"type": "File", "file": file})
}

fn tcp(format: Value) -> Value {
    let mut tcp = json!({"address": "logging.backend"});
    if !format.is_null() {
        tcp["format"] = format;
    }
    json!({"type": "Tcp", "tcp": tcp})
}

fn plain() -> Value {
    json!({"type": "Plain", "plain": "custom format [%START_TIME%] %RESPONSE_FLAGS%"})
}

fn members() -> Value {
    let members = json!([{"key": "protocol", "value": "%PROTOCOL%"}, {"key": "duration", "value": "%DURATION%"}]);
    json!({"type": "Json", "json": members})
}

fn mesh() -> Value {
    json!({"kind": "Mesh"})
}

/// MeshAccessLogs for destinations, named by their position.
fn logs<const N: usize>(items: [(Value, Vec<Value>); N]) -> Vec<(Kind, &'static str, Value)> {
    let of = |(target, backends): (Value, Vec<Value>)| json!({"targetRef": target, "default": {"backends": backends}});
    let to: Vec<Value> = items.into_iter().map(of).collect();
    vec![(Kind::MeshAccessLog, "logs", json!({"to": to}))]
}

/// The service that is not `backend`.
fn other_service() -> Value {
    json!({"kind": "MeshService", "labels": {NAMESPACE: namespace("other-meshservice-http")}})
}

/// A route to that service by the prefix of its name.
fn route(name: &'static str) -> (Kind, &'static str, Value) {
    let matches = json!([{"path": {"type": "PathPrefix", "value": format!("/{name}")}}]);
    let to = json!([{"targetRef": other_service(), "rules": [{"matches": matches, "default": {}}]}]);
    (Kind::MeshHTTPRoute, name, json!({"to": to}))
}

#[test]
fn access_logs() {
    const FOLDER: &str = "policy-plugins/meshaccesslog/plugin-v1alpha1";
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let log = || file("/tmp/log", Value::Null);
    let to_mesh = |backend: Value| Scene::new(logs([(mesh(), vec![backend])]));
    let service = |name: &str| json!({"kind": "MeshService", "name": name});
    let simple = [
        ("basic_outbound", to_mesh(log()).to("other-service-http", 27777)),
        ("outbound_file_backend_default_format", to_mesh(log()).to("other-service-tcp", 37777)),
        ("outbound_file_backend_plain_format", to_mesh(file("/tmp/log", plain())).to("other-service-tcp", 37777)),
        ("outbound_file_backend_json_format", to_mesh(file("/tmp/log", members())).to("other-service-tcp", 37777)),
        ("outbound_tcp_backend_default_format", to_mesh(tcp(Value::Null)).to("other-service-tcp", 37777)),
        ("outbound_tcp_backend_plain_format", to_mesh(tcp(plain())).to("other-service-tcp", 37777)),
        ("outbound_tcp_backend_json_format", to_mesh(tcp(members())).to("other-service-tcp", 37777)),
        (
            "outbound_route_without_match",
            Scene::new(logs([(service("other"), vec![log()])])).to("other-service-http", 27777),
        ),
        (
            "basic_outbound_real_meshservice",
            to_mesh(log()).for_resource(Kind::MeshService, "other-meshservice-http", 27777),
        ),
        (
            "basic_outbound_real_meshexternalservice",
            to_mesh(log()).for_resource(Kind::MeshExternalService, "other-meshexternalservice-http", 47777),
        ),
    ];
    for (name, scene) in simple {
        report.case(name, all_differences(&scene.generate(), &folder, &[&format!("{name}.listener")]));
    }
    let rules = json!({"rules": [{"default": {"backends": [log()]}}]});
    for (name, second_service) in [("inbound_route", false), ("inbound_route_duplicate_port", true)] {
        let scene = Scene { second_service, ..Scene::new(vec![(Kind::MeshAccessLog, "logs", rules.clone())]) };
        report.case(name, all_differences(&scene.generate(), &folder, &[&format!("{name}.listener")]));
    }
    for (name, unified) in [("outbound_otel_backend_plain_format", false), ("outbound_otel_unified_naming", true)] {
        let found = collectors(unified).generate();
        for number in ["", "_1"] {
            let file = format!("{name}{number}.cluster");
            report.case(&file, all_differences(&found, &folder, &[&file]));
        }
        for number in ["", "_1", "_2"] {
            let file = format!("{name}{number}.listener");
            report.case(&file, all_differences(&found, &folder, &[&file]));
        }
    }
    for (name, of_route, count) in [
        ("basic_outbound_meshhttproute", vec!["route-2", "route-3"], 3),
        ("basic_outbound_meshhttproute_unified_naming", vec!["route-2"], 2),
        ("disable_mal_for_meshhttproute", vec!["route-2"], 3),
    ] {
        let is_silenced = name.starts_with("disable");
        let scene = with_routes(&of_route, count, is_silenced);
        let scene = if name.ends_with("unified_naming") { scene.unified() } else { scene };
        let found = all_differences(&scene.generate(), &folder, &[&format!("{name}.listener")]);
        // The filter for Lua is there, so that the route has no log indeed.
        match found.iter().all(|difference| difference.contains(".lua")) && is_silenced {
            true => report.different(name, "a route whose log is turned off has no log", found),
            false => report.case(name, found),
        }
    }
    for kind in ["cluster", "listener", "route"] {
        report.skip(format!("basic-gateway.gateway.{kind}"), "MeshGateway");
    }
    report.finish();
}

/// Services whose connections are logged to two collectors.
fn collectors(unified: bool) -> Scene {
    let collector = |endpoint: &str, body: Value| {
        let mut backend = json!({"endpoint": endpoint});
        if !body.is_null() {
            backend["body"] = body;
        }
        vec![json!({"type": "OpenTelemetry", "openTelemetry": backend})]
    };
    let service = |name: &str| json!({"kind": "MeshService", "name": name});
    let pair = json!({"key": "mesh", "value": {"stringValue": "%KUMA_MESH%"}});
    let scene = Scene::new(logs([
        (service("other-service-tcp"), collector("otel-collector", Value::Null)),
        // What upstream's test writes there is not JSON.
        (service("foo-service"), collector("otel-collector", json!({"stringValue": "%KUMA_MESH%"}))),
        (service("bar-service"), collector("other-otel-collector:5317", json!({"kvlistValue": {"values": [pair]}}))),
    ]));
    let scene = scene.to("other-service-tcp", 37777).to("foo-service", 37778).to("bar-service", 37779);
    if unified { scene.unified() } else { scene }
}

/// Routes `route-1` to `route-<count>` to a MeshService, with a log for all and logs, or none, for some routes.
fn with_routes(of_route: &[&'static str], count: usize, is_silenced: bool) -> Scene {
    let all = ["route-1", "route-2", "route-3"];
    let item = |target: Value, backends: Vec<Value>| json!({"targetRef": target, "default": {"backends": backends}});
    let mut to = vec![item(other_service(), vec![file("/tmp/meshservice/log", Value::Null)])];
    to.extend(of_route.iter().map(|name| {
        let log = file(&format!("/tmp/{name}/log"), Value::Null);
        item(json!({"kind": "MeshHTTPRoute", "name": name}), if is_silenced { vec![] } else { vec![log] })
    }));
    let mut policies = vec![(Kind::MeshAccessLog, "logs", json!({"to": to}))];
    policies.extend(all.into_iter().take(count).map(route));
    Scene::new(policies).for_resource(Kind::MeshService, "other-meshservice-http", 27777)
}

#[test]
fn traces() {
    const FOLDER: &str = "policy-plugins/meshtrace/plugin-v1alpha1";
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    let tags = json!([
        {"name": "app", "literal": "backend"},
        {"name": "app_code", "header": {"name": "app_code"}},
        {"name": "client_id", "header": {"name": "client_id", "default": "none"}},
    ]);
    let full = |backend: &Value| {
        let sampling = json!({"overall": 10, "client": 20, "random": 50});
        json!({"tags": tags, "sampling": sampling, "backends": [backend]})
    };
    let url = "http://jaeger-collector.mesh-observability:9411/api/v2/spans";
    let zipkin = |version: &str| {
        let zipkin = json!({"url": url, "sharedSpanContext": true, "apiVersion": version, "traceId128bit": true});
        json!({"type": "Zipkin", "zipkin": zipkin})
    };
    let endpoint = json!({"endpoint": "jaeger-collector.mesh-observability:4317"});
    let collector = json!({"type": "OpenTelemetry", "openTelemetry": endpoint});
    let agent = json!({"type": "Datadog", "datadog": {"url": "http://ingest.datadog.eu:8126", "splitService": true}});
    let scene = |conf: &Value| {
        let scene = Scene::new(vec![(Kind::MeshTrace, "trace", json!({"default": conf}))]);
        scene.to("other-service", 27777)
    };
    let real = |conf: &Value| {
        let scene = Scene::new(vec![(Kind::MeshTrace, "trace", json!({"default": conf}))]);
        scene.for_resource(Kind::MeshService, "backend", 27777)
    };
    let cases = [
        ("inbound-outbound-zipkin", scene(&full(&zipkin("httpProto")))),
        ("inbound-outbound-zipkin-real-meshservice", real(&full(&zipkin("httpProto")))),
        ("inbound-outbound-zipkin-real-meshservice-unified-naming", real(&full(&zipkin("httpProto"))).unified()),
        ("inbound-outbound-otel", scene(&full(&collector))),
        ("inbound-outbound-datadog", scene(&json!({"sampling": {"random": 50}, "backends": [agent]}))),
        ("empty-sampling", scene(&json!({"backends": [zipkin("httpJson")]}))),
        ("empty-backend-list", scene(&json!({"backends": []}))),
    ];
    for (name, scene) in cases {
        let generated = scene.generate();
        for kind in ["listener", "cluster"] {
            let file = format!("{name}.{kind}");
            let listed = yaml(&folder.join(format!("{file}.golden.yaml")));
            let listed = listed["resources"].as_array().cloned().unwrap_or_default();
            let mut found: Vec<String> =
                listed.into_iter().flat_map(|entry| differences(&generated, entry["resource"].clone())).collect();
            if kind == "cluster" && listed_none(&folder, &file) {
                let is_ours = |one: &&Value| one["name"].as_str().is_some_and(|name| name.contains("meshtrace"));
                found.extend(generated.iter().filter(is_ours).map(|one| format!("{} is too much", one["name"])));
            }
            report.case(file, found);
        }
    }
    for name in ["simple-gateway", "simple-gateway-with-unified-naming"] {
        report.skip(name, "MeshGateway");
    }
    report.finish();
}

fn listed_none(folder: &Path, file: &str) -> bool {
    yaml(&folder.join(format!("{file}.golden.yaml")))["resources"].as_array().is_none_or(Vec::is_empty)
}
