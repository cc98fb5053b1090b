//! Many documents at once.

use http::Method;
use serde_json::{Value, json};
use tandem_api::ApiSettings;
use tandem_model::Mode;

use super::support::{Answer, Api, Setup};
use super::{global, of_user, path, seconds, timeout};

async fn send(api: &Api, path: &str, body: &str) -> Answer {
    api.send(api.request(Method::POST, path).header("content-type", "application/yaml").body(body.to_owned())).await
}

/// `index:line type name result` of each document.
fn lines(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let documents = body["documents"].as_array().expect("documents").clone();
    let text = |entry: &Value, member: &str| entry[member].as_str().unwrap_or("-").to_owned();
    let line = |entry: &Value| {
        let (index, line) = (&entry["index"], &entry["line"]);
        format!("{index}:{line} {} {} {}", text(entry, "type"), text(entry, "name"), text(entry, "result"))
    };
    documents.iter().map(line).collect()
}

const NEW_MESH: &str = "\
# policies first: the order does not matter
type: MeshTimeout
mesh: m
name: mesh-timeout-all-m
spec:
  targetRef: {kind: Mesh}
  to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 7s}}]
---
type: Secret
mesh: m
name: s
data: dGVzdA==
---
type: Mesh
name: m
mtls:
  enabledBackend: ca
  backends: [{name: ca, type: builtin}]
";

#[tokio::test]
async fn a_mesh_with_its_policies() {
    let api = Api::start(Mode::Global).await;
    let dry = send(&api, "/_apply?dry-run=true", NEW_MESH).await;
    let expected = ["0:2 MeshTimeout mesh-timeout-all-m created", "1:9 Secret s created", "2:14 Mesh m created"];
    assert_eq!(lines(&dry), expected, "{}", dry.text);
    assert_eq!((dry.json()["dryRun"].clone(), api.store.revision()), (json!(true), 0));

    let applied = send(&api, "/_apply", NEW_MESH).await;
    assert_eq!((applied.status.as_u16(), lines(&applied)), (200, expected.map(str::to_owned).to_vec()));
    assert_eq!((&applied.json()["revision"], api.store.revision()), (&json!(1), 1), "one transaction");
    let also = applied.json()["also"].as_array().expect("what the mesh brings").len();
    assert_eq!(also, 6, "three default policies, a signing key, certificate and key: {}", applied.text);
    assert_eq!(api.get("/meshes/m/meshtimeouts").await.json()["total"], 2);
    let policy = api.get("/meshes/m/meshtimeouts/mesh-timeout-all-m").await;
    assert_eq!(seconds(&policy.json()), "7s");
    assert_eq!(policy.headers["etag"], applied.json()["documents"][0]["etag"].as_str().expect("a tag"));

    let again = send(&api, "/_apply", NEW_MESH).await;
    assert!(lines(&again).iter().all(|line| line.ends_with(" unchanged")), "{}", again.text);
    assert_eq!(api.store.revision(), 1);
}

#[tokio::test]
async fn all_or_nothing_and_everything_told() {
    let api = global().await;
    let revision = api.store.revision();
    let body = "\
type: MeshTimeout
mesh: default
name: good
spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 7s}}]}
---
type: MeshTimeout
mesh: default
name: Bad_Name
spec: {targetRef: {kind: Mesh}, to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: -7s}}]}
---
type: MeshTimout
name: typing
---
type: [
---
type: Dataplane
mesh: default
name: dp
networking: {address: 1.2.3.4}
---
type: Mesh
name: extra
unknownMember: 1
";
    let refused = send(&api, "/_apply", body).await;
    assert_eq!(
        lines(&refused),
        [
            "0:1 MeshTimeout good created",
            "1:6 MeshTimeout Bad_Name -",
            "2:11 MeshTimout typing -",
            "3:14 - - -",
            "4:16 Dataplane dp -",
            "5:21 Mesh extra -",
        ]
    );
    assert_eq!(
        refused.problem(),
        (
            400,
            "Could not apply the documents".to_owned(),
            "5 of 6 documents cannot be applied; nothing was stored".to_owned()
        )
    );
    let fields: Vec<_> = refused.violations().into_iter().map(|(field, _)| field).collect();
    for field in [
        "documents[1].name",
        "documents[1].spec.to[0].default.connectionTimeout",
        "documents[2].type",
        "documents[3]",
        "documents[4]",
        "documents[5].unknownMember",
    ] {
        assert!(fields.iter().any(|found| found == field), "{field} in {fields:?}");
    }
    assert_eq!(refused.json()["documents"][4]["problem"]["status"], 405);
    assert_eq!((api.store.revision(), api.get(&path("good")).await.status.as_u16()), (revision, 404));

    let judged = send(&api, "/_validate", body).await;
    assert_eq!((judged.status.as_u16(), judged.json()["valid"].clone()), (200, json!(false)));
    assert_eq!(judged.json()["documents"][1]["problem"], refused.json()["documents"][1]["problem"]);
    let fine = api.post("/_validate", &timeout("t", 1)).await;
    assert_eq!(
        (fine.json()["valid"].clone(), lines(&fine)),
        (json!(true), vec!["0:null MeshTimeout t created".into()])
    );
    assert_eq!(api.store.revision(), revision);
}

#[tokio::test]
async fn bodies_are_json_too_and_bounded() {
    let setup =
        Setup { settings: ApiSettings { body_limit: 4096, ..ApiSettings::default() }, ..Setup::new(Mode::Global) };
    let api = setup.start().await;
    api.mesh("default").await;
    let both = api.post("/_apply", &json!([timeout("a", 1), timeout("b", 1)])).await;
    assert_eq!(lines(&both), ["0:null MeshTimeout a created", "1:null MeshTimeout b created"]);
    let updated = api.post("/_apply", &json!([timeout("a", 1), timeout("b", 2)])).await;
    assert_eq!(lines(&updated), ["0:null MeshTimeout a unchanged", "1:null MeshTimeout b updated"]);
    for empty in ["[]", "", "5x"] {
        let request = api.request(Method::POST, "/_apply").header("content-type", "application/json");
        assert_eq!(api.send(request.body(empty)).await.problem().0, 400, "{empty}");
    }
    assert_eq!(send(&api, "/_apply", &"# long\n".repeat(1000)).await.problem().0, 413);
    let none = api.send(api.request(Method::POST, "/_apply").body("type: Mesh")).await;
    assert_eq!(none.status, 415);
    let hidden = api.post("/_apply", &json!({ "type": "Config", "name": "kuma-cluster-id", "config": "x" })).await;
    assert_eq!(hidden.violations()[0].0, "documents[0].type");
}

#[tokio::test]
async fn secrets_are_for_administrators() {
    let api = global().await;
    let secret = json!([timeout("t", 1), { "type": "Secret", "mesh": "default", "name": "s", "data": "dGVzdA==" }]);
    for path in ["/_apply", "/_apply?dry-run=true"] {
        let request = of_user(&api, Method::POST, path, "ann").await.header("content-type", "application/json");
        let denied = api.send(request.body(secret.to_string())).await;
        assert_eq!((denied.status.as_u16(), denied.problem().1.as_str()), (403, "Could not apply the documents"));
    }
    assert_eq!(api.get(&path("t")).await.status, 404);
}
