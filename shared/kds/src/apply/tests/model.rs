//! Random sequences of what can come from a peer and happen here, against a model that is sets of small numbers.

use std::collections::BTreeSet as Set;

use proptest::prelude::*;

use super::*;

/// Names of resources; the last ones belong to the zone itself.
const NAMES: u8 = 8;
const LOCAL: u8 = 6;
const HOLD: Duration = Duration::from_secs(300);

/// What a peer sends of one name.
#[derive(Debug, Clone, Copy)]
enum Item {
    Good(u32),
    /// Decodes and is not valid.
    Invalid,
    /// Twice, with different content.
    Torn,
}

#[derive(Debug, Clone)]
enum Step {
    /// The peer opens another stream.
    Open,
    /// It sends something on one of its last streams (0 is the newest): of a store, so many revisions after the last
    /// one or (below zero) before it.
    Send {
        stream: usize,
        items: BTreeMap<u8, Item>,
        removed: Set<u8>,
        store: Option<u8>,
        ahead: i8,
    },
    /// A response with something in it that cannot be read at all.
    Garbage {
        items: BTreeMap<u8, Item>,
    },
    /// The peer loses its store, or puts back a copy of it.
    Lose,
    Restore {
        back: u8,
    },
    /// Somebody deletes a resource here.
    Meddle(u8),
    /// Time passes.
    Wait(u16),
    /// Somebody releases what is held.
    Release,
    /// This side is started again.
    Restart,
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![6 => (0..4_u32).prop_map(Item::Good), 1 => Just(Item::Invalid), 1 => Just(Item::Torn)]
}

