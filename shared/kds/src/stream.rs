//! The two sides of a synchronization stream: the loops around the state machines.
//!
//! Neither loop ever waits for room to send while the peer may be waiting for it to receive: sending and receiving are
//! branches of one `select!`, and what is to be sent is decided when there is room.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures::{Stream, StreamExt};
use prost::Message;
use tandem_model::Kind;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;
use tracing::{debug, info, warn};

use crate::apply::{Applied, Applier};
use crate::catalogue::Subscription;
use crate::inlet::Inlet;
use crate::insight::Connection;
use crate::metrics::KdsMetrics;
use crate::node::{self, Identity};
use crate::sender::{DeltaSender, Due, Meaning, Outlet, Standing};
use crate::status::{OpenStream, PeerStatus, ReceivedStatus, SentStatus, SyncStatus, Trouble};
use crate::wire::{DeltaRequest, DeltaResponse, ErrorDetail, WILDCARD};

/// Responses handed to the transport ahead of what it has sent.
pub(crate) const SEND_AHEAD: usize = 1;
/// Requests waiting to be sent, above which no more responses are read.
const MAX_PENDING_REQUESTS: usize = 256;

/// Where both loops tell what they do.
#[derive(Clone)]
pub(crate) struct Observer {
    /// The other side: name of the zone, or `global`.
    pub(crate) peer: String,
    pub(crate) status: SyncStatus,
    pub(crate) metrics: KdsMetrics,
}

/// Sends what the peer subscribes to, until the peer ends the stream.
///
/// # Errors
/// The status that the peer is to see, when a request cannot be understood or read.
pub(crate) async fn send<O: Outlet>(
    mut requests: impl Stream<Item = Result<DeltaRequest, Status>> + Unpin,
    responses: mpsc::Sender<DeltaResponse>,
    sender: DeltaSender<O>,
    subscription: Subscription,
    connection: Arc<Connection>,
    observer: Observer,
) -> Result<(), Status> {
    let _open = observer.metrics.stream();
    let stream = observer.status.update(&observer.peer, PeerStatus::begin_sending);
    let mut sending = Sending { sender, stream, observer };
    let Sending { sender, observer, .. } = &mut sending;
    loop {
        // In a fixed order, so that a run can be repeated. Requests and responses wait for each other, so neither starves
        // the other; what changes meanwhile is taken in before a response is built.
        tokio::select! {
            biased;
            () = responses.closed() => return Ok(()),
            request = requests.next() => match request {
                None => return Ok(()),
                Some(Err(status)) => return Err(status),
                Some(Ok(request)) => note_request(request, sender, &connection, observer)?,
            },
            permit = responses.reserve(), if sender.has_work() => {
                let Ok(permit) = permit else { return Ok(()) };
                sender.absorb(subscription.take());
                let started = Instant::now();
                let due = sender.next_response();
                note_failures(sender, observer);
                if let Some(due) = due {
                    note_response(&due, started, &connection, observer);
                    permit.send(due.response);
                }
            }
            () = subscription.changed() => sender.absorb(subscription.take()),
        }
        observer.moved(sender.take_moved());
    }
}

/// A sending stream; when it ends, however that happens, what the peer has confirmed is kept.
struct Sending<O: Outlet> {
    sender: DeltaSender<O>,
    stream: OpenStream,
    observer: Observer,
}

impl<O: Outlet> Drop for Sending<O> {
    fn drop(&mut self) {
        let confirmed = self.sender.take_confirmed();
        self.observer.status.update(&self.observer.peer, |peer| peer.end_sending(self.stream, confirmed));
    }
}

