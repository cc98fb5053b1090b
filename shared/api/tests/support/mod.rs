//! A control plane's HTTP API on real sockets over a store in memory, and a client.
#![allow(dead_code)] // each test file uses its part

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tandem_admission::{Admission, AdmissionSettings};
use tandem_api::{
    ApiContext, ApiSettings, EnvoyAdmin, EnvoyAdminError, Identity, Listeners, Proxies, ProxyConfigurations,
};
use tandem_auth::access::AccessRules;
use tandem_auth::token::{Settings, Tokens};
use tandem_kds::status::{Peers, SyncReports, SyncStatus};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{AdminOperation, Mode, Resource};
use tandem_runtime::instance::InstanceId;
use tandem_runtime::measure::HttpMetrics;
use tandem_runtime::metrics::Metrics;
use tandem_store::{MemoryStore, SharedStore, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub const ALONE: Mode = Mode::Zone { federated: false };
pub const FEDERATED: Mode = Mode::Zone { federated: true };

/// A running API. Stops when dropped.
pub struct Api {
    pub store: SharedStore,
    pub tokens: Arc<Tokens>,
    pub metrics: Metrics,
    pub address: SocketAddr,
    pub encrypted: Option<SocketAddr>,
    client: reqwest::Client,
    shutdown: CancellationToken,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// How an [`Api`] is set up.
pub struct Setup {
    pub admission: AdmissionSettings,
    pub settings: ApiSettings,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub envoys: Arc<dyn EnvoyAdmin>,
    pub configurations: Option<Arc<dyn ProxyConfigurations>>,
    pub access: AccessRules,
    pub store: SharedStore,
    pub status: SyncStatus,
    pub tokens: Settings,
}

/// Envoys that nobody started.
struct NoEnvoys;

#[async_trait]
impl EnvoyAdmin for NoEnvoys {
    async fn ask(&self, proxy: &Resource, _: AdminOperation) -> Result<Bytes, EnvoyAdminError> {
        Err(EnvoyAdminError::Failed(format!("{} does not run", proxy.key)))
    }
}

impl Setup {
    pub fn new(mode: Mode) -> Self {
        let zone = if mode.is_global() { "" } else { "zone-1" };
        Self {
            admission: AdmissionSettings::new(mode, zone),
            settings: ApiSettings::default(),
            tls: None,
            envoys: Arc::new(NoEnvoys),
            configurations: None,
            access: AccessRules::default(),
            store: Arc::new(MemoryStore::new()),
            status: SyncStatus::new(),
            tokens: Settings::default(),
        }
    }

    pub async fn start(self) -> Api {
        let store = self.store;
        let peers = match self.admission.mode {
            Mode::Global => Peers::Zones,
            Mode::Zone { federated: true } => Peers::Global,
            Mode::Zone { federated: false } => Peers::None,
        };
        let http = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let https = match self.tls {
            Some(tls) => Some((TcpListener::bind("127.0.0.1:0").await.expect("a free port"), tls)),
            None => None,
        };
        let listeners = Listeners { http: Some(http), https };
        let (address, encrypted) = listeners.addresses();
        let tokens = Arc::new(Tokens::new(&store, self.tokens));
        let metrics = Metrics::new("test");
        let context = ApiContext {
            store: store.clone(),
            admission: Arc::new(Admission::new(store.clone(), self.admission)),
            tokens: tokens.clone(),
            access: self.access,
            proxies: Proxies { envoys: self.envoys, configurations: self.configurations },
            sync: SyncReports::new(self.status, store.clone(), peers, "api-0001"),
            identity: Identity { instance: InstanceId::generate(), config: r#"{"mode":"zone"}"#.into() },
            settings: self.settings,
            metrics: HttpMetrics::register(&metrics, "api_server"),
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(tandem_api::serve(Arc::new(context), listeners, shutdown.clone()));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .danger_accept_invalid_certs(true)
            .build()
            .expect("a client without special needs");
        Api { store, tokens, metrics, address: address.expect("bound"), encrypted, client, shutdown }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// Status and the body's members that say what is wrong.
    pub fn problem(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["type"], "/std-errors");
        assert_eq!(body["detail"], body["details"]);
        (self.status.as_u16(), text("title"), text("detail"))
    }

    /// Field and reason of each violation.
    pub fn violations(&self) -> Vec<(String, String)> {
        let body = self.json();
        let list = body["invalid_parameters"].as_array().cloned().unwrap_or_default();
        let text = |entry: &Value, member: &str| entry[member].as_str().unwrap_or_default().to_owned();
        list.iter().map(|entry| (text(entry, "field"), text(entry, "reason"))).collect()
    }
}

impl Api {
    pub async fn start(mode: Mode) -> Self {
        Setup::new(mode).start().await
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.put_text(path, "application/json", &body.to_string()).await
    }

    pub async fn put_text(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let request = self.request(Method::PUT, path).header("content-type", content_type).body(body.to_owned());
        self.send(request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    /// Sends bytes as they are and returns all that comes back until the server closes.
    pub async fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("half-closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        answer
    }

    /// Stores a resource as it is, past all rules.
    pub async fn load(&self, body: Value) {
        let document = from_json(body, None, Unknown::Ignore).expect("a well-formed resource");
        let resource = Resource { status: document.status.or(document.resource.status.clone()), ..document.resource };
        self.store.commit(vec![Write::Put(resource)]).await.expect("stored");
    }

    pub async fn mesh(&self, name: &str) {
        self.load(serde_json::json!({ "type": "Mesh", "name": name })).await;
    }
}
