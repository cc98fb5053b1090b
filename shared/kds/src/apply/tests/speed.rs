//! A rough measure, not a check: `cargo test --release -p tandem-kds --lib bulk -- --ignored --nocapture`.

use tandem_store::{Encryption, KeySource, SledStore};

use super::*;

const POLICIES: usize = 5_000;

fn policy(number: usize, idle: &str) -> Bytes {
    let spec = json!({
        "targetRef": {"kind": "Dataplane", "labels": {"app": format!("app-{}", number % 100)}},
        "to": [{
            "targetRef": {"kind": "MeshService", "name": format!("backend-{number}"), "namespace": "shop"},
            "default": {
                "connectionTimeout": "5s",
                "idleTimeout": idle,
                "http": {"requestTimeout": "15s", "streamIdleTimeout": "1h"},
            },
        }],
    });
    let key = ResourceKey::new(Kind::MeshTimeout, "default", format!("timeout-{number}"));
    let policy = Resource::from_json(key, spec).with_labels([(label::MESH, "default")]);
    mapper::encode_for_zones(&policy, true, &[]).expect("encodable").body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure for people"]
async fn bulk() {
    for backend in ["memory", "sled"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let encryption = Encryption { enabled: true, keys: KeySource::FileOrNew(directory.path().join("store.key")) };
        let store: SharedStore = match backend {
            "memory" => Arc::new(MemoryStore::new()),
            _ => Arc::new(SledStore::open(directory.path(), &encryption).await.expect("an empty store")),
        };
        let validate: Validate = Arc::new(|resource| match &resource.spec {
            tandem_model::Spec::Json(spec) => tandem_policy::check_received(resource.kind(), spec),
            tandem_model::Spec::Proto(_) => Violations::none(),
        });
        let zone = Applier::new(store, Inlet::Zone, validate, DeletionGuard::default());
        let origin = Some(Origin { store: StoreId::new(), revision: 1 });
        for (what, idle) in [("created", "1h"), ("unchanged", "1h"), ("changed", "2h")] {
            let bodies: Vec<_> = (0..POLICIES).map(|number| policy(number, idle)).collect();
            let response = response(&bodies, &[], origin);
            let began = std::time::Instant::now();
            let announced = zone.read(Kind::MeshTimeout, &response.resources, &[]).await;
            let read = began.elapsed();
            assert_eq!(announced.resources.len(), POLICIES);
            let began = std::time::Instant::now();
            let applied = zone.open().apply(Kind::MeshTimeout, &response).await.expect("the store works");
            assert_eq!(applied.accepted.len(), POLICIES);
            println!("{backend:>6}, {POLICIES} {what}: {:?}, of which reading {read:?}", began.elapsed());
        }
    }
}
