use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::*;
use crate::testing::{Zone, dataplane, mesh, stored};

/// A zone and what clients were told last.
struct Told {
    zone: Zone,
    last: MonitoringAssignments,
}

impl Told {
    fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut told = Self { zone: Zone::new("east", resources), last: MonitoringAssignments::default() };
        told.look();
        told
    }

    fn put(&mut self, resource: Resource) {
        self.zone.put(resource);
        self.look();
    }

    fn delete(&mut self, kind: Kind, name: &str) {
        self.zone.index.apply([(&ResourceKey::new(kind, "default", name), None)]);
        self.look();
    }

    /// Takes notice of a change. What follows from it must not depend on what was before.
    fn look(&mut self) {
        let snapshot = self.zone.index.snapshot();
        self.last = self.last.following(&snapshot);
        assert!(self.last.tells_the_same(&MonitoringAssignments::default().following(&snapshot)));
    }

    fn response(&self, client: &str) -> Value {
        let told = self.last.of_client(client);
        let response: Value = serde_json::from_slice(&told.response(&BTreeSet::new())).expect("JSON");
        assert_eq!(response["version_info"], told.version());
        assert_eq!(response["type_url"], TYPE_URL);
        response
    }

    /// Name, scheme, address and path of each target.
    fn targets(&self, client: &str) -> Vec<String> {
        let response = self.response(client);
        let targets = response["resources"].as_array().into_iter().flatten().flat_map(|one| one["targets"].as_array());
        let text = |target: &Value| {
            let member = |name: &str| target[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}://{}{}", member("name"), member("scheme"), member("address"), member("metrics_path"))
        };
        targets.flatten().map(text).collect()
    }
}

fn scraped_mesh(conf: Value) -> Resource {
    let backends = json!([{"name": "p", "type": "prometheus", "conf": conf}]);
    let metrics = json!({"metrics": {"enabledBackend": "p", "backends": backends}});
    stored(Kind::Mesh, "", "default", &metrics)
}

fn legacy() -> Resource {
    scraped_mesh(json!({"port": 5670, "path": "/metrics"}))
}

fn web(name: &str) -> Resource {
    dataplane("default", name).inbound_with(80, &[("kuma.io/service", "web"), ("kuma.io/zone", "east")]).resource()
}

fn metric(name: &str, target: &Value, backends: &Value) -> Resource {
    let spec = json!({"targetRef": target, "default": {"backends": backends}});
    Resource::from_json(ResourceKey::new(Kind::MeshMetric, "default", name), spec)
}

fn prometheus(members: Value) -> Value {
    json!([{"type": "Prometheus", "prometheus": members}])
}

#[test]
fn backends_of_meshes_have_every_dataplane_with_its_tags_as_labels() {
    let other = mesh("other").resource();
    let (of_other, late) = (dataplane("other", "d").inbound(80, "api").resource(), web("dp-0"));
    let mut told = Told::new([legacy(), other, web("dp-1"), of_other]);
    let assignment = |name: &str| {
        json!({
            "@type": TYPE_URL, "mesh": "default", "service": "web",
            "targets": [{
                "name": name, "scheme": "http", "address": "10.0.0.1:5670", "metrics_path": "/metrics",
                "labels": {
                    "kuma_io_service": "web", "kuma_io_services": ",web,", "kuma_io_zone": "east", "kuma_io_zones": ",east,",
                },
            }],
        })
    };
    assert_eq!(told.response("any")["resources"], json!([assignment("dp-1")]));
    told.put(late);
    assert_eq!(told.response("any")["resources"], json!([assignment("dp-0"), assignment("dp-1")]));
    told.delete(Kind::Dataplane, "dp-0");
    told.delete(Kind::Dataplane, "dp-1");
    assert_eq!(told.response("any").get("resources"), None, "an empty list is left out");
}

#[test]
fn dataplanes_override_their_mesh() {
    let own = json!({"type": "prometheus", "conf": {"port": 1234, "path": "/own", "tls": {"mode": "providedTLS"}}});
    let networking = json!({"address": "10.0.0.1", "advertisedAddress": "fd00::1", "inbound": [{"port": 80, "tags": {
        "kuma.io/service": "web", "a-b": "1",
    }}, {"port": 81, "tags": {"kuma.io/service": "api", "a-b": "2"}}]});
    let proxy = stored(Kind::Dataplane, "default", "d", &json!({"networking": networking, "metrics": own}));
    let told = Told::new([legacy(), proxy]);
    assert_eq!(told.targets(DEFAULT_CLIENT), ["d https://[fd00::1]:1234/own"]);
    let resource = &told.response("any")["resources"][0];
    assert_eq!(resource["service"], "api", "the first by name");
    let labels = &resource["targets"][0]["labels"];
    assert_eq!(labels["a_b"], "1");
    assert_eq!(labels["a_bs"], ",1,2,");
}

