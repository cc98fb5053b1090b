//! The side of global: accepts zones, sends them what concerns them, and keeps what they send.
//!
//! One TCP port serves two gRPC services. Each stream of a zone is one task; all of them share the catalogue of what
//! may be sent. What a zone does wrong ends at most its own streams.

mod authentication;
mod challenge;
mod downlink;
mod envoys;
mod forward;
mod health;
mod outbound;
mod sessions;
mod sync;
#[cfg(test)]
mod tests;
mod to_zone;
mod zone_watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tandem_instances::Instances;
use tandem_model::Kind;
use tandem_runtime::http::{self, Limits};
use tandem_store::{SharedStore, StoreError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

pub use authentication::ZoneAuthentication;
pub use envoys::{AskError, Envoys};
pub use forward::{Forwarding, serve_instances};

use self::authentication::Gate;
use self::downlink::Shelf;
use self::health::HealthService;
use self::sessions::Sessions;
use self::sync::SyncService;
use self::to_zone::ZoneOutlet;
use self::zone_watch::finalize;
use crate::apply::Applier;
use crate::catalogue::Catalogue;
use crate::insight::{InsightSettings, Insights};
use crate::metrics::KdsMetrics;
pub use crate::pause::DisabledZones;
use crate::rpc::global_k_d_s_service_server::GlobalKDSServiceServer;
use crate::rpc::k_d_s_sync_service_server::KDSSyncServiceServer;
use crate::settings::{CommonSettings, UNREAD_STREAMS};
use crate::status::{SyncStatus, backlog};

/// Most streams of one connection.
const MAX_STREAMS: u32 = 10_000;
/// Flow control window of a stream: what a zone may send before it is read.
const STREAM_WINDOW: u32 = 1 << 20;
/// Time between pings on a connection from which nothing comes, and the limit for their answers: as in Kuma.
const PING: Duration = Duration::from_secs(15);
/// How long streams have to end after shutdown began.
const GRACE: Duration = Duration::from_secs(3);

/// Settings of global.
#[derive(Clone)]
pub struct GlobalSettings {
    /// What both sides have.
    pub common: CommonSettings,
    /// `multizone.global.kds.zoneHealthCheck.pollInterval`: how often zones shall say that they are alive; zero leaves it
    /// to them.
    pub health_check_interval: Duration,
    /// `multizone.global.kds.zoneHealthCheck.timeout`: a zone silent for longer is disconnected; zero switches this off.
    pub health_check_timeout: Duration,
    /// `multizone.global.kds.disabledZones`.
    pub disabled_zones: DisabledZones,
    /// This instance, and the others over its store.
    pub instances: Instances,
    /// How questions to Envoys of zones that other instances hold get there; `None` refuses them.
    pub forwarding: Option<Forwarding>,
    /// `multizone.global.kds.auth`: how zones prove who they are.
    pub authentication: ZoneAuthentication,
}

impl GlobalSettings {
    /// Kuma's defaults, for the only instance over its store.
    pub fn new(common: CommonSettings) -> Self {
        Self {
            health_check_interval: Duration::ZERO,
            health_check_timeout: Duration::ZERO,
            disabled_zones: DisabledZones::default(),
            instances: Instances::alone(&common.identity.instance),
            forwarding: None,
            authentication: ZoneAuthentication::None,
            common,
        }
    }
}

/// The synchronization server of global.
pub struct Global {
    shared: Arc<Shared>,
}

/// What the streams share.
struct Shared {
    settings: GlobalSettings,
    store: SharedStore,
    catalogue: Arc<Catalogue>,
    insights: Arc<Insights>,
    gate: Arc<Gate>,
    sessions: Sessions,
    appliers: Mutex<BTreeMap<String, Arc<Applier>>>,
    envoys: Envoys,
    shelf: Arc<Shelf>,
    status: SyncStatus,
    metrics: KdsMetrics,
    shutdown: CancellationToken,
}

impl Global {
    /// A server of the resources in `store`. Ends the connections that an earlier process left open in the insights.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn new(
        settings: GlobalSettings,
        store: SharedStore,
        metrics: KdsMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let insight_settings = InsightSettings { needs_zone: true, ..settings.common.insights.clone() };
        let insights = Insights::new(store.clone(), insight_settings, settings.common.surroundings.clone());
        let instances = &settings.instances;
        insights
            .close_abandoned(instances.read(), |connection, alive| {
                // Nothing is connected to this instance yet.
                let here = connection.global_instance_id == instances.own_id();
                here || !alive.contains(&connection.global_instance_id)
            })
            .await?;
        let catalogue = Catalogue::new(|kind: Kind| kind.descriptor().direction.sent_to_zones());
        let status = SyncStatus::new();
        status.set_backlog({
            let (catalogue, prefixes) = (catalogue.clone(), settings.common.skip_label_prefixes.clone());
            move |zone, peer| {
                let outlet = ZoneOutlet {
                    zone: zone.to_owned(),
                    features: peer.features?,
                    skip_label_prefixes: prefixes.clone(),
                };
                Some(backlog(&outlet, &catalogue, &peer.confirmed))
            }
        });
        let shared = Shared {
            gate: Gate::new(settings.authentication.clone(), metrics.clone()),
            shelf: Arc::default(),
            envoys: Envoys::new(
                store.clone(),
                settings.instances.clone(),
                settings.forwarding.clone(),
                settings.common.surroundings.clone(),
            ),
            settings,
            store,
            catalogue,
            insights,
            sessions: Sessions::default(),
            appliers: Mutex::default(),
            status,
            metrics,
            shutdown,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How far each zone is.
    pub fn status(&self) -> SyncStatus {
        self.shared.status.clone()
    }

    /// Asks the Envoys of zones.
    pub fn envoys(&self) -> Envoys {
        self.shared.envoys.clone()
    }

    /// Serves zones until shutdown on the connections that come, each with the address of its other end.
    pub async fn serve<C: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        connections: impl Stream<Item = (C, SocketAddr)> + Send,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) {
        let shared = self.shared;
        let feed = shared.store.changes(0);
        let catalogue = shared.catalogue.clone();
        let follow = shared.shutdown.clone().run_until_cancelled_owned(async move { catalogue.follow(feed).await });
        let follow = tokio::spawn(follow);
        shared.gate.warn_when_open();
        let guard = {
            let (gate, feed) = (shared.gate.clone(), shared.store.changes(shared.store.revision()));
            tokio::spawn(shared.shutdown.clone().run_until_cancelled_owned(async move { gate.follow(feed).await }))
        };
        let watch = {
            let (zones, feed) = (shared.clone(), shared.store.changes(0));
            tokio::spawn(
                shared.shutdown.clone().run_until_cancelled_owned(async move { zones.watch_zones(feed).await }),
            )
        };
        let finalizer = tokio::spawn(finalize(shared.clone()));
        // The writer ends after the streams, so that their end is written too.
        let written = CancellationToken::new();
        let insights = {
            let (insights, token) = (shared.insights.clone(), written.clone());
            tokio::spawn(async move { insights.run(token).await })
        };

        let limit = shared.settings.common.max_message_bytes;
        // Resources are compressed by the stream that sends them; requests are not worth the memory that it takes.
        let synchronization = KDSSyncServiceServer::new(SyncService(shared.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        let health = GlobalKDSServiceServer::new(HealthService(shared.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        let router = Routes::new(synchronization).add_service(health).prepare().into_axum_router();
        let router = router.layer(axum::middleware::map_response(downlink::attach));
        let limits = Limits {
            grace: GRACE,
            streams: MAX_STREAMS,
            stream_window: STREAM_WINDOW,
            connection_window: UNREAD_STREAMS * STREAM_WINDOW,
            ping: Some(PING),
            ..Limits::default()
        };
        http::serve_connections(connections, tls, router, limits, shared.shutdown.clone()).await;

        shared.sessions.all_ended(GRACE).await;
        written.cancel();
        let tasks =
            [follow.await.map(drop), guard.await.map(drop), watch.await.map(drop), finalizer.await, insights.await];
        for task in tasks {
            if let Err(error) = task {
                tracing::error!(%error, "a task of synchronization ended unexpectedly");
            }
        }
    }
}