fn note_request<O: Outlet>(
    request: DeltaRequest,
    sender: &mut DeltaSender<O>,
    connection: &Connection,
    observer: &Observer,
) -> Result<(), Status> {
    let type_url = request.type_url.clone();
    let meaning = sender.request(request).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let rejection = match meaning {
        Meaning::Subscribe => return Ok(()),
        Meaning::Ack => None,
        Meaning::Nack(text) => Some(text),
    };
    observer.metrics.answered(&type_url, rejection.as_deref());
    connection.answered(&type_url, rejection.is_some());
    if let Some(text) = &rejection {
        warn!(peer = observer.peer, r#type = type_url, reason = text, "the peer left out a part of what it was sent");
    }
    if let Ok(kind) = type_url.parse::<Kind>() {
        observer.sent(kind, |status| {
            match rejection {
                None => status.acknowledged += 1,
                Some(_) => status.rejected += 1,
            }
            status.error = rejection.map(Trouble::new);
            for (key, reason) in sender.take_failures() {
                status.note(key, reason);
            }
        });
    }
    Ok(())
}

fn note_failures<O: Outlet>(sender: &mut DeltaSender<O>, observer: &Observer) {
    for (key, reason) in sender.take_failures() {
        if let Some(reason) = &reason {
            warn!(peer = observer.peer, resource = %key, reason, "a resource cannot be sent");
            observer.metrics.not_sent();
        }
        observer.sent(key.kind, |status| status.note(key, reason));
    }
    for (kind, bytes) in sender.take_oversized() {
        let text = format!(
            "all resources of type {kind} together are {bytes} bytes, more than one message may have; raise maxMsgSize \
             on both sides or delete some"
        );
        warn!(peer = observer.peer, r#type = %kind, bytes, "a type cannot be sent: {text}");
        observer.metrics.not_sent();
        observer.sent(kind, |status| status.error = Some(Trouble::new(text)));
    }
}

fn note_response(due: &Due, started: Instant, connection: &Connection, observer: &Observer) {
    let response = &due.response;
    connection.sent(&response.type_url);
    let bytes = response.encoded_len();
    observer.metrics.sent(&response.type_url, bytes, started.elapsed());
    debug!(
        peer = observer.peer,
        r#type = response.type_url,
        nonce = response.nonce,
        resources = response.resources.len(),
        removed = response.removed_resources.len(),
        "response sent"
    );
    if let Some(kind) = due.kind {
        observer.sent(kind, |status| {
            status.responses += 1;
            status.bytes += bytes as u64;
            status.resources = due.resources;
        });
    }
}

impl Observer {
    fn moved(&self, moved: Vec<(Kind, Standing)>) {
        if moved.is_empty() {
            return;
        }
        self.status.update(&self.peer, |peer| {
            for (kind, standing) in moved {
                peer.sent.entry(kind).or_default().stand(standing);
            }
        });
    }

    fn sent(&self, kind: Kind, change: impl FnOnce(&mut SentStatus)) {
        self.status.update(&self.peer, |peer| change(peer.sent.entry(kind).or_default()));
    }

    fn received(&self, kind: Kind, change: impl FnOnce(&mut ReceivedStatus)) {
        self.status.update(&self.peer, |peer| change(peer.received.entry(kind).or_default()));
    }
}

/// Subscribes to all types of the direction and applies what comes, until the peer ends the stream.
///
/// # Errors
/// When the store fails, or the stream does.
pub(crate) async fn receive(
    mut responses: impl Stream<Item = Result<DeltaResponse, Status>> + Unpin,
    requests: mpsc::Sender<DeltaRequest>,
    applier: Applier,
    zone: &str,
    identity: &Identity,
    observer: Observer,
) -> Result<(), Status> {
    let _open = observer.metrics.stream();
    let _receiving = Receiving {
        stream: observer.status.update(&observer.peer, PeerStatus::begin_receiving),
        observer: observer.clone(),
    };
    let mut pending = subscriptions(&applier.inlet, zone, identity);
    let mut seen = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            () = requests.closed() => return Ok(()),
            permit = requests.reserve(), if !pending.is_empty() => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(request) = pending.pop_front() {
                    permit.send(request);
                }
            }
            response = responses.next(), if pending.len() < MAX_PENDING_REQUESTS => match response {
                None => return Ok(()),
                Some(Err(status)) => return Err(status),
                Some(Ok(response)) => {
                    let complaint = take(&response, &applier, &mut seen, &observer).await?;
                    pending.push_back(answer(response, zone, complaint));
                }
            },
        }
    }
}

