//! Cases of Kuma: resources in the stores of a global and two zones before, and in all three after synchronization.
//!
//! Reads the folder that `CONFORMANCE_DIR` names; without it there is nothing to compare with. Canonical form of both
//! sides: times and the moving parts of a ZoneInsight (subscriptions and streams) are left out.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{PATIENCE, RunningGlobal, RunningZone, store};
use serde::Deserialize;
use serde_json::{Map, Value};
use tandem_model::{Kind, rest};
use tandem_store::{SharedStore, Write};
use tokio::time::Instant;

const CASES: [&str; 4] = ["mesh-only", "policy-simple", "policy-with-kds-disabled", "mesh-service"];

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_as_in_kuma_after_synchronization() {
    let Some(folder) = std::env::var_os("CONFORMANCE_DIR") else {
        eprintln!("skipped: CONFORMANCE_DIR is not set");
        return;
    };
    let folder = PathBuf::from(folder).join("kds-full-sync").join("full_sync");
    for case in CASES {
        run(case, &folder.join(case)).await;
    }
}

async fn run(case: &str, folder: &Path) {
    let stores = [("global", store()), ("zone-1", store()), ("zone-2", store())];
    for (name, store) in &stores {
        for document in documents(&folder.join(format!("{name}.input.yaml"))) {
            let document = rest::from_json(document, None, tandem_proto::json::Unknown::Refuse).expect("a resource");
            let mut resource = document.resource;
            if document.status.is_some() {
                resource.status = document.status;
            }
            store.commit(vec![Write::Create(resource)]).await.expect("a valid write");
        }
    }
    let global = RunningGlobal::start(&stores[0].1).await;
    let zones: Vec<_> =
        stores[1..].iter().map(|(name, store)| RunningZone::start(name, store, global.address)).collect();
    let expected: Vec<_> = stores
        .iter()
        .map(|(name, _)| {
            documents(&folder.join(format!("{name}.golden.yaml"))).into_iter().map(canonical).collect::<Vec<_>>()
        })
        .collect();

    let began = Instant::now();
    loop {
        let mut actual = Vec::new();
        for (_, store) in &stores {
            actual.push(content(store).await);
        }
        if actual == expected {
            break;
        }
        if began.elapsed() > PATIENCE {
            for (((name, _), actual), expected) in stores.iter().zip(&actual).zip(&expected) {
                assert!(actual == expected, "{case}: {name}: {}\ninstead of {}", text(actual), text(expected));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for zone in zones {
        zone.stop().await;
    }
    global.stop().await;
}

fn documents(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_norway::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

/// Everything in a store, sorted by type and name, but for what a control plane notes down about its peers.
async fn content(store: &SharedStore) -> Vec<Value> {
    let mut kinds: Vec<_> = Kind::all().collect();
    kinds.sort_by_key(|kind| kind.name());
    let mut content = Vec::new();
    for kind in kinds {
        for resource in store.list(kind, None).await.expect("readable") {
            if kind == Kind::Config && resource.key.name.starts_with("kds-peer-") {
                continue;
            }
            content.push(canonical(rest::to_json(&resource).expect("a valid specification")));
        }
    }
    content
}

fn canonical(value: Value) -> Value {
    let Value::Object(mut object) = value else { return value };
    object.remove("creationTime");
    object.remove("modificationTime");
    if object.get("type").is_some_and(|kind| kind == "ZoneInsight") {
        for moving in ["subscriptions", "envoyAdminStreams", "kdsStreams"] {
            object.remove(moving);
        }
        if let Some(Value::Object(check)) = object.get_mut("healthCheck") {
            check.remove("time");
        }
    }
    Value::Object(object.into_iter().collect::<Map<_, _>>())
}

fn text(values: &[Value]) -> String {
    serde_json::to_string_pretty(values).expect("JSON")
}
