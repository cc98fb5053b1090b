//! The change feed, checked against every backend.

mod common;

use std::time::Duration;

use common::{backends, create, key, policy, value};
use tandem_model::{Kind, ResourceKey};
use tandem_store::{ChangeBatch, ChangeFeed, Write};
use tokio::time::timeout;

/// The next batch, as (revision, lines): `+` created, `~` updated, `-` deleted, `=` listed.
async fn next(feed: &mut ChangeFeed) -> (u64, Vec<String>) {
    let batch = timeout(Duration::from_secs(10), feed.next()).await.expect("something new").expect("an open store");
    let lines = match &batch {
        ChangeBatch::Reset { resources, .. } => resources.iter().map(|r| format!("={}", r.key.name)).collect(),
        ChangeBatch::Changes { changes, .. } => changes
            .iter()
            .map(|change| {
                let sign = match (&change.old, &change.new) {
                    (None, Some(_)) => '+',
                    (Some(_), Some(_)) => '~',
                    (Some(_), None) => '-',
                    (None, None) => '?',
                };
                format!("{sign}{}@{}", change.key.name, change.revision)
            })
            .collect(),
    };
    assert_eq!(feed.revision(), batch.revision());
    (batch.revision(), lines)
}

#[tokio::test]
async fn a_new_reader_gets_everything_then_what_changes() {
    for backend in backends().await {
        let store = &*backend.store;
        let mut early = store.changes(0);
        assert_eq!(next(&mut early).await, (0, vec![]), "{}", backend.name);
        create(store, policy("m", "a", 1)).await;
        create(store, policy("m", "b", 1).with_owner(key("m", "a"))).await;
        assert_eq!(next(&mut early).await, (2, vec!["+a@1".into(), "+b@2".into()]));

        let mut late = store.changes(0);
        assert_eq!(next(&mut late).await, (2, vec!["=a".into(), "=b".into()]));
        store.commit(vec![Write::Put(policy("m", "a", 2)), Write::Create(policy("m", "c", 1))]).await.expect("valid");
        store.commit(vec![Write::Put(policy("m", "a", 2))]).await.expect("nothing to do");
        store.commit(vec![Write::Delete { key: key("m", "a"), expected: None }]).await.expect("valid");
        let expected = (4, vec!["~a@3".to_owned(), "+c@3".into(), "-a@4".into(), "-b@4".into()]);
        assert_eq!(next(&mut late).await, expected);
        assert_eq!(next(&mut early).await, expected);
        assert_eq!(next(&mut store.changes(2)).await, expected);
        assert!(early.pending().is_none());
    }
}

#[tokio::test]
async fn a_key_changes_once_in_a_commit() {
    for backend in backends().await {
        let store = &*backend.store;
        create(store, policy("m", "a", 1)).await;
        store
            .commit(vec![
                Write::Put(policy("m", "a", 2)),
                Write::Create(policy("m", "never", 1)),
                Write::Delete { key: key("m", "never"), expected: None },
                Write::Put(policy("m", "a", 3)),
            ])
            .await
            .expect("valid");
        let Some(ChangeBatch::Changes { changes, .. }) = store.changes(1).pending() else {
            panic!("changes after revision 1");
        };
        assert_eq!(changes.len(), 1, "{}", backend.name);
        let (old, new) = (changes[0].old.as_deref(), changes[0].new.as_deref());
        assert_eq!(old.map(|r| (value(r), r.version)), Some((1, 1)));
        assert_eq!(new.map(|r| (value(r), r.version)), Some((3, 2)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_readers_are_woken_and_may_be_cancelled() {
    for backend in backends().await {
        let store = backend.store.clone();
        let mut feed = store.changes(0);
        assert_eq!(next(&mut feed).await.0, 0);
        for n in 1..=50 {
            // Gives up at some time before, while or after the commit.
            let commit = tokio::spawn({
                let store = store.clone();
                async move { create(&*store, policy("m", &format!("p{n}"), n)).await }
            });
            let early = timeout(Duration::from_micros(n * 20), feed.next()).await;
            commit.await.expect("no panic");
            let revision = match early {
                Ok(batch) => batch.expect("an open store").revision(),
                Err(_) => next(&mut feed).await.0,
            };
            assert_eq!(revision, n, "{}", backend.name);
        }
    }
}

#[tokio::test]
async fn a_reader_far_behind_starts_over() {
    for backend in backends().await {
        let store = &*backend.store;
        let mut feed = store.changes(0);
        next(&mut feed).await;
        for n in 0..20 {
            let writes = (0..1000).map(|i| Write::Put(policy("m", &format!("p{i}"), n))).collect();
            store.commit(writes).await.expect("valid");
        }
        let (revision, lines) = next(&mut feed).await;
        assert_eq!((revision, lines.len()), (20, 1000), "{}", backend.name);
        assert!(lines.iter().all(|line| line.starts_with('=')), "{lines:?}");
        let (_, lines) = next(&mut store.changes(18)).await;
        assert_eq!(lines.len(), 2000);
        assert!(lines.iter().all(|line| line.starts_with('~')), "{lines:?}");
        // A revision that this store never had.
        let (_, lines) = next(&mut store.changes(1000)).await;
        assert_eq!(lines.len(), 1000);
    }
}

#[tokio::test]
async fn superseded_content_is_not_kept_without_bound() {
    for backend in backends().await {
        let store = &*backend.store;
        let large = "x".repeat(1 << 20);
        for n in 0..40 {
            let spec = serde_json::json!({ "value": n, "large": large });
            let resource = tandem_model::Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "m", "large"), spec);
            store.commit(vec![Write::Put(resource)]).await.expect("valid");
        }
        let (_, lines) = next(&mut store.changes(30)).await;
        assert_eq!(lines, ["=large"], "{}: ten superseded megabytes are too much", backend.name);
        let (_, lines) = next(&mut store.changes(38)).await;
        assert_eq!(lines, ["~large@39", "~large@40"], "{}", backend.name);
    }
}

#[tokio::test]
async fn a_feed_ends_with_its_store_after_the_last_change() {
    for backend in backends().await {
        let store = backend.store;
        let mut feed = store.changes(0);
        next(&mut feed).await;
        let mut waiting = store.changes(0);
        next(&mut waiting).await;
        create(&*store, policy("m", "a", 1)).await;
        next(&mut waiting).await;
        let waiting = tokio::spawn(async move { waiting.next().await.is_none() });
        drop(store);
        assert_eq!(next(&mut feed).await, (1, vec!["+a@1".into()]));
        assert!(feed.next().await.is_none(), "{}", backend.name);
        assert!(waiting.await.expect("no panic"), "{}", backend.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_every_revision_in_order() {
    for backend in backends().await {
        let store = backend.store;
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut feed = store.changes(0);
                assert_eq!(feed.pending().map(|batch| batch.revision()), Some(0));
                tokio::spawn(async move {
                    let mut seen = 0;
                    while seen < 300 {
                        let Some(ChangeBatch::Changes { changes, .. }) = feed.next().await else {
                            panic!("not far behind, and the store is open");
                        };
                        for change in changes {
                            assert_eq!(change.revision, seen + 1);
                            seen = change.revision;
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..300_u64)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { create(&*store, policy("m", &format!("p{n}"), n)).await })
            })
            .collect();
        for writer in writers {
            writer.await.expect("created");
        }
        for reader in readers {
            timeout(Duration::from_secs(10), reader).await.expect("all delivered").expect("in order");
        }
    }
}
