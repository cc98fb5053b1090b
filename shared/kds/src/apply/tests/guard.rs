//! What a full state does not list goes at once, or is held back.

use super::*;

const HOLD: Duration = Duration::from_secs(5 * 60);

fn services(names: std::ops::Range<usize>) -> Vec<Bytes> {
    names
        .map(|n| {
            let key = ResourceKey::new(Kind::MeshService, "default", format!("s{n}"));
            let service = Resource::from_json(key, json!({})).with_labels([(label::ZONE, "east")]);
            codec_body(&service)
        })
        .collect()
}

fn codec_body(resource: &Resource) -> Bytes {
    // Without a hash in the name, as it is stored.
    mapper::encode_for_zones(&resource.clone().with_labels([(label::ORIGIN, "zone")]), false, &[])
        .expect("encodable")
        .body
}

async fn count(applier: &Applier) -> usize {
    applier.store.list(Kind::MeshService, None).await.expect("readable").len()
}

fn at(store: StoreId, revision: Revision) -> Option<Origin> {
    Some(Origin { store, revision })
}

/// The first response of a new stream.
async fn first(applier: &Arc<Applier>, services: Vec<Bytes>, origin: Option<Origin>) -> (Intake, Applied) {
    let mut intake = applier.open();
    let applied = next(&mut intake, services, &[], origin).await;
    (intake, applied)
}

async fn next(intake: &mut Intake, services: Vec<Bytes>, removed: &[&str], origin: Option<Origin>) -> Applied {
    intake.apply(Kind::MeshService, &response(&services, removed, origin)).await.expect("the store works")
}

fn held(applied: &Applied) -> usize {
    applied.held.as_ref().map_or(0, |held| held.resources.len())
}

