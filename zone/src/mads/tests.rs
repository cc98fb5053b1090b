//! Requests over real sockets.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_runtime::http::{Limits, serve};
use tandem_runtime::measure::HttpMetrics;
use tandem_runtime::metrics::Metrics;
use tandem_xds::{MeshIndex, ZoneSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{MadsSettings, follow, router};
use crate::mesh_state::CurrentSnapshot;

const PATH: &str = "/v3/discovery:monitoringassignments";
const TYPE_URL: &str = "type.googleapis.com/kuma.observability.v1.MonitoringAssignment";
/// Longer than any test.
const LONG: &str = "fetch-timeout=5m";

/// A server over an index.
struct Mads {
    index: MeshIndex,
    snapshot: CurrentSnapshot,
    published: watch::Sender<u64>,
    base: String,
    metrics: Metrics,
    client: reqwest::Client,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Mads {
    /// Starts one that knows nothing of the meshes yet.
    async fn start() -> Self {
        let index = MeshIndex::new(ZoneSettings::new("east"));
        let snapshot: CurrentSnapshot = Arc::new(ArcSwap::new(index.snapshot()));
        let (published, shutdown, metrics) = (watch::Sender::default(), CancellationToken::new(), Metrics::new("east"));
        let (out, feed) = watch::channel(None);
        let following = follow(snapshot.clone(), published.subscribe(), Duration::ZERO, out, shutdown.clone());
        tokio::spawn(following);
        let settings = MadsSettings { default_timeout: Duration::from_millis(50) };
        let measures = HttpMetrics::register(&metrics, "mads_server");
        let router = router(settings, feed, measures, shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let server = tokio::spawn(serve(listener, None, router, Limits::default(), shutdown.clone()));
        Self { index, snapshot, published, base, metrics, client: reqwest::Client::new(), shutdown, server }
    }

    /// Starts one with a mesh that is scraped and the Dataplane `dp-1`.
    async fn scraped() -> Self {
        let mut mads = Self::start().await;
        let backends = json!([{"name": "p", "type": "prometheus", "conf": {"port": 5670, "path": "/metrics"}}]);
        let metrics = json!({"enabledBackend": "p", "backends": backends});
        mads.put(json!({"type": "Mesh", "name": "default", "metrics": metrics}));
        mads.put(dataplane("dp-1"));
        while mads.ask(r#"{"node": {"id": "p"}}"#, "").await.targets() != ["dp-1"] {}
        mads
    }

    fn put(&mut self, resource: Value) {
        let resource: Resource = from_json(resource, None, Unknown::Refuse).expect("a valid resource").resource;
        let resource = Arc::new(resource);
        self.index.apply([(&resource.key, Some(&resource))]);
        self.publish();
    }

    fn publish(&self) {
        self.snapshot.store(self.index.snapshot());
        self.published.send_modify(|count| *count += 1);
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, format!("{}{path}", self.base)).timeout(Duration::from_secs(60))
    }

    /// Asks as Prometheus does.
    async fn ask(&self, body: &str, query: &str) -> Answer {
        Answer::of(self.asking(body, query)).await
    }

    fn asking(&self, body: &str, query: &str) -> reqwest::RequestBuilder {
        let request = self.request("POST", &format!("{PATH}?{query}"));
        request.header("content-type", "application/json").body(body.to_owned())
    }
}

struct Answer {
    status: StatusCode,
    content_type: String,
    text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let header = response.headers().get("content-type").map(|value| value.to_str().expect("text").to_owned());
        let (status, content_type) = (response.status(), header.unwrap_or_default());
        Self { status, content_type, text: response.text().await.expect("a text") }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Names of the targets.
    fn targets(&self) -> Vec<String> {
        assert_eq!((self.status, self.content_type.as_str()), (StatusCode::OK, "text/plain; charset=utf-8"));
        let answer = self.json();
        let all = answer["resources"].as_array().into_iter().flatten();
        all.map(|one| one["targets"][0]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn version(&self) -> String {
        self.json()["version_info"].as_str().expect("a version").to_owned()
    }

    /// Status, title and detail; of the requests that Kuma refuses without type and status, `None` as status in the body.
    fn problem(&self) -> (u16, Value, Value, Value) {
        assert_eq!(self.content_type, "application/json", "{}", self.text);
        let body = self.json();
        assert_eq!(body["detail"], body["details"]);
        (self.status.as_u16(), body["status"].clone(), body["title"].clone(), body["type"].clone())
    }
}

fn dataplane(name: &str) -> Value {
    let inbound = json!({"port": 80, "tags": {"kuma.io/service": "web"}});
    json!({"type": "Dataplane", "mesh": "default", "name": name, "networking": {"address": "127.0.0.1", "inbound": [inbound]}})
}

fn having(version: &str) -> String {
    json!({"version_info": version, "node": {"id": "prometheus"}, "resource_names": [], "type_url": "x"}).to_string()
}

#[tokio::test]
async fn an_answer_has_kumas_shape() {
    let mads = Mads::scraped().await;
    let all = mads.ask(&having(""), "fetch-timeout=0s").await;
    let target = json!({
        "name": "dp-1", "scheme": "http", "address": "127.0.0.1:5670", "metrics_path": "/metrics",
        "labels": {"kuma_io_service": "web", "kuma_io_services": ",web,"},
    });
    let assignment = json!({"@type": TYPE_URL, "mesh": "default", "service": "web", "targets": [target]});
    let expected = json!({"version_info": all.version(), "resources": [assignment], "type_url": TYPE_URL});
    assert_eq!(all.json(), expected);
    for (body, query) in [
        (
            r#"{"versionInfo":"","node":{"id":"p"},"resourceNames":[],"typeUrl":"x","responseNonce":"y"}"#,
            "fetch-timeout=0",
        ),
        (
            r#"{"node":{"id":"p","metadata":{"a":["b"]},"locality":{"zone":"z"}},"response_nonce":null}"#,
            "fetch-timeout=-5s",
        ),
        (r#"{"resource_names":["/meshes/default/dataplanes/dp-1"]}"#, "other=1&fetch-timeout=1m0s"),
        ("{}", "fetch-timeout="),
        ("null", ""),
    ] {
        assert_eq!(mads.ask(body, query).await.text, all.text, "{body} {query}");
    }
    let none = mads.ask(r#"{"resource_names":["/meshes/default/dataplanes/dp-9"]}"#, "fetch-timeout=0").await;
    assert_eq!(none.json(), json!({"version_info": all.version(), "type_url": TYPE_URL}));
    let slash = mads.request("POST", &format!("{PATH}/")).header("content-type", "application/json; charset=utf-8");
    assert_eq!(Answer::of(slash.body("{}")).await.text, all.text);
}

#[tokio::test]
async fn a_client_that_knows_all_waits_for_the_next_change() {
    let mut mads = Mads::scraped().await;
    let version = mads.ask(&having(""), LONG).await.version();
    for query in ["fetch-timeout=0s", "fetch-timeout=50ms", ""] {
        let same = mads.ask(&having(&version), query).await;
        assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{query}");
    }
    let waiting = tokio::spawn(Answer::of(mads.asking(&having(&version), LONG)));
    mads.put(json!({"type": "Mesh", "name": "other"}));
    mads.put(dataplane("dp-2"));
    let changed = waiting.await.expect("an answer");
    assert_eq!(changed.targets(), ["dp-1", "dp-2"]);
    let waiting = tokio::spawn(Answer::of(mads.asking(&having(&changed.version()), LONG)));
    mads.index.apply([(&ResourceKey::new(Kind::Dataplane, "default", "dp-2"), None)]);
    mads.publish();
    let again = waiting.await.expect("an answer");
    assert_eq!(again.targets(), ["dp-1"]);
    assert_eq!(again.version(), version, "a version follows from the content");
}

#[tokio::test]
async fn a_client_is_told_of_the_backends_that_name_it() {
    let mut mads = Mads::scraped().await;
    let backend =
        |client: &str, port: u16| json!({"type": "Prometheus", "prometheus": {"clientId": client, "port": port}});
    let metric = |backends: Value| {
        let spec = json!({"targetRef": {"kind": "Mesh"}, "default": {"backends": backends}});
        json!({"type": "MeshMetric", "mesh": "default", "name": "m", "spec": spec})
    };
    let (one, other) = (r#"{"node":{"id":"one"}}"#, r#"{"node":{"id":"other"}}"#);
    let first = mads.ask(one, "").await.version();
    mads.put(metric(json!([backend("one", 1234)])));
    let asked = json!({"node": {"id": "one"}, "version_info": first}).to_string();
    let told = mads.ask(&asked, LONG).await.json();
    assert_eq!(told["resources"][0]["targets"][0]["address"], "127.0.0.1:1234");
    assert_eq!(told["resources"][0]["targets"][0].get("labels"), None);
    assert_eq!(mads.ask(other, "").await.targets(), Vec::<String>::new());
    // The client that nobody names any more is not told what was true once.
    mads.put(metric(json!([backend("other", 1234)])));
    let asked = json!({"node": {"id": "one"}, "version_info": told["version_info"]}).to_string();
    assert_eq!(mads.ask(&asked, LONG).await.targets(), Vec::<String>::new());
    assert_eq!(mads.ask(other, "").await.targets(), ["dp-1"]);
}

#[tokio::test]
async fn what_is_no_request_is_refused_as_kuma_does() {
    let mads = Mads::scraped().await;
    let json = "application/json";
    for (method, path, content_type, accept, status, body) in [
        ("GET", PATH, "", "", 405, "405: Method Not Allowed"),
        ("PUT", PATH, json, "", 405, "405: Method Not Allowed"),
        ("OPTIONS", PATH, "", "", 405, "405: Method Not Allowed"),
        ("POST", PATH, "", "", 415, "415: Unsupported Media Type"),
        ("POST", PATH, "application/x-www-form-urlencoded", "", 415, "415: Unsupported Media Type"),
        ("POST", PATH, "application/grpc", "", 415, "415: Unsupported Media Type"),
        ("POST", PATH, json, "text/xml", 406, "406: Not Acceptable\n\nAvailable representations: application/json"),
        ("POST", "/v3/discovery:other", json, "", 404, "404: Page Not Found"),
        ("GET", "/", "", "", 404, "404: Page Not Found"),
    ] {
        let mut request = mads.request(method, path).body("{}");
        for (name, value) in [("content-type", content_type), ("accept", accept)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let response = request.send().await.expect("an answer");
        let case = format!("{method} {path} {content_type} {accept}");
        assert_eq!(response.status().as_u16(), status, "{case}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{case}");
        assert_eq!(response.headers().get("allow").is_some_and(|allow| allow == "POST"), status == 405, "{case}");
        assert_eq!(response.text().await.expect("a text"), body, "{case}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let mads = Mads::scraped().await;
    for body in ["{", "", "[]", r#"{"nope": 1}"#, r#"{"node": 5}"#, r#"{"resource_names": [1]}"#, "\u{0}"] {
        let answer = mads.ask(body, "fetch-timeout=0").await;
        let expected = (400, json!(0), json!("Could not parse request body"), json!(""));
        assert_eq!(answer.problem(), expected, "{body:?}: {}", answer.text);
    }
    let unknown = mads.ask(r#"{"nope": 1}"#, "").await;
    assert!(unknown.json()["detail"].as_str().is_some_and(|detail| detail.contains("nope")), "{}", unknown.text);
    for (timeout, detail) in [
        ("abc", "time: invalid duration \"abc\""),
        ("5", "time: missing unit in duration \"5\""),
        ("99999999h", "time: invalid duration \"99999999h\""),
    ] {
        let answer = mads.ask("{}", &format!("fetch-timeout={timeout}")).await;
        let expected = (400, json!(0), json!("Could not parse fetch-timeout"), json!(""));
        assert_eq!(answer.problem(), expected, "{timeout}");
        assert_eq!(answer.json()["detail"], detail);
    }
    let mut connection = TcpStream::connect(mads.base.trim_start_matches("http://")).await.expect("a connection");
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    connection.write_all(format!("{head}content-length: 100000\r\n\r\n{{").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("65536 bytes"), "{answer}");
    assert_eq!(mads.ask("{}", "").await.targets(), ["dp-1"], "others are served");
}

#[tokio::test]
async fn before_the_meshes_are_known_there_is_an_error_and_no_empty_list() {
    let mads = Mads::start().await;
    for query in ["fetch-timeout=0s", "fetch-timeout=50ms"] {
        let answer = mads.ask("{}", query).await;
        let expected = (500, json!(500), json!("Could not fetch MonitoringAssignments"), json!("/std-errors"));
        assert_eq!(answer.problem(), expected);
        assert_eq!(answer.json()["detail"], "Internal Server Error");
    }
    let waiting = tokio::spawn(Answer::of(mads.asking("{}", LONG)));
    mads.publish();
    assert_eq!(waiting.await.expect("an answer").targets(), Vec::<String>::new());
}

#[tokio::test]
async fn so_many_requests_wait_and_no_more() {
    let mads = Mads::scraped().await;
    let version = mads.ask("{}", "").await.version();
    let body = having(&version);
    let mut connections = Vec::new();
    let address = mads.base.trim_start_matches("http://").to_owned();
    for _ in 0..super::server::MAX_WAITING {
        let mut connection = TcpStream::connect(&address).await.expect("a connection");
        let head = format!("POST {PATH}?{LONG} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        connection.write_all(request.as_bytes()).await.expect("sent");
        connections.push(connection);
    }
    // All of them arrive sooner or later; until then there is room for a wait that is short.
    let refused = loop {
        let answer = mads.ask(&body, "fetch-timeout=1ms").await;
        if answer.status != StatusCode::NOT_MODIFIED {
            break answer;
        }
    };
    assert_eq!(refused.problem().0, 503);
    assert_eq!(mads.ask(&body, "fetch-timeout=0s").await.status, StatusCode::NOT_MODIFIED, "without a wait");
    assert_eq!(mads.ask("{}", LONG).await.targets(), ["dp-1"], "with news");
    // A client that goes away makes room.
    connections.truncate(connections.len() / 2);
    while mads.ask(&body, "fetch-timeout=1ms").await.status != StatusCode::NOT_MODIFIED {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn requests_that_wait_are_answered_when_the_server_stops() {
    let mads = Mads::scraped().await;
    let body = having(&mads.ask("{}", "").await.version());
    let address = mads.base.trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let head = format!("POST {PATH}?{LONG} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    connection.write_all(request.as_bytes()).await.expect("sent");
    while !mads.metrics.encode().contains("mads_server_http_requests_inflight{zone=\"east\",handler=\"/v3/discovery:monitoringassignments\",service=\"\"} 1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mads.shutdown.cancel();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 304"), "{answer}");
    mads.server.await.expect("ended");
    let measured = mads.metrics.encode();
    assert!(measured.contains("mads_server_http_request_duration_seconds_count"), "{measured}");
}
