//! The control planes under load: those the options name, or ones started for the run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use http::Uri;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use super::connection::Server;
use super::options::{Options, WatchedPid};
use super::progress::Phase;
use crate::api::Api;
use crate::process::{ControlPlane, ControlPlaneOptions, Profile, build};

/// How long a mesh and its signing key may take from global to the zone.
const SYNC_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks at a zone.
const POLL: Duration = Duration::from_millis(100);

/// Name of the zone among the measured processes.
pub(super) const ZONE: &str = "zone";

/// Where the load goes.
pub(super) struct Target {
    pub(super) global: Api,
    pub(super) servers: Vec<Server>,
    pub(super) watched: Vec<WatchedPid>,
    zone: Option<Api>,
    /// Control planes that were started for the run; they end with this.
    started: Option<Started>,
}

struct Started {
    zone: ControlPlane,
    global: ControlPlane,
    _dir: TempDir,
}

impl Target {
    /// Names the control planes that run, or starts them.
    pub(super) async fn prepare(options: &Options) -> Result<Self> {
        if options.start {
            return Self::start(options).await;
        }
        let mut servers = Vec::new();
        for url in &options.zone_dp {
            servers.push(Server::parse(url)?);
        }
        if let (Some(zone), true) = (&options.zone, servers.is_empty()) {
            let zone: Uri = zone.parse().with_context(|| format!("--zone {zone:?} is not a URL"))?;
            let host = zone.host().ok_or_else(|| anyhow!("--zone {zone} has no host"))?;
            servers.push(Server::parse(&format!("https://{host}:5678"))?);
        }
        let zone = options.zone.as_deref().map(|url| Api::new(url.trim_end_matches('/'))).transpose()?;
        Ok(Self {
            global: Api::new(options.global.trim_end_matches('/'))?,
            servers,
            watched: options.pid.clone(),
            zone,
            started: None,
        })
    }

    async fn start(options: &Options) -> Result<Self> {
        let global_binary = binary("global-cp", options.global_binary.as_ref()).await?;
        let zone_binary = binary("zone-cp", options.zone_binary.as_ref()).await?;
        let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
        let with_env = |binary: PathBuf, folder: &str| {
            let mut prepared = ControlPlaneOptions::new(binary, dir.path().join(folder));
            prepared.env.extend(options.env.iter().cloned());
            prepared
        };
        let _phase = Phase::open_ended("Starting a global and a zone control plane");
        let global = ControlPlane::start_global(with_env(global_binary, "global")).await?;
        let address = global.kds_address();
        let zone = ControlPlane::start_zone("load", Some(&address), with_env(zone_binary, "zone")).await?;
        let mut watched = Vec::new();
        for (name, control_plane) in [(ZONE, &zone), ("global", &global)] {
            watched.push(self::watched(name, control_plane)?);
        }
        Ok(Self {
            global: Api::new(global.api_url())?,
            servers: vec![Server::parse(&zone.dp_server_url())?],
            watched,
            zone: Some(Api::new(zone.api_url())?),
            started: Some(Started { zone, global, _dir: dir }),
        })
    }

    /// Folder of the store of a control plane that was started for the run.
    pub(super) fn store(&self, name: &str) -> Option<PathBuf> {
        let started = self.started.as_ref()?;
        let control_plane = [&started.zone, &started.global].into_iter().find(|found| {
            self.watched.iter().any(|watched| watched.name == name && found.pid() == u32::try_from(watched.pid).ok())
        })?;
        Some(control_plane.store())
    }

    /// Ends the zone at once, as `kill -9` does.
    pub(super) async fn kill_zone(&mut self) -> Result<()> {
        self.started.as_mut().context("only a zone that --start has started can be killed")?.zone.kill().await
    }

    /// Starts the zone again, and waits until it is ready. The process to measure is the new one.
    pub(super) async fn start_zone(&mut self) -> Result<()> {
        let started = self.started.as_mut().context("only a zone that --start has started can be started again")?;
        started.zone.start().await?;
        let now = watched(ZONE, &started.zone)?;
        if let Some(zone) = self.watched.iter_mut().find(|watched| watched.name == ZONE) {
            *zone = now;
        }
        Ok(())
    }