#[test]
fn builtin_gateways_are_told_with_their_mesh_gateway() {
    let gateway = json!({"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}});
    let proxy = json!({"networking": {"address": "10.0.0.1", "gateway": gateway}});
    let mut told = Told::new([legacy(), stored(Kind::Dataplane, "default", "g", &proxy)]);
    let label =
        |told: &Told| told.response("any")["resources"][0]["targets"][0]["labels"]["kuma_io_mesh_gateway"].clone();
    assert_eq!(label(&told), "");
    let selectors = json!([{"match": {"kuma.io/service": "edge"}}]);
    told.put(stored(Kind::MeshGateway, "default", "front", &json!({"selectors": selectors, "conf": {}})));
    assert_eq!(label(&told), "front");
    told.delete(Kind::MeshGateway, "front");
    assert_eq!(label(&told), "");
}

#[test]
fn as_soon_as_a_policy_has_a_backend_only_policies_count() {
    let all = json!({"kind": "Mesh"});
    let mut told = Told::new([legacy(), web("dp-1"), web("dp-2")]);
    assert_eq!(told.targets("any").len(), 2);
    told.put(metric("otel", &all, &json!([{"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel:4317"}}])));
    assert_eq!(told.targets("any").len(), 2, "no backend for Prometheus");
    let one = json!({"kind": "Dataplane", "name": "dp-1"});
    told.put(metric("one", &one, &prometheus(json!({"port": 1, "path": "/p", "tls": {"mode": "ProvidedTLS"}}))));
    assert_eq!(told.targets("any"), ["dp-1 https://10.0.0.1:1/p"]);
    assert_eq!(told.response("any")["resources"][0]["targets"][0].get("labels"), None);
    told.put(metric("one", &one, &prometheus(json!({}))));
    assert_eq!(told.targets("any"), ["dp-1 http://10.0.0.1:5670/metrics"], "defaults");
    told.delete(Kind::MeshMetric, "one");
    assert_eq!(told.targets("any").len(), 2);
}

#[test]
fn each_client_is_told_of_its_own_backends() {
    let all = json!({"kind": "Mesh"});
    let backend =
        |client: &str, port: u32| json!({"type": "Prometheus", "prometheus": {"clientId": client, "port": port}});
    let mut told = Told::new([mesh("default").resource(), web("d")]);
    told.put(metric("m", &all, &json!([backend("one", 1), backend("two", 2), backend("two", 3)])));
    assert_eq!(told.targets("one"), ["d http://10.0.0.1:1/metrics"]);
    assert_eq!(told.targets("two"), ["d http://10.0.0.1:3/metrics"], "the proxy listens for the last one");
    assert_eq!(told.targets("three"), Vec::<String>::new());
    let (one, two) = (told.last.of_client("one").clone(), told.last.of_client("two").clone());
    told.put(metric("m", &all, &json!([backend("one", 1), {"type": "Prometheus", "prometheus": {"port": 4}}])));
    assert!(Arc::ptr_eq(told.last.of_client("one"), &one), "nothing changed for it");
    assert_ne!(told.last.of_client("two").version(), two.version());
    for client in ["two", "three", DEFAULT_CLIENT] {
        assert_eq!(told.targets(client), ["d http://10.0.0.1:4/metrics"], "{client} is as good as the default client");
    }
}

#[test]
fn policies_on_trial_have_no_effect() {
    let mut trial = metric("m", &json!({"kind": "Mesh"}), &prometheus(json!({"port": 1})));
    trial.labels.insert("kuma.io/effect".to_owned(), "shadow".to_owned());
    let told = Told::new([legacy(), web("d"), trial]);
    assert_eq!(told.targets("any"), ["d http://10.0.0.1:5670/metrics"]);
}

#[test]
fn what_nothing_changed_for_is_kept() {
    let mut told = Told::new([legacy(), web("dp-1"), web("dp-2")]);
    let before = told.last.of_client("any").clone();
    told.put(mesh("other").resource());
    told.put(dataplane("other", "d").inbound(80, "api").resource());
    assert!(Arc::ptr_eq(told.last.of_client("any"), &before));
    told.put(dataplane("default", "dp-2").address("10.0.0.2").inbound(80, "web").resource());
    let after = told.last.of_client("any");
    assert_ne!(after.version(), before.version());
    assert!(Arc::ptr_eq(&after.assignments[0], &before.assignments[0]), "dp-1 is as it was");
    told.put(web("dp-2"));
    assert_eq!(told.last.of_client("any").version(), before.version(), "a version follows from the content");
}

#[test]
fn clients_can_ask_for_some_by_name() {
    let told = Told::new([legacy(), web("dp-1"), web("dp-2")]);
    let all = told.last.of_client("any");
    let asked = |names: &[&str]| -> Value {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        serde_json::from_slice(&all.response(&names)).expect("JSON")
    };
    let some = asked(&["/meshes/default/dataplanes/dp-2", "/meshes/default/dataplanes/dp-3"]);
    assert_eq!(some["resources"].as_array().map(Vec::len), Some(1));
    assert_eq!(some["resources"][0]["targets"][0]["name"], "dp-2");
    assert_eq!(asked(&["dp-1"]).get("resources"), None);
}
