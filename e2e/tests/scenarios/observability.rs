//! Metrics, traces and access logs by the backends of a Mesh.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Proxy;
use tandem_e2e::{api, ports, wait};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::support::recorder::Recorder;
use crate::support::{PATIENCE, Stage, answered, apps};

/// Another address of loopback: for the proxies of a scenario a client there is on another host.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Fetches metrics from an address.
async fn scrape(from: Ipv4Addr, port: u16, path: &str) -> Result<String> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).local_address(IpAddr::from(from)).build()?;
    let response = http.get(format!("http://127.0.0.1:{port}{path}")).send().await?;
    ensure!(response.status() == StatusCode::OK, "answered with {}", response.status());
    Ok(response.text().await?)
}

/// Waits until metrics can be fetched from an address.
async fn scraped(from: Ipv4Addr, port: u16, path: &str) -> Result<String> {
    let condition = || async { Ok(Some(scrape(from, port, path).await?)) };
    wait::until(&format!("metrics are served to {from}"), PATIENCE, condition).await
}

fn metrics(conf: Value) -> Value {
    json!({"enabledBackend": "p", "backends": [{"name": "p", "type": "prometheus", "conf": conf}]})
}

#[tokio::test]
async fn metrics_are_served_by_what_kuma_dp_serves_and_secured_as_the_mesh_says() -> Result<()> {
    const METRICS: &str = "envoy_and_applications 1\n";
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let mut mesh = api::mesh("default");
    mesh["metrics"] = metrics(json!({"envoy": {"filterRegex": "http.*", "usedOnly": true}}));
    stage.mesh(&mesh).await?;
    let (port, scraper) = (ports::free()?, ports::free()?);
    let mut observed = apps::caller("default", "observed", &[])?;
    observed.resource["metrics"] =
        json!({"name": "own", "type": "prometheus", "conf": {"port": port, "path": "/scrape"}});
    let observed = stage.zone(0).start_sidecar(observed).await?;
    let hijacker = Recorder::unix(&observed.folder().join("kuma-mh-observed-default.sock"), METRICS)?;

    // The proxy's own host may ask without a certificate, nobody else may.
    assert_eq!(scraped(Ipv4Addr::LOCALHOST, port, "/scrape").await?, METRICS);
    let requests = hijacker.requests();
    assert_eq!(requests.last().map(|request| request.target.as_str()), Some("/?filter=http.*&usedonly"));
    assert!(scrape(ELSEWHERE, port, "/scrape").await.is_err(), "served without a certificate");

    // Another proxy shows its certificate. It is told how by a ProxyTemplate.
    let server = EchoServer::start("echo").await?;
    let _echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", server.port(), &[])?).await?;
    let template = json!({
        "type": "ProxyTemplate", "mesh": "default", "name": "scraper",
        "selectors": [{"match": {"kuma.io/service": "prometheus"}}],
        "conf": {"imports": ["default-proxy"], "resources": scraping(scraper, port)},
    });
    stage.global().put("/meshes/default/proxytemplates/scraper", &template).await?;
    let prometheus = apps::caller("default", "prometheus", &[(ports::free()?, "echo")])?;
    let prometheus = stage.zone(0).start_sidecar(prometheus).await?;
    assert_eq!(scraped(Ipv4Addr::LOCALHOST, scraper, "/scrape").await?, METRICS);
    let handshakes = prometheus.stat("cluster.scraped.ssl.handshake").await?;
    assert!(handshakes > 0, "the scraping proxy has not used its certificate");

    // Without security everybody may ask, at the default path of the mesh.
    mesh["metrics"] = metrics(json!({"tls": {"mode": "disabled"}}));
    stage.mesh(&mesh).await?;
    assert_eq!(scraped(ELSEWHERE, port, "/scrape").await?, METRICS);
    assert_eq!(hijacker.requests().last().map(|request| request.target.as_str()), Some("/"));
    stage.passed();
    Ok(())
}

/// Native resources of Envoy: a listener whose connections go on to a port from another address, with the proxy's certificate.
fn scraping(from: u16, to: u16) -> Value {
    let address = |port: u16| json!({"socketAddress": {"address": "127.0.0.1", "portValue": port}});
    let sds = |name: &str| json!({"name": name, "sdsConfig": {"ads": {}, "resourceApiVersion": "V3"}});
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "commonTlsContext": {
            "tlsCertificateSdsSecretConfigs": [sds("identity_cert:secret:default")],
            "combinedValidationContext": {
                "defaultValidationContext": {"matchTypedSubjectAltNames": [
                    {"sanType": "URI", "matcher": {"exact": "spiffe://default/observed"}},
                ]},
                "validationContextSdsSecretConfig": sds("mesh_ca:secret:default"),
            },
        },
    });
    let cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "scraped",
        "type": "STATIC",
        "connectTimeout": "5s",
        "upstreamBindConfig": {"sourceAddress": {"address": ELSEWHERE.to_string(), "portValue": 0}},
        "loadAssignment": {
            "clusterName": "scraped", "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address(to)}}]}],
        },
        "transportSocket": {"name": "envoy.transport_sockets.tls", "typedConfig": context},
    });
    let listener = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "scraper",
        "address": address(from),
        "filterChains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "cluster": "scraped", "statPrefix": "scraped",
        }}]}],
    });
    let raw = |resource: Value| json!({"name": resource["name"], "version": "1", "resource": resource.to_string()});
    json!([raw(cluster), raw(listener)])
}

