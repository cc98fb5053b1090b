//! What `_config?shadow=true&include=diff` answers, compared with what Kuma answered.
//!
//! Reads `$CONFORMANCE_DIR/envoyconfig`; skipped when the variable is not set. A case is a file of policies, most of them on trial,
//! and for each proxy a recorded answer: the configuration with the policies, and the patch that leads there from the configuration
//! without them. Each case has a control plane of its own: resources are written through its HTTP API, generated MeshServices are
//! put into the store as complete as live proxies make them, and the answer comes over HTTP.
//!
//! Both sides are brought to the form described in [`form`]. Which cases have to be equal follows from the kinds of resources in
//! them: a case with a kind that has no effect (yet) is not applicable.

#[path = "../../xds/src/conformance/compare.rs"]
mod compare;
mod form;
#[path = "../../xds/src/conformance/report.rs"]
mod report;
#[path = "../../../shared/api/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use tandem_api::{ProxyConfigurationError, ProxyConfigurations};
use tandem_model::ResourceKey;
use tandem_policy::PolicySettings;
use tandem_proto::mesh::v1alpha1::DataplaneInsight;
use tandem_store::{ChangeBatch, SharedStore};
use tandem_xds::{MeshIndex, ZoneSettings};
use zone_cp::proxy::preview::Previews;

use report::Report;

const ZONE: &str = "kuma-3";

/// Kinds of resources whose effect on Envoy is not made here.
const WITHOUT_EFFECT: [&str; 1] = ["MeshGateway"];

/// Where clients are listed that may use an inbound. What differs there on purpose can be set back.
const PRINCIPALS: &str = ".principals";

/// What differs on purpose: in which cases, where, and why.
const DIFFERENT: [(&[&str], &str, &str); 3] = [
    (
        &["meshtrafficpermission/from-rules-long.test-server"],
        PRINCIPALS,
        "clients that an entry allows are not logged as denied because another entry denies others on trial",
    ),
    (
        &[
            "meshfaultinjection/inbound.demo-client",
            "meshfaultinjection/inbound.test-server",
            "meshfaultinjection/inbound-rules.demo-client",
            "meshfaultinjection/inbound-rules.test-server",
        ],
        ".requestHeadersToAdd",
        "callers tell their tags only where a policy that is not on trial tells them apart by these",
    ),
    (
        &[
            "meshfaultinjection/inbound-rules.test-server",
            "meshtrafficpermission/inbound-rules.demo-client",
            "meshtrafficpermission/inbound-rules.test-server",
            "meshtrafficpermission/inbound-rules-merged.demo-client",
            "meshtrafficpermission/inbound-rules-merged.test-server",
        ],
        ".valueMatch.",
        "of the URIs in a certificate one has to be the SPIFFE ID, not all of them as one text",
    ),
];

/// Makes configurations from what the store holds at the moment.
struct OfStore {
    store: SharedStore,
    policies: Arc<PolicySettings>,
}

impl ProxyConfigurations for OfStore {
    fn make(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
        with_shadow: bool,
    ) -> Result<Map<String, Value>, ProxyConfigurationError> {
        let settings = ZoneSettings { policies: self.policies.clone(), ..ZoneSettings::new(ZONE) };
        let mut index = MeshIndex::new(settings);
        if let Some(ChangeBatch::Reset { resources, .. }) = self.store.changes(0).pending() {
            index.reset(&resources);
        }
        assert_eq!(index.take_problems(), []);
        Previews(Arc::new(ArcSwap::new(index.snapshot()))).make(dataplane, insight, with_shadow)
    }
}

/// What all cases of a folder start from.
struct Scene {
    mesh: &'static str,
    /// Proxies whose configuration is compared.
    proxies: &'static [&'static str],
    /// Resources in the order in which they are written.
    resources: Vec<Value>,
    /// MeshServices as the zone makes them: name, port and protocol.
    services: &'static [(&'static str, u32, &'static str)],
    policies: Arc<PolicySettings>,
}

