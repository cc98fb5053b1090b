use std::time::Duration;

use tandem_model::Kind;
use tandem_store::{MemoryStore, SharedStore, Write};

use super::*;
use crate::sender::Standing;

/// A peer with both streams since `began`.
fn connected(began: Instant) -> PeerStatus {
    let mut peer = PeerStatus { connected: Some(Timestamp::UNIX_EPOCH), ..PeerStatus::default() };
    peer.begin_sending();
    peer.begin_receiving();
    for stream in [&mut peer.sending, &mut peer.receiving].into_iter().flatten() {
        stream.since = began;
    }
    peer
}

fn after(began: Instant, seconds: u64) -> Instant {
    began + Duration::from_secs(seconds)
}

fn pending(since: Instant) -> SentStatus {
    SentStatus { subscribed: true, pending: 1, pending_since: Some(since), ..SentStatus::default() }
}

#[test]
fn a_peer_without_anything_pending_is_in_sync_however_long_nothing_happens() {
    let began = Instant::now();
    let mut peer = connected(began);
    peer.sent.insert(Kind::Mesh, SentStatus { subscribed: true, confirmed: Some(began), ..SentStatus::default() });
    assert_eq!(peer.state(after(began, 100_000)), State::InSync);
    assert_eq!(peer.lag(after(began, 100_000)), Duration::ZERO);
    peer.connected = None;
    assert_eq!(peer.state(began), State::Offline);
}

#[test]
fn an_answer_that_does_not_come_is_a_stall_whatever_other_types_do() {
    let began = Instant::now();
    let mut peer = connected(began);
    peer.sent.insert(Kind::Mesh, SentStatus { unanswered_since: Some(began), ..pending(began) });
    assert_eq!(peer.state(after(began, 4)), State::CatchingUp);
    let other = SentStatus { subscribed: true, confirmed: Some(after(began, 5)), ..SentStatus::default() };
    peer.sent.insert(Kind::MeshTimeout, other);
    assert_eq!(peer.state(after(began, 5)), State::Stalled);
    assert_eq!((peer.lag(after(began, 7)), peer.pending()), (Duration::from_secs(7), 1));
}

#[test]
fn what_waits_behind_others_is_stalled_only_when_they_are() {
    let began = Instant::now();
    let mut peer = connected(began);
    peer.sent.insert(Kind::Mesh, pending(began));
    let moved =
        |seconds| SentStatus { subscribed: true, confirmed: Some(after(began, seconds)), ..SentStatus::default() };
    peer.sent.insert(Kind::MeshTimeout, moved(18));
    assert_eq!(peer.state(after(began, 20)), State::CatchingUp);
    assert_eq!(peer.state(after(began, 23)), State::Stalled);
}

#[test]
fn types_that_the_peer_does_not_ask_for_are_not_waited_for() {
    let began = Instant::now();
    let mut peer = connected(began);
    peer.sent.insert(Kind::Mesh, SentStatus { subscribed: false, ..pending(began) });
    assert_eq!(peer.state(after(began, 100)), State::InSync);
    assert_eq!((peer.pending(), peer.lag(after(began, 100))), (0, Duration::ZERO));
}

#[test]
fn one_direction_alone_is_no_synchronization() {
    let began = Instant::now();
    let mut peer = connected(began);
    peer.receiving = None;
    assert_eq!(peer.state(after(began, 4)), State::CatchingUp);
    assert_eq!(peer.state(after(began, 5)), State::Stalled);
}

#[test]
fn a_store_that_does_not_answer_and_held_deletions_are_not_in_sync() {
    let began = Instant::now();
    let mut peer = connected(began);
    peer.received.insert(Kind::Mesh, ReceivedStatus { applying_since: Some(began), ..ReceivedStatus::default() });
    assert_eq!(peer.state(after(began, 4)), State::CatchingUp);
    assert_eq!(peer.state(after(began, 5)), State::Stalled);
    let held = HeldDeletions { resources: [ResourceKey::global(Kind::Mesh, "a")].into(), since: began, until: None };
    peer.received.insert(Kind::Mesh, ReceivedStatus { held: Some(held), ..ReceivedStatus::default() });
    assert_eq!(peer.state(after(began, 500)), State::CatchingUp);
    assert_eq!(peer.pending(), 1);
}

#[test]
fn an_old_stream_that_ends_late_takes_nothing_from_the_new_one() {
    let mut peer = connected(Instant::now());
    let old = peer.sending.expect("open");
    let new = peer.begin_sending();
    peer.end_sending(old, Confirmed::default());
    assert_eq!(peer.sending, Some(new));
    peer.end_sending(new, Confirmed::default());
    assert_eq!(peer.sending, None);
}

#[test]
fn what_was_confirmed_stays_known_until_something_else_is() {
    let mut peer = connected(Instant::now());
    let standing = Standing {
        subscribed: true,
        revision: 9,
        acknowledged: Some(7),
        pending: 2,
        pending_since: None,
        unanswered_since: None,
        confirmed: None,
    };
    peer.sent.entry(Kind::Mesh).or_default().stand(standing);
    peer.begin_sending();
    let status = &peer.sent[&Kind::Mesh];
    assert_eq!((status.acknowledged_revision, status.pending, status.subscribed), (Some(7), 0, false));
    peer.sent.entry(Kind::Mesh).or_default().stand(Standing { acknowledged: None, ..standing });
    assert_eq!(peer.sent[&Kind::Mesh].acknowledged_revision, Some(7));
}

