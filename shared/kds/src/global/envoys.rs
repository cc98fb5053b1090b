//! Asking the Envoys of zones.
//!
//! Source of the rules and texts: Kuma `pkg/kds/envoyadmin/kds_client.go`, `pkg/util/grpc/reverse_unary_rpcs.go`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tandem_instances::Instances;
use tandem_model::{AdminOperation, Kind, Resource, ResourceKey, label};
use tandem_proto::system::v1alpha1::{KdsStreams, ZoneInsight};
use tandem_store::{SharedStore, StoreError};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::forward::Forwarding;
use crate::admin::{AdminProtocol, AdminRequest, TIMEOUT, stream_of};
use crate::insight::StreamKind;
use crate::limits;
use crate::surroundings::Surroundings;

/// Questions of one stream that may wait to be sent.
pub(crate) const ASK_AHEAD: usize = 64;

type Answer = oneshot::Sender<Result<Bytes, String>>;

struct Question {
    request: AdminRequest,
    answer: Answer,
}

#[derive(Default)]
struct Streams {
    next_id: u64,
    by_zone: HashMap<(String, StreamKind), (u64, mpsc::Sender<Question>)>,
}

/// Asks the Envoys of zones. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Envoys {
    store: SharedStore,
    streams: Arc<Mutex<Streams>>,
    instances: Instances,
    forwarding: Option<Forwarding>,
    surroundings: Surroundings,
}

/// Why an Envoy could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The proxy was not created in a zone.
    #[error("{0} belongs to no zone")]
    NoZone(ResourceKey),
    /// The zone is not connected.
    #[error("zone is offline")]
    Offline,
    /// The zone is connected, but not on the stream needed.
    #[error("client {0} is not connected")]
    NotConnected(String),
    /// The stream needed is at another instance of global.
    #[error("zone {zone} is connected to instance {instance} of global; ask that one")]
    Elsewhere {
        /// Name of the zone.
        zone: String,
        /// Id of the instance.
        instance: String,
    },
    /// The zone did not answer in time.
    #[error("zone {zone} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// Name of the zone.
        zone: String,
    },
    /// The zone answered with an error.
    #[error("{0}")]
    Refused(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Envoys {
    pub(crate) fn new(
        store: SharedStore,
        instances: Instances,
        forwarding: Option<Forwarding>,
        surroundings: Surroundings,
    ) -> Self {
        Self { store, streams: Arc::default(), instances, forwarding, surroundings }
    }

    /// Asks the Envoy of `proxy`, a Dataplane, ZoneIngress or ZoneEgress that a zone sent; through the instance of global
    /// that has the stream needed.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, AskError> {
        let elsewhere = match self.ask_here(proxy, operation).await {
            Err(AskError::Elsewhere { zone, instance }) => (zone, instance),
            answered => return answered,
        };
        let (zone, instance) = elsewhere;
        match (&self.forwarding, self.instances.get(&instance)) {
            (Some(forwarding), Some(instance)) => forwarding.ask(&instance, &proxy.key, operation).await,
            _ => Err(AskError::Elsewhere { zone, instance }),
        }
    }

    /// [`Self::ask`], on a stream of this instance.
    pub(crate) async fn ask_here(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, AskError> {
        let zone = proxy.label(label::ZONE).ok_or_else(|| AskError::NoZone(proxy.key.clone()))?.to_owned();
        let insight = self.store.get(&ResourceKey::global(Kind::ZoneInsight, zone.as_str())).await?;
        let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
        let name = name_in_zone(proxy, &insight)?;
        let request = AdminRequest { proxy: ResourceKey::new(proxy.kind(), proxy.key.mesh.clone(), name), operation };
        let stream =
            self.streams.lock().by_zone.get(&(zone.clone(), stream_of(operation))).map(|(_, sender)| sender.clone());
        let Some(stream) = stream else {
            let holder = insight.kds_streams.as_ref().and_then(|streams| holder(streams, stream_of(operation)));
            return Err(match holder.filter(|&id| id != self.instances.own_id() && self.instances.is_alive(id)) {
                Some(instance) => AskError::Elsewhere { zone, instance: instance.to_owned() },
                None => AskError::NotConnected(zone),
            });
        };
        let asked = async {
            let (answer, answered) = oneshot::channel();
            stream.send(Question { request, answer }).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Some(Ok(body))) => Ok(body),
            Ok(Some(Err(text))) => Err(AskError::Refused(text)),
            Ok(None) => Err(AskError::NotConnected(zone)),
            Err(_) => Err(AskError::Timeout { zone }),
        }
    }

    /// A proxy, as global knows it.
    pub(crate) async fn known(&self, proxy: &ResourceKey) -> Result<Option<Arc<Resource>>, StoreError> {
        self.store.get(proxy).await
    }

    /// Passes questions on to a zone and answers back, until the zone ends the stream.
    pub(crate) async fn relay<P: AdminProtocol>(
        &self,
        zone: &str,
        mut responses: impl Stream<Item = Result<P::Response, Status>> + Unpin,
        requests: mpsc::Sender<P::Request>,
    ) -> Status {
        let (sender, mut questions) = mpsc::channel(ASK_AHEAD);
        let _registration = self.register(zone, P::STREAM, sender);
        let mut waiting: HashMap<String, Answer> = HashMap::new();
        // The next question, until there is room to send it. Meanwhile others wait, and give up when their time is over.
        let mut next: Option<Question> = None;
        let status = loop {
            tokio::select! {
                biased;
                () = requests.closed() => break Status::cancelled("stream canceled"),
                response = responses.next() => match response {
                    None => break Status::cancelled("stream canceled"),
                    Some(Err(status)) => break limits::clarified(status),
                    Some(Ok(response)) => {
                        let (id, result) = P::answered(response);
                        // An answer that nobody waits for any more came too late; that is no reason to part.
                        if let Some(answer) = waiting.remove(&id) {
                            let _ = answer.send(result);
                        }
                    }
                },
                permit = requests.reserve(), if next.is_some() => {
                    let Ok(permit) = permit else { break Status::cancelled("stream canceled") };
                    if let Some(Question { request, answer }) = next.take_if(|next| !next.answer.is_closed()) {
                        waiting.retain(|_, answer| !answer.is_closed());
                        let id = self.surroundings.id();
                        permit.send(P::ask(id.clone(), &request));
                        waiting.insert(id, answer);
                    }
                    next = None;
                }
                question = questions.recv(), if next.is_none() => match question {
                    Some(question) => next = Some(question),
                    None => break Status::cancelled("stream canceled - the zone has opened a newer one"),
                },
            }
        };
        for (_, answer) in waiting {
            let text = format!("the stream to zone {zone} ended before the answer came: {}", status.message());
            // Whoever asked may have given up.
            let _ = answer.send(Err(text));
        }
        status
    }

    fn register(&self, zone: &str, stream: StreamKind, sender: mpsc::Sender<Question>) -> Registration {
        let mut streams = self.streams.lock();
        let id = streams.next_id;
        streams.next_id += 1;
        let key = (zone.to_owned(), stream);
        streams.by_zone.insert(key.clone(), (id, sender));
        Registration { streams: self.streams.clone(), key, id }
    }
}

