//! The receiving side of a stream.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{Stream, StreamExt};
use prost::Message;
use tandem_model::Kind;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::{info, warn};

use super::{Observer, told};
use crate::apply::{Applied, Intake, Refusal};
use crate::inlet::Inlet;
use crate::limits;
use crate::node::{self, Identity};
use crate::pause::Pause;
use crate::status::{OpenStream, PeerStatus, Trouble};
use crate::wire::{DeltaRequest, DeltaResponse, ErrorDetail, WILDCARD};

/// Requests waiting to be sent, above which no more responses are read.
const MAX_PENDING_REQUESTS: usize = 256;
/// Resources that a line of the log names at most.
const NAMED: usize = 5;

/// How fast a receiving stream goes.
pub(crate) struct Pace {
    /// Confirmations of responses after the first ones wait for so long.
    pub(crate) backoff: Duration,
    /// Whether the stream rests.
    pub(crate) pause: Pause,
    /// Most bytes of responses that a resting stream keeps. More than a response of each type, which was under way when
    /// the rest began, can only come from a peer that does not wait for confirmations.
    pub(crate) most_kept: usize,
}

/// Subscribes to all types of the direction and applies what comes, until the peer ends the stream. While the stream
/// rests, nothing is requested, confirmed or applied; what is under way is read and kept, so that it does not stand in the
/// way of other streams of the connection.
///
/// # Errors
/// When the store fails, the peer is behind what it sent before, it sends too much to a resting stream, or the stream
/// fails.
pub(crate) async fn receive(
    mut responses: impl Stream<Item = Result<DeltaResponse, Status>> + Unpin,
    requests: mpsc::Sender<DeltaRequest>,
    mut intake: Intake,
    zone: &str,
    identity: &Identity,
    mut pace: Pace,
    observer: Observer,
) -> Result<(), Status> {
    let _open = observer.metrics.stream();
    let _receiving = Receiving {
        stream: observer.status.update(&observer.peer, PeerStatus::begin_receiving),
        observer: observer.clone(),
    };
    let mut pending = subscriptions(intake.inlet(), zone, identity);
    let mut delayed: VecDeque<(Instant, DeltaRequest)> = VecDeque::new();
    let mut kept = Kept::default();
    loop {
        let resting = pace.pause.is_on();
        let ready = delayed.front().map(|(ready, _)| *ready);
        let due = intake.next_due();
        let response = tokio::select! {
            biased;
            () = requests.closed() => return told(&mut responses).await,
            () = pace.pause.switched() => continue,
            () = std::future::ready(()), if !resting && !kept.responses.is_empty() => kept.next(),
            permit = requests.reserve(), if !resting && !pending.is_empty() => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(request) = pending.pop_front() {
                    permit.send(request);
                }
                continue;
            }
            () = at(ready) => {
                pending.extend(delayed.pop_front().map(|(_, request)| request));
                continue;
            }
            kind = observer.status.released(&observer.peer), if !resting && intake.is_holding() => {
                carry_out(kind, true, &mut intake, &observer).await?;
                continue;
            }
            () = at(due.map(|(due, _)| due)), if !resting => {
                if let Some((_, kind)) = due {
                    carry_out(kind, false, &mut intake, &observer).await?;
                }
                continue;
            }
            response = responses.next(), if pending.len() + delayed.len() < MAX_PENDING_REQUESTS || resting => response,
        };
        let Some(response) = response.transpose().map_err(limits::clarified)? else { return Ok(()) };
        limits::check_response(&response)?;
        if resting {
            kept.keep(response, pace.most_kept)?;
            continue;
        }
        let (first, complaint) = take(&response, &mut intake, &observer).await?;
        let confirms = complaint.is_none();
        let request = answer(response, zone, complaint);
        if pace.backoff.is_zero() || first || !confirms {
            pending.push_back(request);
        } else {
            delayed.push_back((Instant::now() + pace.backoff, request));
        }
    }
}

/// Responses that came while the stream rested.
#[derive(Default)]
struct Kept {
    responses: VecDeque<DeltaResponse>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, response: DeltaResponse, most: usize) -> Result<(), Status> {
        self.bytes += response.encoded_len();
        if self.bytes > most {
            return Err(Status::unavailable(format!(
                "the zone is disabled, and sent more than {most} bytes that wait for it to be enabled"
            )));
        }
        self.responses.push_back(response);
        Ok(())
    }

    fn next(&mut self) -> Option<Result<DeltaResponse, Status>> {
        let response = self.responses.pop_front()?;
        self.bytes -= response.encoded_len();
        Some(Ok(response))
    }
}

