//! MeshAccessLog: lines and records about requests arrive where policies send them, from the client's proxy and from the server's.

use std::path::Path;

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::{ports, wait};

use crate::support::collector::{Collector, attribute, text};
use crate::support::pipe::{LineServer, LogPipe};
use crate::support::web::{By, MESH, Web, outbound, service};
use crate::support::workload::get;
use crate::support::{PATIENCE, answered, apps};

const POLICY: &str = "MeshAccessLog";

/// Everything that only the control plane knows, and something that Envoy does.
const FORMAT: &str = "%KUMA_MESH% %KUMA_TRAFFIC_DIRECTION% %KUMA_SOURCE_SERVICE%@%KUMA_SOURCE_ADDRESS% to \
                      %KUMA_DESTINATION_SERVICE%: %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%";

/// What the client's proxy says then.
const OF_CLIENT: &str = "default OUTBOUND client@127.0.0.1:0 to web: GET /hello 200";

/// What the server's proxy says.
const OF_SERVER: &str = "default INBOUND unknown@127.0.0.1:0 to web: GET /hello 200";

fn plain() -> Value {
    json!({"type": "Plain", "plain": FORMAT})
}

fn file(path: &Path, format: Value) -> Value {
    json!({"type": "File", "file": {"path": path, "format": format}})
}

/// Logs of what goes to a destination.
fn to(destination: Value, backends: Value) -> Value {
    json!({"to": [{"targetRef": destination, "default": {"backends": backends}}]})
}

/// Logs of what comes in.
fn incoming(backends: Value) -> Value {
    json!({"rules": [{"default": {"backends": backends}}]})
}

/// Waits until requests make this happen.
async fn after_requests(outbound: u16, what: &str, happened: impl Fn() -> Result<bool>) -> Result<()> {
    let condition = || async {
        answered(outbound, StatusCode::OK).await?;
        Ok(happened()?.then_some(()))
    };
    wait::until(what, PATIENCE, condition).await
}

/// Waits until a line is in a file.
async fn written(outbound: u16, path: &Path, line: &str) -> Result<()> {
    let is_there = || Ok(std::fs::read_to_string(path).unwrap_or_default().lines().any(|one| one == line));
    after_requests(outbound, &format!("{line:?} is in {}", path.display()), is_there).await
}

#[tokio::test]
async fn logs_of_clients_and_servers_are_written_and_sent() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let (of_client, of_server) = (web.stage.folder().join("client.log"), web.stage.folder().join("server.log"));

    // To files.
    web.put(POLICY, "outgoing", to(web.service(), json!([file(&of_client, plain())]))).await?;
    web.put(POLICY, "incoming", incoming(json!([file(&of_server, plain())]))).await?;
    written(web.outbound, &of_client, OF_CLIENT).await?;
    written(web.outbound, &of_server, OF_SERVER).await?;

    // Over TCP, which is kuma-dp's part: as text, and as objects.
    let _pipes = (
        LogPipe::start(&web.client.folder().join("kuma-al-client-default.sock"))?,
        LogPipe::start(&web.server.folder().join("kuma-al-web-1-default.sock"))?,
    );
    let server = LineServer::start().await?;
    let address = format!("127.0.0.1:{}", server.port);
    let tcp = |format: Value| json!({"type": "Tcp", "tcp": {"address": address, "format": format}});
    let member = |key: &str, value: &str| json!({"key": key, "value": value});
    let members = [member("from", "%KUMA_SOURCE_SERVICE%"), member("path", "%REQ(:PATH)%")];
    let json_format = json!({"type": "Json", "json": members});
    web.put(POLICY, "outgoing", to(web.service(), json!([tcp(plain()), tcp(json_format)]))).await?;
    web.put(POLICY, "incoming", incoming(json!([tcp(plain())]))).await?;
    let is_object = |line: &String| {
        let object: Option<Value> = serde_json::from_str(line).ok();
        object.is_some_and(|object| object == json!({"from": "client", "path": "/hello"}))
    };
    after_requests(web.outbound, "three logs arrive over TCP", || {
        let lines = server.lines();
        let has = |wanted: &str| lines.iter().any(|line| line == wanted);
        Ok(has(OF_CLIENT) && has(OF_SERVER) && lines.iter().any(is_object))
    })
    .await?;
    web.passed(&[]).await
}

/// Sidecars of the service `books` and of `reader`, which calls it, with the port of its outbound. Their names are unified: a collector
/// is asked for by the name of its cluster, and this one takes no names with two colons.
async fn unified(web: &Web) -> Result<(Proxy, Proxy, u16)> {
    let inbound = Inbound::http("books", web.workload.port())?;
    let mut books = ProxySpec::sidecar(MESH, "books-1", &inbound, &[]);
    let port = ports::free()?;
    let mut reader = apps::caller(MESH, "reader", &[])?;
    reader.resource["networking"]["outbound"] = json!([outbound(port, "books", inbound.port, By::Resource)]);
    for spec in [&mut books, &mut reader] {
        spec.features.push("feature-unified-resource-naming");
    }
    let books = web.stage.zone(0).start_sidecar(books).await?;
    let reader = web.stage.zone(0).start_sidecar(reader).await?;
    answered(port, StatusCode::OK).await?;
    Ok((books, reader, port))
}

