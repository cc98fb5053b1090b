//! Why policies have the effect that they have, and what others would change.

use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::{api, ports, wait};

use crate::support::stage::programs;
use crate::support::{PATIENCE, Stage, apps};

const EXPLAIN: &str = "/meshes/default/dataplanes/client-1/_explain";

fn timeout(name: &str, target: Value, seconds: u32) -> (String, Value) {
    let conf = json!({"http": {"requestTimeout": format!("{seconds}s")}});
    let policy = json!({
        "type": "MeshTimeout", "mesh": "default", "name": name,
        "spec": {"targetRef": target, "to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]},
    });
    (format!("/meshes/default/meshtimeouts/{name}"), policy)
}

/// The names of resources of a type in a configuration dump.
fn names_in(dump: &Value, list: &str, item: &str) -> Vec<String> {
    let configs = dump["configs"].as_array().into_iter().flatten();
    let all = configs.filter_map(|config| config[list].as_array()).flatten();
    all.filter_map(|entry| entry.pointer(item)?.as_str()).map(str::to_owned).collect()
}

/// The field of the request timeout in an explanation of traffic to `echo`, once there is one.
async fn request_timeout(api: &Api) -> Result<(Value, Value)> {
    let explained = || async {
        let explained = api.get(&format!("{EXPLAIN}?policy=MeshTimeout&to=echo")).await?;
        let rule = explained.pointer("/policies/0/outbound/0").cloned().unwrap_or_default();
        let fields = rule.pointer("/configurations/0/fields").and_then(Value::as_array).cloned().unwrap_or_default();
        let field = fields.into_iter().find(|field| field["path"] == "/http/requestTimeout" && field["value"] == "5s");
        Ok(field.map(|field| (field, rule)))
    };
    wait::until(&format!("{} explains the timeout", api.url()), PATIENCE, explained).await
}

fn ran(output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[tokio::test]
async fn a_field_is_traced_to_its_policy_and_to_what_envoy_has() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("echo").await?;
    let _echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", server.port(), &[])?).await?;
    let outbound = ports::free()?;
    let client = apps::caller("default", "client-1", &[(outbound, "echo")])?;
    let client = stage.zone(0).start_sidecar(client).await?;
    for (name, target, seconds) in [
        ("everybody", json!({"kind": "MeshSubset"}), 7),
        ("own", json!({"kind": "MeshService", "name": "client-1"}), 5),
        ("others", json!({"kind": "MeshService", "name": "echo"}), 3),
    ] {
        let (path, policy) = timeout(name, target, seconds);
        stage.global().put(&path, &policy).await?;
    }

    let zone = &stage.zone(0).api;
    for (api, is_zone) in [(zone, true), (stage.global(), false)] {
        // At global the proxy has another name.
        let listed = || async {
            let listed = api.get("/meshes/default/dataplanes").await?;
            let items = listed["items"].as_array().cloned().unwrap_or_default();
            let is_client = |item: &&Value| item["name"].as_str().is_some_and(|name| name.starts_with("client-1"));
            Ok(items.iter().find(is_client).and_then(|item| item["name"].as_str()).map(str::to_owned))
        };
        let name = wait::until("the proxy is listed", PATIENCE, listed).await?;
        let path = format!("/meshes/default/dataplanes/{name}/_explain?policy=MeshTimeout&to=echo");
        let named = |list: &Value, name: &str| {
            let mut all = list.as_array().cloned().unwrap_or_default().into_iter();
            all.find(|entry| {
                entry["policy"]["targetRef"]["name"] == name || entry["policy"]["targetRef"]["kind"] == name
            })
        };
        let explained = || async {
            let answer = api.get(&path).await?;
            let policies = &answer["policies"][0];
            let left_out = named(&policies["leftOut"], "echo");
            let selected = ["MeshSubset", "client-1"].map(|target| named(&policies["selected"], target));
            Ok(left_out.filter(|_| selected.iter().all(Option::is_some)).map(|left_out| (answer, left_out)))
        };
        let (answer, left_out) = wait::until("all three policies are considered", PATIENCE, explained).await?;
        let policies = &answer["policies"][0];
        assert_eq!(left_out["reason"], "Tags", "{left_out}");
        let fields = policies["outbound"][0]["configurations"][0]["fields"].as_array().cloned().unwrap_or_default();
        let field = fields.iter().find(|field| field["path"] == "/http/requestTimeout").context("it is set")?;
        assert!(
            field["value"] == "5s" && field["policy"].as_str().is_some_and(|name| name.starts_with("own")),
            "{field}"
        );
        let overridden = field["overrides"].as_array().cloned().unwrap_or_default();
        assert!(overridden.iter().any(|weaker| weaker["value"] == "7s"), "{field}");
        assert_eq!(answer["envoy"]["known"], is_zone, "{answer}");
        if !is_zone {
            assert!(answer["envoy"]["message"].as_str().is_some_and(|text| text.contains("zone-1")), "{answer}");
        }
    }

    // The resources that the zone names are those that Envoy has, and the effect is in them.
    let (_, rule) = request_timeout(zone).await?;
    let resources = rule["destinations"][0]["resources"].as_array().cloned().unwrap_or_default();
    let dump = client.config_dump().await?;
    let listeners = names_in(&dump, "dynamic_listeners", "/name");
    assert!(listeners.contains(&format!("outbound:127.0.0.1:{outbound}")), "{listeners:?}");
    let listener = resources.iter().find(|resource| resource["type"] == "Listener").context("a listener carries it")?;
    assert!(listeners.iter().any(|name| listener["name"] == name.as_str()), "{listener} is none of {listeners:?}");
    let changes = listener["changes"].as_array().cloned().unwrap_or_default();
    assert!(changes.iter().any(|place| place.as_str().is_some_and(|place| place.ends_with("/timeout"))), "{changes:?}");
    let clusters = names_in(&dump, "dynamic_active_clusters", "/cluster/name");
    for cluster in resources.iter().filter(|resource| resource["type"] == "Cluster") {
        assert!(clusters.iter().any(|name| cluster["name"] == name.as_str()), "{cluster} is none of {clusters:?}");
    }

    // The command of the program says the same.
    let run = |arguments: Vec<String>| async move {
        let programs = programs().await?;
        let output = tokio::process::Command::new(&programs.zone).arg("explain").args(arguments).output().await?;
        ran(&output)
    };
    let url = zone.url().to_owned();
    let text = run(["client-1", "--url", &url, "-p", "MeshTimeout", "--to", "echo"].map(str::to_owned).into()).await?;
    assert!(text.contains("http.requestTimeout") && text.contains("5s"), "{text}");
    assert!(text.contains("Left out:") && text.contains(&format!("Listener outbound:127.0.0.1:{outbound}")), "{text}");
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_dry_run_lists_what_would_change_and_stores_nothing() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("echo").await?;
    let echo = apps::sidecar("default", "echo-1", "echo", server.port(), &[])?;
    let _echo = stage.zone(0).start_sidecar(echo).await?;
    let client = apps::caller("default", "client-1", &[(ports::free()?, "echo")])?;
    let _client = stage.zone(0).start_sidecar(client).await?;
    let other = apps::caller("default", "other-1", &[(ports::free()?, "echo")])?;
    let _other = stage.zone(0).start_sidecar(other).await?;
    let zone = &stage.zone(0).api;
    let config = "/meshes/default/dataplanes/client-1/_config";

    let (path, policy) = timeout("slow", json!({"kind": "MeshService", "name": "client-1"}), 9);
    let settled = || async {
        let run = zone.send(Method::POST, &format!("{path}/_dry-run?origin=global"), Some(&policy)).await?;
        let connected = run.body["notConnected"].as_array().is_none_or(|list| list.is_empty());
        Ok((run.status == StatusCode::OK && connected && run.body["total"] == 1).then_some(run.body))
    };
    let run = wait::until("the zone tells what the policy would change", PATIENCE, settled).await?;
    assert_eq!((&run["items"][0]["proxy"]["name"], &run["result"]), (&json!("client-1"), &json!("created")), "{run}");
    assert!(!run.to_string().contains("PRIVATE KEY"));
    let promised = run["items"][0]["diff"].as_array().cloned().context("the difference is told")?;
    assert!(!promised.is_empty());

    // Global tells the rules.
    let at_global = stage.global().send(Method::POST, &format!("{path}/_dry-run"), Some(&policy)).await?;
    assert_eq!((at_global.status, &at_global.body["total"]), (StatusCode::OK, &json!(1)), "{}", at_global.body);
    let rules = at_global.body["items"][0]["rules"].as_array().cloned().unwrap_or_default();
    assert!(rules.iter().any(|rule| rule["after"]["http"]["requestTimeout"] == "9s"), "{rules:?}");

    // What is refused as a write is refused here; nothing was stored by any of it.
    let mut wrong = policy.clone();
    wrong["spec"]["to"][0]["default"]["http"]["requestTimeout"] = json!("soon");
    let refused = zone.send(Method::POST, &format!("{path}/_dry-run?origin=global"), Some(&wrong)).await?;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    for api in [zone, stage.global()] {
        let stored = api.get("/meshes/default/meshtimeouts").await?.to_string();
        assert!(!stored.contains("\"slow"), "{stored}");
    }

    // What was promised is what happens.
    let before = zone.get(config).await?["xds"].clone();
    let explained = zone.send(Method::POST, &format!("{EXPLAIN}?origin=global"), Some(&policy)).await?;
    assert_eq!(explained.body["change"]["diff"], json!(promised), "{}", explained.body);
    stage.global().put(&path, &policy).await?;
    let changed = || async {
        let after = zone.get(config).await?["xds"].clone();
        Ok((after != before).then_some(after))
    };
    let after = wait::until("the configuration changes", PATIENCE, changed).await?;
    let mut expected = before;
    patch(&mut expected, &promised)?;
    assert_eq!(expected, after, "the patch leads to what the proxy gets");

    // What deleting it would change.
    let deleted = zone.send(Method::DELETE, &format!("{path}/_dry-run?origin=global"), None).await?;
    assert_eq!((deleted.status, &deleted.body["total"]), (StatusCode::OK, &json!(1)), "{}", deleted.body);
    assert_eq!(deleted.body["result"], "deleted");
    stage.passed();
    Ok(())
}

/// Applies a JSON patch of values that are replaced, added to or removed from objects and lists.
fn patch(value: &mut Value, operations: &[Value]) -> Result<()> {
    for operation in operations {
        let path = operation["path"].as_str().context("a path")?;
        let (parent, last) = path.rsplit_once('/').context("it is below the root")?;
        let name = last.replace("~1", "/").replace("~0", "~");
        let found = value.pointer_mut(parent).with_context(|| format!("{parent} exists"))?;
        match (operation["op"].as_str().context("an operation")?, found) {
            ("test", found) => {
                let found = found.get(&name).or_else(|| found.get(name.parse::<usize>().ok()?));
                ensure!(found == Some(&operation["value"]), "{path} is {found:?}");
            }
            ("add", Value::Object(members)) => drop(members.insert(name, operation["value"].clone())),
            ("add", Value::Array(items)) => items.insert(name.parse()?, operation["value"].clone()),
            ("remove", Value::Object(members)) => drop(members.remove(&name)),
            ("remove", Value::Array(items)) => drop(items.remove(name.parse()?)),
            (operation, _) => anyhow::bail!("{operation} at {path}"),
        }
    }
    Ok(())
}
