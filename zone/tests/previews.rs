//! Configurations of proxies over HTTP: the cases of upstream's tables that the API alone cannot answer.
//!
//! Reads `$CONFORMANCE_DIR/api-server`; skipped when the variable is not set. Form of the cases and what the run does with
//! them: `shared/api/tests/conformance`.

#[path = "../../shared/api/tests/conformance/case.rs"]
mod case;
#[path = "../../shared/api/tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use tandem_api::{ProxyConfigurationError, ProxyConfigurations, SupposedChange, Supposition};
use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1::DataplaneInsight;
use tandem_store::{ChangeBatch, SharedStore};
use tandem_xds::{MeshIndex, ZoneSettings};
use zone_cp::proxy::preview::Previews;

/// Makes configurations from what the store holds at the moment.
struct OfStore(SharedStore);

impl OfStore {
    fn previews(&self) -> Previews {
        let mut index = MeshIndex::new(ZoneSettings::new("default"));
        if let Some(ChangeBatch::Reset { resources, .. }) = self.0.changes(0).pending() {
            index.reset(&resources);
        }
        // Certificates are not needed.
        let needed = |problem: &tandem_xds::Problem| !problem.reason.starts_with("mtls: the secret");
        assert_eq!(index.take_problems().into_iter().find(needed), None);
        Previews(Arc::new(ArcSwap::new(index.snapshot())))
    }
}

impl ProxyConfigurations for OfStore {
    fn make(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
        with_shadow: bool,
    ) -> Result<Map<String, Value>, ProxyConfigurationError> {
        self.previews().make(dataplane, insight, with_shadow)
    }

    fn suppose(&self, before: &[SupposedChange], after: &[SupposedChange]) -> Option<Box<dyn Supposition>> {
        self.previews().suppose(before, after)
    }
}

fn setup() -> support::Setup {
    let mut setup = case::setup();
    setup.configurations = Some(Arc::new(OfStore(setup.store.clone())));
    setup
}

#[tokio::test]
async fn tables_of_requests_and_answers() {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        eprintln!("skipped: CONFORMANCE_DIR is not set");
        return;
    };
    let folder = PathBuf::from(root).join("api-server/resources/inspect/dataplanes/_rules");
    let files = std::fs::read_dir(folder).expect("the folder of cases");
    let mut inputs: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    inputs.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("proxyconfig_") && name.ends_with(".input.yaml")
    });
    assert_eq!(inputs.len(), 6, "the cases have other names");
    let mut failed = Vec::new();
    for input in &inputs {
        for (action, differs) in case::run(input, setup()).await {
            failed.extend(differs.map(|differs| format!("{action}: {differs}")));
        }
    }
    assert!(failed.is_empty(), "{} answers differ:\n{}", failed.len(), failed.join("\n\n"));
}