/// A receiving stream.
struct Receiving {
    stream: OpenStream,
    observer: Observer,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.observer.status.update(&self.observer.peer, |peer| peer.end_receiving(self.stream));
    }
}

/// The first request of each type. The node's configuration is large, and peers look at the first one only.
fn subscriptions(inlet: &Inlet, zone: &str, identity: &Identity) -> VecDeque<DeltaRequest> {
    let full = identity.node(zone);
    let short = Identity { config: String::new(), ..identity.clone() }.node(zone);
    Kind::all()
        .filter(|&kind| inlet.receives(kind))
        .enumerate()
        .map(|(index, kind)| DeltaRequest {
            node: Some(if index == 0 { full.clone() } else { short.clone() }),
            type_url: kind.name().to_owned(),
            resource_names_subscribe: vec![WILDCARD.to_owned()],
            ..DeltaRequest::default()
        })
        .collect()
}

/// Confirms a response, or tells what was left out.
fn answer(response: DeltaResponse, zone: &str, complaint: Option<String>) -> DeltaRequest {
    DeltaRequest {
        node: Some(node::bare(zone)),
        type_url: response.type_url,
        resource_names_subscribe: complaint.iter().map(|_| WILDCARD.to_owned()).collect(),
        response_nonce: response.nonce,
        error_detail: complaint.map(|message| ErrorDetail { code: 0, message }),
        ..DeltaRequest::default()
    }
}

/// Applies a response; returns what to complain about.
async fn take(
    response: &DeltaResponse,
    applier: &Applier,
    seen: &mut BTreeSet<Kind>,
    observer: &Observer,
) -> Result<Option<String>, Status> {
    let kind = response.type_url.parse::<Kind>().ok().filter(|&kind| applier.inlet.receives(kind));
    let Some(kind) = kind else {
        let text = format!("type {:?} is not sent in this direction", response.type_url);
        warn!(peer = observer.peer, "refused a response: {text}");
        return Ok(Some(text));
    };
    let started = Instant::now();
    let full = !seen.contains(&kind);
    observer.received(kind, |status| {
        status.bytes += response.encoded_len() as u64;
        status.applying_since = Some(started);
    });
    let applied =
        applier.apply(kind, &response.resources, &response.removed_resources, full).await.map_err(|error| {
            let text = format!("could not store resources of type {kind}: {error}");
            observer.received(kind, |status| status.error = Some(Trouble::new(text.clone())));
            Status::internal(text)
        })?;
    seen.insert(kind);
    let complaint = applied.complaint();
    log_applied(kind, &applied, observer);
    observer.received(kind, |status| {
        status.applying_since = None;
        status.responses += 1;
        match &complaint {
            None => status.acknowledged += 1,
            Some(_) => status.rejected += 1,
        }
        status.error = complaint.clone().map(Trouble::new);
        if full {
            status.left_out.clear();
            status.resources = applied.accepted.len();
        } else {
            status.resources = (status.resources + applied.created).saturating_sub(applied.deleted);
        }
        for key in applied.accepted.iter().chain(&applied.gone) {
            status.note(key.clone(), None);
        }
        for rejection in &applied.rejected {
            if let Some(key) = &rejection.key {
                status.note(key.clone(), Some(rejection.reason.clone()));
            }
        }
        observer.metrics.applied(&observer.peer, kind.name(), status.left_out.len(), started.elapsed());
    });
    Ok(complaint)
}

fn log_applied(kind: Kind, applied: &Applied, observer: &Observer) {
    for rejection in &applied.rejected {
        warn!(peer = observer.peer, r#type = %kind, reason = rejection.reason, "left out a resource of the peer");
    }
    if applied.created + applied.updated + applied.deleted > 0 {
        let (created, updated, deleted) = (applied.created, applied.updated, applied.deleted);
        info!(peer = observer.peer, r#type = %kind, created, updated, deleted, "synchronized");
    }
}
