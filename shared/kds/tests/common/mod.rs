//! A global and zones with memory stores, connected over loopback.

#![allow(dead_code)] // each test uses a part

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tandem_kds::admin::{AdminExecutor, AdminRequest};
use tandem_kds::global::{Envoys, Global, GlobalSettings};
use tandem_kds::status::SyncStatus;
use tandem_kds::zone::{self, BackoffSettings, ClientTls, GlobalAddress, ZoneSettings};
use tandem_kds::{CommonSettings, DeletionGuard, Identity, InsightSettings, KdsMetrics, Surroundings, wire};
use tandem_model::{Kind, Path, Resource, ResourceKey, Violations, label};
use tandem_proto::system::v1alpha1::KumaCpVersion;
use tandem_store::{MemoryStore, SharedStore, Write};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest time that anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn store() -> SharedStore {
    Arc::new(MemoryStore::new())
}

/// Settings of a control plane. Its validation refuses what carries the label `invalid`.
pub fn common(instance: &str) -> CommonSettings {
    CommonSettings {
        identity: Identity {
            instance: instance.to_owned(),
            version: KumaCpVersion { version: "2.13.10".into(), ..KumaCpVersion::default() },
            config: r#"{"store":{"type":"memory"}}"#.into(),
        },
        max_message_bytes: wire::DEFAULT_MAX_MESSAGE_BYTES,
        skip_label_prefixes: Vec::new(),
        insights: InsightSettings {
            instance: instance.to_owned(),
            flush_interval: Duration::from_millis(100),
            subscription_limit: 10,
            compact_finished: false,
            needs_zone: false,
        },
        validate: Arc::new(|resource| match resource.label("invalid") {
            Some(reason) => Violations::one(&Path::new("spec"), reason),
            None => tandem_model::validate(resource),
        }),
        deletion_guard: DeletionGuard::default(),
        response_backoff: Duration::ZERO,
        surroundings: Surroundings::default(),
    }
}

pub fn global_settings() -> GlobalSettings {
    GlobalSettings::new(common("global-0001"))
}

