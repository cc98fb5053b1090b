//! MeshMetric: metrics that are fetched, metrics that are sent to collectors, and what kuma-dp is told of both.
//!
//! What kuma-dp does is done here: it answers Envoy's requests for metrics with those of Envoy's administration interface, asks for
//! its settings on one of Envoy's sockets, and sends metrics for a collector to another one.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Certificate, StatusCode};
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Proxy;
use tandem_e2e::world::Zone;
use tandem_e2e::{api, ports, wait};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::support::network::get_over_socket;
use crate::support::recorder::Recorder;
use crate::support::{PATIENCE, Stage, answered, apps};

/// Method by which collectors take metrics.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Serves what kuma-dp serves to Envoy: metrics of Envoy, and of an application. Stops when dropped.
struct KumaDp(JoinHandle<()>);

impl Drop for KumaDp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KumaDp {
    fn start(proxy: Arc<Proxy>) -> Result<Self> {
        let name = format!("kuma-mh-{}-{}.sock", proxy.spec.name, proxy.spec.mesh);
        let listener = UnixListener::bind(proxy.folder().join(name))?;
        Ok(Self(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = proxy.clone();
                let service = service_fn(move |request: Request<Incoming>| gathered(proxy.clone(), request));
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await.is_ok() });
            }
        })))
    }
}

async fn gathered(proxy: Arc<Proxy>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = |status, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        Ok(response)
    };
    if request.uri().path() != "/meshmetric" {
        return answer(StatusCode::NOT_FOUND, String::new());
    }
    match proxy.admin("stats/prometheus?usedonly").await {
        Ok(metrics) => answer(StatusCode::OK, format!("{metrics}app_metric 1\n")),
        Err(error) => answer(StatusCode::BAD_GATEWAY, error.to_string()),
    }
}

/// Waits until metrics are served at a URL.
async fn scraped(http: &reqwest::Client, url: &str) -> Result<String> {
    let condition = || async {
        let response = http.get(url).send().await?;
        ensure!(response.status() == StatusCode::OK, "answered with {}", response.status());
        Ok(Some(response.text().await?))
    };
    wait::until(&format!("metrics are served at {url}"), PATIENCE, condition).await
}

async fn refused(http: &reqwest::Client, url: &str) -> Result<()> {
    let condition = || async { Ok(http.get(url).send().await.is_err().then_some(())) };
    wait::until(&format!("nothing is served at {url}"), PATIENCE, condition).await
}

/// Waits until a Prometheus server with this identifier is told to fetch the metrics of the proxy at a URL, or nowhere; returns the
/// labels of the target.
async fn assigned(zone: &Zone, client: &str, url: Option<&str>) -> Result<Value> {
    let server = format!("{}/v3/discovery:monitoringassignments", zone.control_plane.monitoring_url());
    let http = reqwest::Client::new();
    let told = || async {
        let request = http.post(&server).query(&[("fetch-timeout", "0s")]).header("content-type", "application/json");
        let response = request.body(json!({"node": {"id": client}}).to_string()).send().await?;
        let text = response.error_for_status()?.text().await?;
        let told: Value = serde_json::from_str(&text)?;
        let mut targets = told["resources"].as_array().into_iter().flatten().map(|one| &one["targets"][0]);
        let target = targets.find(|target| target["name"] == "observed");
        let member = |name: &str| target.and_then(|target| target[name].as_str()).unwrap_or_default();
        let found = format!("{}://{}{}", member("scheme"), member("address"), member("metrics_path"));
        let fits = if url.is_some() { url == Some(found.as_str()) } else { target.is_none() };
        Ok(fits.then(|| target.map_or(Value::Null, |target| target["labels"].clone())))
    };
    wait::until(&format!("{client} is told {url:?}"), PATIENCE, told).await
}

/// A policy for one proxy: all proxies of a scenario are on one host, where each port is there once.
fn policy(default: &Value) -> Value {
    let observed = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "observed"}});
    let spec = json!({"targetRef": observed, "default": default});
    json!({"type": "MeshMetric", "mesh": "default", "name": "observed", "spec": spec})
}

const POLICY: &str = "/meshes/default/meshmetrics/observed";

