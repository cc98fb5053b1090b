//! What a store promises, checked against every backend.

mod common;

use std::sync::Arc;

use common::{backends, create, everything, key, mesh, policy, value};
use jiff::Timestamp;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::{Store, StoreError, Write};

fn update(resource: Resource, expected: Option<u64>) -> Vec<Write> {
    vec![Write::Update { resource, expected }]
}

fn delete(key: ResourceKey, expected: Option<u64>) -> Vec<Write> {
    vec![Write::Delete { key, expected }]
}

async fn names(store: &dyn Store, kind: Kind, mesh: Option<&str>) -> Vec<String> {
    let list = store.list(kind, mesh).await.expect("listable");
    list.iter().map(|r| format!("{}/{}", r.key.mesh, r.key.name)).collect()
}

#[tokio::test]
async fn versions_and_times_are_set_by_the_store() {
    for backend in backends().await {
        let store = &*backend.store;
        let before = Timestamp::now();
        let created = create(store, policy("default", "a", 1)).await;
        assert_eq!(created.version, 1, "{}", backend.name);
        assert!(created.created >= before && created.created <= Timestamp::now());
        assert_eq!(created.created, created.modified);

        let mut next = policy("default", "a", 2);
        next.created = "2001-01-01T00:00:00Z".parse().expect("a time");
        let committed = store.commit(update(next, Some(1))).await.expect("expected version");
        let updated = committed.resources[0].clone().expect("the stored resource");
        assert_eq!((updated.version, updated.created), (2, created.created));
        assert_eq!(updated.version, committed.revision, "versions are revisions");
        assert!(updated.modified >= created.modified);
        assert_eq!(store.get(&updated.key).await.expect("readable"), Some(updated));

        let mut given = policy("default", "b", 1);
        given.created = "2001-01-01T00:00:00Z".parse().expect("a time");
        let given = create(store, given).await;
        assert_eq!(given.created.to_string(), "2001-01-01T00:00:00Z");
        assert!(given.modified >= before);
    }
}

