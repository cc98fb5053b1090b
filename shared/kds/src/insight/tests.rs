use tandem_store::MemoryStore;

use super::*;

fn settings() -> InsightSettings {
    InsightSettings {
        instance: "global-1a2b".into(),
        flush_interval: Duration::from_secs(10),
        subscription_limit: 2,
        compact_finished: true,
        needs_zone: false,
    }
}

struct Fixture {
    store: SharedStore,
    insights: Arc<Insights>,
    shutdown: CancellationToken,
}

impl Fixture {
    fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let insights = Insights::new(store.clone(), settings(), Surroundings::default());
        let shutdown = CancellationToken::new();
        let (writer, token) = (insights.clone(), shutdown.clone());
        tokio::spawn(async move { writer.run(token).await });
        Self { store, insights, shutdown }
    }

    async fn insight(&self) -> Option<ZoneInsight> {
        let key = ResourceKey::global(Kind::ZoneInsight, "east");
        let resource = self.store.get(&key).await.expect("readable")?;
        Some(resource.proto().expect("an insight"))
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_written_at_once_and_counts_together() {
    let fixture = Fixture::new();
    let connection = fixture.insights.connect("east", KdsSubscription::default());
    connection.describe(|subscription| subscription.zone_instance_id = "zone-3c4d".into());
    fixture.insights.opened("east", StreamKind::Stats);
    fixture.settle().await;
    let insight = fixture.insight().await.expect("written");
    assert_eq!(insight.subscriptions.len(), 1);
    assert_eq!(insight.subscriptions[0].zone_instance_id, "zone-3c4d");
    assert_eq!(insight.kds_streams.expect("set").stats.expect("set").global_instance_id, "global-1a2b");

    let revision = fixture.store.revision();
    for _ in 0..100 {
        connection.sent("Mesh");
        connection.answered("Mesh", false);
    }
    connection.answered("Mesh", true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fixture.store.revision(), revision);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(fixture.store.revision(), revision + 1);
    let insight = fixture.insight().await.expect("written");
    let status = insight.subscriptions[0].status.clone().expect("set");
    let expected = KdsServiceStats { responses_sent: 100, responses_acknowledged: 100, responses_rejected: 1 };
    assert_eq!(status.total, Some(expected));
    assert_eq!(status.stat["Mesh"], expected);

    drop(connection);
    fixture.settle().await;
    assert!(fixture.insight().await.expect("written").subscriptions[0].disconnect_time.is_some());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(fixture.store.revision(), revision + 2, "nothing is written while nothing changes");
}

#[tokio::test(start_paused = true)]
async fn old_connections_are_closed_and_forgotten() {
    let fixture = Fixture::new();
    let mut connections = Vec::new();
    for id in ["a", "b", "c"] {
        let connection = fixture.insights.connect("east", KdsSubscription::default());
        connection.describe(|subscription| {
            subscription.config = id.into();
            subscription.zone_instance_id = id.into();
        });
        connection.sent("Mesh");
        fixture.settle().await;
        connections.push(connection);
    }
    let subscriptions = fixture.insight().await.expect("written").subscriptions;
    let instances: Vec<_> = subscriptions.iter().map(|s| s.zone_instance_id.as_str()).collect();
    assert_eq!(instances, ["b", "c"]);
    assert!(subscriptions[0].config.is_empty() && subscriptions[0].status.as_ref().is_some_and(|s| s.stat.is_empty()));
    assert_eq!(subscriptions[1].config, "c");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_zone_gets_no_new_insight() {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let insights =
        Insights::new(store.clone(), InsightSettings { needs_zone: true, ..settings() }, Surroundings::default());
    insights.pinged("east");
    insights.flush(true).await;
    assert_eq!(store.revision(), 0);
    crate::apply::ensure_zone(&store, "east").await.expect("the store works");
    insights.pinged("east");
    insights.flush(true).await;
    let stored = store.list(Kind::ZoneInsight, None).await.expect("readable");
    assert_eq!(stored[0].owner, Some(ResourceKey::global(Kind::Zone, "east")));
}

#[tokio::test(start_paused = true)]
async fn shutdown_writes_the_rest_and_a_start_closes_what_is_open() {
    let fixture = Fixture::new();
    let connection = fixture.insights.connect("east", KdsSubscription::default());
    fixture.settle().await;
    connection.sent("Mesh");
    fixture.insights.pinged("east");
    fixture.shutdown.cancel();
    fixture.settle().await;
    let insight = fixture.insight().await.expect("written");
    assert!(insight.health_check.is_some());
    assert!(insight.subscriptions[0].disconnect_time.is_none());

    Insights::new(fixture.store.clone(), settings(), Surroundings::default())
        .close_abandoned(async { Ok(()) }, |_, ()| true)
        .await
        .expect("the store works");
    assert!(fixture.insight().await.expect("written").subscriptions[0].disconnect_time.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_due_together_is_written_together() {
    let fixture = Fixture::new();
    let zones: Vec<_> = (0..100).map(|index| format!("zone-{index}")).collect();
    let connections: Vec<_> =
        zones.iter().map(|zone| fixture.insights.connect(zone, KdsSubscription::default())).collect();
    fixture.settle().await;
    assert_eq!(fixture.store.revision(), 1);
    assert_eq!(fixture.store.list(Kind::ZoneInsight, None).await.expect("readable").len(), 100);
    drop(connections);
    fixture.settle().await;
    assert_eq!(fixture.store.revision(), 2);
    assert!(fixture.insights.records.lock().is_empty(), "nothing is kept of zones that have left");
}

#[tokio::test(start_paused = true)]
async fn one_zone_that_cannot_be_written_stands_in_nobodys_way() {
    let fixture = Fixture::new();
    let _impossible = fixture.insights.connect("a\0b", KdsSubscription::default());
    let _fine = fixture.insights.connect("east", KdsSubscription::default());
    fixture.settle().await;
    assert!(fixture.insight().await.is_some());
    let records = fixture.insights.records.lock();
    assert!(records["a\0b"].dirty && !records["east"].dirty, "what could not be written is tried again");
    assert_eq!(records["a\0b"].subscriptions.len(), 1);
}

fn instance(store: &SharedStore, id: &str) -> Arc<Insights> {
    let settings = InsightSettings { instance: id.into(), needs_zone: true, ..settings() };
    Insights::new(store.clone(), settings, Surroundings::default())
}

fn of(insights: &Insights, zone_instance: &str) -> KdsSubscription {
    insights.begin(KdsSubscription {
        global_instance_id: insights.settings.instance.clone(),
        zone_instance_id: zone_instance.into(),
        ..KdsSubscription::default()
    })
}

#[tokio::test(start_paused = true)]
async fn of_several_instances_the_last_one_counts() {
    let store: SharedStore = Arc::new(MemoryStore::new());
    crate::apply::ensure_zone(&store, "east").await.expect("the store works");
    let (a, b) = (instance(&store, "global-a"), instance(&store, "global-b"));
    let alive = |_: &str| true;
    let at_a = of(&a, "zone-1");
    a.claim("east", &at_a, alive).await.expect("free");
    let at_a = a.enter("east", at_a);
    a.flush(true).await;

    let taken = b.claim("east", &of(&b, "zone-2"), alive).await.expect_err("another control plane");
    assert!(matches!(&taken, ClaimError::Taken(holder) if holder == "zone-1"), "{taken:?}");
    let at_b = of(&b, "zone-1");
    b.claim("east", &at_b, alive).await.expect("the same control plane");
    let _at_b = b.enter("east", at_b.clone());
    b.flush(true).await;

    // The farewell of the first comes last, and changes nothing else.
    a.opened("west", StreamKind::GlobalToZone);
    drop(at_a);
    a.flush(true).await;
    let stored = store.get(&ResourceKey::global(Kind::ZoneInsight, "east")).await.expect("readable");
    let insight: ZoneInsight = stored.expect("written").proto().expect("an insight");
    let open: Vec<_> = insight.subscriptions.iter().filter(|s| s.disconnect_time.is_none()).map(|s| &s.id).collect();
    assert_eq!(open, [&at_b.id]);
    let streams = insight.kds_streams.expect("set");
    assert_eq!(streams.global_to_zone.expect("set").global_instance_id, "global-b");

    // The instance that holds it is gone.
    a.claim("east", &of(&a, "zone-2"), |instance| instance != "global-b").await.expect("nobody holds it");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_over_before_it_was_written_closes_no_other() {
    let mut insight = ZoneInsight::default();
    let connection = |id: &str, connected: i64, disconnected: Option<i64>| {
        let time = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        KdsSubscription {
            id: id.into(),
            connect_time: Some(time(connected)),
            disconnect_time: disconnected.map(time),
            ..KdsSubscription::default()
        }
    };
    insight.subscriptions.push(connection("open", 5, None));
    let snapshot = |subscriptions| Snapshot { subscriptions, opened: BTreeMap::new(), health_check: None };
    let settings = InsightSettings { subscription_limit: 10, ..settings() };
    let now = prost_types::Timestamp { seconds: 9, nanos: 0 };
    snapshot(vec![connection("late", 6, Some(7))]).write_into(&mut insight, &settings, now);
    let ids = |insight: &ZoneInsight| insight.subscriptions.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&insight), ["late", "open"]);
    assert!(insight.subscriptions[1].disconnect_time.is_none());

    // Of two that are open here, the newer one counts.
    snapshot(vec![connection("a", 7, None), connection("b", 8, None)]).write_into(&mut insight, &settings, now);
    assert_eq!(ids(&insight), ["late", "open", "b"]);
    assert_eq!(insight.subscriptions[1].disconnect_time, Some(now));
}
