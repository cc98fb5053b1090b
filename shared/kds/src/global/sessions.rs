//! Which zone control plane is connected under which name.
//!
//! A name belongs to one zone control plane at a time: two with one name would delete each other's resources. The
//! stream from global to the zone decides, because there the zone tells its instance id. A second instance is refused
//! while the first is connected and gives signs of life; the same instance, when it comes back, takes over from its old
//! streams. The stream to global belongs to the one that decides and ends with it; the next one begins when the last one
//! has let go, so that nothing older is applied after something newer.
//!
//! Where several instances of global share a store, each notes here which zones the others hold.

mod ending;
mod held;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tandem_store::Revision;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;
use tonic::Status;

use super::challenge::Challenge;

pub(crate) use ending::End;
use ending::Ending;
pub(crate) use held::{Claim, Uplink};

/// How long a stream to global waits for the stream from global on the same connection.
const WAIT_FOR_SESSION: Duration = Duration::from_secs(20);
/// How long it waits when there is one on another connection only: long enough for a zone that was refused to leave.
const OTHER_CONNECTION: Duration = Duration::from_secs(3);

/// Refused connections remembered for each zone; they are there until the zone itself leaves.
const MAX_REFUSED: usize = 64;

/// A zone that is connected here.
#[derive(Debug)]
struct Session {
    id: u64,
    instance: String,
    peer: Option<SocketAddr>,
    /// Revision of the store as of which the zone has its name; before it is known, nothing is judged, and no other stream
    /// of the zone admitted.
    settled: Option<Revision>,
    /// When it connected or last said that it is alive.
    alive: Instant,
    ending: Ending,
    uplink: Option<Ending>,
    challenge: Arc<Challenge>,
}

impl Session {
    fn end(&self, reason: &End) {
        self.ending.end(reason.clone());
        if let Some(uplink) = &self.uplink {
            uplink.end(reason.clone());
        }
    }

    fn is_older_than(&self, revision: Revision) -> bool {
        self.settled.is_some_and(|settled| settled < revision)
    }
}

/// A zone that another instance of global holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    instance: String,
    revision: Revision,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    zones: BTreeMap<String, Session>,
    holders: BTreeMap<String, Holder>,
    /// Streams to global of zones that another instance holds.
    strays: BTreeMap<String, Ending>,
    /// Held by the one stream to global of each zone.
    turns: BTreeMap<String, Arc<AsyncMutex<()>>>,
    /// Connections of others that were refused the name of a zone while it is taken; the oldest go first.
    refused: BTreeMap<String, VecDeque<SocketAddr>>,
}

impl State {
    fn refuse(&mut self, zone: &str, peer: SocketAddr) {
        let refused = self.refused.entry(zone.to_owned()).or_default();
        if refused.len() == MAX_REFUSED {
            refused.pop_front();
        }
        refused.push_back(peer);
    }

