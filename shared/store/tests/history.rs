//! The history of resources, checked against every backend, and on disk.

mod common;

use common::{backends, create, key, mesh, policy, value};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Author, HISTORY_LENGTH, HistoryEntry, Store, Write};

fn user(name: &str) -> Author {
    Author::User(name.to_owned())
}

async fn put(store: &dyn Store, author: Author, resource: Resource) -> u64 {
    store.commit_as(author, vec![Write::Put(resource)]).await.expect("valid").revision
}

/// Revision, author, and the values before and after.
fn lines(entries: &[HistoryEntry]) -> Vec<(u64, String, Option<u64>, Option<u64>)> {
    let line = |e: &HistoryEntry| {
        (e.revision, e.author.clone(), e.before.as_deref().map(value), e.after.as_deref().map(value))
    };
    entries.iter().map(line).collect()
}

async fn history(store: &dyn Store, name: &str) -> Vec<(u64, String, Option<u64>, Option<u64>)> {
    lines(&store.history(&key("m", name)).await.expect("readable"))
}

#[tokio::test]
async fn a_life_is_told_by_who_wrote_it() {
    for backend in backends().await {
        let store = &*backend.store;
        assert!(history(store, "a").await.is_empty(), "{}", backend.name);
        create(store, mesh("m")).await;
        let owned = |n| policy("m", "a", n).with_owner(ResourceKey::global(Kind::Mesh, "m"));
        put(store, user("anna"), owned(1)).await;
        put(store, user("anna"), owned(1)).await;
        put(store, Author::Peer("zone-1".to_owned()), owned(2)).await;
        let delete = Write::Delete { key: ResourceKey::global(Kind::Mesh, "m"), expected: None };
        store.commit_as(user("bert"), vec![delete]).await.expect("valid");
        create(store, mesh("m")).await;
        put(store, Author::Proxy("dp".to_owned()), owned(3)).await;
        assert_eq!(
            history(store, "a").await,
            [
                (2, "anna".to_owned(), None, Some(1)),
                (3, "kds:zone-1".to_owned(), Some(1), Some(2)),
                (4, "bert".to_owned(), Some(2), None),
                (6, "proxy:dp".to_owned(), None, Some(3)),
            ],
            "{}",
            backend.name
        );
        let entries = store.history(&ResourceKey::global(Kind::Mesh, "m")).await.expect("readable");
        let authors: Vec<_> = entries.iter().map(|entry| entry.author.as_str()).collect();
        assert_eq!(authors, ["control-plane", "bert", "control-plane"]);
        assert!(entries.is_sorted_by_key(|entry| entry.time));
    }
}

#[tokio::test]
async fn what_is_observed_is_in_no_history() {
    for backend in backends().await {
        let store = &*backend.store;
        put(store, user("anna"), policy("m", "a", 1)).await;
        put(store, Author::ControlPlane, policy("m", "a", 2)).await;
        let status = Resource { status: Some(serde_json::json!({ "n": 1 })), ..policy("m", "a", 2) };
        put(store, user("anna"), status).await;
        assert_eq!(history(store, "a").await, [(1, "anna".to_owned(), None, Some(2))], "{}", backend.name);
        put(store, user("anna"), policy("m", "a", 3)).await;
        let entries = store.history(&key("m", "a")).await.expect("readable");
        assert_eq!(lines(&entries)[1], (4, "anna".to_owned(), Some(2), Some(3)));
        assert_eq!(entries[1].before.as_ref().map(|before| before.status.clone()), Some(None));

        let insight = ResourceKey::new(Kind::DataplaneInsight, "m", "dp");
        put(store, user("anna"), Resource::new(insight.clone(), tandem_model::Spec::Proto(vec![].into()))).await;
        assert!(store.history(&insight).await.expect("readable").is_empty());
    }
}

#[tokio::test]
async fn only_the_last_entries_are_kept() {
    const WRITES: u64 = 400;
    for backend in backends().await {
        let store = backend.store;
        for n in 1..=WRITES {
            put(&*store, user("anna"), policy("m", "a", n)).await;
        }
        let last = WRITES - HISTORY_LENGTH as u64 + 1..=WRITES;
        let expected: Vec<_> = last.map(|n| (n, "anna".to_owned(), Some(n - 1), Some(n))).collect();
        assert_eq!(history(&*store, "a").await, expected, "{}", backend.name);
        drop(store);
        if let Some(directory) = backend.directory {
            assert_eq!(entries_on_disk(directory.path()).0, entries_on_disk(directory.path()).1);
            let kept = entries_on_disk(directory.path()).0;
            assert!((HISTORY_LENGTH..100).contains(&kept), "{kept} of {WRITES} entries are on disk");
        }
    }
}

