//! Outbounds with TrafficRoutes and other policies of the older generation, and the ways of a ZoneIngress that follow from routes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::zone_proxies::{resource, run};
use super::{Report, Resources, differences, folder, golden, metadata};
use crate::testing::{dataplane, mesh, stored};
use crate::{AdminTls, Cache, Identity, MeshIndex, ProxyInput, ZoneSettings, generate};
use std::sync::Arc;

const MESH: &str = "mesh1";

fn between(source: &str, destination: &str, conf: Value) -> Value {
    let selectors = |service: &str| json!([{"match": {"kuma.io/service": service}}]);
    json!({"sources": selectors(source), "destinations": selectors(destination), "conf": conf})
}

fn policy(kind: Kind, service: &str, conf: Value) -> Resource {
    stored(kind, MESH, &format!("for-{service}"), &between("*", service, conf))
}

fn to(service: &str) -> Value {
    json!({"kuma.io/service": service})
}

fn balanced(service: &str, load_balancer: Value) -> Value {
    json!({"destination": to(service), "loadBalancer": load_balancer})
}

/// The routes by service.
fn routes() -> BTreeMap<&'static str, Value> {
    let ring = json!({"ringHash": {"hashFunction": "MURMUR_HASH_2", "minRingSize": 64, "maxRingSize": 1024}});
    let share =
        |role: &str, weight: u32| json!({"weight": weight, "destination": {"kuma.io/service": "db", "role": role}});
    let with_protocol = |service: &str, protocol: &str| json!({"destination": {"kuma.io/service": service, "kuma.io/protocol": protocol}});
    [
        ("api-http", balanced("api-http", json!({"roundRobin": {}}))),
        ("api-tcp", balanced("api-tcp", json!({"leastRequest": {"choiceCount": 4}}))),
        ("api-http2", balanced("api-http2", ring)),
        ("api-grpc", balanced("api-grpc", json!({"random": {}}))),
        ("backend", balanced("backend", json!({"maglev": {}}))),
        ("db", json!({"split": [share("master", 10), share("replica", 90), share("canary", 0)]})),
        ("es", with_protocol("es", "http")),
        ("es2", with_protocol("es2", "http2")),
    ]
    .into()
}

/// Proxies of the services, each with one inbound.
fn endpoints() -> Vec<Resource> {
    let mut resources = Vec::new();
    let mut add = |address: &str, port: u32, service: &str, tags: &[(&str, &str)]| {
        let tags = [&[("kuma.io/service", service)], tags].concat();
        let name = format!("endpoint-{}", resources.len());
        resources.push(dataplane(MESH, &name).address(address).inbound_with(port, &tags).resource());
    };
    let speaking = |protocol| ("kuma.io/protocol", protocol);
    add("192.168.0.4", 8084, "api-http", &[speaking("http"), ("region", "us")]);
    add("192.168.0.5", 8085, "api-http", &[speaking("http"), ("region", "eu")]);
    add("192.168.0.6", 8086, "api-tcp", &[speaking("http"), ("region", "us")]);
    add("192.168.0.7", 8087, "api-tcp", &[("region", "eu")]);
    add("192.168.0.4", 8088, "api-http2", &[speaking("http2")]);
    add("192.168.0.4", 8089, "api-grpc", &[speaking("grpc")]);
    add("192.168.0.1", 8081, "backend", &[("region", "us")]);
    add("192.168.0.2", 8082, "backend", &[]);
    add("192.168.0.3", 5432, "db", &[("role", "master")]);
    add("192.168.0.3", 5433, "db", &[("role", "replica")]);
    resources
}

fn external(name: &str, address: &str, protocol: &str) -> Resource {
    let tags = json!({"kuma.io/service": name, "kuma.io/protocol": protocol});
    stored(Kind::ExternalService, MESH, name, &json!({"networking": {"address": address}, "tags": tags}))
}

