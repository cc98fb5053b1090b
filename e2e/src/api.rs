//! Client of the HTTP API of a control plane.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// The HTTP API of one control plane.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    http: reqwest::Client,
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON body; a body that is not JSON is a JSON string.
    pub body: Value,
}

impl Api {
    /// A client for the API at `url`, e.g. `http://127.0.0.1:5681`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { url: url.into(), http })
    }

    /// Base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and gives its answer, whatever the status.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("no answer from {}{path}", self.url))?;
        let status = response.status();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    async fn successful(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.send(method.clone(), path, body).await?;
        ensure!(answer.status.is_success(), "{method} {}{path}: {} {}", self.url, answer.status, answer.body);
        Ok(answer.body)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When there is no successful answer.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.successful(reqwest::Method::GET, path, None).await
    }

    /// Creates or replaces a resource.
    ///
    /// # Errors
    /// When it is refused; the text holds the answer.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.successful(reqwest::Method::PUT, path, Some(body)).await
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// When it is refused; the text holds the answer.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.successful(reqwest::Method::DELETE, path, None).await
    }

    async fn token(&self, path: &str, body: &Value) -> Result<String> {
        match self.successful(reqwest::Method::POST, path, Some(body)).await? {
            Value::String(token) => Ok(token),
            other => anyhow::bail!("{path} answered {other} rather than a token"),
        }
    }

    /// Issues a token for the Dataplane `name` of `mesh`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn dataplane_token(&self, mesh: &str, name: &str) -> Result<String> {
        self.token("/tokens/dataplane", &json!({"mesh": mesh, "name": name, "validFor": "24h"})).await
    }

    /// Issues a token for the Dataplane `name` of `mesh` that belongs to a workload.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn workload_token(&self, mesh: &str, name: &str, workload: &str) -> Result<String> {
        let body = json!({"mesh": mesh, "name": name, "workload": workload, "validFor": "24h"});
        self.token("/tokens/dataplane", &body).await
    }

    /// Issues a token for the ingress and egress proxies of `zone`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn zone_token(&self, zone: &str) -> Result<String> {
        self.token("/tokens/zone", &json!({"zone": zone, "scope": ["ingress", "egress"], "validFor": "24h"})).await
    }
}

/// A Mesh with builtin mutual TLS, traffic between zones through egress proxies, and local instances first.
pub fn mesh(name: &str) -> Value {
    json!({
        "type": "Mesh",
        "name": name,
        "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]},
        "routing": {"zoneEgress": true, "localityAwareLoadBalancing": true}
    })
}

/// Body and path of the MeshTrafficPermission `name` that does `action` (`Allow` or `Deny`) to all callers in `mesh`.
pub fn traffic_permission(mesh: &str, name: &str, action: &str) -> (String, Value) {
    let body = json!({
        "type": "MeshTrafficPermission",
        "mesh": mesh,
        "name": name,
        "spec": {
            "targetRef": {"kind": "Mesh"},
            "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": action}}]
        }
    });
    (format!("/meshes/{mesh}/meshtrafficpermissions/{name}"), body)
}
