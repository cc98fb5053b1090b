//! Explanations of policies, dry runs, and what is wrong with a policy.

mod support;

use serde_json::{Value, json};
use support::{ALONE, Api, FEDERATED, Setup};
use tandem_model::Mode;

const EXPLAIN: &str = "/meshes/m/dataplanes/web/_explain";

fn dataplane(name: &str) -> Value {
    json!({
        "type": "Dataplane", "mesh": "m", "name": name, "labels": {"app": name, "kuma.io/zone": "east"},
        "networking": {
            "address": "10.0.0.1",
            "inbound": [{"port": 80, "name": "http", "tags": {"kuma.io/service": name}}],
            "outbound": [{"port": 10001, "tags": {"kuma.io/service": "backend"}}],
        },
    })
}

fn timeout(name: &str, target: Value, seconds: u32) -> Value {
    let conf = json!({"idleTimeout": format!("{seconds}s")});
    let to = json!([{"targetRef": {"kind": "Mesh"}, "default": conf}]);
    json!({"type": "MeshTimeout", "mesh": "m", "name": name, "spec": {"targetRef": target, "to": to}})
}

fn of_app(app: &str) -> Value {
    json!({"kind": "Dataplane", "labels": {"app": app}})
}

async fn start(mode: Mode) -> Api {
    let api = Api::start(mode).await;
    api.mesh("m").await;
    for resource in [dataplane("web"), dataplane("shop"), timeout("all", json!({"kind": "Mesh"}), 1)] {
        api.load(resource).await;
    }
    api
}

async fn stored(api: &Api) -> Value {
    api.get("/meshes/m/meshtimeouts").await.json()["total"].clone()
}

#[tokio::test]
async fn a_field_is_traced_to_its_policy() {
    let api = start(ALONE).await;
    api.load(timeout("own", of_app("web"), 2)).await;
    api.load(timeout("other", of_app("shop"), 3)).await;
    let answer = api.get(&format!("{EXPLAIN}?policy=meshtimeouts&to=backend")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["proxy"], json!({"type": "Dataplane", "mesh": "m", "name": "web", "zone": "east"}));
    let policies = &answer["policies"][0];
    assert_eq!(policies["kind"], "MeshTimeout");
    let field = &policies["outbound"][0]["configurations"][0]["fields"][0];
    let overridden = json!([{"policy": "all", "entry": "to[0]", "value": "1s"}]);
    assert_eq!(
        *field,
        json!({"path": "/idleTimeout", "value": "2s", "policy": "own", "entry": "to[0]", "overrides": overridden})
    );
    assert_eq!(policies["selected"][1]["strongerBy"], "targetRef Dataplane is narrower than Mesh");
    assert_eq!(policies["selected"][0]["effect"], "Overridden");
    let left_out = &policies["leftOut"][0];
    assert_eq!((&left_out["policy"]["name"], &left_out["reason"]), (&json!("other"), &json!("Labels")));
    assert_eq!(left_out["message"], "the proxy has app=web, targetRef asks for shop");
    assert_eq!(answer["envoy"]["known"], false);

    // Without a question everything that says something.
    let all = api.get(EXPLAIN).await.json();
    assert_eq!(all["policies"].as_array().map(Vec::len), Some(1), "{all}");
}