/// Everything but the proxy: what upstream's test hands to each case.
fn surroundings(with_mtls: bool) -> Vec<Resource> {
    let logging = json!({"backends": [
        {"name": "file", "type": "file", "conf": {"path": "/var/log"}},
        {"name": "elk", "type": "tcp", "conf": {"address": "logstash:1234"}},
    ]});
    let mut builder = mesh(MESH);
    if with_mtls {
        builder = builder.mtls();
    }
    let logged: tandem_proto::mesh::v1alpha1::Mesh =
        resource(&json!({"type": "Mesh", "name": MESH, "logging": logging})).proto().expect("a Mesh");
    builder.spec.logging = logged.logging;
    let mut resources = if with_mtls { builder.with_authority() } else { vec![builder.resource()] };
    resources.extend(endpoints());
    resources.extend([external("es", "10.0.0.1:10001", "http"), external("es2", "10.0.0.2:10002", "http2")]);
    resources.extend(routes().into_iter().map(|(service, conf)| policy(Kind::TrafficRoute, service, conf)));
    let mut permission = between("*", "*", Value::Null);
    permission.as_object_mut().expect("written above").remove("conf");
    resources.push(stored(Kind::TrafficPermission, MESH, "permission", &permission));
    resources.push(policy(Kind::TrafficLog, "api-http", json!({"backend": "file"})));
    resources.push(policy(Kind::TrafficLog, "api-tcp", json!({"backend": "elk"})));
    resources.push(policy(Kind::CircuitBreaker, "api-http", json!({"detectors": {"totalErrors": {}}})));
    let timeout = json!({
        "connectTimeout": "100s", "tcp": {"idleTimeout": "101s"},
        "http": {"requestTimeout": "102s", "idleTimeout": "103s"},
        "grpc": {"streamIdleTimeout": "104s", "maxStreamDuration": "105s"},
    });
    let with_timeout = ["api-tcp", "api-http2", "api-grpc", "es2"];
    resources.extend(with_timeout.map(|service| policy(Kind::Timeout, service, timeout.clone())));
    resources
}

/// What the proxy gets for its outbounds, each a port and a service.
fn outbounds(mut resources: Vec<Resource>, own_service: Option<&str>, outbounds: &[(&str, u32, &str)]) -> Resources {
    let listed: Vec<_> = outbounds
        .iter()
        .map(|(address, port, service)| json!({"address": address, "port": port, "tags": to(service)}))
        .collect();
    let mut networking = json!({"address": "10.0.0.1", "outbound": listed});
    match own_service {
        Some(service) => networking["inbound"] = json!([{"port": 8080, "tags": to(service)}]),
        None => networking["gateway"] = json!({"tags": to("gateway")}),
    }
    resources.push(stored(Kind::Dataplane, MESH, "side-car", &json!({"networking": networking})));
    let settings = ZoneSettings {
        internal_cidrs: vec!["9.10.11.12/12".to_owned(), "127.0.0.6/8".to_owned()],
        ..ZoneSettings::new("zone")
    };
    let mut index = MeshIndex::new(settings);
    let resources: Vec<_> = resources.into_iter().map(Arc::new).collect();
    index.apply(resources.iter().map(crate::testing::change));
    assert_eq!(index.take_problems(), []);
    let identity = Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let identities = BTreeMap::from([(MESH.to_owned(), Arc::new(identity))]);
    let key = ResourceKey::new(Kind::Dataplane, MESH, "side-car");
    let admin_tls: Option<&AdminTls> = None;
    let metadata = metadata(&[]);
    let input = ProxyInput {
        key: &key,
        metadata: &metadata,
        identities: &identities,
        workload: None,
        admin_tls,
        previous: None,
    };
    let generated = generate(&index.snapshot(), &input, &Cache::default()).expect("generates");
    let mut resources = super::generated(generated.resources.iter());
    let of_other_parts = |name: &str| name.starts_with("inbound:") || name.starts_with("localhost:");
    resources.retain(|(kind, name), _| !of_other_parts(name) && !kind.ends_with(".Secret"));
    resources
}

