//! Answers compared with Kuma's own test data.
//!
//! Reads `$CONFORMANCE_DIR/bootstrap`, the configurations that Kuma 2.13.10 is expected to answer with; skipped when the variable is
//! not set. The questions that belong to them are the table below (Kuma has them in `pkg/xds/bootstrap/{generator,server}_test.go`).
//! Both sides are compared as YAML values, so neither the order of members nor the way strings are quoted counts.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zone_cp::bootstrap::BootstrapSettings;

use crate::support::{Question, dataplane, differences, merge, settings, sidecar, trust_anchor};

/// A question and the file with its answer.
struct Case {
    /// Name of the file without `.golden.yaml`.
    golden: &'static str,
    settings: BootstrapSettings,
    /// `networking` of the stored Dataplane, and its metrics if any.
    networking: Value,
    metrics: Option<Value>,
    mesh: &'static str,
    /// Name of the Dataplane.
    name: &'static str,
    /// Members of the request beyond mesh, name, version and work directory.
    request: Value,
    host: &'static str,
}

impl Case {
    /// A case of Kuma's generator tests: no admin port unless the Dataplane names one, probes, tokens inline.
    fn generator(golden: &'static str, admin_port: u16, request: Value) -> Self {
        Self {
            golden,
            settings: settings(),
            networking: sidecar(admin_port),
            metrics: None,
            mesh: "mesh",
            name: "name.namespace",
            request,
            host: "localhost:5678",
        }
    }

    /// A case of Kuma's tests of the HTTP endpoint.
    fn server(golden: &'static str, name: &'static str, networking: Value, more: Value) -> Self {
        let mut request = json!({"dataplaneToken": "token"});
        merge(&mut request, more);
        Self { networking, mesh: "default", name, ..Self::generator(golden, 0, request) }
    }

