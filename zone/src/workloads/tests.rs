use serde_json::json;
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::MemoryStore;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn dataplane(name: &str, workload: &str, ready: bool) -> Resource {
    let inbound = pb::dataplane::networking::Inbound {
        port: 80,
        health: Some(pb::dataplane::networking::inbound::Health { ready }),
        ..Default::default()
    };
    let networking = pb::dataplane::Networking { inbound: vec![inbound], ..Default::default() };
    let spec = pb::Dataplane { networking: Some(networking), ..Default::default() };
    let key = ResourceKey::new(Kind::Dataplane, "default", name);
    Resource::from_proto(key, &spec).with_labels([(label::WORKLOAD, workload)])
}

fn insight(name: &str, open: bool) -> Resource {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let subscription = pb::DiscoverySubscription {
        connect_time: at(1),
        disconnect_time: if open { None } else { at(2) },
        ..Default::default()
    };
    let spec = pb::DataplaneInsight { subscriptions: vec![subscription], ..Default::default() };
    let owner = ResourceKey::new(Kind::Dataplane, "default", name);
    Resource::from_proto(ResourceKey::new(Kind::DataplaneInsight, "default", name), &spec).with_owner(owner)
}

fn workload(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Workload, "default", name)
}

struct Zone {
    store: SharedStore,
    _cancel: tokio_util::sync::DropGuard,
}

impl Zone {
    async fn start(resources: Vec<Resource>) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let mesh = Resource::from_proto(ResourceKey::global(Kind::Mesh, "default"), &pb::Mesh::default());
        let writes = std::iter::once(mesh).chain(resources).map(Write::Put).collect();
        store.commit(writes).await.expect("the resources are new");
        let cancel = CancellationToken::new();
        let settings = WorkloadSettings { zone: "east".to_owned(), min_interval: Duration::from_millis(1) };
        tokio::spawn(run(store.clone(), settings, cancel.clone()));
        Self { store, _cancel: cancel.drop_guard() }
    }

    async fn put(&self, resource: Resource) {
        self.store.commit(vec![Write::Put(resource)]).await.expect("written");
    }

    async fn delete(&self, key: ResourceKey) {
        self.store.commit(vec![Write::Delete { key, expected: None }]).await.expect("deleted");
    }

    /// Waits until the Workload has these numbers, or with `None` until it does not exist.
    async fn has(&self, name: &str, numbers: Option<[u32; 3]>) {
        let expected = numbers.map(|[total, healthy, connected]| {
            json!({"dataplaneProxies": {"connected": connected, "healthy": healthy, "total": total}})
        });
        let mut feed = self.store.changes(0);
        let mut found = None;
        let search = async {
            loop {
                found = self.store.get(&workload(name)).await.expect("readable").and_then(|r| r.status.clone());
                if found == expected {
                    return;
                }
                feed.next().await.expect("the store is open");
            }
        };
        let reached = tokio::time::timeout(PATIENCE, search).await.is_ok();
        assert!(reached, "{name}: {found:?} instead of {expected:?}");
    }
}

#[tokio::test]
async fn a_workload_follows_its_proxies() {
    let zone = Zone::start(vec![dataplane("a", "shop", true), insight("a", true)]).await;
    zone.has("shop", Some([1, 1, 1])).await;
    let stored = zone.store.get(&workload("shop")).await.expect("readable").expect("generated");
    let labels: Vec<_> = stored.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        labels,
        [
            ("kuma.io/env", "universal"),
            ("kuma.io/managed-by", "workload-generator"),
            ("kuma.io/mesh", "default"),
            ("kuma.io/zone", "east")
        ]
    );
    assert_eq!(stored.owner, Some(ResourceKey::global(Kind::Mesh, "default")));

    zone.put(dataplane("b", "shop", false)).await;
    zone.has("shop", Some([2, 1, 1])).await;
    zone.put(insight("b", true)).await;
    zone.has("shop", Some([2, 1, 2])).await;
    zone.put(insight("a", false)).await;
    zone.has("shop", Some([2, 1, 1])).await;
    zone.put(dataplane("a", "bar", true)).await;
    zone.has("bar", Some([1, 1, 0])).await;
    zone.has("shop", Some([1, 0, 1])).await;
    zone.delete(dataplane("b", "shop", false).key).await;
    zone.has("shop", None).await;
}

#[tokio::test]
async fn what_no_proxy_names_goes_and_what_one_names_comes_back() {
    let left_over = Resource::from_json(workload("old"), json!({}));
    let zone = Zone::start(vec![left_over, dataplane("a", "shop", true), dataplane("b", "No_Label", true)]).await;
    zone.has("shop", Some([1, 1, 0])).await;
    zone.has("old", None).await;
    zone.has("No_Label", None).await;
    zone.delete(workload("shop")).await;
    zone.has("shop", Some([1, 1, 0])).await;
    zone.delete(ResourceKey::global(Kind::Mesh, "default")).await;
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed() {
    let zone = Zone::start(vec![dataplane("a", "shop", true), insight("a", true)]).await;
    zone.has("shop", Some([1, 1, 1])).await;
    let version = zone.store.get(&workload("shop")).await.expect("readable").expect("there").version;
    // Counters of a stream, and another proxy.
    let mut counted = insight("a", true);
    let mut spec: pb::DataplaneInsight = counted.proto().expect("just encoded");
    spec.subscriptions[0].generation = 7;
    counted.spec = Resource::from_proto(counted.key.clone(), &spec).spec;
    zone.put(counted).await;
    zone.put(dataplane("c", "other", true)).await;
    zone.has("other", Some([1, 1, 0])).await;
    assert_eq!(zone.store.get(&workload("shop")).await.expect("readable").expect("there").version, version);
}