/// Upstream's test generates this part alone: without the timeouts that MeshTimeout always sets, for traffic that is redirected, which
/// only shows in listeners that do not bind, and for a proxy that is of another mesh than its policies.
fn comparable(resources: Resources) -> Resources {
    const MANAGER: &str = "/filterChains/0/filters/0/typedConfig";
    const OPTIONS: &str = "/typedExtensionProtocolOptions/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let adapt = |mut value: Value| {
        for path in ["", MANAGER, OPTIONS] {
            if let Some(members) = value.pointer_mut(path).and_then(Value::as_object_mut) {
                for name in ["bindToPort", "connectTimeout", "commonHttpProtocolOptions"] {
                    members.remove(name);
                }
            }
        }
        let text = value.to_string().replace("kuma-al-side-car-default.sock", "kuma-al-side-car-mesh1.sock");
        serde_json::from_str(&text).expect("still JSON")
    };
    resources.into_iter().map(|(key, value)| (key, adapt(value))).collect()
}

#[test]
fn outbounds_with_routes() {
    let Some(folder) = folder("generator/outbound-proxy") else { return };
    let mut report = Report::new("xds-generator/generator/outbound-proxy");
    let mut case = |name: &str, actual: Resources| {
        let golden = golden(&folder.join(format!("{name}.envoy.golden.yaml")));
        report.case(name, differences(&comparable(actual), &comparable(golden)));
    };
    let local = "127.0.0.1";
    case("01", outbounds(surroundings(false), None, &[]));
    case("02", outbounds(surroundings(true), Some("web"), &[]));
    let four = [(local, 18080, "backend"), (local, 54321, "db"), (local, 40001, "api-http"), (local, 40002, "api-tcp")];
    let six = [&four[..], &[(local, 40003, "api-http2"), (local, 40004, "api-grpc")]].concat();
    case("03", outbounds(surroundings(false), None, &six));
    case("04", outbounds(surroundings(true), Some("web"), &four));
    case("05", outbounds(surroundings(true), Some("web"), &[(local, 18081, "es")]));
    case("06", outbounds(surroundings(true), Some("web"), &[(local, 18082, "es2")]));
    case("07", outbounds(surroundings(true), Some("web"), &[(local, 4040, "service-without-traffic-route")]));
    let share =
        |role: &str, weight: u32| json!({"weight": weight, "destination": {"kuma.io/service": "es2", "role": role}});
    let mut split = surroundings(true);
    split.retain(|resource| resource.key.name != "for-es2");
    split.push(policy(Kind::TrafficRoute, "es2", json!({"split": [share("master", 10), share("replica", 90)]})));
    let three = [("240.0.0.0", 80, "es2"), ("240.0.0.1", 80, "es2"), ("240.0.0.2", 80, "es2")];
    case("08", outbounds(split, Some("web"), &three));
    let dotted = vec![
        mesh(MESH).resource(),
        dataplane(MESH, "one").address("192.168.0.1").inbound(8082, "backend.kuma-system").resource(),
        policy(Kind::TrafficRoute, "backend.kuma-system", json!({"destination": to("backend.kuma-system")})),
        policy(
            Kind::TrafficRoute,
            "db.kuma-system",
            json!({"destination": {"kuma.io/service": "db", "version": "3.2.0"}}),
        ),
    ];
    let two = [(local, 18080, "backend.kuma-system"), (local, 54321, "db.kuma-system")];
    case("cluster-dots", outbounds(dotted, Some("web"), &two));
    report.skip("09", "cross-mesh MeshGateway");
    for name in ["10", "11"] {
        report.skip(name, "routes for one address of a service alone, which no TrafficRoute can express");
    }
    report.finish();
}

/// A service as mesh, address of its proxy and tags.
type Offered<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

const TWO_BACKENDS: [Offered<'_>; 2] = [
    (MESH, "192.168.0.1", &[("kuma.io/service", "backend"), ("version", "v1"), ("region", "eu")]),
    (MESH, "192.168.0.2", &[("kuma.io/service", "backend"), ("version", "v2"), ("region", "us")]),
];