#[tokio::test]
async fn refusals_name_the_resource_and_change_nothing() {
    for backend in backends().await {
        let store = &*backend.store;
        create(store, policy("default", "a", 1)).await;
        let revision = store.revision();

        let taken = store.commit(vec![Write::Create(policy("default", "a", 2))]).await.expect_err("taken");
        assert_eq!(taken.to_string(), r#"resource already exists: type="MeshTimeout" name="a" mesh="default""#);
        let missing = store.commit(update(policy("other", "a", 1), None)).await.expect_err("missing");
        assert_eq!(missing.to_string(), r#"resource not found: type="MeshTimeout" name="a" mesh="other""#);
        let stale = store.commit(update(policy("default", "a", 2), Some(2))).await.expect_err("stale");
        assert_eq!(stale.to_string(), r#"resource conflict: type="MeshTimeout" name="a" mesh="default""#);
        let stale = store.commit(delete(key("default", "a"), Some(2))).await.expect_err("stale");
        assert!(matches!(stale, StoreError::Conflict(_)), "{stale}");
        let missing = store.commit(delete(key("default", "b"), None)).await.expect_err("missing");
        assert!(matches!(missing, StoreError::NotFound(_)), "{missing}");
        let orphan = policy("default", "b", 1).with_owner(ResourceKey::global(Kind::Mesh, "none"));
        let orphan = store.commit(vec![Write::Put(orphan)]).await.expect_err("no owner");
        assert!(matches!(orphan, StoreError::OwnerNotFound { .. }), "{orphan}");
        let adopted = policy("default", "a", 1).with_owner(ResourceKey::global(Kind::Mesh, "none"));
        let adopted = store.commit(update(adopted, None)).await.expect_err("no owner");
        assert!(matches!(adopted, StoreError::OwnerNotFound { .. }), "{adopted}");
        for (mesh, name) in [("default", ""), ("default", "a\0b"), ("de\0fault", "a")] {
            let invalid = store.commit(vec![Write::Put(policy(mesh, name, 1))]).await.expect_err("bad key");
            assert!(matches!(invalid, StoreError::InvalidKey(_)), "{invalid}");
        }

        assert_eq!(store.revision(), revision, "{}", backend.name);
        assert_eq!(value(&everything(store).await[0]), 1);
    }
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_skipped() {
    for backend in backends().await {
        let store = &*backend.store;
        let first = create(store, policy("default", "a", 1)).await;
        let revision = store.revision();
        for writes in [update(policy("default", "a", 1), Some(1)), vec![Write::Put(policy("default", "a", 1))]] {
            let committed = store.commit(writes).await.expect("nothing to do");
            assert_eq!(committed.revision, revision, "{}", backend.name);
            assert!(Arc::ptr_eq(committed.resources[0].as_ref().expect("the stored one"), &first));
        }
        let mut changed = policy("default", "a", 1).with_labels([("kuma.io/effect", "shadow")]);
        let committed = store.commit(update(changed.clone(), None)).await.expect("labels changed");
        assert_eq!(committed.revision, revision + 1);
        changed.status = Some(serde_json::json!({"x": 1}));
        let committed = store.commit(update(changed, None)).await.expect("status changed");
        assert_eq!(committed.revision, revision + 2);
    }
}

#[tokio::test]
async fn a_transaction_is_applied_as_a_whole_and_in_order() {
    for backend in backends().await {
        let store = &*backend.store;
        let committed = store
            .commit(vec![
                Write::Create(mesh("default")),
                Write::Create(policy("default", "a", 1).with_owner(ResourceKey::global(Kind::Mesh, "default"))),
                Write::Update { resource: policy("default", "a", 2), expected: Some(1) },
                Write::Create(policy("default", "gone", 1)),
                Write::Delete { key: key("default", "gone"), expected: Some(1) },
            ])
            .await
            .expect("all valid");
        assert_eq!(committed.revision, 1, "{}", backend.name);
        let versions: Vec<_> = committed.resources.iter().map(|r| r.as_ref().map(|r| r.version)).collect();
        assert_eq!(versions, [Some(1), Some(1), Some(1), Some(1), None]);
        assert_eq!(names(store, Kind::MeshTimeout, None).await, ["default/a"]);

        let refused = store
            .commit(vec![
                Write::Put(policy("default", "a", 9)),
                Write::Delete { key: ResourceKey::global(Kind::Mesh, "default"), expected: None },
                Write::Create(policy("default", "b", 1).with_owner(ResourceKey::global(Kind::Mesh, "default"))),
            ])
            .await
            .expect_err("the owner is deleted before");
        assert!(matches!(refused, StoreError::OwnerNotFound { .. }), "{refused}");
        assert_eq!(store.revision(), 1);
        assert_eq!(value(&store.get(&key("default", "a")).await.expect("readable").expect("still there")), 2);

        let replaced = store
            .commit(vec![
                Write::Delete { key: key("default", "a"), expected: None },
                Write::Create(policy("default", "a", 3)),
            ])
            .await
            .expect("valid");
        assert_eq!(replaced.resources[1].as_ref().map(|r| r.version), Some(2), "no version twice");
    }
}

#[tokio::test]
async fn deleting_an_owner_deletes_what_it_owns_and_nothing_else() {
    for backend in backends().await {
        let store = &*backend.store;
        let owner = ResourceKey::global(Kind::Mesh, "m");
        create(store, mesh("m")).await;
        create(store, policy("m", "child", 1).with_owner(owner.clone())).await;
        create(store, policy("m", "grandchild", 1).with_owner(key("m", "child"))).await;
        create(store, policy("m", "left", 1).with_owner(owner.clone())).await;
        create(store, policy("m", "independent", 1)).await;
        store.commit(update(policy("m", "left", 2), None)).await.expect("leaves its owner");
        let committed = store
            .commit(vec![
                Write::Create(policy("m", "late", 1).with_owner(owner.clone())),
                Write::Put(policy("m", "independent", 2)),
                Write::Delete { key: owner.clone(), expected: None },
            ])
            .await
            .expect("valid");
        assert_eq!(names(store, Kind::MeshTimeout, Some("m")).await, ["m/independent", "m/left"], "{}", backend.name);
        assert_eq!(committed.revision, store.revision());
        create(store, mesh("m")).await;
        store.commit(delete(owner, None)).await.expect("owns nothing now");
        assert_eq!(names(store, Kind::MeshTimeout, None).await.len(), 2);
    }
}

#[tokio::test]
async fn owners_may_form_a_circle() {
    for backend in backends().await {
        let store = &*backend.store;
        create(store, policy("m", "a", 1)).await;
        create(store, policy("m", "b", 1).with_owner(key("m", "a"))).await;
        store.commit(update(policy("m", "a", 1).with_owner(key("m", "b")), None)).await.expect("valid");
        store.commit(delete(key("m", "a"), None)).await.expect("valid");
        assert!(everything(store).await.is_empty(), "{}", backend.name);
    }
}

#[tokio::test]
async fn lists_are_sorted_and_limited_to_kind_and_mesh() {
    for backend in backends().await {
        let store = &*backend.store;
        for (mesh, name) in [("b", "x"), ("a", "y"), ("a", "x"), ("ab", "x"), ("a", "x-1"), ("a", "x.y")] {
            create(store, policy(mesh, name, 1)).await;
        }
        create(store, mesh("a")).await;
        create(store, Resource::from_json(ResourceKey::new(Kind::MeshRetry, "a", "r"), serde_json::json!({}))).await;
        let all = ["a/x", "a/x-1", "a/x.y", "a/y", "ab/x", "b/x"];
        assert_eq!(names(store, Kind::MeshTimeout, None).await, all, "{}", backend.name);
        assert_eq!(names(store, Kind::MeshTimeout, Some("a")).await, all[..4]);
        assert_eq!(names(store, Kind::MeshTimeout, Some("c")).await, [""; 0]);
        assert_eq!(names(store, Kind::Mesh, None).await, ["/a"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_transactions_each_stands_alone() {
    for backend in backends().await {
        let store = &backend.store;
        let tasks: Vec<_> = (0..200_u64)
            .map(|n| {
                let store = store.clone();
                // Ten contenders for each of twenty names.
                tokio::spawn(async move {
                    store.commit(vec![Write::Create(policy("m", &format!("p{:02}", n % 20), n))]).await
                })
            })
            .collect();
        let mut created = 0;
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(_) => created += 1,
                Err(error) => assert!(matches!(error, StoreError::AlreadyExists(_)), "{error}"),
            }
        }
        assert_eq!((created, store.revision()), (20, 20), "{}", backend.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_updates_of_a_version_one_wins() {
    for backend in backends().await {
        let store = &backend.store;
        create(&**store, policy("m", "a", 0)).await;
        for round in 1..=20 {
            let contender = |n| {
                let store = store.clone();
                tokio::spawn(async move { store.commit(update(policy("m", "a", n), Some(round))).await.is_ok() })
            };
            let (one, two) = (contender(round * 2), contender(round * 2 + 1));
            let won = [one.await.expect("no panic"), two.await.expect("no panic")];
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{} {won:?}", backend.name);
        }
    }
}

#[tokio::test]
async fn windows_are_parts_of_the_list() {
    for backend in backends().await {
        let store = &*backend.store;
        for (mesh, name) in [("a", "1"), ("a", "2"), ("a-b", "1"), ("b", "1"), ("b", "2"), ("b", "3")] {
            create(store, policy(mesh, name, 1)).await;
        }
        create(store, mesh("zzz")).await;
        for kind in [Kind::MeshTimeout, Kind::Mesh, Kind::Dataplane, Kind::VirtualOutbound] {
            for mesh in [None, Some("a"), Some("a-b"), Some("b"), Some("c"), Some("")] {
                let all = store.list(kind, mesh).await.expect("listable");
                for (offset, limit) in [(0, 2), (1, 2), (2, 100), (5, 1), (100, 1), (0, 0), (usize::MAX, usize::MAX)] {
                    let window = store.window(kind, mesh, offset, limit).await.expect("readable");
                    assert_eq!(window.total, all.len(), "{} {kind} {mesh:?}", backend.name);
                    let expected: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
                    assert_eq!(window.resources, expected, "{} {kind} {mesh:?} {offset}+{limit}", backend.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn each_store_has_an_id_of_its_own() {
    let mut ids = std::collections::BTreeSet::new();
    for backend in backends().await.into_iter().chain(backends().await) {
        assert_eq!(backend.store.id(), backend.store.id());
        create(&*backend.store, policy("m", "a", 1)).await;
        assert!(ids.insert(backend.store.id().store), "{} has the id of another store", backend.name);
    }
    assert_eq!(ids.len(), 4);
}