    fn at(self, host: &'static str) -> Self {
        Self { host, ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut BootstrapSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// On Kubernetes Kuma does not collect the results of probes.
    fn kubernetes(self) -> Self {
        self.with(|settings| settings.hds = false)
    }

    fn with_metrics(mut self) -> Self {
        let aggregate = json!([{"name": "app1", "port": 123, "path": "/stats"}]);
        self.metrics = Some(json!({"type": "prometheus", "conf": {"aggregate": aggregate}}));
        self
    }

    fn gateway(mut self) -> Self {
        self.networking = gateway();
        self
    }

    fn dataplane(&self) -> Value {
        let mut dataplane = dataplane(self.mesh, self.name, &self.networking);
        if let Some(metrics) = &self.metrics {
            dataplane["metrics"] = metrics.clone();
        }
        dataplane
    }

    fn request(&self) -> Value {
        let mut request = json!({
            "mesh": self.mesh,
            "name": self.name,
            "workdir": "/tmp",
            "version": {
                "kumaDp": {
                    "version": "0.0.1",
                    "gitTag": "v0.0.1",
                    "gitCommit": "91ce236824a9d875601679aa80c63783fb0e8725",
                    "buildDate": "2019-08-07T11:26:06Z"
                },
                "envoy": {"version": "1.15.0", "build": "hash/1.15.0/RELEASE", "kumaDpCompatible": false}
            }
        });
        merge(&mut request, self.request.clone());
        request
    }

    fn question(&self, golden: &Value) -> Question {
        Question {
            settings: self.settings.clone(),
            certificate: trust_anchor(golden),
            host: self.host,
            ..Question::new([mesh(self.mesh), self.dataplane()], &self.request())
        }
    }
}

/// The settings that Kuma's tests of a custom configuration share.
fn custom(settings: &mut BootstrapSettings) {
    settings.admin_address = "192.168.0.1".to_owned();
    settings.admin_access_log_path = "/var/log".to_owned();
    settings.xds_port = 15678;
    settings.xds_connect_timeout = "2s".to_owned();
}

fn gateway() -> Value {
    json!({"address": "8.8.8.8", "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "gateway"}}, "admin": {}})
}

/// A resource as Kuma's test sends it: with a line break before it and a comma too many, which YAML permits.
const BROUGHT: &str = r#"
{
  "type": "Dataplane",
  "mesh": "mesh",
  "name": "name.namespace",
  "creationTime": "1970-01-01T00:00:00Z",
  "modificationTime": "1970-01-01T00:00:00Z",
  "networking": {
    "address": "127.0.0.1",
    "inbound": [
      {
        "port": 22022,
        "servicePort": 8443,
        "tags": {
          "kuma.io/protocol": "http2",
          "kuma.io/service": "backend"
        }
      },
    ],
    "admin": {
      "port": 1234
    }
  }
}"#;

fn cases() -> Vec<Case> {
    let token = || json!({"dataplaneToken": "token"});
    let token_and_dns = || json!({"dataplaneToken": "token", "dnsPort": 53001});
    let token_path = || json!({"dataplaneToken": "token", "dnsPort": 53001, "dataplaneTokenPath": "/path/to/file"});
    let mut metrics_paths = token_path();
    metrics_paths["metricsResources"] = json!({"certPath": "/path/cert/pem", "keyPath": "/path/key/pem"});
    let system_ca = json!({"dataplaneToken": "token", "systemCaPath": "/etc/certs/cert.pem"});
    let probes = json!({"dataplaneToken": "token", "readinessPort": 15000, "appProbeProxyDisabled": true});
    let brought = json!({
        "dataplaneToken": "token",
        "dynamicMetadata": {"test": "value"},
        "dataplaneResource": BROUGHT
    });
    let heap = json!({"resources": {"maxHeapSizeBytes": 2_000_000}});
    vec![
        Case::generator("generator.default-config-minimal-request", 0, json!({})),
        Case::generator("generator.default-config", 1234, token_and_dns()),
        Case::generator("generator.custom-config-minimal-request", 9902, json!({})).with(custom),
        Case::generator(
            "generator.custom-config-minimal-request-with-unified-resource-naming-feature-flag",
            9902,
            json!({"features": ["feature-unified-resource-naming"]}),
        )
        .kubernetes(),
        Case::generator(
            "generator.custom-config-minimal-request-and-delta",
            9902,
            json!({"features": ["feature-delta-grpc"]}),
        )
        .with(custom),
        Case::generator("generator.custom-config", 0, brought).with(custom).with(|settings| {
            settings.admin_port = 9902;
            settings.admin_access_log_path = "/dev/null".to_owned();
        }),
        Case::generator("generator.default-config.kubernetes", 1234, token()).kubernetes(),
        Case::generator("generator.default-config.kubernetes.ipv6", 1234, token())
            .kubernetes()
            .with(|settings| settings.xds_host = "fd00:a123::1".to_owned()),
        Case::generator("generator.metrics-config.kubernetes", 1234, token()).kubernetes().with_metrics(),
        Case::generator("generator.system-cert-config.kubernetes", 1234, system_ca).kubernetes().with_metrics(),
        Case::generator("generator.default-config-token-path", 1234, metrics_paths)
            .with(|settings| settings.reloadable_tokens = true),
        Case::generator("generator.gateway", 0, token_path()).gateway().with(|settings| {
            settings.reloadable_tokens = true;
            settings.gateway_max_connections = 35_678;
        }),
        Case::generator("generator.probes.kubernetes", 1234, probes).kubernetes(),
        // The host may be named with its port and without, and tells where the control plane is.
        Case::server("bootstrap.universal", "dp-1", sidecar(0), json!({})).with(|settings| settings.xds_host.clear()),
        Case::server("bootstrap.universal", "dp-1", sidecar(0), json!({}))
            .at("localhost")
            .with(|settings| settings.xds_host.clear()),
        Case::server("bootstrap.k8s", "dp-1.default", sidecar(0), json!({})),
        Case::server("bootstrap.gateway", "gateway-1.default", gateway(), heap),
        Case::server("bootstrap.overridden", "dp-1.default", sidecar(1234), json!({})),
    ]
}

fn mesh(name: &str) -> Value {
    let mut mesh = json!({"type": "Mesh", "name": name});
    if name == "mesh" {
        mesh["meshServices"] = json!({"mode": "Exclusive"});
        mesh["metrics"] =
            json!({"enabledBackend": "prometheus-1", "backends": [{"name": "prometheus-1", "type": "prometheus"}]});
    }
    mesh
}

fn folder() -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    Some(Path::new(&root).join("bootstrap"))
}

fn golden(folder: &Path, name: &str) -> Value {
    let path = folder.join(format!("{name}.golden.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn answers_are_those_of_kuma() {
    let Some(folder) = folder() else { return };
    let cases = cases();
    let mut problems = Vec::new();
    for case in &cases {
        let golden = golden(&folder, case.golden);
        let mut found = Vec::new();
        differences("", &golden, &case.question(&golden).ask().await.yaml(), &mut found);
        problems.extend(found.iter().map(|difference| format!("{}: {difference}", case.golden)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{} bootstrap configurations agree with Kuma's", cases.len());
}

#[test]
fn every_file_has_a_case() {
    let Some(folder) = folder() else { return };
    let mut without = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("a readable folder") {
        let name = entry.expect("a readable entry").file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".golden.yaml")
            && !cases().iter().any(|case| case.golden == name)
        {
            without.push(name.to_owned());
        }
    }
    assert!(without.is_empty(), "no case asks for {without:?}");
}
