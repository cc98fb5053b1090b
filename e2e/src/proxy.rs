//! A stand-in for kuma-dp that does only what is needed: asks for the bootstrap configuration and runs Envoy with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tandem_auth::tls::{Trust, client_config};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::ports;

/// What to run.
#[derive(Debug, Clone)]
pub struct ProxySpec {
    /// `dataplane`, `ingress` or `egress`.
    pub proxy_type: String,
    /// Mesh; empty for zone proxies.
    pub mesh: String,
    /// Name.
    pub name: String,
    /// The proxy's resource, without the admin port, which is added.
    pub resource: Value,
    /// Token, if the zone wants one.
    pub token: Option<String>,
    /// Ask for the delta variant of the protocol.
    pub delta: bool,
    /// Features of the stand-in for kuma-dp besides the usual ones.
    pub features: Vec<&'static str>,
    /// Members of the request for the bootstrap configuration in place of the usual ones; null for none.
    pub request: Value,
}

impl ProxySpec {
    /// A proxy of a type (`dataplane`, `ingress`, `egress`) with the usual features and no token.
    pub fn new(proxy_type: &str, mesh: &str, name: &str, resource: Value) -> Self {
        Self {
            proxy_type: proxy_type.into(),
            mesh: mesh.into(),
            name: name.into(),
            resource,
            token: None,
            delta: false,
            features: Vec::new(),
            request: Value::Null,
        }
    }

    /// A sidecar with one inbound and any number of outbounds `(port, service)`, all on loopback.
    pub fn sidecar(mesh: &str, name: &str, inbound: &Inbound, outbounds: &[(u16, &str)]) -> Self {
        let mut tags = json!({"kuma.io/service": inbound.service, "kuma.io/protocol": inbound.protocol});
        for (key, value) in &inbound.tags {
            tags[key] = json!(value);
        }
        let outbounds: Vec<Value> = outbounds
            .iter()
            .map(|(port, service)| json!({"port": port, "tags": {"kuma.io/service": service}}))
            .collect();
        let resource = json!({
            "type": "Dataplane",
            "mesh": mesh,
            "name": name,
            "networking": {
                "address": "127.0.0.1",
                "inbound": [{"port": inbound.port, "servicePort": inbound.service_port, "tags": tags}],
                "outbound": outbounds
            }
        });
        Self::new("dataplane", mesh, name, resource)
    }

    /// A ZoneIngress on loopback, reachable by other zones at the same address.
    pub fn ingress(name: &str, port: u16) -> Self {
        let networking =
            json!({"address": "127.0.0.1", "port": port, "advertisedAddress": "127.0.0.1", "advertisedPort": port});
        let resource = json!({"type": "ZoneIngress", "name": name, "networking": networking});
        Self::new("ingress", "", name, resource)
    }

    /// A ZoneEgress on loopback.
    pub fn egress(name: &str, port: u16) -> Self {
        let resource =
            json!({"type": "ZoneEgress", "name": name, "networking": {"address": "127.0.0.1", "port": port}});
        Self::new("egress", "", name, resource)
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    /// The same with the delta variant of the protocol.
    #[must_use]
    pub fn with_delta(mut self) -> Self {
        self.delta = true;
        self
    }
}

/// The inbound of a sidecar.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Port of the proxy.
    pub port: u16,
    /// Port of the application.
    pub service_port: u16,
    /// Value of `kuma.io/service`.
    pub service: String,
    /// Value of `kuma.io/protocol`.
    pub protocol: String,
    /// Further tags.
    pub tags: Vec<(String, String)>,
}

impl Inbound {
    /// An HTTP inbound on a free port.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn http(service: &str, service_port: u16) -> Result<Self> {
        let port = ports::free()?;
        Ok(Self { port, service_port, service: service.into(), protocol: "http".into(), tags: Vec::new() })
    }
}

/// Where a zone's dataplane server is, and how to trust it.
#[derive(Debug, Clone)]
pub struct DpServer {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// File with the certificate of the server, which is its own authority.
    pub ca_file: PathBuf,
}

impl DpServer {
    /// A client that trusts this server and no other.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn client(&self) -> Result<reqwest::Client> {
        let mut tls = client_config(Trust::File(&self.ca_file))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(reqwest::Client::builder().use_preconfigured_tls(tls).build()?)
    }

    /// The certificate of the server as PEM.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ca_pem(&self) -> Result<String> {
        std::fs::read_to_string(&self.ca_file).with_context(|| format!("cannot read {}", self.ca_file.display()))
    }
}

/// A running Envoy; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// What it was started as.
    pub spec: ProxySpec,
    child: Child,
    admin_port: u16,
    folder: PathBuf,
    log: PathBuf,
    http: reqwest::Client,
}