/// Waits until a time; for ever without one.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
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

/// Applies a response; returns whether it was the first of its type, and what to complain about.
async fn take(
    response: &DeltaResponse,
    intake: &mut Intake,
    observer: &Observer,
) -> Result<(bool, Option<String>), Status> {
    let known = response.type_url.parse::<Kind>().ok();
    let Some(kind) = known.filter(|&kind| intake.inlet().receives(kind)) else {
        let text = format!("type {:?} is not sent in this direction", response.type_url);
        warn!(peer = observer.peer, "refused a response: {text}");
        if let Some(kind) = known {
            observer.received(kind, |status| status.refused += 1);
        }
        return Ok((true, Some(text)));
    };
    let started = Instant::now();
    observer.received(kind, |status| {
        status.bytes += response.encoded_len() as u64;
        status.applying_since = Some(started);
    });
    let applied = intake.apply(kind, response).await.map_err(|refusal| failed(kind, refusal, observer))?;
    let complaint = applied.complaint();
    note(kind, &applied, observer);
    observer.received(kind, |status| {
        status.applying_since = None;
        status.responses += 1;
        status.revision = applied.revision;
        match &complaint {
            None => status.acknowledged += 1,
            Some(_) => status.rejected += 1,
        }
        status.error = complaint.clone().map(Trouble::new);
        observer.metrics.applied(applied.rejected.len(), started.elapsed());
    });
    Ok((applied.full, complaint))
}

/// Carries out held deletions.
async fn carry_out(kind: Kind, all: bool, intake: &mut Intake, observer: &Observer) -> Result<(), Status> {
    let applied = intake.carry_out(kind, all).await.map_err(|refusal| failed(kind, refusal, observer))?;
    if let Some(applied) = applied {
        let why = if all { "somebody released them" } else { "the resources have been absent for long enough" };
        warn!(peer = observer.peer, r#type = %kind, deleted = applied.deleted, "carried out deletions that were held back: {why}");
        note(kind, &applied, observer);
    }
    Ok(())
}

fn failed(kind: Kind, refusal: Refusal, observer: &Observer) -> Status {
    observer.received(kind, |status| {
        status.applying_since = None;
        status.error = Some(Trouble::new(refusal.to_string()));
    });
    refusal.into()
}

/// Writes down what has changed.
fn note(kind: Kind, applied: &Applied, observer: &Observer) {
    log(kind, applied, observer);
    observer.received(kind, |status| {
        if applied.full {
            status.left_out.clear();
            let held = applied.held.as_ref().map_or(0, |held| held.resources.len());
            status.resources = applied.accepted.len() + held;
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
        status.held.clone_from(&applied.held);
        status.relabelled += applied.relabelled.len() as u64;
        status.refused += applied.refused;
    });
}

fn log(kind: Kind, applied: &Applied, observer: &Observer) {
    let peer = &observer.peer;
    for rejection in applied.rejected.iter().take(NAMED) {
        warn!(peer, r#type = %kind, reason = rejection.reason, "left out a resource of the peer");
    }
    if applied.rejected.len() > NAMED {
        warn!(peer, r#type = %kind, more = applied.rejected.len() - NAMED, "left out further resources of the peer");
    }
    for (key, claimed) in applied.relabelled.iter().take(NAMED) {
        warn!(peer, resource = %key, ?claimed, "a resource claims to be of another zone than the one that sent it; made its own");
    }
    if applied.relabelled.len() > NAMED {
        let more = applied.relabelled.len() - NAMED;
        warn!(peer, r#type = %kind, more, "further resources claim to be of another zone; made those of the sender");
    }
    if applied.refused > 0 {
        warn!(peer, r#type = %kind, times = applied.refused, "the peer wants to write or delete what is not its own; refused");
    }
    if let Some(held) = applied.held.as_ref().filter(|_| applied.newly_held > 0) {
        warn!(
            peer,
            r#type = %kind,
            held = held.resources.len(),
            "the peer does not list resources that it had before, and has not deleted them by name; they stay for now \
             (kds.deletionGuard)"
        );
    }
    if applied.created + applied.updated + applied.deleted > 0 {
        let (created, updated, deleted) = (applied.created, applied.updated, applied.deleted);
        info!(peer, r#type = %kind, created, updated, deleted, "synchronized");
    }
}

#[cfg(test)]
mod tests;
