//! The task with a store on disk.

use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;
use crate::testing::Running;

async fn open(folder: &std::path::Path) -> Running {
    let metrics = VipMetrics::register(&mut Registry::default());
    Running::open(folder, |store, cancel| run(store, settings("240.0.0.0/4"), metrics, cancel)).await
}

impl Running {
    /// The addresses of the mesh, once these names have one.
    async fn with(&self, names: &[&str]) -> Vips {
        let key = ResourceKey::global(Kind::Config, config_name("demo"));
        let mut feed = self.store.changes(0);
        let complete = async {
            loop {
                let config = self.store.get(&key).await.expect("readable");
                let text = config.map(|config| config.proto::<Config>().expect("a Config").config).unwrap_or_default();
                let vips = parse(&text).expect("written by the task");
                if vips.len() == names.len()
                    && names.iter().all(|name| vips.contains_key(&VipName::new(NameKind::Service, *name)))
                {
                    return vips;
                }
                feed.next().await.expect("the store is open");
            }
        };
        timeout(Duration::from_secs(60), complete).await.expect("the names get addresses")
    }
}

#[tokio::test]
async fn addresses_survive_restarts_and_go_with_their_mesh() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = open(folder.path()).await;
    running.put(mesh("demo")).await;
    running.put(service("b")).await;
    running.put(service("c")).await;
    let before = running.with(&["b", "c"]).await;
    running.close().await;

    let running = open(folder.path()).await;
    running.put(service("a")).await;
    let after = running.with(&["a", "b", "c"]).await;
    for (name, vip) in &before {
        assert_eq!(after.get(name), Some(vip));
    }
    let addresses: std::collections::BTreeSet<_> = after.values().map(|vip| &vip.address).collect();
    assert_eq!(addresses.len(), 3, "nobody shares one");

    let mesh = ResourceKey::global(Kind::Mesh, "demo");
    running.store.commit(vec![Write::Delete { key: mesh, expected: None }]).await.expect("it exists");
    let config = ResourceKey::global(Kind::Config, config_name("demo"));
    assert!(running.store.get(&config).await.expect("readable").is_none());
    running.close().await;
}
