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