#[tokio::test]
async fn what_a_proxy_said_of_itself_counts_and_no_key_is_shown() {
    let api = setup().start().await;
    let backend = json!({"name": "ca-1", "type": "builtin"});
    api.load(json!({"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "ca-1", "backends": [backend]}})).await;
    let inbound = json!({"port": 8080, "tags": {"kuma.io/service": "web"}});
    let networking = json!({"address": "10.0.0.1", "inbound": [inbound]});
    api.load(json!({"type": "Dataplane", "mesh": "m", "name": "web", "networking": networking})).await;
    let metadata = json!({"dataplane.admin.port": "9901", "dataplane.readinessReporter.port": "9902"});
    api.load(json!({"type": "DataplaneInsight", "mesh": "m", "name": "web", "metadata": metadata})).await;

    let answer = api.get("/meshes/m/dataplanes/web/_config").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let xds = &answer.json()["xds"];
    let of_type = |name: &str| xds[format!("type.googleapis.com/{name}")].clone();
    let clusters = of_type("envoy.config.cluster.v3.Cluster");
    assert!(clusters["kuma:envoy:admin"].is_object(), "{clusters}");
    let secrets = of_type("envoy.extensions.transport_sockets.tls.v3.Secret");
    let identity = &secrets["identity_cert:secret:m"]["tlsCertificate"];
    // CERT and KEY.
    assert_eq!(
        *identity,
        json!({"certificateChain": {"inlineBytes": "Q0VSVA=="}, "privateKey": {"inlineBytes": "S0VZ"}})
    );
}

#[tokio::test]
async fn explanations_name_resources_and_dry_runs_what_would_differ_in_them() {
    let api = setup().start().await;
    api.load(json!({"type": "Mesh", "name": "m"})).await;
    for name in ["web", "shop", "new"] {
        let inbound = json!({"port": 8080, "tags": {"kuma.io/service": name, "kuma.io/protocol": "http"}});
        let outbound = json!({"port": 10001, "tags": {"kuma.io/service": "shop"}});
        let networking = json!({"address": "10.0.0.1", "inbound": [inbound], "outbound": [outbound]});
        api.load(json!({"type": "Dataplane", "mesh": "m", "name": name, "networking": networking})).await;
        if name != "new" {
            let metadata = json!({"dataplane.admin.port": "9901", "dataplane.readinessReporter.port": "9902"});
            api.load(json!({"type": "DataplaneInsight", "mesh": "m", "name": name, "metadata": metadata})).await;
        }
    }
    let timeout = |seconds: u32| {
        let target = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}});
        let to = json!([{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": format!("{seconds}s")}}]);
        json!({"type": "MeshTimeout", "mesh": "m", "name": "p", "spec": {"targetRef": target, "to": to}})
    };
    let path = "/meshes/m/meshtimeouts/p/_dry-run";
    let config =
        async |name: &str| api.get(&format!("/meshes/m/dataplanes/{name}/_config")).await.json()["xds"].clone();

    let run = api.post(path, &timeout(7)).await;
    assert_eq!(run.status, 200, "{}", run.text);
    let run = run.json();
    assert_eq!((&run["total"], &run["items"][0]["proxy"]["name"]), (&json!(1), &json!("web")), "{run}");
    assert_eq!(run["envoy"], json!({"known": true}));
    let diff = run["items"][0]["diff"].as_array().cloned().unwrap_or_default();
    let added = diff.iter().find(|operation| operation["op"] == "add").expect("something changes");
    assert_eq!(added["value"], "7s", "{diff:?}");
    let place = added["path"].as_str().unwrap_or_default();
    assert_eq!(place, "/type.googleapis.com~1envoy.config.cluster.v3.Cluster/shop/connectTimeout");
    // Nothing is stored, and nothing of it reaches the previews of others.
    assert_eq!(api.get("/meshes/m/meshtimeouts").await.json()["total"], 0);
    let before = config("web").await;
    assert_ne!(before.pointer(place), Some(&json!("7s")));

    api.load(timeout(7)).await;
    assert_eq!(config("web").await.pointer(place), Some(&json!("7s")));
    let answer = api.get("/meshes/m/dataplanes/web/_explain?policy=MeshTimeout&to=shop").await.json();
    let resources = &answer["policies"][0]["outbound"][0]["destinations"][0]["resources"];
    assert_eq!(resources[0], json!({"type": "Cluster", "name": "shop", "changes": ["/connectTimeout"]}), "{answer}");
    assert_eq!(
        (&resources[1]["type"], &resources[1]["name"]),
        (&json!("Listener"), &json!("outbound:127.0.0.1:10001"))
    );
    let never = api.get("/meshes/m/dataplanes/new/_explain").await.json();
    assert_eq!(never["envoy"]["known"], false, "{never}");

    let explained = api.post("/meshes/m/dataplanes/web/_explain", &timeout(8)).await.json();
    let values: Vec<&Value> =
        explained["change"]["diff"].as_array().into_iter().flatten().map(|operation| &operation["value"]).collect();
    assert_eq!(values, ["7s", "7s", "8s"], "{explained}");
    let deleted = api.delete(path).await.json();
    assert_eq!((&deleted["result"], &deleted["total"]), (&json!("deleted"), &json!(1)), "{deleted}");
}