/// Global, to which `east` has sent ten services from a store.
async fn global() -> (Arc<Applier>, StoreId) {
    let (global, store) = (applier(east()), StoreId::new());
    first(&global, services(0..10), at(store, 5)).await;
    assert_eq!(count(&global).await, 10);
    (global, store)
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_store_had_is_held_back_for_a_while() {
    let (global, _) = global().await;
    let (mut intake, applied) = first(&global, Vec::new(), at(StoreId::new(), 1)).await;
    assert_eq!((applied.deleted, applied.newly_held, held(&applied)), (0, 10, 10));
    assert_eq!(applied.complaint(), None, "the peer has done nothing wrong");
    assert!(intake.is_holding());
    let (due, kind) = intake.next_due().expect("time counts");
    assert_eq!((due, kind), (Instant::now() + HOLD, Kind::MeshService));
    assert_eq!(applied.held.and_then(|held| held.until), Some(due));

    tokio::time::advance(HOLD - Duration::from_secs(1)).await;
    let applied = intake.carry_out(kind, false).await.expect("the store works").expect("asked");
    assert_eq!((applied.deleted, held(&applied)), (0, 10), "not yet");
    tokio::time::advance(Duration::from_secs(1)).await;
    let applied = intake.carry_out(kind, false).await.expect("the store works").expect("asked");
    assert_eq!((applied.deleted, held(&applied)), (10, 0));
    assert!(!intake.is_holding());
    assert_eq!(intake.next_due(), None);
    assert_eq!(count(&global).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_same_store_does_not_list_was_deleted() {
    let (global, store) = global().await;
    // Also after the zone was restarted, and after global was.
    let reopened = StoreId { opening: StoreId::new().opening, ..store };
    let (_, applied) = first(&global, services(0..1), at(reopened, 9)).await;
    assert_eq!((applied.deleted, held(&applied)), (9, 0));
    first(&global, services(0..10), at(reopened, 10)).await;
    let restarted = applier_of(global.store.clone(), east());
    let (_, applied) = first(&restarted, Vec::new(), at(reopened, 11)).await;
    assert_eq!((applied.deleted, held(&applied)), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_names_no_store_proves_nothing() {
    let (global, store) = global().await;
    let (_, applied) = first(&global, services(0..5), None).await;
    assert_eq!(applied.deleted, 5, "half of them is not many");
    let (_, applied) = first(&global, services(0..1), None).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 4));
    // Nor does the store of earlier, which need not have brought what is here now.
    let (_, applied) = first(&global, services(0..1), at(store, 20)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_put_back_from_a_copy_proves_nothing() {
    let (global, store) = global().await;
    let copy = StoreId { opening: StoreId::new().opening, ..store };
    let (intake, applied) = first(&global, services(0..2), at(copy, 2)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 8));
    drop(intake);
    // And keeps proving nothing when global is restarted.
    let restarted = applier_of(global.store.clone(), east());
    let (_, applied) = first(&restarted, services(0..2), at(copy, 3)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 8));
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_is_not_held_any_more_and_what_is_named_goes_at_once() {
    let (global, _) = global().await;
    let store = StoreId::new();
    let (mut intake, _) = first(&global, services(0..1), at(store, 1)).await;
    let applied = next(&mut intake, services(1..7), &["s9.default"], at(store, 2)).await;
    assert_eq!((applied.deleted, held(&applied)), (1, 2));
    let applied = next(&mut intake, services(7..9), &[], at(store, 3)).await;
    assert_eq!(held(&applied), 0);
    assert!(!intake.is_holding());
    assert_eq!(count(&global).await, 9);
    // From now on this is the known store.
    let (_, applied) = first(&global, Vec::new(), at(store, 4)).await;
    assert_eq!((applied.deleted, held(&applied)), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_comes_and_goes_puts_nothing_off_and_absence_does_not_count() {
    let (global, _) = global().await;
    let store = StoreId::new();
    let (intake, _) = first(&global, Vec::new(), at(store, 1)).await;
    tokio::time::advance(HOLD / 2).await;
    drop(intake);
    tokio::time::advance(10 * HOLD).await;
    let (intake, applied) = first(&global, services(0..1), at(store, 2)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 9));
    assert_eq!(intake.next_due().map(|(due, _)| due), Some(Instant::now() + HOLD / 2));
    tokio::time::advance(HOLD / 2).await;
    // A newer stream takes over, and has the same time to wait for: none.
    let (mut newer, applied) = first(&global, services(0..1), at(store, 2)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 9));
    drop(intake);
    let (due, kind) = newer.next_due().expect("time counts");
    assert_eq!(due, Instant::now());
    let applied = newer.carry_out(kind, false).await.expect("the store works").expect("asked");
    assert_eq!(applied.deleted, 9);
    assert_eq!(count(&global).await, 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_can_release_what_is_held() {
    let (global, _) = global().await;
    let (mut intake, _) = first(&global, services(0..1), at(StoreId::new(), 1)).await;
    let applied = intake.carry_out(Kind::MeshService, true).await.expect("the store works").expect("asked");
    assert_eq!((applied.deleted, held(&applied)), (9, 0));
    assert_eq!(count(&global).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_stream_does_not_carry_out_what_a_newer_one_holds() {
    let (global, _) = global().await;
    let (mut older, _) = first(&global, Vec::new(), at(StoreId::new(), 1)).await;
    let (newer, _) = first(&global, Vec::new(), at(StoreId::new(), 1)).await;
    assert_eq!(older.carry_out(Kind::MeshService, true).await.expect("the store works"), None);
    assert!(!older.is_holding());
    assert!(newer.is_holding());
    assert_eq!(count(&global).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_response_with_garbage_neither_deletes_nor_releases() {
    let (global, store) = global().await;
    let garbage = Bytes::from_static(&[0xff]);
    let (_, applied) = first(&global, vec![garbage.clone()], at(store, 6)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 0));
    let other = StoreId::new();
    first(&global, vec![garbage], at(other, 1)).await;
    // The other store is not known to have brought all of this.
    let (_, applied) = first(&global, Vec::new(), at(other, 2)).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_is_held_back_even_alone_and_nothing_with_the_guard_off() {
    let mesh = |name: &str| {
        let key = ResourceKey::global(Kind::Mesh, name);
        from_global(&Resource::from_proto(key, &tandem_proto::mesh::v1alpha1::Mesh::default()))
    };
    let zone = applier(Inlet::Zone);
    full(&zone, Kind::Mesh, &[mesh("default"), mesh("payments")]).await;
    let applied = full(&zone, Kind::Mesh, &[mesh("default")]).await;
    assert_eq!((applied.deleted, held(&applied)), (0, 1));
    let applied = later(&zone, Kind::Mesh, &[], &["payments."]).await;
    assert_eq!((applied.deleted, held(&applied)), (1, 0));

    let store = Arc::new(MemoryStore::new());
    let guard = DeletionGuard { share: 1.0, ..DeletionGuard::default() };
    let zone = Applier::new(store, Inlet::Zone, Arc::new(|_| Violations::none()), guard);
    full(&zone, Kind::Mesh, &[mesh("default"), mesh("payments")]).await;
    let applied = full(&zone, Kind::Mesh, &[]).await;
    assert_eq!((applied.deleted, held(&applied)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_zone_goes_with_the_zone() {
    let (global, _) = global().await;
    let key = ResourceKey::global(Kind::Config, "kds-peer-east");
    let known = global.store.get(&key).await.expect("readable").expect("written with the resources");
    assert_eq!(known.owner, Some(ResourceKey::global(Kind::Zone, "east")));
    assert!(known.labels.is_empty());
    let zone = ResourceKey::global(Kind::Zone, "east");
    global.store.commit(vec![Write::Delete { key: zone, expected: None }]).await.expect("it exists");
    assert_eq!(global.store.get(&key).await.expect("readable"), None);
    assert_eq!(count(&global).await, 0);

    // A zone remembers global, and sends nothing of that.
    let zone = applier(Inlet::Zone);
    let origin = at(StoreId::new(), 1);
    let body = from_global(&timeout("t", 1, &[]));
    zone.open().apply(Kind::MeshTimeout, &response(&[body], &[], origin)).await.expect("the store works");
    let key = ResourceKey::global(Kind::Config, "kds-peer-global");
    let known = zone.store.get(&key).await.expect("readable").expect("written with the resources");
    assert!(!crate::filter::zone_sends(&known));
    full(&zone, Kind::Config, &[]).await;
    assert_eq!(zone.store.get(&key).await.expect("readable"), Some(known), "it is not one of global");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_when_nothing_changes() {
    let (global, store) = global().await;
    let revision = global.store.revision();
    first(&global, services(0..10), at(store, 6)).await;
    first(&global, services(0..10), at(store, 7)).await;
    assert_eq!(global.store.revision(), revision);
    full(&global, Kind::Workload, &[]).await;
    assert_eq!(global.store.revision(), revision, "a type without resources needs no note");
}
