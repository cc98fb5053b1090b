//! Asking the endpoint, and comparing what it answers.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tandem_model::rest::{self, Unknown};
use tandem_store::{MemoryStore, SharedStore, Write};
use tower::ServiceExt as _;
use zone_cp::bootstrap::{
    BootstrapContext, BootstrapLimitSettings, BootstrapLimits, BootstrapSettings, ServerCertificate, router,
};
use zone_cp::refusals::Refusals;

/// Room for the requests of these tests.
const LIMITS: BootstrapLimitSettings = BootstrapLimitSettings { request: 1 << 20, memory: 1 << 20, turns: 1 };

/// Settings with Kuma's defaults, except that no token is asked for, proxies are told to come to `localhost`, and Envoy has no admin
/// interface unless its proxy says so.
pub fn settings() -> BootstrapSettings {
    BootstrapSettings {
        dataplane_token_required: false,
        zone_token_required: false,
        reloadable_tokens: false,
        xds_host: "localhost".to_owned(),
        xds_port: 5678,
        xds_connect_timeout: "1s".to_owned(),
        admin_address: "127.0.0.1".to_owned(),
        admin_port: 0,
        admin_access_log_path: "/dev/null".to_owned(),
        hds: true,
        gateway_max_connections: 50_000,
        corefile_template: None,
    }
}

/// A certificate for `localhost` and one more address.
pub fn own_certificate() -> ServerCertificate {
    let (pem, _) = tandem_auth::server_cert::generate("", ["fd00:a123::1".parse().expect("an address")]).expect("made");
    ServerCertificate::new(pem.into_bytes()).expect("a certificate")
}

/// `networking` of a sidecar.
pub fn sidecar(admin_port: u16) -> Value {
    json!({
        "address": "8.8.8.8",
        "inbound": [{"port": 443, "servicePort": 8443, "tags": {"kuma.io/service": "backend"}}],
        "admin": {"port": admin_port}
    })
}

/// A Dataplane.
pub fn dataplane(mesh: &str, name: &str, networking: &Value) -> Value {
    json!({"type": "Dataplane", "mesh": mesh, "name": name, "networking": networking})
}

/// Sets the members of `more` in `target`.
pub fn merge(target: &mut Value, more: Value) {
    let (Value::Object(target), Value::Object(more)) = (target, more) else { panic!("both are objects") };
    target.extend(more);
}

/// A request to the endpoint of a control plane.
pub struct Question {
    /// Settings of the control plane.
    pub settings: BootstrapSettings,
    /// Certificate of the control plane.
    pub certificate: ServerCertificate,
    /// What the control plane has stored.
    pub stored: Vec<Value>,
    /// `Host` of the request.
    pub host: &'static str,
    /// `Accept` of the request.
    pub accept: Option<&'static str>,
    /// Method of the request.
    pub method: Method,
    /// Body of the request.
    pub body: String,
}

/// What the endpoint said.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// `content-type`, empty when there is none.
    pub content_type: String,
    /// Body.
    pub text: String,
}

impl Question {
    /// A question at `localhost`, as kuma-dp of earlier versions asked it: without `Accept`, so that the answer is plain YAML.
    pub fn new(stored: impl IntoIterator<Item = Value>, body: &Value) -> Self {
        Self {
            settings: settings(),
            certificate: own_certificate(),
            stored: stored.into_iter().collect(),
            host: "localhost:5678",
            accept: None,
            method: Method::POST,
            body: body.to_string(),
        }
    }

    /// The same, as kuma-dp asks it today: the answer is JSON.
    pub fn for_json(self) -> Self {
        Self { accept: Some("application/json"), ..self }
    }

    /// Asks.
    pub async fn ask(self) -> Answer {
        let context = BootstrapContext {
            store: store(self.stored).await,
            settings: Arc::new(self.settings),
            certificate: Arc::new(self.certificate),
            limits: Arc::new(BootstrapLimits::new(LIMITS)),
            refusals: Refusals::default(),
        };
        let mut request = Request::builder().method(self.method).uri("/bootstrap").header(header::HOST, self.host);
        if let Some(accept) = self.accept {
            request = request.header(header::ACCEPT, accept);
        }
        let request = request.body(Body::from(self.body)).expect("a request");
        let response = router(context).oneshot(request).await.expect("the router answers");
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.map(|text| text.to_str().expect("text").to_owned()).unwrap_or_default();
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, content_type, text: String::from_utf8(body.to_vec()).expect("text") }
    }
}

impl Answer {
    /// The bootstrap configuration of an answer in YAML.
    pub fn yaml(&self) -> Value {
        assert_eq!((self.status, self.content_type.as_str()), (StatusCode::OK, "text/x-yaml"), "{}", self.text);
        serde_norway::from_str(&self.text).expect("the answer is YAML")
    }

    /// An answer in JSON.
    pub fn json(&self) -> Value {
        assert_eq!((self.status, self.content_type.as_str()), (StatusCode::OK, "application/json"), "{}", self.text);
        serde_json::from_str(&self.text).expect("the answer is JSON")
    }
}

async fn store(resources: Vec<Value>) -> SharedStore {
    let store: SharedStore = Arc::new(MemoryStore::new());
    for resource in resources {
        let document = rest::from_json(resource, None, Unknown::Refuse).expect("a resource of this test");
        store.commit(vec![Write::Put(document.resource)]).await.expect("a memory store takes it");
    }
    store
}

/// The YAML document in a member that is base64.
pub fn decoded(member: &Value) -> Value {
    let bytes = BASE64.decode(member.as_str().expect("text")).expect("base64");
    serde_norway::from_slice(&bytes).expect("YAML")
}

/// The certificate that a bootstrap configuration holds as trust anchor.
pub fn trust_anchor(bootstrap: &Value) -> ServerCertificate {
    let secret = &bootstrap["staticResources"]["secrets"][0]["validationContext"]["trustedCa"]["inlineBytes"];
    let pem = BASE64.decode(secret.as_str().expect("a trust anchor")).expect("base64");
    ServerCertificate::new(pem).expect("a certificate")
}

/// Where two values differ, as `path: expected X, got Y`.
pub fn differences(path: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(e), Value::Object(a)) => {
            for name in e.keys().chain(a.keys().filter(|name| !e.contains_key(*name))) {
                let (e, a) = (e.get(name).unwrap_or(&Value::Null), a.get(name).unwrap_or(&Value::Null));
                differences(&format!("{path}.{name}"), e, a, found);
            }
        }
        (Value::Array(e), Value::Array(a)) if e.len() == a.len() => {
            for (index, (e, a)) in e.iter().zip(a).enumerate() {
                differences(&format!("{path}[{index}]"), e, a, found);
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!("{path}: expected {expected}, got {actual}")),
    }
}
