//! R7 and R10: what each side says about the other, compared with what the other has.

use std::collections::BTreeMap;
use std::time::Duration;

use tandem_kds::status::{SentStatus, State};
use tandem_model::Kind;
use tandem_store::{Revision, Store as _};
use tokio::time::Instant;

use crate::checks::{self, Hop};
use crate::ledger::{GLOBAL, Ledger};
use crate::process::ControlPlane;
use crate::world::World;

/// R7: how long a side may say "in sync" while something is missing on the other one: the time of a stall, and a look.
const HONESTY: Duration = Duration::from_secs(6);

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Looks {
    /// By sender and receiver.
    behind: BTreeMap<(String, String), Behind>,
    /// Responses that were answered when a state was last compared.
    answered: BTreeMap<(String, String, Kind), u64>,
    /// Revisions that were acknowledged, by process that sends and by receiver.
    acknowledged: BTreeMap<(String, String, Kind), Revision>,
    /// Looks at a receiver that held back deletions.
    pub held: usize,
    /// Acknowledged states that were compared with the state of the peer.
    pub compared: usize,
    /// Looks at a peer that said "in sync".
    pub in_sync: usize,
    /// Looks at a peer that said "stalled".
    pub stalled: usize,
}

/// Whether a receiver lacks something or has too much, and since when.
#[derive(Debug, Default)]
struct Behind {
    revisions: (u64, u64),
    since: Option<Instant>,
}

impl Looks {
    /// Looks at both directions of all zones.
    pub async fn look(&mut self, world: &World, ledger: &Ledger, global: &ControlPlane, zones: &[ControlPlane]) {
        let disabled = checks::disabled_zones(global).await;
        for zone in zones {
            for (hop, sender, receiver) in [(Hop::Down(&zone.name), global, zone), (Hop::Up(&zone.name), zone, global)]
            {
                if disabled.contains(&zone.name) {
                    self.behind.remove(&(sender.name.clone(), receiver.name.clone()));
                    continue;
                }
                self.look_at(hop, world, ledger, sender, receiver).await;
            }
        }
    }

    async fn look_at(
        &mut self,
        hop: Hop<'_>,
        world: &World,
        ledger: &Ledger,
        sender: &ControlPlane,
        receiver: &ControlPlane,
    ) {
        let (Some(process), Some(_)) = (&sender.process, &receiver.process) else { return };
        let Some(status) = process.status.peer(&receiver.name) else { return };
        let way = (sender.name.clone(), receiver.name.clone());
        let behind = self.behind.entry(way).or_default();
        let revisions = (sender.store().revision(), receiver.store().revision());
        if behind.revisions != revisions {
            behind.revisions = revisions;
            let sent = checks::resources(sender, hop).await;
            let stored = checks::resources(receiver, hop).await;
            let disabled = if sender.is_global() { checks::disabled_zones(sender).await } else { Default::default() };
            let (expected, refused) = hop.expected(&sent, &disabled);
            let mut actual = hop.actual(&stored);
            actual.retain(|id, _| !refused.contains(id));
            if expected == actual {
                behind.since = None;
            } else {
                behind.since.get_or_insert_with(Instant::now);
            }
        }
        match status.state(Instant::now()) {
            State::InSync => {
                self.in_sync += 1;
                // Deletions that the receiver holds back are shown by the receiver; it has confirmed the state that asks for them.
                let holds = receiver.holds_deletions_of(&sender.name);
                if let Some(since) = behind.since.filter(|_| !holds).filter(|since| since.elapsed() > HONESTY) {
                    world.found(
                        "R7",
                        format_args!(
                            "{} says that {} is in sync, which lacks something since {:?}",
                            sender.name,
                            receiver.name,
                            since.elapsed()
                        ),
                    );
                }
            }
            State::Stalled => self.stalled += 1,
            _ => {}
        }
        for (kind, sent) in &status.sent {
            let Some(revision) = sent.acknowledged_revision else { continue };
            let place = (process.instance.clone(), receiver.name.clone(), *kind);
            let last = self.acknowledged.entry(place).or_default();
            if revision < *last {
                let text = format_args!(
                    "{} said that {} has {kind} up to revision {last}, and now up to {revision}",
                    sender.name, receiver.name
                );
                world.found("R5", text);
            }
            *last = revision;
        }
        if status.sending.is_some()
            && status.instance == receiver.process.as_ref().map_or("", |process| &process.instance)
        {
            for (kind, sent) in &status.sent {
                self.compare(hop, world, ledger, sender, receiver, *kind, sent).await;
            }
        }
    }

    /// R10: when everything that was sent of a type is answered, the receiver has exactly what the sender had at the
    /// revision that the receiver has confirmed.
    #[allow(clippy::too_many_arguments)] // all of them are what is compared
    async fn compare(
        &mut self,
        hop: Hop<'_>,
        world: &World,
        ledger: &Ledger,
        sender: &ControlPlane,
        receiver: &ControlPlane,
        kind: Kind,
        sent: &SentStatus,
    ) {
        if sent.unanswered_since.is_some() || sent.confirmed.is_none() {
            return;
        }
        let Some(revision) = sent.acknowledged_revision else { return };
        let answers = sent.acknowledged + sent.rejected;
        let last = self.answered.entry((sender.name.clone(), receiver.name.clone(), kind)).or_default();
        if *last == answers {
            return;
        }
        *last = answers;
        let peer = receiver.process.as_ref().and_then(|process| process.status.peer(&sender.name)).unwrap_or_default();
        if peer.received.get(&kind).is_some_and(|received| received.held.is_some()) {
            self.held += 1;
            return;
        }
        let zones = ledger.state_at(GLOBAL, Kind::Zone, revision);
        let disabled = if sender.is_global() { checks::disabled(&zones) } else { Default::default() };
        let (expected, refused) = hop.expected(&ledger.state_at(&sender.name, kind, revision), &disabled);
        let stored = receiver.store().list(kind, None).await.expect("memory can be read");
        let mut actual = hop.actual(&stored);
        actual.retain(|id, _| !refused.contains(id));
        self.compared += 1;
        if expected != actual {
            world.found(
                "R10",
                format_args!(
                    "{} confirmed {kind} of {} at revision {revision}, which is {expected:?}, and has {actual:?}",
                    receiver.name, sender.name
                ),
            );
        }
    }
}
