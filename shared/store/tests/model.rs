//! Random transactions against a simple model of the store.

mod common;

use std::collections::BTreeMap;

use common::{key, policy, value};
use proptest::prelude::*;
use tandem_model::{Resource, ResourceKey};
use tandem_store::{ChangeBatch, MemoryStore, Store, StoreError, Write};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What the model knows of a resource.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    version: u64,
    value: u64,
    owner: Option<ResourceKey>,
}

type Model = BTreeMap<ResourceKey, Known>;

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Write>),
    /// Closes and opens the store again, where the backend can.
    Reopen,
}

fn resource() -> impl Strategy<Value = Resource> {
    (0..NAMES.len(), 0..3_u64, proptest::option::weighted(0.4, 0..NAMES.len())).prop_map(|(name, value, owner)| {
        let resource = policy("m", NAMES[name], value);
        match owner {
            Some(owner) => resource.with_owner(key("m", NAMES[owner])),
            None => resource,
        }
    })
}

fn write() -> impl Strategy<Value = Write> {
    let expected = || proptest::option::weighted(0.3, 1..16_u64);
    prop_oneof![
        3 => resource().prop_map(Write::Create),
        3 => resource().prop_map(Write::Put),
        3 => (resource(), expected()).prop_map(|(resource, expected)| Write::Update { resource, expected }),
        2 => (0..NAMES.len(), expected())
            .prop_map(|(name, expected)| Write::Delete { key: key("m", NAMES[name]), expected }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => proptest::collection::vec(write(), 1..5).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Applies a transaction to a copy of the model, the plain way; what it writes gets `version`. The word names the error.
fn apply(model: &Model, version: u64, writes: &[Write]) -> Result<Model, &'static str> {
    let mut model = model.clone();
    for write in writes {
        let (resource, expected, create, update) = match write {
            Write::Create(resource) => (resource, None, true, false),
            Write::Put(resource) => (resource, None, true, true),
            Write::Update { resource, expected } => (resource, *expected, false, true),
            Write::Delete { key, expected } => {
                let known = model.get(key).ok_or("not found")?;
                if expected.is_some_and(|version| version != known.version) {
                    return Err("conflict");
                }
                model.remove(key);
                while let Some(orphan) = model
                    .iter()
                    .find(|(_, known)| known.owner.as_ref().is_some_and(|owner| !model.contains_key(owner)))
                    .map(|(key, _)| key.clone())
                {
                    model.remove(&orphan);
                }
                continue;
            }
        };
        let known = model.get(&resource.key);
        match known {
            None if !create => return Err("not found"),
            Some(_) if !update => return Err("exists"),
            Some(known) if expected.is_some_and(|version| version != known.version) => return Err("conflict"),
            _ => {}
        }
        if resource.owner.as_ref().is_some_and(|owner| !model.contains_key(owner)) {
            return Err("no owner");
        }
        let next = Known { version, value: value(resource), owner: resource.owner.clone() };
        if known.is_none_or(|known| (known.value, &known.owner) != (next.value, &next.owner)) {
            model.insert(resource.key.clone(), next);
        }
    }
    Ok(model)
}

fn word(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotFound(_) => "not found",
        StoreError::AlreadyExists(_) => "exists",
        StoreError::Conflict(_) => "conflict",
        StoreError::OwnerNotFound { .. } => "no owner",
        StoreError::InvalidKey(_) => "invalid",
        StoreError::Backend(_) => "backend",
    }
}

fn known<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Model {
    let known = |r: &Resource| Known { version: r.version, value: value(r), owner: r.owner.clone() };
    resources.into_iter().map(|resource| (resource.key.clone(), known(resource))).collect()
}

/// Follows the feed and keeps what it tells.
fn follow(replica: &mut Model, batch: Option<ChangeBatch>) {
    match batch {
        Some(ChangeBatch::Reset { resources, .. }) => *replica = known(resources.iter().map(|r| &**r)),
        Some(ChangeBatch::Changes { changes, .. }) => {
            for change in changes {
                let before = known(change.old.as_deref()).remove(&change.key);
                assert_eq!(replica.get(&change.key), before.as_ref(), "what the reader knew of {}", change.key);
                match known(change.new.as_deref()).remove(&change.key) {
                    Some(after) => replica.insert(change.key.clone(), after),
                    None => replica.remove(&change.key),
                };
            }
        }
        None => {}
    }
}

/// The durable store of a directory, or one in memory.
async fn open(directory: Option<&std::path::Path>) -> Box<dyn Store> {
    match directory {
        Some(directory) => Box::new(common::open(directory).await.expect("an intact store")) as Box<dyn Store>,
        None => Box::new(MemoryStore::new()),
    }
}

async fn check(steps: Vec<Step>, durable: bool) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut store = open(durable.then(|| directory.path())).await;
    let (mut model, mut replica, mut revision) = (Model::new(), Model::new(), 0);
    let mut feed = store.changes(0);
    for step in steps {
        match step {
            Step::Reopen if durable => {
                drop(store);
                store = open(durable.then(|| directory.path())).await;
                feed = store.changes(0);
            }
            Step::Reopen => {}
            Step::Commit(writes) => match (apply(&model, revision + 1, &writes), store.commit(writes).await) {
                (Ok(next), Ok(committed)) => {
                    assert!((revision..=revision + 1).contains(&committed.revision), "one revision at most");
                    assert!(committed.revision > revision || next == model, "a change makes a revision");
                    (model, revision) = (next, committed.revision);
                }
                (Err(expected), Err(error)) => assert_eq!(word(&error), expected),
                (expected, actual) => panic!("{expected:?} is not {actual:?}"),
            },
        }
        assert_eq!(store.revision(), revision);
        let Some(ChangeBatch::Reset { resources, .. }) = store.changes(0).pending() else {
            panic!("a feed from 0 starts with everything");
        };
        assert_eq!(known(resources.iter().map(|r| &**r)), model);
        follow(&mut replica, feed.pending());
        assert_eq!(replica, model);
    }
}

fn run(steps: Vec<Step>, durable: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(check(steps, durable));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_behaves_like_the_model(steps in steps()) {
        run(steps, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sled_behaves_like_the_model(steps in steps()) {
        run(steps, true);
    }
}
