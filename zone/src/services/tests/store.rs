//! The task with a store on disk.

use tokio::time::timeout;

use super::*;
use crate::testing::Running;

async fn open(folder: &std::path::Path) -> Running {
    Running::open(folder, |store, cancel| run(store, settings(), nothing_left_out(), cancel)).await
}

fn in_memory(settings: ServicesSettings) -> Running {
    let store: SharedStore = Arc::new(tandem_store::MemoryStore::new());
    Running::over(store, |store, cancel| run(store, settings, nothing_left_out(), cancel))
}

impl Running {
    /// Waits until nothing has been written for a while.
    async fn settle(&self) {
        let mut feed = self.store.changes(self.store.revision());
        while timeout(Duration::from_millis(300), feed.next()).await.is_ok() {}
    }

    async fn all(&self) -> Vec<Resource> {
        self.settle().await;
        let mut all = Vec::new();
        for kind in tandem_model::hostname::KINDS {
            all.extend(
                self.store.list(kind, None).await.expect("readable").iter().map(|resource| (**resource).clone()),
            );
        }
        all
    }
}

fn addresses(resources: &[Resource]) -> BTreeMap<&str, &str> {
    resources.iter().map(|resource| (resource.key.name.as_str(), vip(resource).unwrap_or("none"))).collect()
}

#[tokio::test]
async fn addresses_survive_a_restart_and_nothing_is_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = open(folder.path()).await;
    running.put(mesh(Mode::Exclusive)).await;
    for generator in tandem_admission::hostname_generators(false) {
        running.put(generator).await;
    }
    for service in ["a", "b", "c"] {
        running.put(dataplane(service, vec![inbound(service, 80)])).await;
    }
    running.put(resource(Kind::MeshExternalService, "out", json!({"match": {"port": 443}}))).await;
    let before = running.all().await;
    assert_eq!(addresses(&before).len(), 4);
    assert!(before.iter().all(|resource| vip(resource).is_some()));
    running.close().await;

    let running = open(folder.path()).await;
    let revision = running.store.revision();
    running.settle().await;
    assert_eq!(running.store.revision(), revision, "nothing is to be written");
    assert_eq!(running.all().await, before);

    running.put(dataplane("d", vec![inbound("d", 80)])).await;
    let after = running.all().await;
    let fresh = addresses(&after)["d"];
    assert!(addresses(&before).values().all(|known| *known != fresh), "{fresh} was handed out again");
    running.close().await;
}

#[tokio::test]
async fn a_grace_period_ends_by_itself() {
    let settings = ServicesSettings { deletion_grace_period: Duration::from_millis(200), ..settings() };
    let running = in_memory(settings);
    running.put(mesh(Mode::Exclusive)).await;
    running.put(web("web-1")).await;
    assert_eq!(running.all().await.len(), 1);
    let delete = Write::Delete { key: web("web-1").key, expected: None };
    running.store.commit(vec![delete]).await.expect("exists");
    assert!(running.all().await.is_empty());
    running.close().await;
}

#[tokio::test]
async fn who_writes_at_the_same_time_loses_nothing() {
    let running = in_memory(settings());
    running.put(mesh(Mode::Exclusive)).await;
    for round in 0..60 {
        running.put(dataplane(&format!("d{round}"), vec![inbound("web", 80)])).await;
        // As a user would: the status stays as it is.
        let mut service = written("mine", json!({"dataplaneTags": {"kuma.io/service": "web"}}));
        service.labels.insert("round".to_owned(), round.to_string());
        if let Some(stored) = running.store.get(&service.key).await.expect("readable") {
            service.status.clone_from(&stored.status);
        }
        running.put(service).await;
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let all = running.all().await;
    let mine = all.iter().find(|resource| resource.key.name == "mine").expect("exists");
    assert_eq!(mine.label("round"), Some("59"));
    assert_eq!(status(mine)["dataplaneProxies"], json!({"healthy": 60, "total": 60}));
    assert_eq!(spec(mine)["identities"], json!([{"type": "ServiceTag", "value": "web"}]));
    let addresses = addresses(&all);
    assert!(!addresses.values().any(|vip| *vip == "none") && addresses["mine"] != addresses["web"], "{addresses:?}");
    running.close().await;
}
