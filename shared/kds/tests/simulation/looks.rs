//! R7 and R10: what each side says about the other, compared with what the other has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tandem_kds::status::{PeerStatus, SentStatus, State};
use tandem_model::Kind;
use tandem_store::{Revision, Store as _};
use tokio::time::Instant;

use crate::checks::{self, Way};
use crate::ledger::{GLOBAL, Ledger};
use crate::process::ControlPlane;
use crate::world::World;

/// R7: how long a side may say "in sync" while something is missing on the other one: the time of a stall, and a look.
const HONESTY: Duration = Duration::from_secs(6);

/// A sender and a receiver.
type Names = (String, String);

/// What there was to look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Acknowledged states that were compared with the state of the peer.
    pub compared: usize,
    /// Peers that were said to be "in sync".
    pub in_sync: usize,
    /// Peers that were said to be "stalled".
    pub stalled: usize,
    /// Types of which a receiver held back deletions.
    pub held: usize,
}

/// See the module.
pub struct Looks {
    world: Arc<World>,
    ledger: Arc<Ledger>,
    behind: BTreeMap<Names, Behind>,
    /// Responses that were answered when a state was last compared.
    answered: BTreeMap<(Names, Kind), u64>,
    /// Revisions that were acknowledged, by process that sends.
    acknowledged: BTreeMap<(Names, Kind), Revision>,
    pub seen: Seen,
}

/// Whether a receiver lacks something or has too much, and since when.
#[derive(Default)]
struct Behind {
    revisions: (Revision, Revision),
    since: Option<Instant>,
}

impl Looks {
    pub fn new(world: &Arc<World>, ledger: &Arc<Ledger>) -> Self {
        Self {
            world: world.clone(),
            ledger: ledger.clone(),
            behind: BTreeMap::new(),
            answered: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// Looks at both directions of all zones.
    pub async fn look(&mut self, global: &ControlPlane, zones: &[ControlPlane]) {
        let disabled = checks::disabled_zones(global).await;
        for way in Way::all(global, zones) {
            if disabled.contains(way.hop.zone()) {
                self.behind.remove(&names(way));
                continue;
            }
            let (Some(sender), Some(receiver)) = (&way.sender.process, &way.receiver.process) else { continue };
            let Some(status) = sender.status.peer(&way.receiver.name) else { continue };
            self.is_honest(way, &status).await;
            for (&kind, sent) in &status.sent {
                self.moves_forward(&sender.instance, way, kind, sent);
                // A zone whose Zone was deleted hears of it when its streams end.
                let stream =
                    status.sending.filter(|stream| !self.ledger.forgotten_since(&way.sender.name, stream.since));
                if stream.is_some() && status.instance == receiver.instance {
                    self.is_confirmed(way, kind, sent).await;
                }
            }
        }
    }

    /// R7: "in sync" is not said while the receiver stays behind.
    async fn is_honest(&mut self, way: Way<'_>, status: &PeerStatus) {
        let behind = self.behind.entry(names(way)).or_default();
        let revisions = (way.sender.store().revision(), way.receiver.store().revision());
        if behind.revisions != revisions {
            behind.revisions = revisions;
            behind.since = match checks::missing(way).await {
                Some(_) => behind.since.or_else(|| Some(Instant::now())),
                None => None,
            };
        }
        match status.state(Instant::now()) {
            State::InSync => {
                self.seen.in_sync += 1;
                // Who holds back deletions shows that; it has confirmed the state that asks for them.
                let holds = way.receiver.holds_deletions_of(&way.sender.name);
                let since = behind.since.map(|since| since.elapsed());
                if let Some(since) = since.filter(|&since| since > HONESTY && !holds) {
                    let (sender, receiver) = (&way.sender.name, &way.receiver.name);
                    let text =
                        format_args!("{sender} says that {receiver} is in sync, which is behind since {since:?}");
                    self.world.found("R7", text);
                }
            }
            State::Stalled => self.seen.stalled += 1,
            _ => {}
        }
    }

    /// R5: what counts as delivered only grows.
    fn moves_forward(&mut self, instance: &str, way: Way<'_>, kind: Kind, sent: &SentStatus) {
        let Some(revision) = sent.acknowledged_revision else { return };
        let place = ((instance.to_owned(), way.receiver.name.clone()), kind);
        let last = self.acknowledged.entry(place).or_default();
        if revision < *last {
            let (sender, receiver) = (&way.sender.name, &way.receiver.name);
            let text = format_args!("{sender} said that {receiver} has {kind} of revision {last}, now of {revision}");
            self.world.found("R5", text);
        }
        *last = revision;
    }

    /// R10: when everything that was sent of a type is answered, the receiver has exactly what the sender had at the
    /// revision that the receiver has confirmed.
    async fn is_confirmed(&mut self, way: Way<'_>, kind: Kind, sent: &SentStatus) {
        let Way { hop, sender, receiver } = way;
        let Some(revision) = sent.acknowledged_revision else { return };
        let answers = sent.acknowledged + sent.rejected;
        let last = self.answered.entry((names(way), kind)).or_default();
        if sent.unanswered_since.is_some() || sent.confirmed.is_none() || *last == answers {
            return;
        }
        *last = answers;
        if receiver.holds_deletions(&sender.name, kind) {
            self.seen.held += 1;
            return;
        }
        let disabled = checks::disabled(&self.ledger.state_at(GLOBAL, Kind::Zone, revision));
        let (expected, refused) = hop.expected(&self.ledger.state_at(&sender.name, kind, revision), &disabled);
        let stored = receiver.store().list(kind, None).await.expect("memory can be read");
        let mut actual = hop.actual(&stored);
        actual.retain(|id, _| !refused.contains(id));
        self.seen.compared += 1;
        if expected != actual {
            let (sender, receiver) = (&sender.name, &receiver.name);
            let text = format!(
                "{receiver} confirmed {kind} of {sender} at revision {revision}, which is {expected:?}, and has {actual:?}"
            );
            self.world.found("R10", text);
        }
    }
}

fn names(way: Way<'_>) -> Names {
    (way.sender.name.clone(), way.receiver.name.clone())
}