#[tokio::test]
async fn questions_that_have_no_answer() {
    let api = start(ALONE).await;
    let refused = api.get(&format!("{EXPLAIN}?policy=Mesh")).await;
    assert_eq!(refused.status, 400);
    assert!(refused.violations()[0].1.contains("MeshTimeout"), "{}", refused.text);
    let missing = api.get(&format!("{EXPLAIN}?to=nowhere")).await;
    assert_eq!(missing.status, 404);
    assert!(missing.problem().2.contains("\"nowhere\""), "{}", missing.text);
    for path in ["/meshes/m/dataplanes/gone/_explain", "/meshes/gone/dataplanes/web/_explain"] {
        assert_eq!(api.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_policy_that_is_not_stored_is_explained_and_not_stored() {
    let api = start(ALONE).await;
    let answer = api.post(EXPLAIN, &timeout("own", of_app("web"), 2)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    let rules = answer["change"]["rules"].as_array().cloned().unwrap_or_default();
    let about: Vec<&str> = rules.iter().filter_map(|rule| rule["about"].as_str()).collect();
    assert_eq!(about, ["to Mesh m", "to kuma.io/service backend"]);
    assert_eq!(
        (&rules[1]["before"], &rules[1]["after"]),
        (&json!({"idleTimeout": "1s"}), &json!({"idleTimeout": "2s"}))
    );
    let names: Vec<&Value> =
        answer["policies"][0]["selected"].as_array().into_iter().flatten().map(|one| &one["policy"]["name"]).collect();
    assert_eq!(names, ["all", "own"]);
    let mut wrong = timeout("own", of_app("web"), 2);
    wrong["spec"]["to"][0]["default"] = json!({});
    let refused = api.post(EXPLAIN, &wrong).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(!refused.violations().is_empty());
    let no_policy = api.post(EXPLAIN, &json!({"type": "MeshGateway", "mesh": "m", "name": "g"})).await;
    assert_eq!(no_policy.status, 400, "{}", no_policy.text);
    assert_eq!(stored(&api).await, 1);
}

#[tokio::test]
async fn a_dry_run_lists_the_proxies_whose_rules_would_change() {
    let api = start(Mode::Global).await;
    let path = "/meshes/m/meshtimeouts/own/_dry-run";
    let run = api.post(path, &timeout("own", of_app("web"), 2)).await;
    assert_eq!(run.status, 200, "{}", run.text);
    let run = run.json();
    assert_eq!((&run["result"], &run["selected"], &run["total"]), (&json!("created"), &json!(1), &json!(1)));
    assert_eq!(run["items"][0]["proxy"]["name"], "web");
    assert_eq!(run["items"][0]["rules"][0]["after"], json!({"idleTimeout": "2s"}));
    assert!(run["envoy"]["message"].as_str().is_some_and(|text| text.contains("zone \"east\"")), "{run}");

    // What says the same as before changes nobody; what is about all changes all, page by page.
    let same = api.post(path, &timeout("own", of_app("web"), 1)).await.json();
    assert_eq!((&same["selected"], &same["total"]), (&json!(1), &json!(0)));
    let everywhere = timeout("own", json!({"kind": "MeshSubset"}), 2);
    let first = api.post(&format!("{path}?size=1"), &everywhere).await.json();
    assert_eq!((&first["total"], first["items"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert!(first["next"].as_str().is_some_and(|next| next.contains("offset=1")), "{first}");
    let second = api.post(&format!("{path}?size=1&offset=1"), &everywhere).await.json();
    assert_eq!((&second["items"][0]["proxy"]["name"], &second["next"]), (&json!("web"), &Value::Null));

    let deleted = api.delete("/meshes/m/meshtimeouts/all/_dry-run").await;
    assert_eq!((deleted.status.as_u16(), &deleted.json()["total"]), (200, &json!(2)), "{}", deleted.text);
    assert_eq!(deleted.json()["items"][0]["rules"][0]["after"], Value::Null);
    let missing = api.delete("/meshes/m/meshtimeouts/gone/_dry-run").await;
    assert_eq!(missing.status, 404);
    assert_eq!(stored(&api).await, 1);
}

#[tokio::test]
async fn a_zone_can_be_asked_about_policies_of_global() {
    let api = start(FEDERATED).await;
    let mut global = timeout("all-0123456789abcdef", json!({"kind": "Mesh"}), 1);
    global["labels"] = json!({"kuma.io/origin": "global", "kuma.io/display-name": "synced"});
    api.load(global).await;
    let path = "/meshes/m/meshtimeouts/synced/_dry-run?origin=global";
    let run = api.post(path, &timeout("synced", json!({"kind": "MeshSubset"}), 9)).await;
    assert_eq!(run.status, 200, "{}", run.text);
    assert_eq!(
        (&run.json()["result"], &run.json()["total"]),
        (&json!("updated"), &json!(2)),
        "the stored one is replaced"
    );
    let new = api.post("/meshes/m/meshtimeouts/new/_dry-run?origin=global", &timeout("new", of_app("web"), 9)).await;
    assert_eq!((&new.json()["result"], &new.json()["total"]), (&json!("created"), &json!(1)), "{}", new.text);
    let gone = api.delete("/meshes/m/meshtimeouts/gone/_dry-run?origin=global").await;
    assert_eq!(gone.status, 404);
    let alone = start(ALONE).await;
    let refused = alone.post(path, &timeout("synced", of_app("web"), 9)).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let unknown = alone.post("/meshes/m/meshtimeouts/x/_dry-run?origin=moon", &timeout("x", of_app("web"), 9)).await;
    assert_eq!(unknown.violations()[0].0, "origin", "{}", unknown.text);
}

#[tokio::test]
async fn who_may_not_write_may_not_try() {
    let mut setup = Setup::new(Mode::Global);
    setup.admission.read_only = true;
    let api = setup.start().await;
    api.mesh("m").await;
    let refused = api.post("/meshes/m/meshtimeouts/x/_dry-run", &timeout("x", of_app("web"), 9)).await;
    assert_eq!(refused.status, 405, "{}", refused.text);
}

#[tokio::test]
async fn what_is_wrong_with_a_policy() {
    let api = start(ALONE).await;
    let path = "/meshes/m/meshtimeouts/all/_problems";
    assert_eq!(api.get(path).await.json(), json!({"total": 0, "items": []}));
    let mut dangling = timeout("dangling", json!({"kind": "MeshHTTPRoute", "name": "gone"}), 1);
    dangling["spec"]["to"][0]["targetRef"] = json!({"kind": "MeshExternalService", "name": "nowhere"});
    api.load(dangling).await;
    let problem = json!({
        "type": "LeftOut", "subject": {"type": "MeshTimeout", "mesh": "m", "name": "dangling"}, "message": "too much",
    });
    for name in ["web", "shop"] {
        api.load(json!({"type": "DataplaneInsight", "mesh": "m", "name": name, "problems": [problem]})).await;
    }
    let answer = api.get("/meshes/m/meshtimeouts/dangling/_problems").await.json();
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let shown: Vec<(&str, &str)> = items
        .iter()
        .map(|item| (item["type"].as_str().unwrap_or_default(), item["message"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            ("Unresolved", "couldn't resolve MeshHTTPRoute targetRef with name 'gone'"),
            (
                "Unresolved",
                "to[0] refers to the MeshExternalService \"nowhere\", which does not exist: it has no effect"
            ),
            ("LeftOut", "too much"),
        ]
    );
    assert_eq!(items[2]["proxiesTotal"], 2);
    assert_eq!(items[2]["proxies"][0], json!({"type": "Dataplane", "mesh": "m", "name": "shop"}));
    assert_eq!(api.get("/meshes/m/meshtimeouts/gone/_problems").await.status, 404);
}