impl Scene {
    fn new(
        mesh: &'static str,
        proxies: &'static [&'static str],
        services: &'static [(&'static str, u32, &'static str)],
        mut more: Vec<Value>,
    ) -> Self {
        let mtls = json!({"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]});
        let all = json!({"kind": "Mesh"});
        let allow = json!({"targetRef": all, "from": [{"targetRef": all, "default": {"action": "Allow"}}]});
        let mut resources = vec![
            json!({
                "type": "Mesh",
                "name": mesh,
                "mtls": mtls,
                "meshServices": {"mode": "Exclusive"},
                "skipCreatingInitialPolicies": ["*"],
            }),
            json!({"type": "MeshTrafficPermission", "mesh": mesh, "name": format!("allow-all-{mesh}"), "spec": allow}),
        ];
        resources.append(&mut more);
        Self { mesh, proxies, resources, services, policies: Arc::default() }
    }

    /// As [`Scene::sidecars`], with permissions as Kuma makes them.
    fn sidecars_by_precedence() -> Self {
        let policies = Arc::new(PolicySettings { deny_overrides_allow: false, ..PolicySettings::default() });
        Self { policies, ..Self::sidecars() }
    }

    fn sidecars() -> Self {
        let mesh = "envoyconfig";
        let client_tags = json!({"kuma.io/service": "demo-client", "team": "client-owners"});
        let client = redirected("10.0.0.1", json!({"port": 3000, "tags": client_tags}));
        let more = vec![
            json!({"type": "Dataplane", "mesh": mesh, "name": "demo-client", "networking": client}),
            json!({"type": "Dataplane", "mesh": mesh, "name": "test-server", "networking": server("test-server")}),
        ];
        let services = &[("demo-client", 3000, "tcp"), ("test-server", 80, "http")];
        Self::new(mesh, &["demo-client", "test-server"], services, more)
    }

    fn builtin_gateway() -> Self {
        let mesh = "envoyconfig-builtingateway";
        let tags = json!({"kuma.io/service": "gateway-proxy"});
        let gateway = json!({"address": "10.0.0.3", "gateway": {"type": "BUILTIN", "tags": tags}});
        let listener = json!({"port": 8080, "protocol": "HTTP", "hostname": "example.kuma.io"});
        let backend = json!({"kind": "MeshService", "name": "echo-service", "port": 80});
        let rule = json!({
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "default": {"backendRefs": [backend]},
        });
        let route = json!({
            "targetRef": {"kind": "MeshGateway", "name": "gateway-proxy"},
            "to": [{"targetRef": {"kind": "Mesh"}, "rules": [rule]}],
        });
        let more = vec![
            json!({"type": "Dataplane", "mesh": mesh, "name": "echo-server", "networking": server("echo-service")}),
            json!({"type": "Dataplane", "mesh": mesh, "name": "gateway-proxy", "networking": gateway}),
            json!({
                "type": "MeshGateway",
                "mesh": mesh,
                "name": "gateway-proxy",
                "selectors": [{"match": tags}],
                "conf": {"listeners": [listener]},
            }),
            json!({"type": "MeshHTTPRoute", "mesh": mesh, "name": "gateway-proxy-route", "spec": route}),
        ];
        Self::new(mesh, &["gateway-proxy"], &[("echo-service", 80, "http")], more)
    }

    /// A control plane where all of this is in place, and these documents.
    async fn start(&self, documents: &[Value]) -> support::Api {
        let mut setup = support::Setup::new(support::ALONE);
        setup.admission.zone = ZONE.to_owned();
        setup.configurations = Some(Arc::new(OfStore { store: setup.store.clone(), policies: self.policies.clone() }));
        let api = setup.start().await;
        for document in &self.resources {
            put(&api, document).await;
        }
        for (number, (name, port, protocol)) in self.services.iter().enumerate() {
            let vip = format!("241.0.0.{number}");
            api.load(service(self.mesh, name, *port, protocol, &vip)).await;
        }
        for proxy in self.proxies {
            api.load(json!({"type": "DataplaneInsight", "mesh": self.mesh, "name": proxy, "metadata": metadata()}))
                .await;
        }
        for document in documents {
            put(&api, document).await;
        }
        api
    }
}

fn redirected(address: &str, inbound: Value) -> Value {
    let redirection = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    json!({"address": address, "inbound": [inbound], "transparentProxying": redirection})
}

fn server(service: &str) -> Value {
    let tags = json!({
        "kuma.io/service": service,
        "kuma.io/protocol": "http",
        "team": "server-owners",
        "version": "v1",
        "instance": "1",
    });
    redirected("10.0.0.2", json!({"port": 80, "servicePort": 8080, "tags": tags}))
}

/// A MeshService that was made from Dataplanes all of which have a certificate.
fn service(mesh: &str, name: &str, port: u32, protocol: &str, vip: &str) -> Value {
    json!({
        "type": "MeshService",
        "mesh": mesh,
        "name": name,
        "labels": {
            "kuma.io/display-name": name,
            "kuma.io/env": "universal",
            "kuma.io/managed-by": "meshservice-generator",
            "kuma.io/mesh": mesh,
            "kuma.io/origin": "zone",
            "kuma.io/zone": ZONE,
        },
        "spec": {
            "selector": {"dataplaneTags": {"kuma.io/service": name}},
            "ports": [{"name": port.to_string(), "port": port, "targetPort": port, "appProtocol": protocol}],
            "identities": [{"type": "ServiceTag", "value": name}],
            "state": "Available",
        },
        "status": {
            "vips": [{"ip": vip}],
            "tls": {"status": "Ready"},
            "addresses": [{"hostname": format!("{name}.svc.mesh.local"), "origin": "HostnameGenerator"}],
        },
    })
}

/// What a proxy of the recorded runs said of itself.
fn metadata() -> Value {
    json!({
        "dataplane.admin.port": "9901",
        "dataplane.readinessReporter.port": "9902",
        "dataplane.dns.port": "15053",
        "ipv6Enabled": false,
        "workdir": "/tmp",
        "features": [
            "feature-tcp-accesslog-via-named-pipe",
            "feature-embedded-dns",
            "feature-readiness-unix-socket",
            "feature-strict-inbound-ports",
            "feature-reuse-port",
        ],
    })
}

async fn put(api: &support::Api, document: &Value) {
    let member = |name: &str| document[name].as_str().unwrap_or_default();
    let kind: tandem_model::Kind = member("type").parse().expect("a known type");
    let path = kind.descriptor().path.expect("a kind that the API writes");
    let path = match member("mesh") {
        "" => format!("/{path}/{}", member("name")),
        mesh => format!("/meshes/{mesh}/{path}/{}", member("name")),
    };
    let answer = api.put(&path, document).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let mut inputs: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(".input.yaml")).collect();
    inputs.sort();
    inputs
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(path: &Path) -> Vec<Value> {
    let text = text(path);
    let documents = serde_norway::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).expect("YAML")).filter(|value| !value.is_null()).collect()
}