pub struct RunningGlobal {
    pub address: SocketAddr,
    pub status: SyncStatus,
    pub envoys: Envoys,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningGlobal {
    pub async fn start(store: &SharedStore) -> Self {
        Self::start_at(store, "127.0.0.1:0".parse().expect("an address"), None).await
    }

    pub async fn start_at(store: &SharedStore, address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self::start_with(global_settings(), store, address, tls).await
    }

    pub async fn start_with(
        settings: GlobalSettings,
        store: &SharedStore,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        Self::start_measured(settings, store, address, tls, KdsMetrics::default()).await
    }

    pub async fn start_measured(
        settings: GlobalSettings,
        store: &SharedStore,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        metrics: KdsMetrics,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let global = Global::new(settings, store.clone(), metrics, shutdown.clone()).await.expect("the store works");
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("bound");
        let (status, envoys) = (global.status(), global.envoys());
        let task = tokio::spawn(global.serve(tandem_runtime::http::accepted(listener), tls));
        Self { address, status, envoys, shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("ended");
    }
}

pub struct RunningZone {
    pub store: SharedStore,
    pub status: SyncStatus,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningZone {
    pub fn start(name: &str, store: &SharedStore, global: SocketAddr) -> Self {
        Self::start_with(settings(name, global), store)
    }

    pub fn start_with(settings: ZoneSettings, store: &SharedStore) -> Self {
        Self::start_answering(settings, store, Arc::new(Echo))
    }

    /// Starts a zone whose Envoys answer as `executor` does.
    pub fn start_answering(settings: ZoneSettings, store: &SharedStore, executor: Arc<dyn AdminExecutor>) -> Self {
        let (status, shutdown) = (SyncStatus::new(), CancellationToken::new());
        let run = zone::run(settings, store.clone(), executor, KdsMetrics::default(), status.clone(), shutdown.clone());
        let task = tokio::spawn(async move { run.await.expect("usable settings") });
        Self { store: store.clone(), status, shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("ended");
    }
}

pub fn settings(zone: &str, global: SocketAddr) -> ZoneSettings {
    ZoneSettings {
        common: common(&format!("{zone}-0001")),
        zone: zone.to_owned(),
        dial: zone::tcp(),
        global: GlobalAddress { host: global.ip().to_string(), port: global.port(), tls: false },
        tls: ClientTls::default(),
        token: tandem_kds::zone::CpToken::None,
        backoff: BackoffSettings { base: Duration::from_millis(100), max: Duration::from_millis(200) },
    }
}

/// Answers with the question.
struct Echo;

#[async_trait]
impl AdminExecutor for Echo {
    async fn execute(&self, request: AdminRequest) -> Result<Bytes, String> {
        match request.proxy.name.as_str() {
            "broken" => Err("unable to send GET to config_dump".into()),
            name => Ok(format!("{} {name}", request.operation.path()).into()),
        }
    }
}

/// Waits until the resource under `key` is as wanted.
pub async fn wait_for(store: &SharedStore, key: &ResourceKey, wanted: impl Fn(Option<&Resource>) -> bool) {
    let mut feed = store.changes(0);
    let search = async {
        loop {
            let present = store.get(key).await.expect("readable");
            if wanted(present.as_deref()) {
                return;
            }
            feed.next().await.expect("the store is open");
        }
    };
    if tokio::time::timeout(PATIENCE, search).await.is_err() {
        let kind = store.list(key.kind, None).await.expect("readable");
        let names: Vec<_> = kind.iter().map(|resource| &resource.key.name).collect();
        let present = store.get(key).await.expect("readable");
        panic!("{key} is not as wanted: {present:?}; there are {names:?}");
    }
}

pub async fn wait_until_exists(store: &SharedStore, key: &ResourceKey) {
    wait_for(store, key, |resource| resource.is_some()).await;
}

pub async fn wait_until_gone(store: &SharedStore, key: &ResourceKey) {
    wait_for(store, key, |resource| resource.is_none()).await;
}

/// Waits for something that is not in a store.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = tokio::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn put(store: &SharedStore, resource: Resource) {
    store.commit(vec![Write::Put(resource)]).await.expect("a valid write");
}

pub async fn delete(store: &SharedStore, key: &ResourceKey) {
    store.commit(vec![Write::Delete { key: key.clone(), expected: None }]).await.expect("it exists");
}

pub fn mesh(name: &str) -> Resource {
    Resource::from_proto(ResourceKey::global(Kind::Mesh, name), &tandem_proto::mesh::v1alpha1::Mesh::default())
}

pub fn timeout(name: &str, idle: &str) -> Resource {
    let spec = serde_json::json!({
        "targetRef": {"kind": "Mesh"},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": idle}}],
    });
    Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", name), spec)
}

pub fn service(name: &str) -> Resource {
    let spec = serde_json::json!({
        "selector": {"dataplaneTags": {"app": name}},
        "ports": [{"port": 80, "targetPort": 80, "appProtocol": "http"}],
        "aFieldFromTheFuture": {"kept": true},
    });
    Resource::from_json(ResourceKey::new(Kind::MeshService, "default", name), spec).with_labels([("team", "a")])
}

/// Key that a resource of `zone` has everywhere else.
pub fn synced_from(zone: &str, key: &ResourceKey) -> ResourceKey {
    let name = tandem_model::name::hashed(&key.mesh, &key.name, [zone]);
    ResourceKey::new(key.kind, key.mesh.clone(), name)
}

/// Key that a resource of global has in zones.
pub fn synced_from_global(key: &ResourceKey) -> ResourceKey {
    let name = tandem_model::name::hashed(&key.mesh, &key.name, []);
    ResourceKey::new(key.kind, key.mesh.clone(), name)
}

pub fn label_of(resource: Option<&Resource>, name: &str) -> Option<String> {
    resource.and_then(|resource| resource.label(name)).map(str::to_owned)
}

pub const ORIGIN: &str = label::ORIGIN;

/// A request with the headers by which the zone `east` introduces itself.
pub fn introduced<M>(message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("client-id", "east".parse().expect("plain text"));
    metadata.append("features", "hash-suffix".parse().expect("plain text"));
    request
}