/// Name that a proxy has in its zone. On Kubernetes it ends with the namespace.
fn name_in_zone(proxy: &Resource, insight: &ZoneInsight) -> Result<String, AskError> {
    let last = insight.subscriptions.last().ok_or(AskError::Offline)?;
    if last.disconnect_time.is_some() {
        return Err(AskError::Offline);
    }
    let name = proxy.display_name();
    let config: serde_json::Value = serde_json::from_str(&last.config)
        .map_err(|_| AskError::Refused("cannot read control-plane configuration".into()))?;
    Ok(match proxy.label(label::K8S_NAMESPACE) {
        Some(namespace) if config["store"]["type"] == "kubernetes" => format!("{name}.{namespace}"),
        _ => name.to_owned(),
    })
}

/// The instance of global that has a stream of a zone.
fn holder(streams: &KdsStreams, kind: StreamKind) -> Option<&str> {
    let stream = match kind {
        StreamKind::GlobalToZone => &streams.global_to_zone,
        StreamKind::ZoneToGlobal => &streams.zone_to_global,
        StreamKind::ConfigDump => &streams.config_dump,
        StreamKind::Stats => &streams.stats,
        StreamKind::Clusters => &streams.clusters,
    };
    stream.as_ref().map(|stream| stream.global_instance_id.as_str())
}

/// A stream that can be asked, until this is dropped.
struct Registration {
    streams: Arc<Mutex<Streams>>,
    key: (String, StreamKind),
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        if streams.by_zone.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            streams.by_zone.remove(&self.key);
        }
    }
}
