//! A service and its client in a mesh without any policy but the permission to call.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::{api, ports, wait};

use super::workload::Workload;
use super::{PATIENCE, Stage, apps, outside};

/// The mesh.
pub const MESH: &str = "default";

/// How clients and policies refer to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By the tag `kuma.io/service`, in a mesh without MeshServices.
    Tag,
    /// As a MeshService, in a mesh that has nothing else.
    Resource,
}

/// The service `web`, over HTTP, and its client `client`, with mutual TLS between them.
pub struct Web {
    /// Global and the zone `zone-1`.
    pub stage: Stage,
    /// The application.
    pub workload: Workload,
    /// Sidecar of the application.
    pub server: Proxy,
    /// Port of that sidecar.
    pub inbound: u16,
    /// Sidecar of the client.
    pub client: Proxy,
    /// Port through which the client reaches the service.
    pub outbound: u16,
    by: By,
}

/// The mesh, with mutual TLS.
pub fn mesh(by: By) -> Value {
    let mut mesh = json!({
        "type": "Mesh", "name": MESH, "skipCreatingInitialPolicies": ["*"],
        "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]},
    });
    if by == By::Resource {
        mesh["meshServices"] = json!({"mode": "Exclusive"});
    }
    mesh
}

/// A reference to a service, as policies make it.
pub fn service(name: &str, by: By) -> Value {
    match by {
        By::Tag => json!({"kind": "MeshService", "name": name}),
        By::Resource => json!({"kind": "MeshService", "labels": {"kuma.io/display-name": name}}),
    }
}

/// An outbound `port` to a service whose sidecars listen on `inbound`.
pub fn outbound(port: u16, service: &str, inbound: u16, by: By) -> Value {
    match by {
        By::Tag => json!({"port": port, "tags": {"kuma.io/service": service}}),
        By::Resource => {
            json!({"port": port, "backendRef": {"kind": "MeshService", "name": service, "port": inbound}})
        }
    }
}

/// Path of a policy.
fn path(kind: &str, name: &str) -> String {
    let singular = kind.to_lowercase();
    let plural = match singular.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if singular.ends_with('s') || singular.ends_with("ch") => format!("{singular}es"),
        None => format!("{singular}s"),
    };
    format!("/meshes/{MESH}/{plural}/{name}")
}

impl Web {
    /// Starts everything and waits until the client is answered.
    pub async fn start(by: By) -> Result<Self> {
        let stage = Stage::with_zones(&["zone-1"]).await?;
        stage.mesh(&mesh(by)).await?;
        let (everyone, permission) = api::traffic_permission(MESH, "everyone", "Allow");
        stage.global().put(&everyone, &permission).await?;
        let workload = Workload::start("web").await?;
        let inbound = Inbound::http("web", workload.port())?;
        let server = stage.zone(0).start_sidecar(ProxySpec::sidecar(MESH, "web-1", &inbound, &[])).await?;
        let to_web = ports::free()?;
        let mut client = apps::caller(MESH, "client", &[])?;
        client.resource["networking"]["outbound"] = json!([outbound(to_web, "web", inbound.port, by)]);
        let client = stage.zone(0).start_sidecar(client).await?;
        apps::answered(to_web, reqwest::StatusCode::OK).await?;
        Ok(Self { stage, workload, server, inbound: inbound.port, client, outbound: to_web, by })
    }

    /// A reference to the service, as policies make it.
    pub fn service(&self) -> Value {
        service("web", self.by)
    }

    /// Creates or replaces a policy at global.
    pub async fn put(&self, kind: &str, name: &str, spec: Value) -> Result<()> {
        let body = json!({"type": kind, "mesh": MESH, "name": name, "spec": spec});
        self.stage.global().put(&path(kind, name), &body).await.map(drop)
    }

