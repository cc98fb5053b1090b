//! Histories and rollbacks, in memory and on disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tandem_model::Mode;
use tandem_store::{Author, Encryption, KeySource, SledStore, Write};

use super::support::{Api, Setup};
use super::{global, of_user, path, seconds, timeout};

const DIRECTORY: &str = "TANDEM_HISTORY_TEST_DIRECTORY";

async fn items(api: &Api, path: &str) -> Vec<Value> {
    let answer = api.get(&format!("{path}/_history")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["items"].as_array().expect("a list").clone()
}

fn results(items: &[Value]) -> Vec<(&str, &str)> {
    items.iter().map(|item| (item["author"].as_str().unwrap_or("?"), item["result"].as_str().unwrap_or("?"))).collect()
}

async fn rollback(api: &Api, name: &str, to: &Value, more: &str) -> super::support::Answer {
    api.send(api.request(Method::PUT, &format!("{}/_rollback?to={to}{more}", path(name)))).await
}

#[tokio::test]
async fn who_wrote_what_and_back() {
    let api = global().await;
    api.put(&path("t"), &timeout("t", 1)).await;
    let mut body = timeout("t", 2);
    body["labels"] = json!({ "team": "a" });
    let by_ann = of_user(&api, Method::PUT, &path("t"), "ann").await.header("content-type", "application/json");
    assert_eq!(api.send(by_ann.body(body.to_string())).await.status, 200);
    api.delete(&path("t")).await;

    let history = items(&api, &path("t")).await;
    assert_eq!(
        results(&history),
        [("mesh-system:admin", "deleted"), ("ann", "updated"), ("mesh-system:admin", "created")]
    );
    let changes = history[1]["changes"].as_array().expect("a patch");
    let at = |op: &str, path: &str| {
        changes.iter().find(|change| change["op"] == op && change["path"] == path).map(|c| &c["value"])
    };
    assert_eq!(at("add", "/labels/team"), Some(&json!("a")), "{changes:?}");
    assert_eq!(at("remove", "/spec/to/0/default/connectionTimeout"), Some(&json!("1s")), "{changes:?}");
    assert_eq!(at("add", "/spec/to/0/default/connectionTimeout"), Some(&json!("2s")), "{changes:?}");

    let dry = rollback(&api, "t", &history[1]["revision"], "&dry-run=true").await;
    assert_eq!((&dry.json()["result"], seconds(&dry.json()["resource"])), (&json!("created"), &json!("2s")));
    assert_eq!(api.get(&path("t")).await.status, 404);
    assert_eq!(rollback(&api, "t", &history[1]["revision"], "").await.status, 201);
    let shown = api.get(&path("t")).await.json();
    assert_eq!((seconds(&shown), &shown["labels"]["team"]), (&json!("2s"), &json!("a")));
    assert_eq!(rollback(&api, "t", &history[2]["revision"], "").await.status, 200);
    assert_eq!(seconds(&api.get(&path("t")).await.json()), "1s");
    assert_eq!(items(&api, &path("t")).await.len(), 5, "a rollback is a write like any other");

    let gone = rollback(&api, "t", &history[0]["revision"], "").await;
    assert_eq!((gone.status.as_u16(), gone.problem().1.as_str()), (400, "Could not roll back a resource"));
    assert_eq!(rollback(&api, "t", &json!(99_999), "").await.status, 404);
    assert_eq!(rollback(&api, "t", &json!("x"), "").await.violations()[0].0, "to");
    assert_eq!(api.get(&format!("{}/_history", path("never"))).await.status, 404);
    assert_eq!(api.get("/meshes/none/meshtimeouts/t/_history").await.problem().1, "Failed to retrieve Mesh");
}

#[tokio::test]
async fn rules_of_today_hold_for_rollbacks() {
    let api = global().await;
    let mesh = |backend: &str| match backend {
        "" => json!({ "type": "Mesh", "name": "m" }),
        name => json!({ "type": "Mesh", "name": "m", "mtls": {
            "enabledBackend": name, "backends": [{ "name": name, "type": "builtin" }] } }),
    };
    assert_eq!(api.put("/meshes/m", &mesh("a")).await.status, 201);
    assert_eq!(api.put("/meshes/m", &mesh("")).await.status, 200);
    assert_eq!(api.put("/meshes/m", &mesh("b")).await.status, 200);
    let history = items(&api, "/meshes/m").await;
    let to = |index: usize| format!("/meshes/m/_rollback?to={}", history[index]["revision"]);
    let refused = api.send(api.request(Method::PUT, &to(2))).await;
    assert_eq!(refused.violations()[0].0, "mtls.enabledBackend", "{}", refused.text);
    let condition = api.request(Method::PUT, &to(1)).header("if-match", "\"1\"");
    assert_eq!(api.send(condition).await.status, 412);
    assert_eq!(api.send(api.request(Method::PUT, &to(1))).await.status, 200);
    // Its policies came with it, and have a history too.
    assert_eq!(items(&api, "/meshes/m/meshtimeouts/mesh-timeout-all-m").await.len(), 1);
}

#[tokio::test]
async fn histories_of_secrets_are_for_those_who_may_read_them() {
    let api = global().await;
    for data in ["b25l", "dHdv"] {
        let secret = json!({ "type": "Secret", "mesh": "default", "name": "s", "data": data });
        assert!(api.put("/meshes/default/secrets/s", &secret).await.status.is_success());
    }
    let path = "/meshes/default/secrets/s/_history";
    let history = api.get(path).await;
    assert!(history.text.contains("b25l") && history.text.contains("dHdv"), "{}", history.text);
    let denied = api.send(of_user(&api, Method::GET, path, "ann").await).await;
    assert_eq!((denied.status.as_u16(), denied.text.contains("b25l")), (403, false));
    let denied = of_user(&api, Method::PUT, "/meshes/default/secrets/s/_rollback?to=2", "ann").await;
    assert_eq!(api.send(denied).await.status, 403);
}

#[tokio::test]
async fn zones_show_what_global_wrote_and_roll_nothing_back() {
    let zone = Api::start(super::support::FEDERATED).await;
    zone.mesh("default").await;
    let resource = tandem_model::rest::from_json(timeout("t", 1), None, tandem_model::rest::Unknown::Refuse);
    let write = Write::Put(resource.expect("well formed").resource);
    zone.store.commit_as(Author::Peer("global".to_owned()), vec![write]).await.expect("stored");
    assert_eq!(results(&items(&zone, &path("t")).await), [("kds:global", "created")]);
    let refused = zone.send(zone.request(Method::PUT, "/meshes/default/_rollback?to=1")).await;
    assert_eq!(refused.problem().1, "Method not allowed");
}

async fn durable(directory: &Path) -> Api {
    let encryption = Encryption { enabled: true, keys: KeySource::FileOrNew(directory.join("store.key")) };
    let store = SledStore::open(directory, &encryption).await.expect("an intact store");
    Setup { store: Arc::new(store), ..Setup::new(Mode::Global) }.start().await
}

#[tokio::test]
#[ignore = "the child process of the test below"]
async fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("set by the parent");
    let api = durable(Path::new(&directory)).await;
    api.mesh("default").await;
    for n in 1..=3 {
        let answer = api.put(&path("t"), &timeout("t", n)).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        eprintln!("etag {}", answer.headers["etag"].to_str().expect("text"));
    }
    eprintln!("done");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn tags_and_histories_survive_kill() {
    use std::io::BufRead;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut child = Command::new(std::env::current_exe().expect("the test binary"))
        .args(["history::child", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut tags = Vec::new();
    for line in stderr.lines().map(|line| line.expect("text")) {
        if line == "done" {
            break;
        }
        tags.extend(line.strip_prefix("etag ").map(str::to_owned));
    }
    child.kill().expect("killed");
    child.wait().expect("reaped");

    let api = durable(directory.path()).await;
    assert_eq!(
        Some(api.get(&path("t")).await.headers["etag"].to_str().expect("text")),
        tags.last().map(String::as_str)
    );
    let history = items(&api, &path("t")).await;
    let revisions: Vec<_> = history.iter().rev().map(|item| format!("\"{}\"", item["revision"])).collect();
    assert_eq!(revisions, tags, "revisions and tags are the same");
    assert_eq!(rollback(&api, "t", &history[2]["revision"], "").await.status, 200);
    assert_eq!(seconds(&api.get(&path("t")).await.json()), "1s");
}
