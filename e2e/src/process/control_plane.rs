//! A control plane running as a child process.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::ports;

/// How long a control plane may take from start to readiness.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a control plane may take to leave when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Names the port of the server that Prometheus asks.
const MONITORING: &str = "KUMA_MONITORING_ASSIGNMENT_SERVER_PORT";

/// Names the folder of the store.
const STORE: &str = "KUMA_STORE_SLED_PATH";

/// What a control plane is started with.
#[derive(Debug, Clone)]
pub struct ControlPlaneOptions {
    /// The program; it is started with the single argument `run`.
    pub binary: PathBuf,
    /// Folder for its log, its certificate and, for stores on disk, its data. Created when missing.
    pub dir: PathBuf,
    /// Environment variables in addition to, or in place of, those that [`ControlPlane`] sets.
    pub env: BTreeMap<String, String>,
}

impl ControlPlaneOptions {
    /// A binary and its folder, with no further variables.
    pub fn new(binary: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), dir: dir.into(), env: BTreeMap::new() }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }
}

/// A control plane as a child process on loopback, with ports that were free. It is killed when dropped.
///
/// Ports and folder stay the same over [`kill`](Self::kill) and [`start`](Self::start), so that a restarted control plane
/// finds its data and is found by its peers.
#[derive(Debug)]
pub struct ControlPlane {
    name: String,
    options: ControlPlaneOptions,
    api: u16,
    diagnostics: u16,
    /// KDS of a global control plane, data plane server of a zone.
    peers: u16,
    child: Option<Child>,
}

impl ControlPlane {
    /// Starts a global control plane and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, leaves, or is not ready in time. The error ends with the last lines of its log.
    pub async fn start_global(options: ControlPlaneOptions) -> Result<Self> {
        let mut global = Self::prepare("global", options)?;
        global.default_env("KUMA_MODE", "global");
        let kds = global.peers;
        global.default_env("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", kds);
        global.start().await?;
        Ok(global)
    }

    /// Starts a zone control plane that joins the global one with the given KDS address (`grpcs://host:port`), or, without
    /// one, a zone of its own, and waits until it is ready.
    ///
    /// # Errors
    /// As [`start_global`](Self::start_global).
    pub async fn start_zone(name: &str, global: Option<&str>, options: ControlPlaneOptions) -> Result<Self> {
        let mut zone = Self::zone(name, global, options)?;
        zone.start().await?;
        Ok(zone)
    }

    /// The zone control plane of [`start_zone`](Self::start_zone), which does not run yet.
    ///
    /// # Errors
    /// When its folder cannot be made or there are no free ports.
    pub fn zone(name: &str, global: Option<&str>, options: ControlPlaneOptions) -> Result<Self> {
        let mut zone = Self::prepare(name, options)?;
        zone.default_env("KUMA_MODE", "zone");
        let dp_server = zone.peers;
        zone.default_env("KUMA_DP_SERVER_PORT", dp_server);
        zone.default_env("KUMA_MULTIZONE_ZONE_NAME", name);
        if let Some(address) = global {
            zone.default_env("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", address);
            // The peer's certificate is self-signed, and both ends are on this machine.
            zone.default_env("KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY", true);
        }
        Ok(zone)
    }

    /// Chooses ports and sets the variables that both modes share.
    fn prepare(name: &str, options: ControlPlaneOptions) -> Result<Self> {
        fs::create_dir_all(&options.dir).with_context(|| format!("cannot create {}", options.dir.display()))?;
        let (api, diagnostics, peers) = (ports::free()?, ports::free()?, ports::free()?);
        let work_dir = options.dir.join("work");
        let store = options.dir.join("store");
        let mut control_plane = Self { name: name.to_owned(), options, api, diagnostics, peers, child: None };
        for (key, value) in [
            ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1".to_owned()),
            ("KUMA_API_SERVER_HTTP_PORT", api.to_string()),
            ("KUMA_API_SERVER_HTTPS_INTERFACE", "127.0.0.1".to_owned()),
            ("KUMA_API_SERVER_HTTPS_PORT", ports::free()?.to_string()),
            ("KUMA_DIAGNOSTICS_SERVER_PORT", diagnostics.to_string()),
            ("KUMA_INTER_CP_SERVER_PORT", ports::free()?.to_string()),
            (MONITORING, ports::free()?.to_string()),
            ("KUMA_GENERAL_WORK_DIR", work_dir.display().to_string()),
            (STORE, store.display().to_string()),
        ] {
            control_plane.default_env(key, value);
        }
        Ok(control_plane)
    }

    fn default_env(&mut self, key: &str, value: impl ToString) {
        self.options.env.entry(key.to_owned()).or_insert_with(|| value.to_string());
    }

    /// Starts the process, unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// As [`start_global`](Self::start_global).
    pub async fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        self.launch()?;
        self.wait_ready().await
    }

    /// Starts the process, unless it runs, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let path = self.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let mut command = Command::new(&self.options.binary);
        // Settings of a control plane that the user runs must not reach this one.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("KUMA_") {
                command.env_remove(key);
            }
        }
        let child = command
            .arg("run")
            .envs(&self.options.env)
            .current_dir(&self.options.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.options.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Asks the readiness path until the answer is positive, since another process has no other way to tell.
    async fn wait_ready(&mut self) -> Result<()> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        let ready = format!("http://127.0.0.1:{}/ready", self.diagnostics);
        let started = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                bail!("{} left with {status} instead of serving; its log ends with:\n{}", self.name, self.log_tail(15));
            }
            if client.get(&ready).send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "{} is not ready after {} s; its log ends with:\n{}",
                    self.name,
                    START_LIMIT.as_secs(),
                    self.log_tail(15)
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the process at once, as `kill -9` does, and waits until it is gone. Nothing happens when it does not run.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
        }
        Ok(())
    }

    /// Asks the process to leave (SIGTERM) and waits until it is gone. Nothing happens when it does not run.
    ///
    /// # Errors
    /// When it does not leave in time (it is killed then) or leaves with an error.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = pid_of(&child) {
            kill_process(pid, Signal::TERM).with_context(|| format!("cannot end {}", self.name))?;
        }
        match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
            Ok(status) => {
                let status = status?;
                if !status.success() {
                    bail!("{} left with {status}; its log ends with:\n{}", self.name, self.log_tail(15));
                }
                Ok(())
            }
            Err(_) => {
                child.kill().await?;
                Err(anyhow!("{} did not leave within {} s and was killed", self.name, STOP_LIMIT.as_secs()))
            }
        }
    }

    /// Name of the zone, or `global`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// URL of the HTTP API, without a trailing slash.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// URL of the diagnostics server (health and metrics), without a trailing slash.
    pub fn diagnostics_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.diagnostics)
    }

    /// URL of the server of a zone that tells Prometheus of its proxies, without a trailing slash.
    pub fn monitoring_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.env[MONITORING])
    }

    /// Address that zones are given to join this global control plane.
    pub fn kds_address(&self) -> String {
        format!("grpcs://127.0.0.1:{}", self.peers)
    }

    /// URL of the data plane server of this zone (bootstrap and ADS), without a trailing slash.
    pub fn dp_server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.peers)
    }

    /// Port for its peers: KDS of a global control plane, data plane server of a zone.
    pub fn peer_port(&self) -> u16 {
        self.peers
    }

    /// Folder of its store, if that is on disk.
    pub fn store(&self) -> PathBuf {
        self.options.env.get(STORE).map_or_else(|| self.options.dir.join("store"), PathBuf::from)
    }

    /// Folder it was given.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// File that holds what it wrote to its standard output and error, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.options.dir.join(format!("{}.log", self.name))
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}