    /// Deletes a policy at global.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.stage.global().delete(&path(kind, name)).await.map(drop)
    }

    /// Starts another client with one outbound, which [`outbound`] describes.
    pub async fn start_client(&self, name: &str, outbound: Value) -> Result<Proxy> {
        let mut spec = apps::caller(MESH, name, &[])?;
        spec.resource["networking"]["outbound"] = json!([outbound]);
        self.stage.zone(0).start_sidecar(spec).await
    }

    /// Starts a delegated gateway, and gives the port through which it reaches the service.
    pub async fn start_gateway(&self, name: &str) -> Result<(Proxy, u16)> {
        let port = ports::free()?;
        let mut spec = apps::caller(MESH, name, &[])?;
        spec.resource["networking"] = json!({
            "address": "127.0.0.1",
            "gateway": {"type": "DELEGATED", "tags": {"kuma.io/service": name}},
            "outbound": [outbound(port, "web", self.inbound, self.by)],
        });
        let gateway = self.stage.zone(0).start_sidecar(spec).await?;
        apps::answered(port, reqwest::StatusCode::OK).await?;
        Ok((gateway, port))
    }

    /// Makes the application a MeshExternalService as well, and starts an egress and a client that reaches it there:
    /// `(egress, client, port)`.
    pub async fn start_outside(&self, name: &str) -> Result<(Proxy, Proxy, u16)> {
        let service = outside::mesh_external_service(name, "http", "127.0.0.1", self.workload.port(), None);
        self.stage.global().put(&format!("/meshes/{MESH}/meshexternalservices/{name}"), &service).await?;
        let egress = outside::egress("zone-1", self.stage.world.zone_token("zone-1").await?)?;
        let egress = self.stage.zone(0).launch_proxy(egress).await?;
        let port = ports::free()?;
        let client = self.stage.zone(0).start_sidecar(outside::caller("traveller", &[(port, name)])?).await?;
        apps::answered(port, reqwest::StatusCode::OK).await?;
        Ok((egress, client, port))
    }

    /// Adds an instance of a service of which there is nothing but its Dataplane, at a port of loopback.
    pub async fn add_instance(&self, service: &str, protocol: &str, port: u16) -> Result<()> {
        let name = format!("{service}-at-{port}");
        let tags = json!({"kuma.io/service": service, "kuma.io/protocol": protocol});
        let inbound = json!([{"port": port, "tags": tags}]);
        let networking = json!({"address": "127.0.0.1", "inbound": inbound});
        let body = json!({"type": "Dataplane", "mesh": MESH, "name": name, "networking": networking});
        self.stage.zone(0).api.put(&format!("/meshes/{MESH}/dataplanes/{name}"), &body).await.map(drop)
    }

    /// Waits until a request through the client's outbound reaches the application this many times.
    pub async fn tries(&self, path: &str, expected: usize) -> Result<()> {
        let counted = || async {
            let before = self.workload.requests(path);
            super::workload::get(self.outbound, path).await?;
            let tries = self.workload.requests(path) - before;
            ensure!(tries == expected, "{tries} tries");
            Ok(Some(()))
        };
        wait::until(&format!("{path} is tried {expected} times"), PATIENCE, counted).await
    }

    /// The end of the scenario: neither these proxies nor the usual ones refused a configuration.
    pub async fn passed(self, others: &[&Proxy]) -> Result<()> {
        for proxy in [&self.server, &self.client].into_iter().chain(others.iter().copied()) {
            let rejected = proxy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
            ensure!(rejected == 0, "{} refused a configuration:\n{}", proxy.spec.name, proxy.log_tail());
        }
        self.stage.passed();
        Ok(())
    }
}

/// Waits until the counters and gauges of a proxy whose names end like this are above zero.
pub async fn counts(proxy: &Proxy, ending: &str) -> Result<()> {
    let counted = || async { Ok((proxy.stat_sum(|name| name.ends_with(ending)).await? > 0).then_some(())) };
    wait::until(&format!("{} counts {ending}", proxy.spec.name), PATIENCE, counted).await
}