const OTHERS: [Offered<'_>; 3] = [
    (
        "mesh2",
        "192.168.0.3",
        &[
            ("kuma.io/service", "backend"),
            ("cloud", "eks"),
            ("arch", "ARM"),
            ("os", "ubuntu"),
            ("region", "asia"),
            ("version", "v3"),
        ],
    ),
    (
        "mesh2",
        "192.168.0.4",
        &[
            ("kuma.io/service", "frontend"),
            ("cloud", "gke"),
            ("arch", "x86"),
            ("os", "debian"),
            ("region", "eu"),
            ("version", "v1"),
        ],
    ),
    ("mesh2", "192.168.0.5", &[("kuma.io/service", "frontend"), ("cloud", "aks"), ("version", "v2")]),
];

/// What an ingress gets that offers services in meshes with routes, each a mesh and a configuration.
fn ingress(offered: &[Offered<'_>], routes: &[(&str, Value)], with_endpoints: bool) -> Resources {
    let available: Vec<_> = offered
        .iter()
        .map(|(mesh, _, tags)| json!({"mesh": mesh, "tags": tags.iter().copied().collect::<BTreeMap<_, _>>()}))
        .collect();
    let networking = json!({"address": "10.0.0.1", "port": 10001});
    let key = ResourceKey::global(Kind::ZoneIngress, "default.ingress");
    let ingress =
        json!({"type": "ZoneIngress", "name": key.name, "networking": networking, "availableServices": available});
    let mut resources = vec![mesh(MESH).resource(), mesh("mesh2").resource(), resource(&ingress)];
    for (index, (mesh, conf)) in routes.iter().enumerate() {
        let route = between("*", "*", conf.clone());
        resources.push(stored(Kind::TrafficRoute, mesh, &format!("route-{index}"), &route));
    }
    for (index, (mesh, address, tags)) in offered.iter().enumerate().filter(|_| with_endpoints) {
        let tags = [tags, &[("mesh", *mesh)][..]].concat();
        let proxy = dataplane(mesh, &format!("proxy-{index}")).address(address).inbound_with(2521, &tags);
        resources.push(proxy.resource());
    }
    run("east", resources, &key, &metadata(&[]))
}

#[test]
fn ingress_with_routes() {
    let Some(folder) = folder("generator/ingress") else { return };
    let mut report = Report::new("xds-generator/generator/ingress (TrafficRoute)");
    let anything = || json!({"destination": to("*")});
    let share = |weight: u32, destination: Value| json!({"weight": weight, "destination": destination});
    let of_backend = json!({"split": [
        share(10, json!({"kuma.io/service": "backend", "version": "v2"})),
        share(90, json!({"kuma.io/service": "backend", "region": "eu"})),
    ]});
    let of_frontend = json!({"split": [
        share(10, json!({"kuma.io/service": "frontend", "region": "eu", "cloud": "gke"})),
        share(90, json!({"kuma.io/service": "frontend", "cloud": "aks"})),
    ]});
    let second_version = json!({"destination": {"kuma.io/service": "*", "version": "v2"}});
    let routes = [
        (MESH, anything()),
        (MESH, second_version),
        (MESH, of_backend.clone()),
        ("mesh2", anything()),
        ("mesh2", of_frontend),
    ];
    let cases = [
        ("03", ingress(&TWO_BACKENDS, &[(MESH, anything()), (MESH, of_backend)], true)),
        ("04", ingress(&[&TWO_BACKENDS[..], &OTHERS].concat(), &routes, true)),
        ("05", ingress(&TWO_BACKENDS, &[(MESH, anything()), (MESH, anything())], false)),
    ];
    for (name, actual) in cases {
        report.case(name, differences(&actual, &golden(&folder.join(format!("{name}.envoy.golden.yaml")))));
    }
    report.finish();
}
