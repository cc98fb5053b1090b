//! A zone control plane as a process, with a proxy that behaves.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use super::peer::{Call, Peer, SOTW, node};

/// Longest that anything may take that is to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The mesh of the proxy that behaves.
pub const MESH: &str = "demo";

/// Type of clusters.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// A zone control plane, which is killed when this is dropped, and a proxy that it serves.
pub struct Stage {
    child: Child,
    /// Port of the dataplane server.
    pub port: u16,
    api: String,
    diagnostics: String,
    http: reqwest::Client,
    /// Time in seconds that the proxy that behaves was last told to connect within; ends when its stream does.
    good: Option<watch::Receiver<i64>>,
    round: AtomicU32,
    _folder: TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Stage {
    /// Starts with defaults.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Starts with further environment variables.
    pub async fn with(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [port, api, https, diagnostics, mads, inter] = [(); 6].map(|()| free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zone-cp"));
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("KUMA_") {
                command.env_remove(key);
            }
        }
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = command
            .arg("run")
            .env("KUMA_MODE", "zone")
            .env("KUMA_MULTIZONE_ZONE_NAME", "zone-1")
            .env("KUMA_DP_SERVER_PORT", port.to_string())
            .env("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1")
            .env("KUMA_API_SERVER_HTTP_PORT", api.to_string())
            .env("KUMA_API_SERVER_HTTPS_INTERFACE", "127.0.0.1")
            .env("KUMA_API_SERVER_HTTPS_PORT", https.to_string())
            .env("KUMA_DIAGNOSTICS_SERVER_PORT", diagnostics.to_string())
            .env("KUMA_MONITORING_ASSIGNMENT_SERVER_PORT", mads.to_string())
            .env("KUMA_INTER_CP_SERVER_PORT", inter.to_string())
            .env("KUMA_GENERAL_WORK_DIR", path("work"))
            .env("KUMA_STORE_SLED_PATH", path("store"))
            .env("KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY", "0s")
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut stage = Self {
            child,
            port,
            api: format!("http://127.0.0.1:{api}"),
            diagnostics: format!("http://127.0.0.1:{diagnostics}"),
            http: reqwest::Client::new(),
            good: None,
            round: AtomicU32::new(0),
            _folder: folder,
        };
        stage
            .until("the control plane is ready", async || {
                let ready = stage.http.get(format!("{}/ready", stage.diagnostics)).send().await;
                ready.is_ok_and(|answer| answer.status().is_success()).then_some(())
            })
            .await;
        for mesh in [MESH, "other"] {
            stage.put(&format!("/meshes/{mesh}"), &json!({"type": "Mesh", "name": mesh})).await;
        }
        let token = stage.dataplane_token(MESH, "good").await;
        let good = stage.connect(&dataplane("good"), &token).await;
        stage.good = Some(behave(good));
        stage.works().await;
        stage
    }

    /// Waits until something is there.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "{what} does not happen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes a resource.
    pub async fn put(&self, path: &str, resource: &Value) {
        let answer = self.http.put(format!("{}{path}", self.api)).json(resource).send().await.expect("an answer");
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status}: {}", answer.text().await.unwrap_or_default());
    }

