//! An older state is never applied over a newer one.

use super::*;

fn at(store: StoreId, revision: Revision) -> Option<Origin> {
    Some(Origin { store, revision })
}

fn state(value: u32, origin: Option<Origin>) -> DeltaResponse {
    response(&[from_global(&timeout("t", value, &[]))], &[], origin)
}

async fn value(zone: &Applier) -> serde_json::Value {
    stored(zone).await.remove(0).1
}

#[tokio::test]
async fn a_late_response_of_an_old_stream_is_refused() {
    for origin in [None, at(StoreId::new(), 1)] {
        let zone = applier(Inlet::Zone);
        let (mut old, mut new) = (zone.open(), zone.open());
        old.apply(Kind::MeshTimeout, &state(1, origin)).await.expect("the newest so far");
        new.apply(Kind::MeshTimeout, &state(3, origin)).await.expect("newer");
        let refusal = old.apply(Kind::MeshTimeout, &state(2, origin)).await.expect_err("out of date");
        assert!(matches!(refusal, Refusal::Superseded(Kind::MeshTimeout)));
        let status = Status::from(refusal);
        assert_eq!(status.code(), tonic::Code::Aborted);
        assert!(status.message().contains("newer stream"), "{status}");
        assert_eq!(value(&zone).await, 3);
        // Types that the newer stream has not brought yet are still the old one's.
        old.apply(Kind::MeshRetry, &response(&[], &[], origin)).await.expect("nothing newer");
    }
}

#[tokio::test]
async fn an_earlier_revision_of_the_same_store_is_refused() {
    let zone = applier(Inlet::Zone);
    let store = StoreId::new();
    zone.open().apply(Kind::MeshTimeout, &state(2, at(store, 7))).await.expect("the first");
    let refusal = zone.open().apply(Kind::MeshTimeout, &state(1, at(store, 6))).await.expect_err("older");
    let text = Status::from(refusal).message().to_owned();
    assert!(text.contains("revision 6") && text.contains("revision 7"), "{text}");
    assert_eq!(value(&zone).await, 2);
    zone.open().apply(Kind::MeshTimeout, &state(3, at(store, 7))).await.expect("as new as that");
    // Each type has revisions of its own.
    zone.open().apply(Kind::MeshRetry, &response(&[], &[], at(store, 6))).await.expect("the first");
}

#[tokio::test]
async fn a_store_that_was_put_back_or_replaced_is_followed() {
    let zone = applier(Inlet::Zone);
    let store = StoreId::new();
    let copy = StoreId { opening: StoreId::new().opening, ..store };
    zone.open().apply(Kind::MeshTimeout, &state(2, at(store, 7))).await.expect("the first");
    zone.open().apply(Kind::MeshTimeout, &state(1, at(copy, 3))).await.expect("what global has now");
    assert_eq!(value(&zone).await, 1);
    zone.open().apply(Kind::MeshTimeout, &state(4, at(StoreId::new(), 1))).await.expect("another store");
    assert_eq!(value(&zone).await, 4);
}

/// What was begun for an old stream is over before a newer one applies the same type.
#[tokio::test]
async fn a_stream_that_ends_leaves_nothing_behind_that_comes_later() {
    for _ in 0..50 {
        let zone = applier(Inlet::Zone);
        let mut old = zone.open();
        let abandoned = state(1, None);
        let task = tokio::spawn(async move { old.apply(Kind::MeshTimeout, &abandoned).await.is_ok() });
        tokio::task::yield_now().await;
        let mut new = zone.open();
        task.abort();
        new.apply(Kind::MeshTimeout, &state(2, None)).await.expect("the newest");
        tokio::task::yield_now().await;
        assert_eq!(value(&zone).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_peer_take_turns() {
    let zone = applier(Inlet::Zone);
    let store = StoreId::new();
    let tasks: Vec<_> = (1..=40)
        .map(|revision| {
            let mut intake = zone.open();
            tokio::spawn(
                async move { intake.apply(Kind::MeshTimeout, &state(revision, at(store, revision.into()))).await },
            )
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(_) => applied += 1,
            Err(refusal) => assert!(matches!(refusal, Refusal::Superseded(_)), "{refusal}"),
        }
    }
    assert!(applied >= 1);
    assert_eq!(value(&zone).await, 40, "the newest stream is never refused");
}