#[tokio::test]
async fn logs_of_clients_and_servers_reach_an_open_telemetry_collector() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let (books, reader, port) = unified(&web).await?;
    let collector = Collector::start().await?;
    let endpoint = format!("127.0.0.1:{}", collector.port);
    let attributes = json!([{"key": "method", "value": "%REQ(:METHOD)%"}]);
    let outgoing = json!({"endpoint": endpoint, "body": {"stringValue": FORMAT}, "attributes": attributes});
    let collected = |backend: Value| json!([{"type": "OpenTelemetry", "openTelemetry": backend}]);
    web.put(POLICY, "outgoing", to(service("books", By::Resource), collected(outgoing))).await?;
    web.put(POLICY, "incoming", incoming(collected(json!({"endpoint": endpoint})))).await?;
    // One has a body of its own, the other the default one.
    after_requests(port, "both logs arrive at the collector", || {
        let logs = collector.logs();
        let body = |wanted: &dyn Fn(&str) -> bool| {
            logs.iter().find(|log| log.body.as_ref().and_then(text).is_some_and(wanted))
        };
        let of_client = body(&|body| body == "default OUTBOUND reader@127.0.0.1:0 to books: GET /hello 200");
        let of_server =
            body(&|body| body.contains(r#""GET /hello HTTP/2" 200"#) && body.contains(r#""unknown" "books""#));
        let method = of_client.and_then(|log| attribute(&log.attributes, "method"));
        Ok(method == Some("GET") && of_server.is_some())
    })
    .await?;
    web.passed(&[&books, &reader]).await
}

#[tokio::test]
async fn logs_follow_what_policies_say_of_destinations_and_proxies() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let (edge, through_edge) = web.start_gateway("edge").await?;
    let path = |name: &str| web.stage.folder().join(name);
    let log = |name: &str, text: &str| json!([file(&path(name), json!({"type": "Plain", "plain": text}))]);
    let (everywhere, about_web) = (path("everywhere.log"), path("web.log"));

    // What is said of the service counts, and not what is said of all; a delegated gateway logs, too.
    let line = "%KUMA_SOURCE_SERVICE% to %KUMA_DESTINATION_SERVICE%";
    web.put(POLICY, "b-everywhere", to(json!({"kind": "Mesh"}), log("everywhere.log", line))).await?;
    written(web.outbound, &everywhere, "client to web").await?;
    written(through_edge, &everywhere, "edge to web").await?;
    web.put(POLICY, "a-web", to(service("web", By::Tag), log("web.log", line))).await?;
    written(web.outbound, &about_web, "client to web").await?;
    written(through_edge, &about_web, "edge to web").await?;
    let before = std::fs::read_to_string(&everywhere)?;
    assert_eq!(get(web.outbound, "/hello").await?.0, StatusCode::OK);

    // An empty list turns it off, for the proxies that are selected.
    let mut silent = to(service("web", By::Tag), json!([]));
    silent["targetRef"] = json!({"kind": "Mesh", "proxyTypes": ["Gateway"]});
    web.put(POLICY, "a-silent", silent).await?;
    let is_off = || async {
        let lines = || std::fs::read_to_string(&about_web);
        assert_eq!(get(through_edge, "/hello").await?.0, StatusCode::OK);
        let before = lines()?;
        assert_eq!(get(through_edge, "/hello").await?.0, StatusCode::OK);
        // The client's request comes last, so when it is written, the gateway's would have been.
        written(web.outbound, &about_web, "client to web").await?;
        Ok((!lines()?[before.len()..].contains("edge")).then_some(()))
    };
    wait::until("the gateway logs nothing", PATIENCE, is_off).await?;
    assert_eq!(std::fs::read_to_string(&everywhere)?, before, "what is said of all is not for the service");
    web.passed(&[&edge]).await
}

#[tokio::test]
async fn requests_of_a_route_have_a_log_of_their_own() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let (of_service, of_route) = (web.stage.folder().join("service.log"), web.stage.folder().join("route.log"));
    let line = json!({"type": "Plain", "plain": "%REQ(:PATH)%"});
    for name in ["logged", "silent"] {
        let matches = json!([{"path": {"type": "Exact", "value": format!("/{name}")}}]);
        let rules = json!([{"matches": matches, "default": {}}]);
        web.put("MeshHTTPRoute", name, json!({"to": [{"targetRef": web.service(), "rules": rules}]})).await?;
    }
    let route = |name: &str| json!({"kind": "MeshHTTPRoute", "name": name});
    web.put(POLICY, "service", to(web.service(), json!([file(&of_service, line.clone())]))).await?;
    web.put(POLICY, "logged", to(route("logged"), json!([file(&of_route, line)]))).await?;
    web.put(POLICY, "silent", to(route("silent"), json!([]))).await?;

    // The request without a route comes last: when it is in the log, those before it are where they belong.
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let separated = || async {
        let before = [read(&of_service).len(), read(&of_route).len()];
        for path in ["/logged", "/silent"] {
            get(web.outbound, path).await?;
        }
        written(web.outbound, &of_service, "/hello").await?;
        let (service, route) = (read(&of_service), read(&of_route));
        let (service, route) = (&service[before[0]..], &route[before[1]..]);
        let is_separated = service.lines().all(|line| line == "/hello") && route.lines().all(|line| line == "/logged");
        Ok((is_separated && !route.is_empty()).then_some(()))
    };
    wait::until("each request is in the log of its route", PATIENCE, separated).await?;
    web.passed(&[]).await
}
