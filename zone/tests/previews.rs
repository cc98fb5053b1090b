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
use tandem_api::{ProxyConfigurationError, ProxyConfigurations};
use tandem_model::ResourceKey;
use tandem_proto::mesh::v1alpha1::DataplaneInsight;
use tandem_store::{ChangeBatch, SharedStore};
use tandem_xds::{MeshIndex, ZoneSettings};
use zone_cp::proxy::preview::Previews;

/// Makes configurations from what the store holds at the moment.
struct OfStore(SharedStore);

impl ProxyConfigurations for OfStore {
    fn make(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
        with_shadow: bool,
    ) -> Result<Map<String, Value>, ProxyConfigurationError> {
        let mut index = MeshIndex::new(ZoneSettings::new("default"));
        if let Some(ChangeBatch::Reset { resources, .. }) = self.0.changes(0).pending() {
            index.reset(&resources);
        }
        // Certificates are not needed.
        let needed = |problem: &tandem_xds::Problem| !problem.reason.starts_with("mtls: the secret");
        assert_eq!(index.take_problems().into_iter().find(needed), None);
        Previews(Arc::new(ArcSwap::new(index.snapshot()))).make(dataplane, insight, with_shadow)
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