/// The settings for metrics, once there are others than those with this hash: them, and their hash.
async fn settings(folder: &Path, known: Option<&str>) -> Result<(Value, String)> {
    let socket = folder.join("kuma-mesh-metric-config.sock");
    let changed = || async {
        let header = known.map(|hash| ("If-None-Match", hash));
        let (status, hash, body) = get_over_socket(socket.clone(), "/meshmetric", header).await?;
        ensure!(status == StatusCode::OK, "answered with {status}");
        Ok(Some((serde_json::from_str(&body)?, hash.context("no ETag")?)))
    };
    wait::until("settings for metrics are published", PATIENCE, changed).await
}

#[tokio::test]
async fn metrics_are_fetched_and_kuma_dp_is_told_what_to_gather() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let (old, new, second, outbound) = (ports::free()?, ports::free()?, ports::free()?, ports::free()?);
    let mut mesh = api::mesh("default");
    let conf = json!({"port": ports::free()?, "path": "/old", "tls": {"mode": "disabled"}});
    mesh["metrics"] = json!({"enabledBackend": "p", "backends": [{"name": "p", "type": "prometheus", "conf": conf}]});
    stage.mesh(&mesh).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    let server = EchoServer::start("echo").await?;
    let _echo = stage.zone(0).start_sidecar(apps::sidecar("default", "echo-1", "echo", server.port(), &[])?).await?;
    let mut spec = apps::caller("default", "observed", &[(outbound, "echo")])?;
    spec.resource["metrics"] = json!({"name": "own", "type": "prometheus", "conf": {"port": old}});
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let files = [("metrics.pem", certificate.cert.pem()), ("metrics.key", certificate.signing_key.serialize_pem())];
    let files = files.map(|(name, content)| (stage.folder().join(name), content));
    for (path, content) in &files {
        std::fs::write(path, content)?;
    }
    spec.request = json!({"metricsResources": {"certPath": files[0].0, "keyPath": files[1].0}});
    let observed = Arc::new(stage.zone(0).start_sidecar(spec).await?);
    let _kuma_dp = KumaDp::start(observed.clone())?;
    let plain = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let url = |port: u16, path: &str| format!("http://127.0.0.1:{port}{path}");
    let old = url(old, "/old");
    wait::until("the listener of the mesh is there", PATIENCE, || async {
        plain.get(&old).send().await?;
        Ok(Some(()))
    })
    .await?;

    let labels = assigned(stage.zone(0), "prometheus", Some(&old)).await?;
    assert_eq!(labels["kuma_io_services"], ",observed,");

    // The policy takes the place of what the mesh says.
    let mut conf = json!({
        "sidecar": {"includeUnused": false, "profiles": {"appendProfiles": [{"name": "All"}]}},
        "applications": [{"name": "app", "path": "/metrics", "port": 8888}],
        "backends": [
            {"type": "Prometheus", "prometheus": {"port": new, "path": "/scrape"}},
            {"type": "Prometheus", "prometheus": {"clientId": "other", "port": second}},
        ],
    });
    stage.global().put(POLICY, &policy(&conf)).await?;
    answered(outbound, StatusCode::OK).await?;
    for url in [url(new, "/scrape"), url(second, "/metrics")] {
        let metrics = scraped(&plain, &url).await?;
        assert!(metrics.contains("app_metric 1\n"), "{metrics}");
        let requests = metrics.lines().find(|line| {
            line.starts_with("envoy_cluster_upstream_rq_total{") && line.contains("envoy_cluster_name=\"echo\"")
        });
        assert!(requests.is_some(), "no metrics of the outbound: {metrics}");
    }
    let elsewhere = plain.get(url(new, "/elsewhere")).send().await?;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    refused(&plain, &old).await?;
    let labels = assigned(stage.zone(0), "prometheus", Some(&url(new, "/scrape"))).await?;
    assert_eq!(labels, Value::Null, "the proxy adds them to its metrics");
    assigned(stage.zone(0), "other", Some(&url(second, "/metrics"))).await?;

    // What kuma-dp is told, until it changes.
    let (first, hash) = settings(observed.folder(), None).await?;
    let told = &first["observability"]["metrics"];
    assert_eq!(told["applications"], json!([{"name": "app", "path": "/metrics", "port": 8888, "address": ""}]));
    assert_eq!(told["backends"], json!([{"type": "Prometheus", "name": null}]));
    assert_eq!(told["sidecar"], conf["sidecar"]);
    assert_eq!(told["extraLabels"]["kuma_io_service"], "observed");
    assert_eq!(told["extraLabels"]["dataplane"], "observed");
    let socket = observed.folder().join("kuma-mesh-metric-config.sock");
    let again = get_over_socket(socket, "/meshmetric", Some(("If-None-Match", &hash))).await?;
    assert_eq!((again.0, again.2.as_str()), (StatusCode::NOT_MODIFIED, ""));
    conf["sidecar"]["includeUnused"] = json!(true);
    stage.global().put(POLICY, &policy(&conf)).await?;
    let (changed, _) = settings(observed.folder(), Some(&hash)).await?;
    assert_eq!(changed["observability"]["metrics"]["sidecar"]["includeUnused"], true);

    // With the certificate that kuma-dp was started with.
    conf["backends"] = json!([{"type": "Prometheus", "prometheus": {
        "port": new, "path": "/scrape", "tls": {"mode": "ProvidedTLS"},
    }}]);
    stage.global().put(POLICY, &policy(&conf)).await?;
    let certificate = Certificate::from_pem(certificate.cert.pem().as_bytes())?;
    let secured = reqwest::Client::builder().timeout(PATIENCE).add_root_certificate(certificate).build()?;
    let metrics = scraped(&secured, &format!("https://localhost:{new}/scrape")).await?;
    assert!(metrics.contains("app_metric 1\n"), "{metrics}");
    refused(&plain, &url(new, "/scrape")).await?;
    for client in ["prometheus", "other"] {
        assigned(stage.zone(0), client, Some(&format!("https://127.0.0.1:{new}/scrape"))).await?;
    }

    // Without the policy the mesh decides again.
    stage.global().delete(POLICY).await?;
    wait::until("the listener of the mesh is back", PATIENCE, || async {
        plain.get(&old).send().await?;
        Ok(Some(()))
    })
    .await?;
    assert_eq!(observed.stat_sum(|name| name.ends_with(".update_rejected")).await?, 0, "{}", observed.log_tail());
    assigned(stage.zone(0), "prometheus", Some(&old)).await?;
    mesh["metrics"] = json!({"backends": mesh["metrics"]["backends"]});
    stage.global().put("/meshes/default", &mesh).await?;
    assigned(stage.zone(0), "prometheus", None).await?;
    stage.passed();
    Ok(())
}

