//! One assignment: where the metrics of a Dataplane are fetched.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tandem_model::ResourceKey;
use tandem_model::dataplane::DataplaneExt as _;

use crate::generate::host_port;
use crate::index::DataplaneView;

/// Type URL of an assignment.
pub const TYPE_URL: &str = "type.googleapis.com/kuma.observability.v1.MonitoringAssignment";

/// A `kuma.observability.v1.MonitoringAssignment`, encoded once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    name: String,
    json: String,
    digest: [u8; 32],
}

/// How metrics are fetched.
#[derive(Debug)]
pub(super) struct Endpoint<'a> {
    /// Whether with TLS.
    pub https: bool,
    /// Port of the proxy.
    pub port: u32,
    /// Path.
    pub path: &'a str,
    /// Labels of everything that is fetched there.
    pub labels: BTreeMap<String, String>,
}

/// The message in Kuma's JSON: names as in the definition, without defaults.
///
/// Source: Kuma `api/observability/v1/mads.proto`.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "@type")]
    type_url: &'a str,
    mesh: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    targets: [Target<'a>; 1],
}

#[derive(Serialize)]
struct Target<'a> {
    name: &'a str,
    scheme: &'a str,
    address: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    metrics_path: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

impl Assignment {
    pub fn new(dataplane: &DataplaneView, endpoint: &Endpoint<'_>) -> Self {
        let ResourceKey { mesh, name, .. } = &dataplane.resource.key;
        let target = Target {
            name,
            scheme: if endpoint.https { "https" } else { "http" },
            address: host_port(dataplane.advertised_address(), endpoint.port),
            metrics_path: endpoint.path,
            labels: &endpoint.labels,
        };
        let service = dataplane.spec.identifying_service();
        let message = Message { type_url: TYPE_URL, mesh, service, targets: [target] };
        let json = serde_json::to_string(&message).expect("a message of texts has a JSON form");
        let digest = Sha256::digest(&json).into();
        Self { name: format!("/meshes/{mesh}/dataplanes/{name}"), json, digest }
    }

    /// Name by which a client can ask for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn json(&self) -> &str {
        &self.json
    }

    /// SHA-256 of the JSON.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}