#[test]
fn a_reason_that_stays_keeps_its_time() {
    let mut status = ReceivedStatus::default();
    let key = ResourceKey::global(Kind::Mesh, "a");
    status.note(key.clone(), Some("spoiled".into()));
    let first = status.left_out[&key].clone();
    status.note(key.clone(), Some("spoiled".into()));
    assert_eq!(status.left_out[&key], first);
    status.note(key.clone(), Some("rotten".into()));
    assert_eq!(status.left_out[&key].text, "rotten");
    status.note(key.clone(), None);
    assert!(status.left_out.is_empty());
}

#[tokio::test]
async fn releases_reach_the_stream_of_their_peer() {
    let status = SyncStatus::new();
    assert_eq!(status.release("east", Kind::Mesh), Err(ReleaseError::NotConnected));
    status.update("east", |peer| {
        peer.begin_receiving();
    });
    assert_eq!(status.release("east", Kind::Mesh), Err(ReleaseError::NothingHeld));
    let held =
        HeldDeletions { resources: [ResourceKey::global(Kind::Mesh, "a")].into(), since: Instant::now(), until: None };
    status.update("east", |peer| peer.received.entry(Kind::Mesh).or_default().held = Some(held));
    assert_eq!(status.release("east", Kind::Mesh), Ok(1));
    assert_eq!(status.released("east").await, Kind::Mesh);
    assert_eq!(status.release("east", Kind::Mesh), Ok(1));
    status.update("east", |peer| {
        peer.begin_receiving();
    });
    let stale = tokio::time::timeout(Duration::from_millis(10), status.released("east")).await;
    assert!(stale.is_err(), "another stream has not asked for it");
    status.forget("east");
    assert!(status.peers().is_empty());
}

#[test]
fn metrics_are_those_of_the_peers_that_there_are() {
    let status = SyncStatus::new();
    let mut registry = prometheus_client::registry::Registry::default();
    status.register(&mut registry);
    let text = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a String does not fail");
        text
    };
    status.update("east", |peer| {
        *peer = PeerStatus {
            connected: Some(Timestamp::UNIX_EPOCH),
            version: "2.13.10".into(),
            ..connected(Instant::now())
        };
        peer.sent
            .insert(Kind::Mesh, SentStatus { revision: 8, acknowledged_revision: Some(7), ..pending(Instant::now()) });
        peer.received
            .entry(Kind::Dataplane)
            .or_default()
            .note(ResourceKey::global(Kind::Dataplane, "d"), Some("bad".into()));
    });
    let present = text();
    for line in [
        "kds_sync_state{peer=\"east\",state=\"catching up\"} 1",
        "kds_sync_state{peer=\"east\",state=\"in sync\"} 0",
        "kds_sync_pending{peer=\"east\",type_url=\"Mesh\"} 1",
        "kds_sync_revision{peer=\"east\",type_url=\"Mesh\"} 8",
        "kds_sync_acknowledged_revision{peer=\"east\",type_url=\"Mesh\"} 7",
        "kds_resources_left_out{peer=\"east\",type_url=\"Dataplane\"} 1",
        "kds_held_deletions{peer=\"east\",type_url=\"Dataplane\"} 0",
        "kds_delta_client_versions{client_version=\"2.13.10\"} 1",
    ] {
        assert!(present.lines().any(|there| there.strip_suffix(".0").unwrap_or(there) == line), "{line} in {present}");
    }
    status.forget("east");
    assert!(!text().contains("east"));
}

#[tokio::test]
async fn a_zone_that_this_process_never_saw_is_offline_with_what_the_store_knows() {
    use tandem_proto::system::v1alpha1::{KdsSubscription, Zone, ZoneInsight};

    let store: SharedStore = Arc::new(MemoryStore::new());
    let zone = |name: &str, enabled| {
        let key = ResourceKey::global(Kind::Zone, name);
        Write::Put(tandem_model::Resource::from_proto(key, &Zone { enabled }))
    };
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let insight = |name: &str, disconnect_time| {
        let subscription = KdsSubscription {
            global_instance_id: "global-2".into(),
            zone_instance_id: format!("{name}-1"),
            connect_time: time(1),
            disconnect_time,
            ..KdsSubscription::default()
        };
        let insight = ZoneInsight { subscriptions: vec![subscription], ..ZoneInsight::default() };
        Write::Put(tandem_model::Resource::from_proto(ResourceKey::global(Kind::ZoneInsight, name), &insight))
    };
    let writes = vec![
        zone("east", None),
        zone("north", Some(false)),
        zone("west", None),
        insight("east", time(2)),
        insight("west", None),
    ];
    store.commit(writes).await.expect("valid writes");
    let reports = SyncReports::new(SyncStatus::new(), store, Peers::Zones, "global-1");
    let overview = reports.overview().await.expect("readable");
    let shown: Vec<_> = overview.items.iter().map(|zone| (zone.name.as_str(), zone.state)).collect();
    assert_eq!(shown, [("east", State::Offline), ("north", State::Disabled), ("west", State::Offline)]);
    let east = &overview.items[0];
    assert_eq!(east.disconnected_since, Timestamp::from_second(2).ok());
    assert_eq!((east.pending, east.lag_seconds, east.connected_to.clone()), (None, None, None), "unknown, not zero");
    assert_eq!(overview.items[2].connected_to.as_deref(), Some("global-2"));
    assert_eq!(overview.total.states["offline"], 2);
    assert!(reports.zone("nowhere").await.expect("readable").is_none());
}