/// The mesh `default` without mutual TLS, with these members.
fn plain_mesh(members: &Value) -> Value {
    let mut mesh = json!({"type": "Mesh", "name": "default"});
    for (name, member) in members.as_object().into_iter().flatten() {
        mesh[name] = member.clone();
    }
    mesh
}

fn any() -> Value {
    json!([{"match": {"kuma.io/service": "*"}}])
}

/// How many configurations a proxy has refused.
async fn rejected(proxy: &Proxy) -> Result<u64> {
    proxy.stat_sum(|name| name.ends_with(".update_rejected")).await
}

#[tokio::test]
async fn spans_of_requests_reach_the_collectors_of_the_mesh() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let collector = Recorder::tcp("{}").await?;
    let port = collector.port;
    let url = format!("http://127.0.0.1:{port}/api/v2/spans");
    let backends = json!([
        {"name": "z", "type": "zipkin", "sampling": 100, "conf": {"url": url, "traceId128bit": true}},
        {"name": "d", "type": "datadog", "conf": {"address": "127.0.0.1", "port": port, "splitService": true}},
    ]);
    let mesh = |backend: &str| plain_mesh(&json!({"tracing": {"defaultBackend": backend, "backends": backends}}));
    stage.mesh(&mesh("z")).await?;
    let trace = json!({"type": "TrafficTrace", "mesh": "default", "name": "all", "selectors": any()});
    stage.global().put("/meshes/default/traffic-traces/all", &trace).await?;
    let server = EchoServer::start("echo").await?;
    let outbound = ports::free()?;
    let echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", server.port(), &[])?).await?;
    let client = apps::caller("default", "client", &[(outbound, "echo")])?;
    let _client = stage.zone(0).start_sidecar(client).await?;

    // A span arrives as Zipkin has it.
    let received = |target: &'static str, wanted: &'static str| {
        let collector = &collector;
        let condition = move || async move {
            answered(outbound, StatusCode::OK).await?;
            let spans = collector.requests().into_iter().filter(|request| request.target == target);
            let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
            Ok(spans.map(|request| text(&request.body)).find(|body| body.contains(wanted)))
        };
        wait::until("the collector receives a span of the request", PATIENCE, condition)
    };
    let spans: Value = serde_json::from_str(&received("/api/v2/spans", "SERVER").await?)?;
    let span = spans.as_array().and_then(|spans| spans.first()).context("no span")?;
    assert_eq!(span["traceId"].as_str().map(str::len), Some(32), "{span}");
    assert_eq!(span["tags"]["http.status_code"], "200", "{span}");

    // With the other backend spans arrive as Datadog has them, by direction.
    stage.mesh(&mesh("d")).await?;
    received("/v0.4/traces", "echo_INBOUND").await?;
    assert_eq!(rejected(&echo).await?, 0, "{}", echo.log_tail());
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn connections_are_logged_to_files_and_to_the_pipe_of_kuma_dp() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let file = stage.folder().join("access.log");
    let format = "%KUMA_MESH% %KUMA_TRAFFIC_DIRECTION% %KUMA_SOURCE_SERVICE%@%KUMA_SOURCE_ADDRESS% to \
                  %KUMA_DESTINATION_SERVICE%: %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%";
    let backends = json!([
        {"name": "file", "type": "file", "format": format, "conf": {"path": file}},
        {"name": "tcp", "type": "tcp", "format": format, "conf": {"address": "127.0.0.1:9"}},
    ]);
    let mesh = |backend: &str| plain_mesh(&json!({"logging": {"defaultBackend": backend, "backends": backends}}));
    stage.mesh(&mesh("file")).await?;
    let route = json!({
        "type": "TrafficRoute", "mesh": "default", "name": "all", "sources": any(), "destinations": any(),
        "conf": {"destination": {"kuma.io/service": "*"}},
    });
    stage.global().put("/meshes/default/traffic-routes/all", &route).await?;
    let log = json!({"type": "TrafficLog", "mesh": "default", "name": "all", "sources": any(), "destinations": any()});
    stage.global().put("/meshes/default/traffic-logs/all", &log).await?;
    let server = EchoServer::start("echo").await?;
    let outbound = ports::free()?;
    let _echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", server.port(), &[])?).await?;
    let client = apps::caller("default", "client", &[(outbound, "echo")])?;
    let client = stage.zone(0).start_sidecar(client).await?;

    const LINE: &str = "default OUTBOUND client@127.0.0.1:0 to echo: GET /hello 200";
    let written = || async {
        answered(outbound, StatusCode::OK).await?;
        let text = tokio::fs::read_to_string(&file).await?;
        Ok(text.lines().any(|line| line == LINE).then_some(()))
    };
    wait::until("the request is in the log", PATIENCE, written).await?;

    // The pipe has the address of the server in front of each line. It is there before Envoy opens it, as with kuma-dp.
    let path = client.folder().join("kuma-al-client-default.sock");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
    let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(&path)?;
    stage.mesh(&mesh("tcp")).await?;
    let mut lines = BufReader::new(pipe).lines();
    let requests = async {
        loop {
            answered(outbound, StatusCode::OK).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let line = tokio::select! {
        line = lines.next_line() => line?,
        stopped = requests => return stopped,
        () = tokio::time::sleep(PATIENCE) => None,
    };
    assert_eq!(line, Some(format!("127.0.0.1:9;{LINE}")));
    assert_eq!(rejected(&client).await?, 0, "{}", client.log_tail());
    stage.passed();
    Ok(())
}
