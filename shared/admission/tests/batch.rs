//! Many documents as one write, conditions, and dry runs.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::{Plane, options};
use tandem_admission::{BatchOutcome, Condition, Effect, Reason, Versions, WriteOptions};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Mode, ResourceKey};

fn mesh(members: Value) -> Value {
    let mut mesh = json!({ "type": "Mesh", "name": "m" });
    let (Value::Object(all), Value::Object(members)) = (&mut mesh, members) else { unreachable!() };
    all.extend(members);
    mesh
}

fn timeout(name: &str, seconds: &str) -> Value {
    json!({ "type": "MeshTimeout", "mesh": "m", "name": name, "spec": {
        "targetRef": { "kind": "Mesh" },
        "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "connectionTimeout": seconds } }],
    } })
}

fn secret(name: &str, data: &str) -> Value {
    json!({ "type": "Secret", "mesh": "m", "name": name, "data": data })
}

async fn put_all(plane: &Plane, bodies: &[Value], options: &WriteOptions) -> BatchOutcome {
    let read = |body: &Value| from_json(body.clone(), None, Unknown::Refuse).expect("a well-formed body");
    plane.admission.put_all(bodies.iter().map(read).collect(), options).await.expect("the store works")
}

fn effects(outcome: &BatchOutcome) -> Vec<Option<Effect>> {
    outcome.documents.iter().map(|document| document.as_ref().ok().map(|put| put.effect)).collect()
}

fn reasons(outcome: &BatchOutcome) -> Vec<String> {
    outcome.documents.iter().filter_map(|document| document.as_ref().err().map(ToString::to_string)).collect()
}

#[tokio::test]
async fn a_mesh_and_what_belongs_to_it_are_one_transaction() {
    let plane = Plane::new(Mode::Global);
    let bodies = [timeout("mesh-timeout-all-m", "7s"), timeout("own", "1s"), mesh(json!({})), secret("s", "dGVzdA==")];
    let dry = put_all(&plane, &bodies, &WriteOptions { dry_run: true, ..options() }).await;
    assert_eq!(effects(&dry), [Some(Effect::Created); 4]);
    assert_eq!(plane.store.revision(), 0, "a dry run writes nothing");

    let outcome = put_all(&plane, &bodies, &options()).await;
    assert_eq!((effects(&outcome), outcome.revision), (vec![Some(Effect::Created); 4], 1));
    let mut brings: Vec<_> = outcome.brings.iter().map(|(_, key)| key.name.as_str()).collect();
    brings.sort_unstable();
    assert_eq!(
        brings,
        [
            "dataplane-token-signing-key-m-1",
            "mesh-circuit-breaker-all-m",
            "mesh-gateways-timeout-all-m",
            "mesh-retry-all-m",
        ]
    );
    let policy = plane.get(Kind::MeshTimeout, "m", "mesh-timeout-all-m").await.expect("stored");
    let spec = policy.json::<Value>().expect("JSON");
    assert_eq!(spec["to"][0]["default"]["connectionTimeout"], "7s", "the document wins over the default");
    assert_eq!(policy.owner, Some(ResourceKey::global(Kind::Mesh, "m")));
    assert_eq!(plane.names(Kind::MeshTimeout).await.len(), 3);

    let again = put_all(&plane, &bodies, &options()).await;
    assert_eq!((effects(&again), again.revision), (vec![Some(Effect::Unchanged); 4], 1));
    assert!(again.brings.is_empty());
    let changed = put_all(&plane, &[bodies[0].clone(), timeout("own", "2s")], &options()).await;
    assert_eq!(effects(&changed), [Some(Effect::Unchanged), Some(Effect::Updated)]);
}

#[tokio::test]
async fn everything_wrong_is_told_and_nothing_is_stored() {
    let plane = Plane::new(Mode::Global);
    let bodies = [
        timeout("good", "1s"),
        mesh(json!({ "mtls": { "enabledBackend": "x", "backends": [] } })),
        timeout("bad", "-1s"),
        timeout("good", "2s"),
        json!({ "type": "Dataplane", "mesh": "m", "name": "dp" }),
        json!({ "type": "MeshTimeout", "mesh": "nowhere", "name": "t", "spec": timeout("t", "1s")["spec"] }),
        secret("Bad_Name", "dGVzdA=="),
    ];
    let outcome = put_all(&plane, &bodies, &options()).await;
    let accepted: Vec<_> = outcome.documents.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, false, false, false, false, false], "{:?}", reasons(&outcome));
    let reasons = reasons(&outcome);
    assert!(reasons[0].starts_with("mtls.enabledBackend: has to be set to one of the backends"), "{reasons:?}");
    assert!(reasons[1].contains("connectionTimeout"), "{reasons:?}");
    assert_eq!(reasons[2], "name: document 0 describes the same resource");
    assert!(reasons[3].starts_with("On global control plane"), "{reasons:?}");
    assert_eq!(reasons[4], "mesh of name nowhere is not found");
    assert!(reasons[5].starts_with("name: "), "{reasons:?}");
    assert_eq!(plane.store.revision(), 0);
}

