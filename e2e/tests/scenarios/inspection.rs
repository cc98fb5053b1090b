//! What people see of running proxies.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::{api, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{PATIENCE, Stage, apps, zone_proxies};

/// Names of the clusters in a configuration dump.
fn clusters(dump: &Value) -> Vec<&str> {
    let configs = dump["configs"].as_array().into_iter().flatten();
    let clusters = configs.filter_map(|config| config["dynamic_active_clusters"].as_array()).flatten();
    clusters.filter_map(|cluster| cluster["cluster"]["name"].as_str()).collect()
}

/// Path of a proxy at a control plane, found by the name that people gave it.
async fn path_of(api: &Api, list: &str, name: &str) -> Result<String> {
    let found = || async {
        let listed = api.get(list).await?;
        let mut items = listed["items"].as_array().into_iter().flatten();
        let item = items.find(|item| {
            let shown = &item["labels"]["kuma.io/display-name"];
            (if shown.is_null() { &item["name"] } else { shown }) == name
        });
        Ok(item.and_then(|item| item["name"].as_str()).map(|name| format!("{list}/{name}")))
    };
    wait::until(&format!("{name} is listed"), PATIENCE, found).await
}

#[tokio::test]
async fn global_and_zone_ask_the_envoys_of_a_zone() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let (_ingress, _egress) = zone_proxies(&stage.world, stage.zone(0), false).await?;
    let server = EchoServer::start("web").await?;
    let mut web = apps::sidecar("default", "web-1", "web", server.port(), &[])?;
    // The control plane asks a proxy at this address over mutual TLS, those at 127.0.0.1 without.
    web.resource["networking"]["address"] = json!("127.0.0.2");
    let _web = stage.zone(0).start_sidecar(web).await?;
    let workload = format!("localhost:{}", server.port());

    for api in [&stage.zone(0).api, stage.global()] {
        let web = path_of(api, "/meshes/default/dataplanes", "web-1").await?;
        // Global can ask as soon as it knows that the zone is connected.
        let dumped = || async {
            let answer = api.send(reqwest::Method::GET, &format!("{web}/xds"), None).await?;
            Ok((answer.status == StatusCode::OK).then_some(answer.body))
        };
        let dump = wait::until(&format!("{}{web}/xds answers", api.url()), PATIENCE, dumped).await?;
        assert!(clusters(&dump).contains(&workload.as_str()), "{:?}", clusters(&dump));
        // The token with which the proxy authenticates is in its bootstrap, and is not shown.
        let text = dump.to_string();
        assert!(text.contains("[redacted]") && !text.contains("eyJ"), "the dump shows a token");
        let types = |dump: &Value| dump["configs"].as_array().map(|configs| configs.len()).unwrap_or_default();
        let with_endpoints = api.get(&format!("{web}/xds?include_eds=true")).await?;
        assert!(types(&with_endpoints) > types(&dump));

        let stats = api.get(&format!("{web}/stats?format=json&usedonly=false")).await?;
        assert!(stats["stats"].as_array().is_some_and(|stats| stats.len() > 100), "{stats}");
        let stats = api.get(&format!("{web}/stats")).await?;
        assert!(stats.as_str().is_some_and(|text| text.contains("server.live: 1")), "{stats}");
        let shown = api.get(&format!("{web}/clusters?format=json")).await?;
        assert!(shown["cluster_statuses"].is_array(), "{shown}");
        let shown = api.get(&format!("{web}/clusters")).await?;
        assert!(shown.as_str().is_some_and(|text| text.contains(&workload)), "{shown}");

        for kind in ["/zoneingresses", "/zoneegresses"] {
            let listed = api.get(kind).await?;
            let name = listed["items"][0]["name"].as_str().with_context(|| format!("{kind} is empty"))?;
            let dump = api.get(&format!("{kind}/{name}/xds")).await?;
            assert!(clusters(&dump).contains(&"kuma:envoy:admin"), "{kind}: {:?}", clusters(&dump));
        }
    }
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn the_admin_port_tells_strangers_whether_the_proxy_is_ready_and_nothing_else() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("web").await?;
    let mut web = apps::sidecar("default", "web-1", "web", server.port(), &[])?;
    web.resource["networking"]["address"] = json!("127.0.0.2");
    let web = stage.zone(0).start_sidecar(web).await?;
    // What kuma-dp does.
    let listener = UnixListener::bind(web.folder().join("kuma-readiness-reporter.sock"))?;
    let _kuma_dp = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|length| request[..length].starts_with(b"GET /ready ")) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nREADY";
                let _ = stream.write_all(answer).await;
            }
        }
    }));
    let port = web.admin_port();
    let http = reqwest::Client::builder().danger_accept_invalid_certs(true).timeout(PATIENCE).build()?;
    let get = async |url: String| {
        let response = http.get(url).send().await?;
        Ok::<_, anyhow::Error>((response.status(), response.text().await?))
    };
    let ready = || async {
        let (status, text) = get(format!("http://127.0.0.2:{port}/ready")).await?;
        Ok((status == StatusCode::OK).then_some(text))
    };
    assert_eq!(wait::until("readiness is told", PATIENCE, ready).await?, "READY");
    for path in ["config_dump", "stats", "clusters", "quitquitquit"] {
        assert_eq!(get(format!("http://127.0.0.2:{port}/{path}")).await?.0, StatusCode::NOT_FOUND, "{path}");
        let without_certificate = get(format!("https://127.0.0.2:{port}/{path}")).await;
        assert!(without_certificate.is_err(), "{path}: {without_certificate:?}");
    }
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_policy_on_trial_is_seen_in_previews_only() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("web").await?;
    let web = apps::sidecar("default", "web-1", "web", server.port(), &[])?;
    let web = stage.zone(0).start_sidecar(web).await?;

    let all = json!({"kind": "Mesh"});
    // Stronger than the policies that came with the mesh.
    let trial = json!({
        "type": "MeshTimeout", "mesh": "default", "name": "trial", "labels": {"kuma.io/effect": "shadow"},
        "spec": {"targetRef": {"kind": "Dataplane"}, "from": [{"targetRef": all, "default": {"idleTimeout": "322s"}}]}
    });
    stage.global().put("/meshes/default/meshtimeouts/trial", &trial).await?;
    let zone = &stage.zone(0).api;
    let previewed = || async {
        let preview = zone.get("/meshes/default/dataplanes/web-1/_config?shadow=true&include=diff").await?;
        let added = preview["diff"].as_array().into_iter().flatten().find(|operation| operation["op"] == "add");
        Ok(added.cloned())
    };
    let added = wait::until("the preview shows what the policy changes", PATIENCE, previewed).await?;
    assert_eq!(added["value"], "322s", "{added}");
    assert!(added["path"].as_str().is_some_and(|path| path.ends_with("/idleTimeout")), "{added}");
    assert!(!web.config_dump().await?.to_string().contains("322s"));

    // Without the policy the preview is what Envoy has.
    let preview = zone.get("/meshes/default/dataplanes/web-1/_config").await?;
    let previewed = &preview["xds"]["type.googleapis.com/envoy.config.cluster.v3.Cluster"];
    let previewed: Vec<&str> = previewed.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let dump = web.config_dump().await?;
    let mut running = clusters(&dump);
    running.sort_unstable();
    assert_eq!(previewed, running);

    let refused = stage.global().send(reqwest::Method::GET, "/meshes/default/dataplanes/x/_config", None).await?;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn a_workload_comes_and_goes_with_its_proxies() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("web").await?;
    let mut spec = apps::sidecar("default", "web-1", "web", server.port(), &[])?;
    spec.resource["labels"] = json!({"kuma.io/workload": "shop"});
    let web = stage.zone(0).start_sidecar(spec).await?;

    let zone = &stage.zone(0).api;
    let path = "/meshes/default/workloads";
    for api in [zone, stage.global()] {
        let counted = || async {
            let listed = api.get(path).await?;
            let numbers = json!({"connected": 1, "healthy": 1, "total": 1});
            let is_counted = |item: &Value| item["status"]["dataplaneProxies"] == numbers;
            Ok(listed["items"].as_array().is_some_and(|items| items.len() == 1 && is_counted(&items[0])).then_some(()))
        };
        wait::until(&format!("{} counts the proxy of the workload", api.url()), PATIENCE, counted).await?;
    }
    drop(web);
    for api in [zone, stage.global()] {
        let gone = || async { Ok((api.get(path).await?["total"] == 0).then_some(())) };
        wait::until(&format!("{} forgets the workload", api.url()), PATIENCE, gone).await?;
    }
    stage.passed();
    Ok(())
}