impl Proxy {
    /// Gets the bootstrap configuration and starts Envoy.
    ///
    /// # Errors
    /// When the zone refuses the bootstrap request (the text is the zone's) or Envoy does not start.
    pub async fn start(envoy: &Path, zone: &DpServer, spec: ProxySpec, folder: &Path) -> Result<Self> {
        let admin_port = ports::free()?;
        let folder = folder.join(&spec.mesh).join(&spec.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let bootstrap = fetch_bootstrap(zone, &spec, admin_port, &folder).await?;
        let config = folder.join("bootstrap.yaml");
        std::fs::write(&config, bootstrap)?;
        let log = folder.join("envoy.log");
        let child = Command::new(envoy)
            .arg("--config-path")
            .arg(&config)
            .arg("--log-path")
            .arg(&log)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info"])
            .args(["--drain-time-s", "1", "--drain-strategy", "immediate"])
            // Access logs are to be read at once.
            .args(["--file-flush-interval-msec", "200"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", envoy.display()))?;
        Ok(Self { spec, child, admin_port, folder, log, http: reqwest::Client::new() })
    }

    /// Waits until Envoy has its configuration and serves.
    ///
    /// # Errors
    /// When Envoy exits or is not ready in time; the text holds the end of its log.
    pub async fn ready(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("Envoy of {} exited with {status}:\n{}", self.spec.name, self.log_tail());
            }
            if self.admin("ready").await.is_ok_and(|text| text.trim() == "LIVE") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "Envoy of {} is not ready after {} s:\n{}",
                self.spec.name,
                timeout.as_secs(),
                self.log_tail()
            );
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// Asks Envoy's admin interface.
    ///
    /// # Errors
    /// When Envoy does not answer, or not with success.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/{path}", self.admin_port);
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// Value of one of Envoy's counters or gauges; 0 if it does not exist.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.admin("stats").await?;
        let value = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(value.and_then(|value| value.trim().parse().ok()).unwrap_or(0))
    }

    /// Sum of Envoy's counters whose name passes `filter`.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn stat_sum(&self, filter: impl Fn(&str) -> bool) -> Result<u64> {
        let stats = self.admin("stats").await?;
        let values = stats.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| filter(name));
        Ok(values.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum())
    }

    /// Envoy's own view of its configuration.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn config_dump(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.admin("config_dump?include_eds").await?)?)
    }

    /// Port of Envoy's admin interface on loopback.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Folder of its sockets, its log and its bootstrap configuration.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What Envoy wrote to its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of Envoy's log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Stops Envoy at once, as a crash would.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot stop the Envoy of {}", self.spec.name))
    }
}

async fn fetch_bootstrap(zone: &DpServer, spec: &ProxySpec, admin_port: u16, folder: &Path) -> Result<Vec<u8>> {
    let client = zone.client()?;
    let mut resource = spec.resource.clone();
    resource["networking"]["admin"] = json!({"port": admin_port});
    let mut features = vec!["feature-readiness-unix-socket", "feature-strict-inbound-ports", "feature-reuse-port"];
    if spec.delta {
        features.push("feature-delta-grpc");
    }
    features.extend(&spec.features);
    let mut request = json!({
        "mesh": spec.mesh,
        "name": spec.name,
        "proxyType": spec.proxy_type,
        "dataplaneResource": resource.to_string(),
        "version": {
            "kumaDp": {"version": "2.13.10", "gitTag": "", "gitCommit": "", "buildDate": ""},
            "envoy": {"version": "1.36.4", "build": "", "kumaDpCompatible": true}
        },
        "caCert": zone.ca_pem()?,
        "dynamicMetadata": {},
        "readinessPort": 9902,
        "features": features,
        "workdir": folder,
        "ipv6Enabled": false
    });
    if let Some(token) = &spec.token {
        request["dataplaneToken"] = json!(token);
    }
    for (name, value) in spec.request.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    let server = format!("{}:{}", zone.host, zone.port);
    let response = client
        .post(format!("https://{server}/bootstrap"))
        .header("accept", "application/json")
        .json(&request)
        .send()
        .await
        .with_context(|| format!("cannot reach the dataplane server of the zone at {server}"))?;
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "bootstrap of {} refused with {status}: {text}", spec.name);
    let answer: Value = serde_json::from_str(&text).context("the answer to the bootstrap request is not JSON")?;
    let bootstrap = answer["bootstrap"].as_str().context("the answer to the bootstrap request holds no bootstrap")?;
    BASE64.decode(bootstrap).context("the bootstrap configuration is not base64")
}