/// Sends metrics as kuma-dp does.
async fn export(socket: &Path, metrics: &'static [u8]) -> Result<StatusCode> {
    let stream = UnixStream::connect(socket).await.with_context(|| socket.display().to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://localhost{EXPORT}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(metrics)))?;
    let status = sender.send_request(request).await?.status();
    connection.abort();
    Ok(status)
}

#[tokio::test]
async fn metrics_are_sent_to_collectors() -> Result<()> {
    const METRICS: &[u8] = b"\0\0\0\0\x02{}";
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let collector = Recorder::tcp("").await?;
    let endpoint = format!("127.0.0.1:{}", collector.port);
    let backends = json!([{"type": "OpenTelemetry", "openTelemetry": {"endpoint": endpoint, "refreshInterval": "3s"}}]);
    let observed = stage.zone(0).start_sidecar(apps::caller("default", "observed", &[])?).await?;
    stage.global().put(POLICY, &policy(&json!({"backends": backends}))).await?;

    let (settings, _) = settings(observed.folder(), None).await?;
    let told = &settings["observability"]["metrics"]["backends"][0];
    assert_eq!((&told["type"], &told["openTelemetry"]["refreshInterval"]), (&json!("OpenTelemetry"), &json!("3s")));
    let socket = told["openTelemetry"]["endpoint"].as_str().context("no socket")?;
    assert_eq!(Path::new(socket).parent(), Some(observed.folder()));
    let received = || async {
        let status = export(Path::new(socket), METRICS).await?;
        let last = collector.requests().pop().with_context(|| format!("answered with {status}"))?;
        Ok(Some(last))
    };
    let received = wait::until("the collector receives metrics", PATIENCE, received).await?;
    assert!(received.target.ends_with(EXPORT), "{}", received.target);
    assert_eq!(received.body, METRICS);
    assert_eq!(observed.stat_sum(|name| name.ends_with(".update_rejected")).await?, 0, "{}", observed.log_tail());
    stage.passed();
    Ok(())
}
