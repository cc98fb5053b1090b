//! The two sides of a synchronization stream: the loops around the state machines.
//!
//! Neither loop ever waits for room to send while the peer may be waiting for it to receive: sending and receiving are
//! branches of one `select!`, and what is to be sent is decided when there is room.

mod receive;

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use prost::Message;
use tandem_model::Kind;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;
use tracing::{debug, warn};

use crate::catalogue::Subscription;
use crate::insight::Connection;
use crate::limits;
use crate::metrics::KdsMetrics;
use crate::pause::Pause;
use crate::sender::{BadRequest, DeltaSender, Due, Meaning, Outlet, Standing};
use crate::status::{OpenStream, ReceivedStatus, SentStatus, SyncStatus, Trouble};
use crate::wire::{DeltaRequest, DeltaResponse};

pub(crate) use receive::{Pace, at, receive};

/// Responses handed to the transport ahead of what it has sent.
pub(crate) const SEND_AHEAD: usize = 1;

/// How long the reason of a stream's end may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Where both loops tell what they do.
#[derive(Clone)]
pub(crate) struct Observer {
    /// The other side: name of the zone, or `global`.
    pub(crate) peer: String,
    pub(crate) status: SyncStatus,
    pub(crate) metrics: KdsMetrics,
}

/// Sends what the peer subscribes to, until the peer ends the stream; nothing while the stream rests.
///
/// # Errors
/// The status that the peer is to see, when a request cannot be understood or read.
pub(crate) async fn send<O: Outlet>(
    mut requests: impl Stream<Item = Result<DeltaRequest, Status>> + Unpin,
    responses: mpsc::Sender<DeltaResponse>,
    sender: DeltaSender<O>,
    subscription: Subscription,
    connection: Arc<Connection>,
    mut pause: Pause,
    observer: Observer,
) -> Result<(), Status> {
    let _open = observer.metrics.stream();
    let stream = observer.status.update(&observer.peer, |peer| {
        peer.resting = pause.is_on();
        peer.begin_sending()
    });
    let mut sending = Sending { sender, stream, observer };
    let Sending { sender, observer, .. } = &mut sending;
    loop {
        // In a fixed order, so that a run can be repeated. Requests and responses wait for each other, so neither starves
        // the other; what changes meanwhile is taken in before a response is built.
        tokio::select! {
            biased;
            () = responses.closed() => return told(&mut requests).await,
            () = pause.switched() => observer.status.update(&observer.peer, |peer| peer.resting = pause.is_on()),
            request = requests.next() => match request {
                None => return Ok(()),
                Some(Err(status)) => return Err(limits::clarified(status)),
                Some(Ok(request)) => note_request(request, sender, &connection, observer)?,
            },
            permit = responses.reserve(), if !pause.is_on() && sender.has_work() => {
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

/// Why a stream ends of which the peer has closed the other half: what the peer says at its end, if that comes soon.
async fn told<M>(incoming: &mut (impl Stream<Item = Result<M, Status>> + Unpin)) -> Result<(), Status> {
    let end = async {
        loop {
            match incoming.next().await {
                None => return Ok(()),
                Some(Err(status)) => return Err(limits::clarified(status)),
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(LAST_WORD, end).await.unwrap_or(Ok(()))
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
    limits::check_request(&request)?;
    let kind = request.type_url.parse::<Kind>().ok();
    let meaning = sender.request(request).map_err(|bad| match bad {
        BadRequest::NoType => Status::invalid_argument(bad.to_string()),
        BadRequest::ForeignTypes | BadRequest::Announced(_) => Status::resource_exhausted(bad.to_string()),
    })?;
    let rejection = match meaning {
        Meaning::Subscribe => return Ok(()),
        Meaning::Ack => None,
        Meaning::Nack(text) => Some(limits::shortened(text)),
    };
    observer.metrics.answered(label(kind), rejection.as_deref());
    connection.answered(label(kind), rejection.is_some());
    if let Some(text) = &rejection {
        let r#type = label(kind);
        warn!(peer = observer.peer, r#type, reason = text, "the peer left out a part of what it was sent");
    }
    if let Some(kind) = kind {
        observer.sent(kind, |status| {
            // The new standing is noted afterwards.
            if let Some(sent) = status.unanswered_since {
                observer.metrics.delivered(sent.elapsed());
            }
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

/// How a type is called in metrics and insights, whatever a peer calls it.
fn label(kind: Option<Kind>) -> &'static str {
    kind.map_or("unknown", Kind::name)
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
    connection.sent(label(due.kind));
    let bytes = response.encoded_len();
    observer.metrics.sent(label(due.kind), bytes, started.elapsed());
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

#[cfg(test)]
mod fuzz;
