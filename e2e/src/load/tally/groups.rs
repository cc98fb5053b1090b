//! Changes for groups of clients, several of which may be under way at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::Sign;

/// What groups are to get, and who has it.
#[derive(Debug)]
pub(in crate::load) struct Groups {
    epoch: Instant,
    /// By group: the limit of connections that its members are to get.
    wanted: RwLock<HashMap<usize, u32>>,
    clients: Vec<Member>,
}

#[derive(Debug, Default)]
struct Member {
    /// Its group plus one; 0 for none.
    group: AtomicU32,
    /// The last limit that it was seen with, of those wanted.
    has: AtomicU32,
    /// Microseconds from the epoch until then.
    since: AtomicU64,
}

impl Groups {
    pub(super) fn new(clients: usize) -> Self {
        Self {
            epoch: Instant::now(),
            wanted: RwLock::default(),
            clients: (0..clients).map(|_| Member::default()).collect(),
        }
    }

    pub(super) fn join(&self, client: usize, group: Option<usize>) {
        let number = group.map_or(0, |group| u32::try_from(group + 1).unwrap_or(0));
        self.clients[client].has.store(0, Relaxed);
        self.clients[client].group.store(number, Relaxed);
    }

    /// The members of a group.
    pub(in crate::load) fn members(&self, group: usize) -> impl Iterator<Item = usize> {
        let clients = self.clients.iter().enumerate();
        clients.filter(move |(_, client)| client.group.load(Relaxed) as usize == group + 1).map(|(client, _)| client)
    }

    /// From now on it is noted when members of a group have clusters with this limit of connections.
    pub(in crate::load) fn want(&self, group: usize, limit: u32) {
        self.wanted.write().unwrap_or_else(PoisonError::into_inner).insert(group, limit);
    }

    pub(super) fn look(&self, client: usize, has: impl Fn(Sign) -> bool) {
        let client = &self.clients[client];
        let Some(group) = (client.group.load(Relaxed) as usize).checked_sub(1) else { return };
        let wanted = self.wanted.read().unwrap_or_else(PoisonError::into_inner).get(&group).copied();
        let Some(wanted) = wanted else { return };
        if client.has.load(Relaxed) != wanted && has(Sign::Connections(wanted)) {
            let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
            client.since.store(now, Relaxed);
            client.has.store(wanted, Relaxed);
        }
    }

    /// How long after `start` a client had this limit, if it has.
    pub(in crate::load) fn arrival(&self, client: usize, limit: u32, start: Instant) -> Option<Duration> {
        let client = &self.clients[client];
        let since = || Duration::from_micros(client.since.load(Relaxed));
        (client.has.load(Relaxed) == limit).then(|| since().saturating_sub(start.duration_since(self.epoch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_seen_when_they_have_what_is_wanted() {
        let groups = Groups::new(3);
        groups.join(0, Some(4));
        groups.join(2, Some(4));
        assert_eq!(groups.members(4).collect::<Vec<_>>(), [0, 2]);
        let start = Instant::now();
        groups.look(0, |_| true);
        assert!(groups.arrival(0, 9, start).is_none(), "nothing is wanted");
        groups.want(4, 9);
        groups.look(0, |sign| sign == Sign::Connections(9));
        groups.look(1, |_| true);
        groups.look(2, |_| false);
        assert!(groups.arrival(0, 9, start).is_some_and(|time| time <= start.elapsed()));
        assert!(groups.arrival(1, 9, start).is_none(), "of no group");
        assert!(groups.arrival(2, 9, start).is_none(), "has not got it");
    }
}
