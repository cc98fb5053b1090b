//! What a stream holds while it is open: the name of its zone, or the turn to be the stream to global.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_store::Revision;
use tokio::sync::OwnedMutexGuard;

use super::Sessions;
use super::ending::{End, Ending};
use crate::global::challenge::Challenge;

/// A name held by one stream; dropping it releases the name.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) sessions: Sessions,
    pub(super) zone: String,
    pub(super) id: u64,
    /// Tells when the stream has to end.
    pub(crate) ending: Ending,
    /// Others that ask for the name.
    pub(crate) challenge: Arc<Challenge>,
}

/// The permission to be the stream to global of a zone.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(super) sessions: Sessions,
    pub(super) zone: String,
    /// Tells when the stream has to end.
    pub(crate) ending: Ending,
    pub(super) turn: Option<OwnedMutexGuard<()>>,
}

impl Claim {
    /// Notes that the zone has its name as of a revision of the store: what happened to it before does not count.
    pub(crate) fn settle(&self, revision: Revision) {
        let mut state = self.sessions.state.lock();
        let newer = state.holders.get(&self.zone).filter(|holder| holder.revision > revision).cloned();
        let Some(session) = state.zones.get_mut(&self.zone).filter(|session| session.id == self.id) else { return };
        session.settled = Some(revision);
        if let Some(holder) = newer {
            session.end(&End::TakenOver(holder.instance));
        }
        drop(state);
        self.sessions.changed.send_replace(());
    }

    /// Gives the name back: another control plane has it at another instance of global. No stream of this connection is
    /// admitted any more.
    pub(crate) fn refused(self, peer: Option<SocketAddr>) {
        let (sessions, zone) = (self.sessions.clone(), self.zone.clone());
        drop(self);
        if let Some(peer) = peer {
            sessions.state.lock().refuse(&zone, peer);
            sessions.changed.send_replace(());
        }
    }

    /// Does something while no other stream can take the name, unless one has it already.
    pub(crate) fn if_current(&self, then: impl FnOnce()) {
        let state = self.sessions.state.lock();
        if state.zones.get(&self.zone).is_some_and(|session| session.id == self.id) {
            then();
        }
    }

    /// Waits until the zone has been silent for `limit` since it connected or last said that it is alive.
    pub(crate) async fn silent(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let last = {
                let state = self.sessions.state.lock();
                state.zones.get(&self.zone).filter(|session| session.id == self.id).map(|session| session.alive)
            };
            let Some(last) = last else { return std::future::pending().await };
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(last + limit).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.sessions.state.lock();
        if state.zones.get(&self.zone).is_some_and(|session| session.id == self.id)
            && let Some(session) = state.zones.remove(&self.zone)
        {
            session.end(&End::Closed);
            state.refused.remove(&self.zone);
        }
        drop(state);
        self.sessions.changed.send_replace(());
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.turn = None;
        let mut state = self.sessions.state.lock();
        // One is the map's own.
        if state.turns.get(&self.zone).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            state.turns.remove(&self.zone);
        }
        if state.strays.get(&self.zone).is_some_and(|stray| stray.is(&self.ending)) {
            state.strays.remove(&self.zone);
        }
    }
}
