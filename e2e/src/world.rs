//! A mesh over several zones on loopback: control planes as processes, proxies as real Envoys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::api::Api;
use crate::envoy;
use crate::namespace::{NODE, Pod};
use crate::process::{ControlPlane, ControlPlaneOptions, Profile, build};
use crate::proxy::{DpServer, Proxy, ProxySpec};
use crate::relay::Relay;
use crate::wait;

/// How long an Envoy may take from its start until it serves.
const PROXY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a mesh and its signing key may take from global to a zone.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Programs that a world is made of.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Envoy.
    pub envoy: PathBuf,
    /// The global control plane.
    pub global: PathBuf,
    /// The zone control plane.
    pub zone: PathBuf,
}

impl Programs {
    /// Finds or builds all programs. Calls `progress` before anything that takes long.
    ///
    /// # Errors
    /// When a program can neither be found nor made.
    pub async fn find(profile: Profile, progress: impl Fn(&str)) -> Result<Self> {
        let envoy = envoy::find(&progress).await?;
        progress("building the control planes");
        let [global, zone] = build(["global-cp", "zone-cp"], profile).await?;
        Ok(Self { envoy, global, zone })
    }
}

/// One global control plane and its zones. Everything is stopped when dropped.
#[derive(Debug)]
pub struct World {
    /// Global.
    pub global: ControlPlane,
    /// API of global.
    pub api: Api,
    /// The zones, in the order they joined.
    pub zones: Vec<Zone>,
    programs: Programs,
    folder: PathBuf,
}

/// A zone.
#[derive(Debug)]
pub struct Zone {
    /// Name.
    pub name: String,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// API of the zone.
    pub api: Api,
    /// The network between the zone and global, which can be disturbed.
    pub network: Relay,
    /// Where proxies of the zone go.
    pub dp_server: DpServer,
    folder: PathBuf,
    envoy: PathBuf,
}

/// Certificate that a control plane generated for its servers.
fn server_certificate(control_plane: &ControlPlane) -> PathBuf {
    control_plane.dir().join("work").join("kuma-cp.crt")
}

impl World {
    /// Starts global in a folder.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(programs: Programs, folder: &Path) -> Result<Self> {
        Self::start_with(programs, folder, &[]).await
    }

    /// As [`Self::start`], with settings `(variable, value)` of global.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(programs: Programs, folder: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let mut options = ControlPlaneOptions::new(&programs.global, folder.join("global"))
            .env("KUMA_DEFAULTS_SKIP_MESH_CREATION", "true");
        for (key, value) in settings {
            options = options.env(*key, *value);
        }
        let global = ControlPlane::start_global(options).await?;
        let api = Api::new(global.api_url())?;
        Ok(Self { global, api, zones: Vec::new(), programs, folder: folder.to_path_buf() })
    }

    /// Adds a zone. It verifies global's certificate, and reaches global over a network that can be cut.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn add_zone(&mut self, name: &str) -> Result<&mut Zone> {
        self.add_zone_with(name, &[]).await
    }

    /// As [`Self::add_zone`], with settings `(variable, value)` of its control plane.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn add_zone_with(&mut self, name: &str, settings: &[(&str, &str)]) -> Result<&mut Zone> {
        let authority = server_certificate(&self.global);
        let network = Relay::start(([127, 0, 0, 1], self.global.peer_port()).into()).await?;
        let folder = self.folder.join(name);
        let mut options = ControlPlaneOptions::new(&self.programs.zone, &folder)
            .env("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE", authority.display().to_string())
            .env("KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY", "false")
            .env("KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY", "1s");
        for (key, value) in settings {
            options = options.env(*key, *value);
        }
        let address = format!("grpcs://127.0.0.1:{}", network.port());
        let control_plane = ControlPlane::start_zone(name, Some(&address), options).await?;
        let zone = Zone {
            name: name.to_owned(),
            api: Api::new(control_plane.api_url())?,
            dp_server: DpServer {
                host: "localhost".to_owned(),
                port: control_plane.peer_port(),
                ca_file: server_certificate(&control_plane),
            },
            control_plane,
            network,
            folder,
            envoy: self.programs.envoy.clone(),
        };
        self.zones.push(zone);
        Ok(self.zones.last_mut().expect("a zone was just added"))
    }

    /// A zone by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn zone(&mut self, name: &str) -> Result<&mut Zone> {
        self.zones.iter_mut().find(|zone| zone.name == name).with_context(|| format!("there is no zone {name}"))
    }

    /// A token for the ingress and egress proxies of a zone. Global issues it: it holds the key.
    ///
    /// # Errors
    /// When global refuses.
    pub async fn zone_token(&self, zone: &str) -> Result<String> {
        self.api.zone_token(zone).await
    }
}

impl Zone {
    /// Starts a proxy without waiting until it serves.
    ///
    /// # Errors
    /// When the zone refuses.
    pub async fn launch_proxy(&self, spec: ProxySpec) -> Result<Proxy> {
        Proxy::start(&self.envoy, &self.dp_server, spec, &self.folder.join("proxies")).await
    }

    /// Starts a proxy and waits until it serves.
    ///
    /// # Errors
    /// When the zone or Envoy refuses.
    pub async fn start_proxy(&self, spec: ProxySpec) -> Result<Proxy> {
        let mut proxy = self.launch_proxy(spec).await?;
        proxy.ready(PROXY_TIMEOUT).await?;
        Ok(proxy)
    }

    /// A token for the Dataplane `name` of `mesh`, as soon as the zone has the mesh and its signing key.
    ///
    /// # Errors
    /// When the zone does not issue it in time.
    pub async fn dataplane_token(&self, mesh: &str, name: &str) -> Result<String> {
        let issued = || async { self.api.dataplane_token(mesh, name).await.map(Some) };
        wait::until(&format!("{} issues a token for {name}", self.name), TOKEN_TIMEOUT, issued).await
    }

    /// A token for a sidecar, bound to its workload if it names one.
    async fn token_for(&self, spec: &ProxySpec) -> Result<String> {
        let ProxySpec { mesh, name, .. } = spec;
        let Some(workload) = spec.resource["labels"]["kuma.io/workload"].as_str() else {
            return self.dataplane_token(mesh, name).await;
        };
        let issued = || async { self.api.workload_token(mesh, name, workload).await.map(Some) };
        wait::until(&format!("{} issues a token for {name}", self.name), TOKEN_TIMEOUT, issued).await
    }

    /// Starts a sidecar with a token of its own and waits until it serves.
    ///
    /// # Errors
    /// As [`Self::start_proxy`], and when the zone issues no token.
    pub async fn start_sidecar(&self, spec: ProxySpec) -> Result<Proxy> {
        let token = self.token_for(&spec).await?;
        self.start_proxy(spec.with_token(token)).await
    }

    /// As [`Self::start_sidecar`], on a host of its own, from which the zone is reached at the address of the node.
    ///
    /// # Errors
    /// As [`Self::start_sidecar`].
    pub async fn start_sidecar_in(&self, pod: &Pod, spec: ProxySpec) -> Result<Proxy> {
        let token = self.token_for(&spec).await?;
        let spec = spec.with_token(token);
        let (envoy, folder) = (self.envoy.clone(), self.folder.join("proxies"));
        let server = DpServer { host: NODE.to_string(), ..self.dp_server.clone() };
        let started = async move {
            let mut proxy = Proxy::start(&envoy, &server, spec, &folder).await?;
            proxy.ready(PROXY_TIMEOUT).await?;
            Ok(proxy)
        };
        pod.run(started).await
    }
}