/// Number of entries, and of keys that find them.
fn entries_on_disk(directory: &std::path::Path) -> (usize, usize) {
    let db = sled::open(directory.join("data-1")).expect("a sled database");
    let count = |tree| db.open_tree(tree).expect("a tree").len();
    (count("history"), count("history-keys"))
}

fn large(name: &str, n: u64) -> Resource {
    let spec = serde_json::json!({ "value": n, "large": "x".repeat(1 << 20) });
    Resource::from_json(key("m", name), spec)
}

#[tokio::test]
async fn all_entries_together_are_bounded_and_workloads_push_out_no_policies() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = common::open(directory.path()).await.expect("an empty store");
    put(&store, user("anna"), policy("m", "first", 1)).await;
    let dataplane = |n: u64| {
        let key = ResourceKey::new(Kind::Dataplane, "m", format!("dp-{}", n % 3));
        Resource::new(key, tandem_model::Spec::Proto(vec![u8::try_from(n).expect("small"); 1 << 20].into()))
    };
    for n in 0..30 {
        put(&store, Author::Proxy("dp".to_owned()), dataplane(n)).await;
    }
    assert_eq!(history(&store, "first").await.len(), 1);
    let dataplanes = async |name: &str| store.history(&dataplane(0).key).await.expect(name).len();
    assert!((3..8).contains(&dataplanes("dp-0").await), "{} of 10", dataplanes("dp-0").await);
    for n in 0..40 {
        put(&store, user("anna"), large(&format!("p{}", n % 3), n)).await;
    }
    assert!(history(&store, "first").await.is_empty(), "pushed out by newer entries");
    let last = history(&store, "p0").await;
    assert_eq!(last.last().map(|entry| entry.3), Some(Some(39)));
    drop(store);
    let store = common::open(directory.path()).await.expect("intact");
    assert_eq!(history(&store, "p0").await, last);
}

#[tokio::test]
async fn history_survives_a_restart_and_goes_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut before = Vec::new();
    for n in 1..4 {
        let store = common::open(directory.path()).await.expect("intact");
        assert_eq!(history(&store, "a").await, before);
        put(&store, user("anna"), policy("m", "a", n)).await;
        before = history(&store, "a").await;
        assert_eq!(before.len() as u64, n);
    }
    let store = common::open(directory.path()).await.expect("intact");
    let delete = Write::Delete { key: key("m", "a"), expected: None };
    store.commit_as(user("bert"), vec![delete]).await.expect("valid");
    drop(store);
    let store = common::open(directory.path()).await.expect("intact");
    assert_eq!(history(&store, "a").await.last(), Some(&(4, "bert".to_owned(), Some(3), None)));
}

#[tokio::test]
async fn a_preview_changes_nothing_and_tells_everything() {
    for backend in backends().await {
        let store = &*backend.store;
        create(store, mesh("m")).await;
        put(store, user("anna"), policy("m", "a", 1).with_owner(ResourceKey::global(Kind::Mesh, "m"))).await;
        let preview = store
            .preview(vec![Write::Delete { key: ResourceKey::global(Kind::Mesh, "m"), expected: None }])
            .expect("valid");
        let gone: Vec<_> = preview.changes.iter().map(|change| change.key.name.as_str()).collect();
        assert_eq!((preview.revision, gone), (3, vec!["m", "a"]), "{}", backend.name);
        assert!(store.preview(vec![Write::Create(policy("m", "a", 2))]).is_err());
        assert_eq!(store.revision(), 2);
        assert_eq!(history(store, "a").await.len(), 1);
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    for backend in backends().await {
        let store = &*backend.store;
        for name in ["a", "b", "c"] {
            create(store, policy("m", name, 1)).await;
            create(store, policy("n", name, 1)).await;
        }
        let mut seen = Vec::new();
        let mut after: Option<ResourceKey> = None;
        loop {
            let page = store.page(Kind::MeshTimeout, Some("m"), after.as_ref(), 2).await.expect("readable");
            assert_eq!(page.revision, 6);
            let Some(last) = page.resources.last() else { break };
            after = Some(last.key.clone());
            seen.extend(page.resources.iter().map(|r| r.key.name.clone()));
        }
        assert_eq!(seen, ["a", "b", "c"], "{}", backend.name);
        let other = ResourceKey::new(Kind::Mesh, "", "z");
        let page = store.page(Kind::MeshTimeout, Some("n"), Some(&other), 9).await.expect("readable");
        assert_eq!(page.resources.len(), 3, "a position before the list is its start");
    }
}
