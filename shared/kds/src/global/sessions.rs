//! Which zone control plane is connected under which name.
//!
//! A name belongs to one zone control plane at a time: two with one name would delete each other's resources. The
//! stream from global to the zone decides, because there the zone tells its instance id. A second instance is refused
//! while the first is connected; the same instance, when it comes back, takes over from its old stream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long a stream to global waits for the stream from global on the same connection.
const WAIT_FOR_SESSION: Duration = Duration::from_secs(20);
/// How long it waits when there is one on another connection only: long enough for a zone that was refused to leave.
const OTHER_CONNECTION: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Session {
    id: u64,
    instance: String,
    peer: Option<SocketAddr>,
    replaced: CancellationToken,
}

#[derive(Debug)]
struct State {
    next_id: u64,
    zones: HashMap<String, Session>,
    pings: HashMap<String, Instant>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Default for Sessions {
    fn default() -> Self {
        let state = State { next_id: 0, zones: HashMap::new(), pings: HashMap::new() };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(()) }
    }
}

/// A name held by one stream; dropping it releases the name.
#[derive(Debug)]
pub(crate) struct Claim {
    sessions: Sessions,
    zone: String,
    id: u64,
    /// Cancelled when the same instance has come back on another stream.
    pub(crate) replaced: CancellationToken,
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
                return Err(Status::already_exists(format!(
                    "zone name {zone:?} is taken: control plane {:?} is connected under this name; give {instance:?} \
                     another one (multizone.zone.name) or stop the other control plane",
                    present.instance
                )));
            }
            present.replaced.cancel();
        }
        let id = state.next_id;
        state.next_id += 1;
        let replaced = CancellationToken::new();
        let session = Session { id, instance: instance.to_owned(), peer, replaced: replaced.clone() };
        state.zones.insert(zone.to_owned(), session);
        drop(state);
        self.changed.send_replace(());
        Ok(Claim { sessions: self.clone(), zone: zone.to_owned(), id, replaced })
    }

    /// Waits until the zone behind a connection has its name.
    ///
    /// # Errors
    /// When it does not get it in time.
    pub(crate) async fn admitted(&self, zone: &str, peer: Option<SocketAddr>) -> Result<(), Status> {
        let mut changed = self.changed.subscribe();
        let admitted = async {
            loop {
                changed.borrow_and_update();
                let here = self.state.lock().zones.get(zone).map(|session| session.peer == peer);
                match here {
                    Some(true) => return,
                    Some(false) => {
                        // A proxy in between may spread the streams of one zone over several connections.
                        tokio::time::sleep(OTHER_CONNECTION).await;
                        return;
                    }
                    None => {}
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(WAIT_FOR_SESSION, admitted)
            .await
            .map_err(|_| Status::internal("could not store stream connection"))
    }

    /// Notes that a zone is alive.
    pub(crate) fn pinged(&self, zone: &str) {
        self.state.lock().pings.insert(zone.to_owned(), Instant::now());
    }

    /// Waits until a zone has been silent for `limit` since it connected or last said that it is alive.
    pub(crate) async fn silent(&self, zone: &str, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        let connected = Instant::now();
        loop {
            let last = self.state.lock().pings.get(zone).copied().map_or(connected, |ping| ping.max(connected));
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(last + limit).await;
        }
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

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.sessions.state.lock();
        if state.zones.get(&self.zone).is_some_and(|session| session.id == self.id) {
            state.zones.remove(&self.zone);
            state.pings.remove(&self.zone);
        }
        drop(state);
        self.sessions.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn a_taken_name_is_refused_until_it_is_free() {
        let sessions = Sessions::default();
        let first = sessions.claim("east", "a-1", peer(1)).expect("free");
        let refused = sessions.claim("east", "b-2", peer(2)).expect_err("taken");
        assert_eq!(refused.code(), tonic::Code::AlreadyExists);
        for part in ["\"east\"", "\"a-1\"", "\"b-2\"", "multizone.zone.name"] {
            assert!(refused.message().contains(part), "{refused}");
        }
        assert!(!first.replaced.is_cancelled());
        assert!(sessions.claim("west", "b-2", peer(2)).is_ok());
        drop(first);
        assert!(sessions.claim("east", "b-2", peer(2)).is_ok());
    }

    #[test]
    fn an_instance_that_comes_back_takes_over() {
        let sessions = Sessions::default();
        let old = sessions.claim("east", "a-1", peer(1)).expect("free");
        let new = sessions.claim("east", "a-1", peer(2)).expect("the same instance");
        assert!(old.replaced.is_cancelled());
        drop(old);
        assert!(sessions.claim("east", "b-2", peer(3)).is_err(), "the new stream still has the name");
        drop(new);
        assert!(sessions.claim("east", "b-2", peer(3)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_to_global_wait_for_the_name() {
        let sessions = Sessions::default();
        let began = Instant::now();
        assert!(sessions.admitted("east", peer(1)).await.is_err());
        assert_eq!(began.elapsed(), WAIT_FOR_SESSION);

        let _claim = sessions.claim("east", "a-1", peer(1)).expect("free");
        let began = Instant::now();
        sessions.admitted("east", peer(1)).await.expect("the same connection");
        assert_eq!(began.elapsed(), Duration::ZERO);
        sessions.admitted("east", peer(2)).await.expect("another connection");
        assert_eq!(began.elapsed(), OTHER_CONNECTION);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed() {
        let sessions = Sessions::default();
        let limit = Duration::from_secs(10);
        let began = Instant::now();
        let watcher = {
            let sessions = sessions.clone();
            tokio::spawn(async move { sessions.silent("east", limit).await })
        };
        tokio::time::sleep(Duration::from_secs(7)).await;
        sessions.pinged("east");
        watcher.await.expect("ended");
        assert_eq!(began.elapsed(), Duration::from_secs(17));
    }
}