    fn is_refused(&self, zone: &str, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| self.refused.get(zone).is_some_and(|refused| refused.contains(&peer)))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl Sessions {
    /// Takes the name of a zone for an instance.
    ///
    /// # Errors
    /// When another instance has it.
    pub(crate) fn claim(&self, zone: &str, instance: &str, peer: Option<SocketAddr>) -> Result<Claim, Status> {
        let mut state = self.state.lock();
        if let Some(present) = state.zones.get(zone) {
            if present.instance != instance && !present.instance.is_empty() && !instance.is_empty() {
                let refusal = taken(zone, &present.instance, instance);
                present.challenge.raise();
                if let Some(peer) = peer.filter(|_| peer != present.peer) {
                    state.refuse(zone, peer);
                }
                return Err(refusal);
            }
            present.end(&End::Replaced);
        }
        let id = state.next_id;
        state.next_id += 1;
        let (ending, challenge) = (Ending::default(), Arc::new(Challenge::default()));
        let session = Session {
            id,
            instance: instance.to_owned(),
            peer,
            settled: None,
            alive: Instant::now(),
            ending: ending.clone(),
            uplink: None,
            challenge: challenge.clone(),
        };
        state.zones.insert(zone.to_owned(), session);
        drop(state);
        self.changed.send_replace(());
        Ok(Claim { sessions: self.clone(), zone: zone.to_owned(), id, ending, challenge })
    }

    /// Waits until the zone behind a connection has its name.
    ///
    /// # Errors
    /// When it does not get it in time.
    pub(crate) async fn admitted(&self, zone: &str, peer: Option<SocketAddr>) -> Result<(), Status> {
        self.when_admitted(zone, peer, |_| ()).await
    }

    /// Waits until the zone behind a connection has its name, and an earlier stream to global of it has ended.
    ///
    /// # Errors
    /// When the zone does not get its name in time.
    pub(crate) async fn uplink(&self, zone: &str, peer: Option<SocketAddr>) -> Result<Uplink, Status> {
        let ending = Ending::default();
        let turn = self
            .when_admitted(zone, peer, |state| {
                let earlier = match state.zones.get_mut(zone) {
                    Some(session) => session.uplink.replace(ending.clone()),
                    None => state.strays.insert(zone.to_owned(), ending.clone()),
                };
                if let Some(earlier) = earlier {
                    earlier.end(End::Replaced);
                }
                state.turns.entry(zone.to_owned()).or_default().clone()
            })
            .await?;
        let mut uplink = Uplink { sessions: self.clone(), zone: zone.to_owned(), ending, turn: None };
        tokio::select! {
            biased;
            status = uplink.ending.ended() => Err(status),
            turn = turn.lock_owned() => {
                uplink.turn = Some(turn);
                Ok(uplink)
            }
        }
    }

    async fn when_admitted<T>(
        &self,
        zone: &str,
        peer: Option<SocketAddr>,
        then: impl FnOnce(&mut State) -> T,
    ) -> Result<T, Status> {
        let began = Instant::now();
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let waited = began.elapsed();
            // A proxy in between may spread the streams of a zone over several connections, and even over several
            // instances of global.
            let anywhere = waited >= OTHER_CONNECTION;
            {
                let mut state = self.state.lock();
                let admitted = match state.zones.get(zone) {
                    Some(session) => session.settled.is_some() && (session.peer == peer || anywhere),
                    None => anywhere && state.holders.contains_key(zone),
                };
                if state.is_refused(zone, peer) {
                    return Err(Status::already_exists(format!(
                        "zone name {zone:?} is taken by another control plane"
                    )));
                }
                if admitted {
                    return Ok(then(&mut state));
                }
            }
            if waited >= WAIT_FOR_SESSION {
                return Err(Status::internal("could not store stream connection"));
            }
            let limit = if anywhere { WAIT_FOR_SESSION } else { OTHER_CONNECTION };
            // Something changed, or it is time to look again; both are the same here.
            let _ = tokio::time::timeout_at(began + limit, changed.changed()).await;
        }
    }

    /// Notes that a zone is alive.
    pub(crate) fn pinged(&self, zone: &str) {
        if let Some(session) = self.state.lock().zones.get_mut(zone) {
            session.alive = Instant::now();
        }
    }

    /// Ends the streams of a zone whose Zone was deleted by the commit `revision`.
    pub(crate) fn deleted(&self, zone: &str, revision: Revision) {
        let state = self.state.lock();
        if let Some(session) = state.zones.get(zone).filter(|session| session.is_older_than(revision)) {
            session.end(&End::Deleted);
        }
        if let Some(stray) = state.strays.get(zone) {
            stray.end(End::Deleted);
        }
    }

    /// Ends the streams of all zones that are not among `present`, as of `revision`.
    pub(crate) fn keep_only(&self, present: impl Fn(&str) -> bool, revision: Revision) {
        let names: Vec<String> = self.state.lock().zones.keys().filter(|zone| !present(zone)).cloned().collect();
        for zone in names {
            self.deleted(&zone, revision);
        }
    }

    /// Notes which other instance of global holds a zone as of `revision`, if any does. When it took the zone over from
    /// this one, the streams here end.
    pub(crate) fn held_by(&self, zone: &str, instance: Option<&str>, revision: Revision) {
        let mut state = self.state.lock();
        let known = match instance {
            Some(instance) => {
                let holder = Holder { instance: instance.to_owned(), revision };
                state.holders.insert(zone.to_owned(), holder).map(|known| known.instance)
            }
            None => {
                let known = state.holders.remove(zone).map(|known| known.instance);
                if known.is_some() {
                    state.refused.remove(zone);
                }
                known
            }
        };
        if known.as_deref() != instance
            && let Some(stray) = state.strays.remove(zone)
        {
            stray.end(End::Closed);
        }
        if let (Some(session), Some(instance)) = (state.zones.get(zone), instance)
            && session.is_older_than(revision)
        {
            session.end(&End::TakenOver(instance.to_owned()));
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Waits until no zone is connected, for at most `limit`.
    pub(crate) async fn all_ended(&self, limit: Duration) {
        let mut changed = self.changed.subscribe();
        let ended = async {
            loop {
                changed.borrow_and_update();
                if self.state.lock().zones.is_empty() || changed.changed().await.is_err() {
                    return;
                }
            }
        };
        // What is left over is cut with the process.
        let _ = tokio::time::timeout(limit, ended).await;
    }
}

/// The refusal of a control plane whose name another one has.
pub(crate) fn taken(zone: &str, holder: &str, instance: &str) -> Status {
    Status::already_exists(format!(
        "zone name {zone:?} is taken: control plane {holder:?} is connected under this name; give {instance:?} another \
         one (multizone.zone.name) or stop the other control plane"
    ))
}

#[cfg(test)]
mod tests;
