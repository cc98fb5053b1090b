//! A zone in this process: everything that proxies talk to, over real sockets, without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use serde_json::json;
use tandem_admission::{Admission, AdmissionSettings};
use tandem_auth::ca::{BuiltinAuthority, KeyType};
use tandem_auth::token::{Settings as TokenSettings, Tokens};
use tandem_model::mesh::{builtin_cert_secret, builtin_key_secret};
use tandem_model::rest::{self, Unknown};
use tandem_model::{Kind, Mode, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_runtime::config::ProxyAuthn;
use tandem_runtime::http::{self, Limits};
use tandem_store::{MemoryStore, SharedStore, Write};
use tandem_xds::{Cache, MeshIndex, ZoneSettings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zone_cp::ads::AdsService;
use zone_cp::envoy_admin::EnvoyAdmin;
use zone_cp::hostnames::Hostnames;
use zone_cp::identity::Identities;
use zone_cp::issuing::{Issuing, IssuingMetrics};
use zone_cp::left_out::LeftOut;
use zone_cp::mesh_state::{self, Audience};
use zone_cp::proxy::arrivals::{ArrivalMetrics, ArrivalSettings, Arrivals};
use zone_cp::proxy::authentication::Authentication;
use zone_cp::proxy::context::{ProxyContext, ProxySettings, StreamLimits};
use zone_cp::proxy::insight::{InsightSettings, Insights};
use zone_cp::proxy::registry::Registry;
use zone_cp::proxy::returning::Returning;
use zone_cp::refusals::Refusals;
use zone_cp::workload_identity::WorkloadIdentities;

/// Name of the mesh.
pub const MESH: &str = "demo";

/// Longest that anything may take that is to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running zone.
pub struct Zone {
    /// What its streams share.
    pub context: Arc<ProxyContext>,
    /// Where it is reached.
    pub address: SocketAddr,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

/// A store with a mesh whose proxies have certificates.
pub async fn store() -> SharedStore {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let backend = json!({"name": "ca", "type": "builtin"});
    let mesh = json!({"type": "Mesh", "name": MESH, "mtls": {"enabledBackend": "ca", "backends": [backend]}});
    let mesh = rest::from_json(mesh, None, Unknown::Refuse).expect("a mesh").resource;
    let authority = BuiltinAuthority::for_trust_domain(MESH).expect("a trust domain");
    let secret = |name: String, pem: &str| {
        let data = Some(pem.as_bytes().to_vec());
        Write::Put(Resource::from_proto(ResourceKey::new(Kind::Secret, MESH, name), &Secret { data }))
    };
    let writes = vec![
        Write::Put(mesh),
        secret(builtin_cert_secret(MESH, "ca"), &authority.cert_pem),
        secret(builtin_key_secret(MESH, "ca"), &authority.key_pem),
    ];
    store.commit(writes).await.expect("valid");
    store
}

impl Zone {
    /// Starts a zone over a store, with a limit for the arrivals that are under way.
    pub async fn start(store: &SharedStore, under_way: usize) -> Self {
        let shutdown = CancellationToken::new();
        let context = context(store, under_way, &shutdown);
        let mut tasks = JoinSet::new();
        let (state, end) = (context.clone(), shutdown.clone());
        tasks.spawn(async move {
            let (registry, left_out, published) = (&state.registry, &state.left_out, &watch::Sender::default());
            let audience = Audience { current: &state.snapshot, registry, left_out, published };
            let index = MeshIndex::new(ZoneSettings::new("east"));
            let hostnames = Hostnames::new(Duration::from_secs(10));
            mesh_state::follow(index, hostnames, &state.store, audience, || {}, &end).await;
        });
        let (state, end) = (context.clone(), shutdown.clone());
        tasks.spawn(async move { state.insights.run(&state.store, &end).await });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let discovery = tonic::service::Routes::new(AdsService::new(context.clone()));
        let (router, end): (Router, _) = (discovery.into_axum_router(), shutdown.clone());
        tasks.spawn(http::serve(listener, None, router, Limits::default(), end));
        Self { context, address, shutdown, tasks }
    }

    /// Ends the zone; its store stays.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.join_all().await;
    }

    /// Stores a resource.
    pub async fn put(&self, resource: serde_json::Value) {
        let resource = rest::from_json(resource, None, Unknown::Refuse).expect("a resource").resource;
        self.context.store.commit(vec![Write::Put(resource)]).await.expect("valid");
    }
}

fn context(store: &SharedStore, under_way: usize, shutdown: &CancellationToken) -> Arc<ProxyContext> {
    let arrivals = ArrivalSettings { turns: 2, under_way, max_waiting: 1_000, max_wait: PATIENCE };
    let snapshot = Arc::new(ArcSwap::new(MeshIndex::new(ZoneSettings::new("east")).snapshot()));
    let admission =
        Arc::new(Admission::new(store.clone(), AdmissionSettings::new(Mode::Zone { federated: false }, "east")));
    Arc::new(ProxyContext {
        store: store.clone(),
        admission: admission.clone(),
        authentication: Authentication {
            dataplanes: ProxyAuthn::None,
            zone_proxies: ProxyAuthn::None,
            zone: "east".to_owned(),
            tokens: Arc::new(Tokens::new(store, TokenSettings::default())),
            service_accounts: None,
            snapshot: snapshot.clone(),
            labels: admission.settings().label_context(),
            takeover_protection: true,
        },
        arrivals: Arc::new(Arrivals::new(arrivals, ArrivalMetrics::default())),
        registry: Arc::new(Registry::default()),
        returning: Arc::new(Returning::default()),
        insights: Insights::new(InsightSettings {
            instance_id: "zone".to_owned(),
            flush_interval: Duration::from_secs(10),
            subscription_limit: 2,
        }),
        snapshot,
        cache: Cache::default(),
        left_out: LeftOut::default(),
        identities: Identities::new(store.clone(), KeyType::default()),
        workload_identities: WorkloadIdentities::new(store.clone(), KeyType::default()),
        issuing: Issuing::new(1, IssuingMetrics::default()),
        envoy_admin: EnvoyAdmin::new(store.clone()),
        refusals: Refusals::default(),
        settings: ProxySettings {
            instance_id: "zone".to_owned(),
            deregistration_delay: Duration::from_secs(30),
            limits: StreamLimits::default(),
        },
        shutdown: shutdown.clone(),
    })
}
