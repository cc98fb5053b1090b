//! What becomes of the subscriptions of one proxy, and of those of many.

use super::*;

fn subscription(id: &str) -> pb::DiscoverySubscription {
    pb::DiscoverySubscription { id: id.to_owned(), ..Default::default() }
}

#[test]
fn a_new_stream_ends_the_earlier_ones_and_the_oldest_is_dropped() {
    let mut stored = vec![subscription("a"), subscription("b")];
    merge(&mut stored, subscription("c"), 2);
    assert_eq!(stored.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert!(stored[0].disconnect_time.is_some());
    assert!(stored[1].disconnect_time.is_none());
}

#[test]
fn a_stream_that_began_later_stays_the_last() {
    let at = |id: &str, seconds| pb::DiscoverySubscription {
        connect_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..subscription(id)
    };
    let mut stored = vec![at("a", 1), at("elsewhere", 3)];
    merge(&mut stored, at("b", 2), 3);
    assert_eq!(stored.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["a", "b", "elsewhere"]);
    assert!(stored[0].disconnect_time.is_some() && stored[2].disconnect_time.is_none());
}

#[test]
fn a_limit_of_zero_keeps_nothing() {
    let mut stored = Vec::new();
    merge(&mut stored, subscription("a"), 0);
    assert!(stored.is_empty());
}

fn insights() -> Arc<Insights> {
    Insights::new(InsightSettings {
        instance_id: "cp".to_owned(),
        flush_interval: Duration::from_secs(10),
        subscription_limit: 2,
    })
}

fn proxy(number: usize) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, "m", format!("dp-{number}"))
}

#[test]
fn the_end_of_an_earlier_stream_is_not_that_of_the_present_one() {
    let insights = insights();
    let earlier = insights.open(&proxy(0), None, None);
    let present = insights.open(&proxy(0), None, None);
    earlier.sent(ResourceType::Cluster);
    drop(earlier);
    let sent_and_open = |insights: &Insights| {
        let entries = insights.entries.lock();
        let entry = &entries[&proxy(0)];
        let status = entry.subscription.status.unwrap_or_default();
        (status.total.unwrap_or_default().responses_sent, !entry.closed)
    };
    assert_eq!(sent_and_open(&insights), (0, true));
    present.sent(ResourceType::Cluster);
    assert_eq!(sent_and_open(&insights), (1, true));
    drop(present);
    assert_eq!(sent_and_open(&insights), (1, false));
}

#[tokio::test]
async fn a_storm_is_a_few_transactions() {
    let store: SharedStore = Arc::new(tandem_store::MemoryStore::new());
    let mesh = Resource::from_proto(ResourceKey::global(Kind::Mesh, "m"), &pb::Mesh::default());
    let dataplanes =
        (0..2_000).map(|number| Write::Put(Resource::from_proto(proxy(number), &pb::Dataplane::default())));
    store.commit(std::iter::once(Write::Put(mesh)).chain(dataplanes).collect()).await.expect("valid");
    let (insights, shutdown) = (insights(), CancellationToken::new());
    let writer = tokio::spawn({
        let (insights, store, shutdown) = (insights.clone(), store.clone(), shutdown.clone());
        async move { insights.run(&store, &shutdown).await }
    });
    let before = store.revision();
    let mut streams = Vec::new();
    for number in 0..2_000 {
        streams.push(insights.open(&proxy(number), None, None));
        tokio::task::yield_now().await;
    }
    drop(streams);
    // The writer writes once more at the end.
    shutdown.cancel();
    writer.await.unwrap();
    let transactions = store.revision() - before;
    assert!((1..100).contains(&transactions), "{transactions} transactions for 2,000 proxies");
    let stored = store.list(Kind::DataplaneInsight, None).await.expect("readable");
    assert_eq!(stored.len(), 2_000);
    let is_closed = |insight: &pb::DataplaneInsight| {
        insight.subscriptions.iter().all(|subscription| subscription.disconnect_time.is_some())
    };
    assert!(stored.iter().all(|insight| is_closed(&insight.proto().expect("readable"))));
}

#[test]
fn regenerations_are_counted_once_per_certificate() {
    let certificate = IssuedCertificate {
        not_after: Timestamp::from_second(1_000).unwrap(),
        backend: "ca-1".into(),
        supported_backends: vec!["ca-1".into()],
    };
    let first = certificate_state(None, Some(certificate.clone()));
    let same = certificate_state(first.clone(), Some(certificate.clone()));
    assert_eq!(same, first);
    let renewed = IssuedCertificate { not_after: Timestamp::from_second(2_000).unwrap(), ..certificate };
    assert_eq!(certificate_state(same, Some(renewed)).unwrap().certificate_regenerations, 2);
    assert_eq!(certificate_state(first, None), None);
}