    /// The HTTP API of the zone.
    pub(super) fn zone(&self) -> Result<&Api> {
        self.zone.as_ref().context("--users needs --start or --zone: endpoints move over the API of the zone")
    }

    /// Creates the mesh where it is missing, with mutual TLS and for MeshServices alone if so wished, and waits until the zone has it.
    pub(super) async fn ensure_mesh(&self, options: &Options) -> Result<()> {
        let Options { mesh, mtls, transparent_proxy: exclusive, .. } = options;
        let (mtls, exclusive) = (*mtls, *exclusive);
        let _phase = Phase::open_ended(&format!("Waiting for mesh {mesh} to reach the zone"));
        let path = format!("/meshes/{mesh}");
        let answer = self.global.send(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let mut wish = json!({"type": "Mesh", "name": mesh});
            if mtls {
                let mut backend = json!({"name": "builtin", "type": "builtin"});
                if let Some(valid) = options.soak.certificates {
                    backend["dpCert"] = json!({"rotation": {"expiration": format!("{}s", valid.as_secs())}});
                }
                wish["mtls"] = json!({"enabledBackend": "builtin", "backends": [backend]});
            }
            if exclusive {
                wish["meshServices"] = json!({"mode": "Exclusive"});
            }
            self.global.put(&path, &wish).await?;
        } else if mtls || exclusive {
            bail!("mesh {mesh} exists; with --mtls or --transparent-proxy, give a --mesh that does not");
        }
        match &self.zone {
            Some(zone) => await_mesh(zone, mesh).await,
            None => Ok(()),
        }
    }

    /// The token that proxies present, if any.
    pub(super) async fn token(&self, options: &Options) -> Result<Option<String>> {
        if let Some(path) = &options.token_file {
            let token = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(Some(token.trim().to_owned()));
        }
        if options.no_token || options.token.is_some() {
            return Ok(options.token.clone());
        }
        let Some(zone) = &self.zone else { return Ok(None) };
        let wish = json!({"mesh": options.mesh, "validFor": "24h"});
        let started = Instant::now();
        loop {
            let answer = zone.send(Method::POST, "/tokens/dataplane", Some(&wish)).await?;
            match answer.body {
                Value::String(token) if answer.status.is_success() => return Ok(Some(token)),
                // The signing key travels apart from the mesh.
                _ if answer.status == StatusCode::NOT_FOUND && started.elapsed() < SYNC_LIMIT => sleep(POLL).await,
                body => {
                    bail!("the zone issues no dataplane token ({} {body}); give --token or --no-token", answer.status)
                }
            }
        }
    }
}

/// A control plane that was started, as a process to measure.
pub(super) fn watched(name: &str, control_plane: &ControlPlane) -> Result<WatchedPid> {
    let pid = control_plane.pid().and_then(|pid| pid.try_into().ok());
    let pid = pid.ok_or_else(|| anyhow!("the {name} control plane has left"))?;
    Ok(WatchedPid { name: name.to_owned(), pid })
}

/// Waits until a zone has a mesh, which it may be about to make or to be sent.
pub(super) async fn await_mesh(zone: &Api, mesh: &str) -> Result<()> {
    let path = format!("/meshes/{mesh}");
    let started = Instant::now();
    loop {
        let answer = zone.send(Method::GET, &path, None).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        if started.elapsed() > SYNC_LIMIT {
            bail!("mesh {mesh} did not reach the zone; it answers {} {}", answer.status, answer.body);
        }
        sleep(POLL).await;
    }
}

pub(super) async fn binary(name: &str, given: Option<&PathBuf>) -> Result<PathBuf> {
    match given {
        Some(path) => path.canonicalize().with_context(|| format!("cannot find {}", path.display())),
        None => {
            let _phase = Phase::open_ended(&format!("Building {name}"));
            let [path] = build([name], Profile::Release).await?;
            Ok(path)
        }
    }
}
