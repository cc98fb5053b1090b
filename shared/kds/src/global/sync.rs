//! The two synchronization streams of a zone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use futures::{Stream, StreamExt};
use tandem_proto::system::v1alpha1::KdsSubscription;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::Shared;
use super::authentication::Credential;
use super::downlink::Downlink;
use super::outbound::{Inner, Outbound, outbound};
use super::sessions::{Claim, End, taken};
use super::to_zone::ZoneOutlet;
use crate::apply::{Applier, ensure_zone};
use crate::feature::Features;
use crate::inlet::Inlet;
use crate::insight::{ClaimError, Connection, StreamKind};
use crate::limits;
use crate::metadata::{self, Caller};
use crate::node::{self, Identity, identity_of};
use crate::pause::{DisabledZones, Pause};
use crate::rpc::k_d_s_sync_service_server::KDSSyncService;
use crate::sender::DeltaSender;
use crate::status::Trouble;
use crate::stream::{self, Observer, Pace, SEND_AHEAD};
use crate::wire::{DeltaRequest, DeltaResponse, Node};

/// How long a zone may take from opening the stream from global to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

pub(crate) struct SyncService(pub(crate) Arc<Shared>);

#[async_trait::async_trait]
impl KDSSyncService for SyncService {
    /// Nothing: [`Downlink`] takes its place.
    type GlobalToZoneSyncStream = futures::stream::Empty<Result<DeltaResponse, Status>>;
    type ZoneToGlobalSyncStream = Outbound<DeltaRequest>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        let (caller, credential) = self.0.admit(&request, Code::Unknown)?;
        let peer = peer(&request);
        let (inner, stream) = outbound(SEND_AHEAD);
        let mut response = Response::new(futures::stream::empty());
        response.extensions_mut().insert(Downlink::new(stream, request.metadata(), &self.0.shelf));
        let shared = self.0.clone();
        tokio::spawn(async move {
            let status = shared.global_to_zone(&caller, credential, peer, request.into_inner(), &inner).await;
            info!(zone = caller.zone, reason = status.message(), "stream to the zone ended");
            inner.end(status);
        });
        Ok(response)
    }

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        let (caller, credential) = self.0.admit(&request, Code::Unknown)?;
        let peer = peer(&request);
        let (inner, stream) = outbound(SEND_AHEAD);
        let shared = self.0.clone();
        tokio::spawn(async move {
            let status = shared.zone_to_global(&caller, credential, peer, request.into_inner(), &inner).await;
            info!(zone = caller.zone, reason = status.message(), "stream from the zone ended");
            inner.end(status);
        });
        Ok(Response::new(stream))
    }
}

/// Address of the other end of the connection.
pub(super) fn peer<T>(request: &Request<T>) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

impl Shared {
    /// Who calls, when it has proved it; `missing` is the code for a call without name.
    pub(super) fn admit<T>(&self, request: &Request<T>, missing: Code) -> Result<(Caller, Credential), Status> {
        let caller = metadata::caller(request.metadata(), missing)?;
        let credential = self.gate.admit(&caller.zone, request)?;
        Ok((caller, credential))
    }