    /// Reads something; `None` when it does not exist.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.api)).send().await.expect("an answer");
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    }

    /// Names of the Dataplanes of a mesh.
    pub async fn dataplanes(&self, mesh: &str) -> Vec<String> {
        let list = self.get(&format!("/meshes/{mesh}/dataplanes")).await.expect("a list");
        let items = list["items"].as_array().expect("items");
        items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    }

    async fn token(&self, kind: &str, request: Value) -> String {
        let url = format!("{}/tokens/{kind}", self.api);
        self.until("a token is issued", async || {
            let answer = self.http.post(&url).json(&request).send().await.ok()?;
            if answer.status().is_success() { answer.text().await.ok() } else { None }
        })
        .await
    }

    /// A token for a Dataplane.
    pub async fn dataplane_token(&self, mesh: &str, name: &str) -> String {
        self.token("dataplane", json!({"mesh": mesh, "name": name, "validFor": "24h"})).await
    }

    /// A token for any Dataplane of the mesh with these tags.
    pub async fn token_with_tags(&self, tags: Value) -> String {
        self.token("dataplane", json!({"mesh": MESH, "tags": tags, "validFor": "24h"})).await
    }

    /// A token for zone proxies of a zone.
    pub async fn zone_token(&self, zone: &str, scope: &[&str]) -> String {
        self.token("zone", json!({"zone": zone, "scope": scope, "validFor": "24h"})).await
    }

    /// A token for a user.
    pub async fn user_token(&self) -> String {
        self.token("user", json!({"name": "somebody", "groups": [], "validFor": "24h"})).await
    }

    /// All refusals that were counted, by `door/reason`.
    pub async fn refusals(&self) -> Vec<(String, u64)> {
        let answer = self.http.get(format!("{}/metrics", self.diagnostics)).send().await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let label = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let lines = text.lines().filter(|line| line.starts_with("dp_server_refusals_total{"));
        let counted = lines.filter_map(|line| {
            let number = line.rsplit_once(' ')?.1.parse().ok()?;
            Some((format!("{}/{}", label(line, "door")?, label(line, "reason")?), number))
        });
        counted.collect()
    }

    /// How often something was refused, by `door/reason`.
    pub async fn refused(&self, what: &str) -> u64 {
        self.refusals().await.into_iter().find(|(of, _)| of == what).map_or(0, |(_, number)| number)
    }

    /// Makes an attempt, and shows that it was counted `times` as `door/reason` and as nothing else, and that others are served.
    pub async fn attempt<T>(&self, what: &str, times: u64, attempt: impl Future<Output = T>) -> T {
        self.attempts(&[(what, times)], attempt).await
    }

    /// [`Self::attempt`] that is counted as several things, in the order of their names.
    pub async fn attempts<T>(&self, expected: &[(&str, u64)], attempt: impl Future<Output = T>) -> T {
        let before = self.refusals().await;
        let result = attempt.await;
        self.works().await;
        let begin = Instant::now();
        loop {
            let had = |of: &str| before.iter().find(|(counted, _)| counted == of).map_or(0, |(_, number)| *number);
            let counted = self.refusals().await;
            let more = counted.iter().map(|(of, number)| (of.as_str(), number - had(of)));
            let mut more: Vec<_> = more.filter(|(_, more)| *more > 0).collect();
            more.sort_unstable();
            // What ends a connection may be counted after its peer has noticed.
            if more == expected || begin.elapsed() > PATIENCE {
                assert_eq!(more, expected);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        result
    }

    /// Shows that the proxy that behaves gets a change.
    pub async fn works(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        let to = json!([{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": format!("{round}s")}}]);
        let policy = json!({"type": "MeshTimeout", "mesh": MESH, "name": "round", "spec": {"to": to}});
        self.put(&format!("/meshes/{MESH}/meshtimeouts/round"), &policy).await;
        let mut told = self.good.clone().expect("connected at the start");
        let changed = timeout(PATIENCE, told.wait_for(|told| *told == i64::from(round))).await;
        changed.expect("the proxy that behaves is told of a change").expect("its stream goes on");
    }

    /// Shows that a proxy that was not there before is let in.
    pub async fn lets_in(&self, name: &str) {
        let token = self.dataplane_token(MESH, name).await;
        let mut call = self.connect(&dataplane(name), &token).await;
        call.message::<DiscoveryResponse>().await.expect("a new proxy is served");
    }

    /// Opens the stream of a proxy with a token.
    pub async fn connect(&self, resource: &Value, token: &str) -> Call {
        let mesh = resource["mesh"].as_str().unwrap_or_default();
        let node = node(mesh, resource["name"].as_str().expect("a name"), Some(resource));
        self.ask(&[token], DiscoveryRequest { node: Some(node), type_url: CLUSTER.to_owned(), ..Default::default() })
            .await
    }

    /// Opens a stream with a first request.
    pub async fn ask(&self, credentials: &[&str], request: DiscoveryRequest) -> Call {
        let call = Peer::connect(self.port).await.open(SOTW, credentials).await;
        call.send(&request);
        call
    }
}

/// Takes whatever comes on a stream, and tells the time that clusters may take to connect.
fn behave(mut call: Call) -> watch::Receiver<i64> {
    let (tell, told) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            match call.next_message::<DiscoveryResponse>().await {
                Ok(response) => {
                    call.send(&acknowledgement(&response));
                    let clusters =
                        response.resources.iter().filter_map(|any| Cluster::decode(any.value.as_slice()).ok());
                    for cluster in clusters.filter(|cluster| cluster.name == "good") {
                        tell.send_replace(cluster.connect_timeout.map_or(0, |timeout| timeout.seconds));
                    }
                }
                // Whoever waits for the next change sees that none comes.
                Err(_) => return,
            }
        }
    });
    told
}

/// The Dataplane of a proxy with an inbound and an outbound.
pub fn dataplane(name: &str) -> Value {
    json!({
        "type": "Dataplane", "mesh": MESH, "name": name,
        "networking": {
            "address": "127.0.0.1",
            "inbound": [{"port": 18080, "servicePort": 18081, "tags": {"kuma.io/service": name, "kuma.io/protocol": "http"}}],
            "outbound": [{"port": 18082, "tags": {"kuma.io/service": "good"}}]
        }
    })
}

/// The request that takes a response.
pub fn acknowledgement(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DiscoveryRequest::default()
    }
}
