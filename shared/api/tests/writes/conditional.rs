//! Entity tags, conditions, and dry runs.

use http::Method;
use serde_json::{Value, json};

use super::support::{Answer, Api};
use super::{global, path, seconds, timeout};

async fn put_if(api: &Api, header: (&str, &str), body: &Value) -> Answer {
    let path = path(body["name"].as_str().expect("a name"));
    let request = api.request(Method::PUT, &path).header(header.0, header.1);
    api.send(request.header("content-type", "application/json").body(body.to_string())).await
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn tags_follow_what_is_stored() {
    let api = global().await;
    let created = api.put(&path("t"), &timeout("t", 1)).await;
    let shown = api.get(&path("t")).await;
    assert_eq!((created.status.as_u16(), tag(&created)), (201, tag(&shown)));
    let same = api.put(&path("t"), &timeout("t", 1)).await;
    assert_eq!(tag(&same), tag(&created));
    let changed = api.put(&path("t"), &timeout("t", 2)).await;
    assert_ne!(tag(&changed), tag(&created));

    let ask = |tags: String| {
        api.send(api.request(Method::GET, "/meshes/default/meshtimeouts/t").header("if-none-match", tags))
    };
    let known = ask(format!("\"x\", W/{}", tag(&changed))).await;
    assert_eq!((known.status.as_u16(), known.text.as_str(), tag(&known)), (304, "", tag(&changed)));
    assert_eq!(ask("*".to_owned()).await.status, 304);
    let stale = ask(tag(&created)).await;
    assert_eq!((stale.status.as_u16(), seconds(&stale.json())), (200, &json!("2s")));

    api.delete(&path("t")).await;
    let again = api.put(&path("t"), &timeout("t", 1)).await;
    assert!(tag(&again) != tag(&created) && tag(&again) != tag(&changed), "no tag comes twice");
}

#[tokio::test]
async fn conditions_are_told_with_what_is_stored() {
    let api = global().await;
    let absent = put_if(&api, ("if-match", "*"), &timeout("t", 1)).await;
    assert_eq!(absent.problem(), (412, "Precondition failed".to_owned(), "the resource does not exist".to_owned()));
    assert!(!absent.headers.contains_key("etag"));
    let first = put_if(&api, ("if-none-match", "*"), &timeout("t", 1)).await;
    assert_eq!(first.status, 201);
    let second = put_if(&api, ("if-none-match", "*"), &timeout("t", 2)).await;
    assert_eq!((second.status.as_u16(), tag(&second)), (412, tag(&first)));
    assert_eq!(second.json()["etag"], json!(tag(&first)));
    let third = put_if(&api, ("if-match", &tag(&first)), &timeout("t", 3)).await;
    assert_eq!(third.status, 200);
    assert_eq!(put_if(&api, ("if-match", &tag(&first)), &timeout("t", 4)).await.status, 412);

    let delete =
        |tag: String| api.send(api.request(Method::DELETE, "/meshes/default/meshtimeouts/t").header("if-match", tag));
    assert_eq!(delete(tag(&first)).await.status, 412);
    assert_eq!(seconds(&api.get(&path("t")).await.json()), "3s");
    assert_eq!(delete(tag(&third)).await.status, 200);
    assert_eq!(delete(tag(&third)).await.status, 412, "what is gone fits no tag");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_with_one_tag_one_wins() {
    let api = std::sync::Arc::new(global().await);
    let mut current = tag(&api.put(&path("t"), &timeout("t", 1)).await);
    for round in 1..30 {
        let writers: Vec<_> = [1, 2]
            .map(|writer| {
                let (api, current) = (api.clone(), current.clone());
                tokio::spawn(
                    async move { put_if(&api, ("if-match", &current), &timeout("t", round * 10 + writer)).await },
                )
            })
            .into_iter()
            .collect();
        let mut answers = Vec::new();
        for writer in writers {
            answers.push(writer.await.expect("an answer"));
        }
        answers.sort_by_key(|answer| answer.status);
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses, [200, 412], "round {round}");
        current = tag(&answers[0]);
        assert_eq!(tag(&answers[1]), current, "the loser is told what is stored now");
    }
}

#[tokio::test]
async fn dry_runs_tell_and_do_nothing() {
    let api = global().await;
    let revision = api.store.revision();
    let dry = |name: &str| format!("{}?dry-run=true", path(name));
    let created = api.put(&dry("t"), &timeout("t", 1)).await;
    assert_eq!((created.status.as_u16(), created.headers.contains_key("etag")), (200, false));
    let created = created.json();
    assert_eq!((&created["dryRun"], &created["result"]), (&json!(true), &json!("created")));
    assert_eq!(seconds(&created["resource"]), "1s");
    assert_eq!(created["resource"]["labels"]["kuma.io/mesh"], "default", "labels are computed");
    let refused = api
        .put(&dry("t"), &json!({ "type": "MeshTimeout", "mesh": "default", "name": "t", "spec": { "to": [] } }))
        .await;
    assert_eq!(refused.status, 400);
    assert!(!refused.violations().is_empty());

    let mesh = json!({ "type": "Mesh", "name": "m", "mtls": {
        "enabledBackend": "ca", "backends": [{ "name": "ca", "type": "builtin" }] } });
    let brings = api.put("/meshes/m?dry-run", &mesh).await.json();
    let also: Vec<_> = brings["also"].as_array().expect("a list").iter().map(|entry| &entry["type"]).collect();
    assert_eq!(also.iter().filter(|kind| **kind == "Secret").count(), 3, "{brings}");
    assert!(!brings.to_string().contains("PRIVATE KEY"));
    assert_eq!(api.get("/meshes/m").await.status, 404);
    assert_eq!(api.store.revision(), revision);

    api.put(&path("t"), &timeout("t", 1)).await;
    let gone = api.delete("/meshes/default?dry-run=true").await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let gone = gone.json();
    assert_eq!((&gone["result"], &gone["also"][0]["name"]), (&json!("deleted"), &json!("t")));
    assert_eq!(api.put(&dry("t"), &timeout("t", 1)).await.json()["result"], "unchanged");
    assert_eq!(api.delete("/meshes/none?dry-run=true").await.status, 404);
    assert_eq!(api.store.revision(), revision + 1);
    for wrong in ["yes", "ture"] {
        let answer = api.put(&format!("{}?dry-run={wrong}", path("t")), &timeout("t", 9)).await;
        assert_eq!((answer.status.as_u16(), answer.violations()[0].0.as_str()), (400, "dry-run"));
    }
    assert_eq!(seconds(&api.get(&path("t")).await.json()), "1s");
}
