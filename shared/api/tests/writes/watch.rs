//! Streams of changes.

use std::time::Duration;

use http::Method;
use reqwest::Response;
use serde_json::{Value, json};
use tandem_model::Mode;
use tandem_store::Write;
use tokio::time::timeout as within;

use super::support::Api;
use super::{global, of_user, path, seconds, timeout};

/// A client that reads events one by one.
struct Events {
    response: Response,
    text: String,
}

/// Name, id and data.
type Event = (String, Option<u64>, Value);

impl Events {
    async fn open(api: &Api, path: &str, last: Option<u64>) -> Self {
        let mut request = api.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].as_bytes()),
            (200, &b"text/event-stream"[..])
        );
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
                };
                let event = field("event").map(|name| {
                    let data = serde_json::from_str(&field("data").expect("data")).expect("JSON");
                    (name, field("id").map(|id| id.parse().expect("a revision")), data)
                });
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let piece = within(Duration::from_secs(10), self.response.chunk()).await.expect("in time").ok()??;
            self.text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
    }

    /// Names of the events and of their resources, until one is called `last`.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let (event, _, data) = self.next().await.expect("an open stream");
            seen.push(format!("{event} {}", data["name"].as_str().unwrap_or_default()).trim_end().to_owned());
            if event == last {
                return seen;
            }
        }
    }
}

const LIST: &str = "/meshes/default/meshtimeouts?watch=true";

#[tokio::test]
async fn the_state_and_then_every_change() {
    let api = global().await;
    for name in ["a", "b"] {
        api.put(&path(name), &timeout(name, 1)).await;
    }
    let mut events = Events::open(&api, LIST, None).await;
    assert_eq!(events.until("synced").await, ["added a", "added b", "synced"]);
    api.put("/meshes/default/meshretries/r", &json!({})).await;
    api.put(&path("c"), &timeout("c", 1)).await;
    let (event, id, data) = events.next().await.expect("open");
    assert_eq!((event.as_str(), id, &data["name"]), ("added", Some(api.store.revision()), &json!("c")));
    assert_eq!(data, api.get(&path("c")).await.json());
    api.put(&path("a"), &timeout("a", 2)).await;
    let (event, _, data) = events.next().await.expect("open");
    assert_eq!((event.as_str(), seconds(&data)), ("modified", &json!("2s")));
    api.delete(&path("b")).await;
    let (event, id, data) = events.next().await.expect("open");
    assert_eq!((event.as_str(), id), ("deleted", Some(api.store.revision())));
    assert_eq!(data, json!({ "type": "MeshTimeout", "mesh": "default", "name": "b" }));
}

#[tokio::test]
async fn selections_are_those_of_lists_and_items() {
    let api = global().await;
    api.mesh("other").await;
    let mut of_team = Events::open(&api, "/meshtimeouts?watch=true&filter[labels.team]=x", None).await;
    let mut of_item = Events::open(&api, &format!("{}?watch=true", path("item")), None).await;
    assert_eq!(of_team.until("synced").await, ["synced"]);
    assert_eq!(of_item.until("synced").await, ["synced"], "it may come later");
    let mut item = timeout("item", 1);
    item["labels"] = json!({ "team": "x" });
    api.put(&path("item"), &item).await;
    assert_eq!(of_team.until("added").await, ["added item"]);
    assert_eq!(of_item.until("added").await, ["added item"]);
    let mut elsewhere = timeout("elsewhere", 1);
    (elsewhere["mesh"], elsewhere["labels"]) = (json!("other"), json!({ "team": "x" }));
    api.put("/meshes/other/meshtimeouts/elsewhere", &elsewhere).await;
    assert_eq!(of_team.until("added").await, ["added elsewhere"]);
    api.put(&path("item"), &timeout("item", 1)).await;
    assert_eq!(of_team.until("deleted").await, ["deleted item"], "it left the selection");
    assert_eq!(of_item.until("modified").await, ["modified item"], "{:?}", of_item.text);

    assert_eq!(api.get("/meshes/none/meshtimeouts?watch=true").await.status, 404);
    assert_eq!(api.get("/meshtimeouts?watch=maybe").await.violations()[0].0, "watch");
    let denied = of_user(&api, Method::GET, "/secrets?watch=true", "ann").await;
    assert_eq!(api.send(denied).await.status, 403);
    let mut meshes = Events::open(&api, "/meshes?watch=true", None).await;
    assert_eq!(meshes.until("synced").await, ["added default", "added other", "synced"]);
}

