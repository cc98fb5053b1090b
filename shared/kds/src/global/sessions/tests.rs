use super::*;

fn peer(port: u16) -> Option<SocketAddr> {
    Some(([127, 0, 0, 1], port).into())
}

impl Sessions {
    /// A claim of a zone that is in the store.
    fn settled(&self, zone: &str, instance: &str, peer: Option<SocketAddr>) -> Claim {
        let claim = self.claim(zone, instance, peer).expect("free, or held by the same instance");
        claim.settle(1);
        claim
    }
}

#[test]
fn a_taken_name_is_refused_until_it_is_free() {
    let sessions = Sessions::default();
    let first = sessions.claim("east", "a-1", peer(1)).expect("free");
    let refused = sessions.claim("east", "b-2", peer(2)).expect_err("taken");
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    for part in ["\"east\"", "\"a-1\"", "\"b-2\"", "multizone.zone.name"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert!(!first.ending.has_ended());
    assert!(sessions.claim("west", "b-2", peer(2)).is_ok());
    drop(first);
    assert!(sessions.claim("east", "b-2", peer(2)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_the_name_cannot_send_under_it() {
    let sessions = Sessions::default();
    let first = sessions.settled("east", "a-1", peer(1));
    let uplink = sessions.uplink("east", peer(1)).await.expect("the same connection");
    assert!(sessions.claim("east", "b-2", peer(2)).is_err());
    let refused = sessions.uplink("east", peer(2)).await.expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    assert!(!uplink.ending.has_ended(), "the one who has the name goes on");
    for port in 0..200 {
        assert!(sessions.claim("east", "b-2", peer(1000 + port)).is_err());
    }
    assert_eq!(sessions.state.lock().refused["east"].len(), MAX_REFUSED);
    drop(first);
    assert!(sessions.state.lock().refused.is_empty());
}

#[test]
fn an_instance_that_comes_back_takes_over() {
    let sessions = Sessions::default();
    let old = sessions.claim("east", "a-1", peer(1)).expect("free");
    let new = sessions.claim("east", "a-1", peer(2)).expect("the same instance");
    assert_eq!(old.ending.reason(), Some(&End::Replaced));
    assert!(old.ending.has_ended());
    drop(old);
    assert!(sessions.claim("east", "b-2", peer(3)).is_err(), "the new stream still has the name");
    drop(new);
    assert!(sessions.claim("east", "b-2", peer(3)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn streams_to_global_wait_for_the_name() {
    let sessions = Sessions::default();
    let began = Instant::now();
    assert!(sessions.admitted("east", peer(1)).await.is_err());
    assert_eq!(began.elapsed(), WAIT_FOR_SESSION);

    let _claim = sessions.settled("east", "a-1", peer(1));
    let began = Instant::now();
    let uplink = sessions.uplink("east", peer(1)).await.expect("the same connection");
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(uplink);
    sessions.uplink("east", peer(2)).await.expect("another connection");
    assert_eq!(began.elapsed(), OTHER_CONNECTION);
    assert!(sessions.state.lock().turns.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_to_global_that_came_first_does_not_wait_longer_than_for_its_own_session() {
    let sessions = Sessions::default();
    let old = sessions.settled("east", "a-1", peer(1));
    let waiting = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.uplink("east", peer(2)).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    let began = Instant::now();
    let _new = sessions.settled("east", "a-1", peer(2));
    waiting.await.expect("no panic").expect("admitted");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(old.ending.reason(), Some(&End::Replaced));
}

#[tokio::test(start_paused = true)]
async fn the_old_stream_to_global_ends_and_lets_go_before_the_next_begins() {
    let sessions = Sessions::default();
    let _first = sessions.settled("east", "a-1", peer(1));
    let old = sessions.uplink("east", peer(1)).await.expect("admitted");
    let _second = sessions.settled("east", "a-1", peer(2));
    assert_eq!(old.ending.reason(), Some(&End::Replaced));
    let next = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.uplink("east", peer(2)).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!next.is_finished(), "the old stream may still be writing");
    drop(old);
    next.await.expect("no panic").expect("admitted");
}

#[tokio::test(start_paused = true)]
async fn the_stream_to_global_ends_with_the_session_or_a_newer_one() {
    let sessions = Sessions::default();
    let claim = sessions.settled("east", "a-1", peer(1));
    let first = sessions.uplink("east", peer(1)).await.expect("admitted");
    let ending = first.ending.clone();
    let second = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.uplink("east", peer(1)).await })
    };
    assert_eq!(ending.ended().await.message(), "stream canceled - the zone has opened a newer one");
    drop(first);
    let second = second.await.expect("no panic").expect("admitted");
    assert!(!second.ending.has_ended());
    drop(claim);
    assert_eq!(second.ending.ended().await.message(), "stream canceled - stream stopped");
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed() {
    let sessions = Sessions::default();
    let claim = sessions.claim("east", "a-1", peer(1)).expect("free");
    let began = Instant::now();
    let watcher = tokio::spawn(async move { claim.silent(Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_secs(7)).await;
    sessions.pinged("east");
    watcher.await.expect("ended");
    assert_eq!(began.elapsed(), Duration::from_secs(17));
    sessions.pinged("west");
    assert!(sessions.state.lock().zones.is_empty(), "nothing is kept of a zone that is not connected");
}

#[test]
fn a_deleted_zone_loses_its_streams_but_not_those_of_its_successor() {
    let sessions = Sessions::default();
    let claim = sessions.claim("east", "a-1", peer(1)).expect("free");
    sessions.deleted("east", 5);
    assert!(!claim.ending.has_ended(), "nothing is judged before the zone has its name");
    claim.settle(7);
    sessions.deleted("east", 7);
    sessions.keep_only(|_| false, 6);
    assert!(!claim.ending.has_ended(), "that was an earlier Zone");
    sessions.keep_only(|zone| zone == "east", 9);
    assert!(!claim.ending.has_ended());
    sessions.keep_only(|_| false, 9);
    assert!(claim.ending.has_ended());
}

#[tokio::test(start_paused = true)]
async fn another_instance_takes_a_zone_over() {
    let sessions = Sessions::default();
    let claim = sessions.claim("east", "a-1", peer(1)).expect("free");
    sessions.held_by("east", Some("global-b"), 3);
    claim.settle(5);
    assert!(!claim.ending.has_ended(), "it came back from there");
    sessions.held_by("east", None, 5);
    let uplink = sessions.uplink("east", peer(1)).await.expect("admitted");
    sessions.held_by("east", Some("global-b"), 8);
    for ending in [&claim.ending, &uplink.ending] {
        assert!(ending.ended().await.message().contains("\"global-b\""));
    }
    drop((claim, uplink));

    // What another instance wrote may be known before the own claim is.
    let claim = sessions.claim("east", "a-1", peer(1)).expect("free");
    sessions.held_by("east", Some("global-b"), 12);
    claim.settle(11);
    assert!(claim.ending.has_ended());
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_zone_may_be_spread_over_instances() {
    let sessions = Sessions::default();
    sessions.held_by("east", Some("global-b"), 3);
    let began = Instant::now();
    let stray = sessions.uplink("east", peer(1)).await.expect("admitted");
    assert_eq!(began.elapsed(), OTHER_CONNECTION);
    sessions.held_by("east", Some("global-b"), 4);
    assert!(!stray.ending.has_ended());
    sessions.held_by("east", None, 5);
    assert!(stray.ending.has_ended());
    drop(stray);
    assert!(sessions.state.lock().strays.is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_streams_wait_until_the_name_is_certain() {
    let sessions = Sessions::default();
    let claim = sessions.claim("east", "b-2", peer(2)).expect("nobody has it here");
    let waiting = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.uplink("east", peer(2)).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    // Another instance of global holds the zone, for another control plane.
    sessions.held_by("east", Some("global-b"), 3);
    claim.refused(peer(2));
    let refused = waiting.await.expect("no panic").expect_err("not this one");
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    sessions.held_by("east", None, 4);
    sessions.settled("east", "b-2", peer(2));
    assert!(sessions.state.lock().refused.is_empty());
}