fn items() -> impl Strategy<Value = BTreeMap<u8, Item>> {
    prop::collection::btree_map(0..NAMES, item(), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    let send = (
        prop_oneof![5 => Just(0_usize), 1 => 1..3_usize],
        items(),
        prop::collection::btree_set(0..NAMES, 0..3),
        prop_oneof![4 => Just(Some(0)), 1 => Just(None)],
        prop_oneof![6 => 0..3_i8, 1 => -3..0_i8],
    );
    prop_oneof![
        3 => Just(Step::Open),
        8 => send.prop_map(|(stream, items, removed, store, ahead)| Step::Send { stream, items, removed, store, ahead }),
        1 => items().prop_map(|items| Step::Garbage { items }),
        1 => Just(Step::Lose),
        1 => (1..4_u8).prop_map(|back| Step::Restore { back }),
        1 => (0..LOCAL).prop_map(Step::Meddle),
        2 => (0..400_u16).prop_map(Step::Wait),
        1 => Just(Step::Release),
        1 => Just(Step::Restart),
    ]
}

/// What the model knows.
#[derive(Debug, Default)]
struct Model {
    /// What of the peer is here.
    owned: BTreeMap<u8, u32>,
    /// Seconds for which each deletion is held.
    held: BTreeMap<u8, u64>,
    /// Store that is known for what is here; survives a restart, as `owned` does.
    source: Option<usize>,
    complete: bool,
    /// Stream, store, opening and revision of what was applied last.
    stream: usize,
    last: Option<(usize, usize, i64)>,
}

/// The peer: its store, how often that was opened, and its revision.
#[derive(Debug)]
struct Peer {
    ids: Vec<StoreId>,
    store: usize,
    revision: i64,
}

struct Run {
    zone: Arc<Applier>,
    streams: Vec<(usize, Intake)>,
    opened: usize,
    peer: Peer,
    model: Model,
}

fn name(number: u8) -> String {
    format!("t{number}")
}

fn body(number: u8, value: u32, labels: &[(&str, &str)]) -> Bytes {
    from_global(&timeout(&name(number), value, labels))
}

impl Run {
    async fn new() -> Self {
        let zone = applier(Inlet::Zone);
        for number in LOCAL..NAMES {
            seed(&zone, timeout(&name(number), 99, &[(label::ORIGIN, "zone")])).await;
        }
        let peer = Peer { ids: vec![StoreId::new()], store: 0, revision: 10 };
        Self { zone, streams: Vec::new(), opened: 0, peer, model: Model { complete: true, ..Model::default() } }
    }

    fn open(&mut self) {
        self.opened += 1;
        self.streams.insert(0, (self.opened, self.zone.open()));
        self.streams.truncate(3);
    }

    fn restart(&mut self) {
        self.streams.clear();
        self.zone = applier_of(self.zone.store.clone(), Inlet::Zone);
        self.opened = 0;
        let Model { owned, source, .. } = std::mem::take(&mut self.model);
        self.model = Model { owned, source, complete: true, ..Model::default() };
    }

    /// The number of a store, however often it was opened.
    fn store_of(&self, id: usize) -> usize {
        self.peer.ids.iter().position(|other| other.store == self.peer.ids[id].store).expect("it is one of them")
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Open => self.open(),
            Step::Lose => {
                self.peer.ids.push(StoreId::new());
                (self.peer.store, self.peer.revision) = (self.peer.ids.len() - 1, 1);
            }
            Step::Restore { back } => {
                let StoreId { store, .. } = self.peer.ids[self.peer.store];
                self.peer.ids.push(StoreId { store, ..StoreId::new() });
                self.peer.store = self.peer.ids.len() - 1;
                self.peer.revision = (self.peer.revision - i64::from(back)).max(0);
            }
            Step::Meddle(number) => {
                let key = timeout(&name(number), 0, &[]).key;
                if self.model.owned.remove(&number).is_some() {
                    self.zone.store.commit(vec![Write::Delete { key, expected: None }]).await.expect("it exists");
                }
            }
            Step::Wait(seconds) => self.wait(u64::from(seconds)).await,
            Step::Release => self.carry_out(true).await,
            Step::Restart => self.restart(),
            Step::Send { stream, items, removed, store, ahead } => {
                if self.streams.is_empty() {
                    self.open();
                }
                let stream = stream.min(self.streams.len() - 1);
                let revision = self.peer.revision + i64::from(ahead);
                let origin = store.filter(|_| revision >= 0).map(|_| (self.peer.store, revision));
                if ahead >= 0 {
                    self.peer.revision = revision;
                }
                self.send(stream, &items, &removed, origin, false).await;
            }
            Step::Garbage { items } => {
                if self.streams.is_empty() {
                    self.open();
                }
                self.send(0, &items, &Set::new(), Some((self.peer.store, self.peer.revision)), true).await;
            }
        }
    }

    /// The newest stream decides how long anything is held.
    fn is_running(&self) -> bool {
        self.streams.iter().any(|(number, _)| *number == self.model.stream)
    }

    async fn wait(&mut self, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        if self.is_running() {
            self.model.held.values_mut().for_each(|waited| *waited += seconds);
        }
        self.carry_out(false).await;
    }

    async fn carry_out(&mut self, all: bool) {
        let Some(index) = self.streams.iter().position(|(number, _)| *number == self.model.stream) else { return };
        let (_, intake) = &mut self.streams[index];
        let due: Vec<_> =
            self.model.held.iter().filter(|(_, waited)| all || **waited >= HOLD.as_secs()).map(|(n, _)| *n).collect();
        let is_due = intake.next_due().is_some_and(|(due, _)| due <= Instant::now());
        assert_eq!(is_due && !all, !due.is_empty() && !all, "the timer goes when something is due");
        if due.is_empty() {
            return;
        }
        intake.carry_out(Kind::MeshTimeout, all).await.expect("the store works").expect("it is the newest stream");
        for number in due {
            self.model.held.remove(&number);
            self.model.owned.remove(&number);
        }
        if self.model.held.is_empty() && self.model.complete {
            self.model.source = self.model.last.map(|(store, ..)| store);
        }
    }

    async fn send(
        &mut self,
        stream: usize,
        items: &BTreeMap<u8, Item>,
        removed: &Set<u8>,
        origin: Option<(usize, i64)>,
        garbage: bool,
    ) {
        let mut bodies = Vec::new();
        for (&number, item) in items {
            match item {
                Item::Good(value) => bodies.push(body(number, *value, &[])),
                Item::Invalid => bodies.push(body(number, 0, &[("invalid", "")])),
                Item::Torn => bodies.extend([body(number, 0, &[]), body(number, 1, &[])]),
            }
        }
        if garbage {
            bodies.push(Bytes::from_static(&[0xff]));
        }
        let names: Vec<_> = removed.iter().map(|&number| format!("{}.default", name(number))).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let state = origin.map(|(id, revision)| Origin {
            store: self.peer.ids[id],
            revision: revision.try_into().expect("not below zero"),
        });
        let number = self.streams[stream].0;
        let outcome = {
            let intake = &mut self.streams[stream].1;
            let full = !intake.seen.contains(&Kind::MeshTimeout);
            let outcome = intake.apply(Kind::MeshTimeout, &response(&bodies, &names, state)).await;
            outcome.inspect(|applied| assert_eq!(applied.full, full))
        };

        let last = self.model.last;
        let origin = origin.map(|(id, revision)| (self.store_of(id), id, revision));
        let behind = matches!((origin, last), (Some((_, id, new)), Some((_, known, old))) if id == known && new < old);
        let applied = match outcome {
            Ok(applied) => applied,
            Err(refusal) => {
                // Refused for being old, and only for that. The stream is of no use any more.
                let expected = if number < self.model.stream { "superseded" } else { "older" };
                let actual = match refusal {
                    Refusal::Superseded(_) => "superseded",
                    Refusal::Older { .. } if behind => "older",
                    _ => "for no reason",
                };
                assert_eq!(actual, expected);
                self.streams.remove(stream);
                return;
            }
        };
        assert!(number >= self.model.stream && !behind, "an older state over a newer one");
        self.applied(number, items, removed, origin, garbage, &applied);
    }

    fn applied(
        &mut self,
        number: usize,
        items: &BTreeMap<u8, Item>,
        removed: &Set<u8>,
        origin: Option<(usize, usize, i64)>,
        garbage: bool,
        applied: &Applied,
    ) {
        let model = &mut self.model;
        let went_back = matches!(
            (origin, model.last),
            (Some((store, id, new)), Some((same, other, old))) if store == same && id != other && new < old
        );
        let before = model.owned.len();
        let was_holding = !model.held.is_empty();
        for &number in removed.iter().filter(|number| !items.contains_key(number)) {
            model.owned.remove(&number);
            model.held.remove(&number);
        }
        let listed = |number: &u8| items.contains_key(number);
        model.held.retain(|number, _| !listed(number));
        if applied.full {
            model.complete = !garbage;
            if !garbage {
                let absent: Vec<_> = model.owned.keys().copied().filter(|number| !listed(number)).collect();
                let proven = origin.is_some_and(|(store, ..)| Some(store) == model.source) && !went_back;
                let many = absent.len() >= 3 && absent.len() * 2 > before;
                model.held.retain(|number, _| absent.contains(number));
                for number in absent {
                    if many && !proven {
                        model.held.entry(number).or_insert(0);
                    } else if !model.held.contains_key(&number) {
                        model.owned.remove(&number);
                    }
                }
            }
        }
        let mut left_out = usize::from(garbage);
        for (&number, item) in items {
            match item {
                Item::Good(value) if number < LOCAL => _ = model.owned.insert(number, *value),
                _ => left_out += 1,
            }
        }
        assert_eq!(applied.rejected.len(), left_out);
        assert_eq!(applied.complaint().is_some(), left_out > 0, "what is left out is told");
        let held: Set<_> = applied.held.iter().flat_map(|held| &held.resources).map(|key| key.name.clone()).collect();
        assert_eq!(held, model.held.keys().map(|&number| name(number)).collect());

        model.stream = number;
        model.last = origin;
        let proof = origin.map(|(store, ..)| store).filter(|_| model.held.is_empty());
        // Where nothing is written, nothing is noted either, unless there is something that could be deleted.
        let writes = applied.created + applied.updated + applied.deleted > 0;
        let has_any = !applied.accepted.is_empty() || !model.held.is_empty();
        let noted = writes || (applied.full && has_any) || (was_holding && model.held.is_empty());
        if noted && (model.complete || proof.is_none()) {
            model.source = proof;
        }
    }

    /// What is here is what the model says, and what is not the peer's is untouched.
    async fn check(&self) {
        let mut expected: Vec<_> =
            self.model.owned.iter().map(|(&number, value)| (name(number), json!(value))).collect();
        expected.extend((LOCAL..NAMES).map(|number| (name(number), json!(99))));
        assert_eq!(stored(&self.zone).await, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_here_is_what_the_peer_said(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime of one thread");
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run.step(step).await;
                run.check().await;
            }
        });
    }
}