#[tokio::test]
async fn a_client_resumes_where_it_was_or_starts_over() {
    let api = global().await;
    api.put(&path("a"), &timeout("a", 1)).await;
    let mut events = Events::open(&api, LIST, None).await;
    let mut last = None;
    while last.is_none() {
        last = events.next().await.expect("open").1;
    }
    drop(events);
    // Two resources of one commit, then one of them again, and one that never was as far as this client knows.
    let both = json!([timeout("a", 2), timeout("b", 2)]);
    assert_eq!(api.post("/_apply", &both).await.status, 200);
    api.put(&path("b"), &timeout("b", 3)).await;
    api.put(&path("c"), &timeout("c", 3)).await;
    api.delete(&path("c")).await;
    let mut resumed = Events::open(&api, LIST, last).await;
    assert_eq!(resumed.until("added").await, ["modified a", "added b"]);
    api.put(&path("a"), &timeout("a", 9)).await;
    assert_eq!(resumed.until("modified").await, ["modified a"]);

    let mut stale = Events::open(&api, LIST, Some(1_000_000)).await;
    assert_eq!(stale.until("synced").await, ["reset", "added a", "added b", "synced"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_state_that_changes_meanwhile_is_told_completely() {
    let api = std::sync::Arc::new(global().await);
    let resource = |n: u32, value: u32| {
        let read = tandem_model::rest::from_json(
            timeout(&format!("t{n:04}"), value),
            None,
            tandem_model::rest::Unknown::Refuse,
        );
        read.expect("well formed").resource
    };
    api.store.commit((0..2000).map(|n| Write::Put(resource(n, 1))).collect()).await.expect("stored");
    let writer = tokio::spawn({
        let api = api.clone();
        async move {
            for round in 0..400_u32 {
                let n = round * 37 % 2100;
                let write = match round % 3 {
                    0 => Write::Put(resource(n, 1000 + round)),
                    1 => Write::Put(resource(2000 + round % 100, round + 1)),
                    _ => Write::Delete { key: resource(n, 1).key, expected: None },
                };
                // What does not exist cannot be deleted.
                let _ = api.store.commit(vec![write]).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let mut events = Events::open(&api, LIST, None).await;
    let mut known = std::collections::BTreeMap::new();
    let mut synced = false;
    let expected = |list: Value| -> Vec<(String, String)> {
        let items = list["items"].as_array().expect("a list").clone();
        items.iter().map(|item| (item["name"].to_string(), seconds(item).to_string())).collect()
    };
    let mut writer = Some(writer);
    loop {
        let (event, _, data) = events.next().await.expect("an open stream");
        let name = data["name"].to_string();
        match event.as_str() {
            "added" => assert!(known.insert(name.clone(), seconds(&data).to_string()).is_none(), "{name} was known"),
            "modified" => {
                assert!(known.insert(name.clone(), seconds(&data).to_string()).is_some(), "{name} was not known")
            }
            "deleted" => assert!(known.remove(&name).is_some(), "{name} was not known"),
            "synced" => synced = true,
            other => panic!("{other}"),
        }
        if synced && let Some(writer) = writer.take() {
            writer.await.expect("no panic");
            api.put(&path("zzz-last"), &timeout("zzz-last", 1)).await;
        }
        if name == "\"zzz-last\"" {
            break;
        }
    }
    let stored = expected(api.get("/meshes/default/meshtimeouts?size=0").await.json());
    assert_eq!(known.into_iter().collect::<Vec<_>>(), stored);
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_the_newest_state_later() {
    let api = global().await;
    let mut events = Events::open(&api, LIST, None).await;
    events.until("synced").await;
    // Far more than sockets buffer: a policy with a long name list, written over and over.
    let mut body = timeout("big", 1);
    body["labels"] =
        (0..400).map(|n| (format!("label-{n}"), json!("x".repeat(60)))).collect::<serde_json::Map<_, _>>().into();
    let mut told = 0;
    for n in 1..=1500 {
        body["spec"] = timeout("big", n)["spec"].clone();
        let read = tandem_model::rest::from_json(body.clone(), None, tandem_model::rest::Unknown::Refuse);
        api.store.commit(vec![Write::Put(read.expect("well formed").resource)]).await.expect("stored");
    }
    loop {
        let (_, _, data) = events.next().await.expect("an open stream");
        told += 1;
        if seconds(&data) == "1500s" {
            break;
        }
    }
    assert!(told < 1500, "every one of 1500 states was told to a client that did not read");
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let api = Api::start(Mode::Global).await;
    let mut events = Events::open(&api, "/meshes?watch=true", None).await;
    assert_eq!(events.until("synced").await, ["synced"]);
    drop(api);
    assert_eq!(events.next().await, None);
}