    /// Waits until a stream that was opened with this credential has to end, whatever happens on it.
    pub(super) async fn over(&self, credential: Credential) -> Status {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Status::unavailable("stream unavailable"),
            status = credential.lapsed() => status,
        }
    }

    async fn global_to_zone(
        &self,
        caller: &Caller,
        credential: Credential,
        peer: Option<SocketAddr>,
        mut requests: Streaming<DeltaRequest>,
        inner: &Inner<DeltaResponse>,
    ) -> Status {
        let zone = &caller.zone;
        let over = self.over(credential);
        tokio::pin!(over);
        let first = tokio::select! {
            biased;
            status = &mut over => return status,
            () = inner.messages.closed() => return stopped(),
            first = requests.message() => match first {
                Ok(Some(first)) => first,
                Ok(None) => return stopped(),
                Err(status) => return limits::clarified(status),
            },
            () = tokio::time::sleep(FIRST_REQUEST) => return Status::deadline_exceeded("no request on the stream"),
        };
        let node = match checked_node(zone, &first) {
            Ok(node) => node.clone(),
            Err(status) => return status,
        };
        let identity = identity_of(&node);
        let claim = match self.sessions.claim(zone, &identity.instance, peer) {
            Ok(claim) => claim,
            Err(status) => {
                warn!(zone, instance = identity.instance, "{}", status.message());
                return status;
            }
        };
        let connection = match self.register(caller, &identity, &claim).await {
            Ok(connection) => Arc::new(connection),
            Err(status) => {
                warn!(zone, instance = identity.instance, "{}", status.message());
                if status.code() == Code::AlreadyExists {
                    claim.refused(peer);
                }
                return status;
            }
        };
        self.status.update(zone, |status| {
            status.connected = Some(self.settings.common.surroundings.now());
            status.instance.clone_from(&identity.instance);
            status.version.clone_from(&identity.version.version);
            status.features = Some(Features::of(&node));
            status.error = None;
        });
        let _connected = self.metrics.peer();

        let outlet = ZoneOutlet {
            zone: zone.clone(),
            features: Features::of(&node),
            skip_label_prefixes: self.settings.common.skip_label_prefixes.clone(),
        };
        let sender = DeltaSender::new(outlet, self.settings.common.max_message_bytes).of(self.store.id());
        let requests = futures::stream::once(std::future::ready(Ok(first))).chain(checked(requests, zone.clone()));
        let requests = requests.filter(|request| {
            std::future::ready(request.as_ref().map_or(true, |request| claim.challenge.note(request)))
        });
        let silence = if caller.pings { self.settings.health_check_timeout } else { std::time::Duration::ZERO };
        let status = tokio::select! {
            biased;
            status = &mut over => status,
            status = claim.ending.ended() => status,
            () = claim.silent(silence) => Status::cancelled("stream canceled - zone hc failed"),
            () = claim.challenge.lost(&inner.messages) => {
                Status::cancelled("stream canceled - another control plane asks for the name and this one does not answer")
            }
            result = stream::send(
                requests,
                inner.messages.clone(),
                sender,
                self.catalogue.subscribe(),
                connection.clone(),
                self.pause(zone),
                self.observer(zone),
            ) => result.err().unwrap_or_else(stopped),
        };
        claim.if_current(|| match claim.ending.reason() {
            Some(End::Deleted) => self.status.forget(zone),
            _ => self.status.update(zone, |peer| {
                peer.connected = None;
                peer.disconnected = Some(self.settings.common.surroundings.now());
                peer.error = Some(Trouble::new(status.message()));
            }),
        });
        status
    }

    /// Enters a zone that has its name into the store: its Zone, and the connection in its insight.
    async fn register(&self, caller: &Caller, identity: &Identity, claim: &Claim) -> Result<Connection, Status> {
        let zone = &caller.zone;
        let common = &self.settings.common;
        let before = self.store.revision();
        if let Err(error) = ensure_zone(&self.store, zone).await {
            return Err(Status::internal(format!("could not create Zone {zone:?}: {error}")));
        }
        let version = node::judged_aloud(zone, &identity.version, &common.identity.version);
        info!(zone, instance = identity.instance, version = identity.version.version, "zone connected");
        let subscription = self.insights.begin(KdsSubscription {
            global_instance_id: common.identity.instance.clone(),
            zone_instance_id: identity.instance.clone(),
            auth_token_provided: caller.has_token,
            version: Some(version),
            config: identity.config.clone(),
            ..KdsSubscription::default()
        });
        let instances = &self.settings.instances;
        if instances.is_shared() {
            let claimed = self.insights.claim(zone, &subscription, |instance| instances.is_alive(instance)).await;
            claim.settle(claimed.map_err(|error| match error {
                ClaimError::Taken(holder) => taken(zone, &holder, &identity.instance),
                ClaimError::Store(error) => Status::internal(format!("could not record zone {zone:?}: {error}")),
            })?);
        } else {
            claim.settle(before);
            self.insights.opened(zone, StreamKind::GlobalToZone);
        }
        Ok(self.insights.enter(zone, subscription))
    }

    async fn zone_to_global(
        &self,
        caller: &Caller,
        credential: Credential,
        peer: Option<SocketAddr>,
        responses: Streaming<DeltaResponse>,
        inner: &Inner<DeltaRequest>,
    ) -> Status {
        let zone = &caller.zone;
        let over = self.over(credential);
        tokio::pin!(over);
        let admitted = tokio::select! {
            biased;
            status = &mut over => return status,
            () = inner.messages.closed() => return stopped(),
            admitted = self.sessions.uplink(zone, peer) => admitted,
        };
        let uplink = match admitted {
            Ok(uplink) => uplink,
            Err(status) => return status,
        };
        if let Err(error) = ensure_zone(&self.store, zone).await {
            return Status::internal(format!("could not create Zone {zone:?}: {error}"));
        }
        self.insights.opened(zone, StreamKind::ZoneToGlobal);
        let intake = self.applier(zone).open();
        let common = &self.settings.common;
        let pace =
            Pace { backoff: common.response_backoff, pause: self.pause(zone), most_kept: common.max_message_bytes };
        tokio::select! {
            biased;
            status = &mut over => status,
            status = uplink.ending.ended() => status,
            result = stream::receive(
                responses,
                inner.messages.clone(),
                intake,
                zone,
                &common.identity,
                pace,
                self.observer(zone),
            ) => result.err().unwrap_or_else(stopped),
        }
    }

    /// What applies the resources of a zone; the same one for all streams of the zone.
    fn applier(&self, zone: &str) -> Arc<Applier> {
        let new = || {
            let common = &self.settings.common;
            let inlet = Inlet::Global { zone: zone.to_owned() };
            Applier::new(self.store.clone(), inlet, common.validate.clone(), common.deletion_guard)
        };
        self.appliers.lock().entry(zone.to_owned()).or_insert_with(new).clone()
    }

    /// Whether the streams of a zone rest.
    fn pause(&self, zone: &str) -> Pause {
        match self.settings.disabled_zones {
            DisabledZones::Pause => Pause::while_disabled(zone, self.catalogue.disabled_zones()),
            DisabledZones::Sync => Pause::never(),
        }
    }

    fn observer(&self, zone: &str) -> Observer {
        Observer { peer: zone.to_owned(), status: self.status.clone(), metrics: self.metrics.clone() }
    }
}

/// The node of the first request, if it is that of the zone which opened the stream.
fn checked_node<'a>(zone: &str, request: &'a DeltaRequest) -> Result<&'a Node, Status> {
    let node = request.node.as_ref().ok_or_else(|| Status::invalid_argument("the first request names no node"))?;
    check_id(zone, node)?;
    limits::check_instance(&identity_of(node).instance)?;
    Ok(node)
}

fn check_id(zone: &str, node: &Node) -> Result<(), Status> {
    if node.id == zone {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("node.id {:?} is not the client-id {zone:?} of the stream", node.id)))
}

/// Requests that, where they name a node, name the zone.
fn checked(
    requests: Streaming<DeltaRequest>,
    zone: String,
) -> impl Stream<Item = Result<DeltaRequest, Status>> + Unpin {
    requests.map(move |request| {
        let request = request?;
        if let Some(node) = &request.node {
            check_id(&zone, node)?;
        }
        Ok(request)
    })
}

fn stopped() -> Status {
    Status::cancelled("stream canceled - stream stopped")
}