#[tokio::test]
async fn a_mesh_may_refer_to_secrets_of_its_own_batch() {
    let plane = Plane::new(Mode::Global);
    put_all(
        &plane,
        &[json!({ "type": "Mesh", "name": "other", "mtls": { "enabledBackend": "ca", "backends": [
        { "name": "ca", "type": "builtin" }] } })],
        &options(),
    )
    .await;
    let data = async |name: &str| {
        let stored = plane.get(Kind::Secret, "other", name).await.expect("brought by the mesh");
        tandem_model::rest::to_json(&stored).expect("a secret")["data"].as_str().expect("encoded").to_owned()
    };
    let bodies = [
        mesh(json!({ "mtls": { "enabledBackend": "ca", "backends": [{ "name": "ca", "type": "provided", "conf": {
            "cert": { "secret": "my-cert" }, "key": { "secret": "my-key" } } }] } })),
        secret("my-cert", &data("other.ca-builtin-cert-ca").await),
        secret("my-key", &data("other.ca-builtin-key-ca").await),
    ];
    let alone = put_all(&plane, &bodies[..1], &options()).await;
    assert!(!alone.is_accepted());
    let outcome = put_all(&plane, &bodies, &options()).await;
    assert!(outcome.is_accepted(), "{:?}", reasons(&outcome));
    assert!(plane.get(Kind::Mesh, "", "m").await.is_some());
}

#[tokio::test]
async fn a_batch_gives_way_to_other_writers_and_then_fits() {
    let plane = Arc::new(Plane::new(Mode::Global));
    put_all(&plane, &[mesh(json!({}))], &options()).await;
    let writers = (0..8).map(|n| {
        let plane = plane.clone();
        tokio::spawn(async move {
            let bodies = [timeout("a", &format!("{}s", n + 1)), timeout("b", &format!("{}s", n + 1))];
            put_all(&plane, &bodies, &options()).await.is_accepted()
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert!(writer.await.expect("no panic"));
    }
    let seconds = async |name| {
        let policy = plane.get(Kind::MeshTimeout, "m", name).await.expect("stored");
        policy.json::<Value>().expect("JSON")["to"][0]["default"]["connectionTimeout"].clone()
    };
    assert_eq!(seconds("a").await, seconds("b").await, "all or nothing");
}

fn only(version: u64) -> WriteOptions {
    let condition = Condition { matches: Some(Versions::OneOf(vec![version])), matches_none: None };
    WriteOptions { condition, ..options() }
}

fn only_new() -> WriteOptions {
    let condition = Condition { matches: None, matches_none: Some(Versions::Any) };
    WriteOptions { condition, ..options() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_writers_with_the_same_condition_one_wins() {
    let plane = Arc::new(Plane::new(Mode::Global));
    put_all(&plane, &[mesh(json!({}))], &options()).await;
    let key = ResourceKey::new(Kind::MeshTimeout, "m", "t");
    for round in 0..40_u64 {
        // The first round creates, later ones replace; some delete, so that the next one has to create again.
        let stored = plane.get(Kind::MeshTimeout, "m", "t").await.map(|stored| stored.version);
        let writers: Vec<_> = (0..6_u64)
            .map(|writer| {
                let (plane, key) = (plane.clone(), key.clone());
                let options = stored.map_or_else(only_new, only);
                tokio::spawn(async move {
                    if stored.is_some() && round % 5 == 4 && writer % 2 == 0 {
                        return plane.admission.delete(&key, &options).await.map(drop);
                    }
                    let body = timeout("t", &format!("{}s", round * 10 + writer + 1));
                    let document = from_json(body, None, Unknown::Refuse).expect("well formed");
                    plane.admission.put(&key, document, &options).await.map(drop)
                })
            })
            .collect();
        let mut won = 0;
        for writer in writers {
            match writer.await.expect("no panic") {
                Ok(()) => won += 1,
                Err(error) => assert!(matches!(error.reason, Reason::Precondition { .. }), "{error}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_a_deletion_takes_along() {
    let plane = Plane::new(Mode::Global);
    put_all(&plane, &[mesh(json!({})), timeout("t", "1s")], &options()).await;
    let dry = WriteOptions { dry_run: true, ..options() };
    let key = ResourceKey::global(Kind::Mesh, "m");
    let outcome = plane.admission.delete(&key, &dry).await.expect("nothing needs it");
    assert_eq!(outcome.cascade.len(), 6, "four default policies, one of its own, a signing key: {outcome:?}");
    assert!(plane.get(Kind::MeshTimeout, "m", "t").await.is_some());
    let missing = plane.admission.delete(&ResourceKey::global(Kind::Mesh, "none"), &dry).await.expect_err("missing");
    assert!(matches!(missing.reason, Reason::Store(_)));
}