/// Why a case with these resources need not be equal.
fn missing_effect<'a>(resources: impl IntoIterator<Item = &'a Value>) -> Option<String> {
    let kinds: BTreeSet<_> = resources.into_iter().filter_map(|resource| resource["type"].as_str()).collect();
    let missing: Vec<_> = kinds.into_iter().filter(|kind| WITHOUT_EFFECT.contains(kind)).collect();
    (!missing.is_empty()).then(|| format!("{} without effect", missing.join(", ")))
}

async fn run(folder_name: &str, scene: &Scene) {
    let Some(folder) = report::folder(folder_name) else { return };
    let mut report = Report::new(folder_name);
    for input in inputs(&folder) {
        let documents = documents(&input);
        let reason = missing_effect(documents.iter().chain(&scene.resources));
        let api = scene.start(&documents).await;
        for proxy in scene.proxies {
            let path = format!("/meshes/{}/dataplanes/{proxy}/_config?shadow=true&include=diff", scene.mesh);
            let answer = api.get(&path).await;
            let stem = input.to_string_lossy().replace(".input.yaml", &format!(".{proxy}"));
            let name = Path::new(&stem).file_name().expect("a file").to_string_lossy().into_owned();
            let expected = serde_json::from_str(&text(Path::new(&format!("{stem}.golden.json")))).expect("JSON");
            let mut found = Vec::new();
            if answer.status.is_success() {
                compare::compare("", &form::of(answer.json()), &form::of(expected), &mut found);
            } else {
                found.push(answer.text);
            }
            let case = format!("{folder_name}/{name}");
            let is_meant = |cases: &[&str]| cases.iter().any(|meant| case.ends_with(meant));
            let is_made = |place: &str| place != PRINCIPALS || scene.policies.deny_overrides_allow;
            let different: Vec<_> =
                DIFFERENT.iter().filter(|(cases, place, _)| is_meant(cases) && is_made(place)).collect();
            let is_on_purpose = |found: &String| {
                found.starts_with(".diff") || different.iter().any(|(_, place, _)| found.contains(place))
            };
            match &reason {
                Some(reason) => report.not_applicable(name, reason, found),
                None if !different.is_empty() && found.iter().all(is_on_purpose) => {
                    let reasons: Vec<_> = different.iter().map(|(.., reason)| *reason).collect();
                    report.different(name, reasons.join("; "), found);
                }
                None => report.case(name, found),
            }
        }
    }
    report.finish();
}

macro_rules! folders {
    ($($test:ident: $scene:ident / $folder:literal,)*) => {
        $(#[tokio::test]
        async fn $test() {
            run(concat!("envoyconfig/", $folder), &Scene::$scene()).await;
        })*
    };
}

folders! {
    access_log: sidecars / "sidecars/meshaccesslog",
    circuit_breaker: sidecars / "sidecars/meshcircuitbreaker",
    fault_injection: sidecars / "sidecars/meshfaultinjection",
    load_balancing_strategy: sidecars / "sidecars/meshloadbalancingstrategy",
    metric: sidecars / "sidecars/meshmetric",
    rate_limit: sidecars / "sidecars/meshratelimit",
    retry: sidecars / "sidecars/meshretry",
    timeout: sidecars / "sidecars/meshtimeout",
    tls: sidecars / "sidecars/meshtls",
    traffic_permission: sidecars / "sidecars/meshtrafficpermission",
    traffic_permission_by_precedence: sidecars_by_precedence / "sidecars/meshtrafficpermission",
    gateway_access_log: builtin_gateway / "builtingateway/meshaccesslog",
    gateway_timeout: builtin_gateway / "builtingateway/meshtimeout",
    gateway_tls: builtin_gateway / "builtingateway/meshtls",
}
