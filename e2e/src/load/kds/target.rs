//! The control planes of one make, started for a phase, and the policies at global.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::mirror::POLICY;
use crate::api::Api;
use crate::load::api::client::Client;
use crate::load::connection::Server;
use crate::load::options::WatchedPid;
use crate::load::progress::Phase;
use crate::load::target::{await_mesh, watched};
use crate::load::usage::{self, Usage};
use crate::process::{ControlPlane, ControlPlaneOptions};

/// Clients that write policies at the same time.
const WRITERS: usize = 8;

/// Items of a page of a list.
const PAGE: usize = 1_000;

/// Programs of one make.
#[derive(Debug, Clone)]
pub(super) struct Make {
    /// `tandem` or `kuma`.
    pub(super) name: &'static str,
    pub(super) global: PathBuf,
    pub(super) zone: PathBuf,
    /// Variables for both.
    pub(super) env: Vec<(String, String)>,
    /// What the control planes have survives their end.
    pub(super) durable: bool,
}

impl Make {
    pub(super) fn options(&self, binary: &Path, dir: PathBuf) -> ControlPlaneOptions {
        let mut options = ControlPlaneOptions::new(binary, dir);
        options.env.extend(self.env.iter().cloned());
        options
    }
}

/// A global control plane in a temporary folder, with its policies.
pub(super) struct Target {
    pub(super) global: ControlPlane,
    pub(super) api: Api,
    pub(super) dir: TempDir,
    mesh: String,
    written: usize,
}

impl Target {
    /// Starts global and waits for its mesh.
    pub(super) async fn start(make: &Make, mesh: &str) -> Result<Self> {
        let _phase = Phase::open_ended(&format!("Starting a global control plane ({})", make.name));
        let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
        let global = ControlPlane::start_global(make.options(&make.global, dir.path().join("global"))).await?;
        let api = Api::new(global.api_url())?;
        await_mesh(&api, mesh).await?;
        Ok(Self { global, api, dir, mesh: mesh.to_owned(), written: 0 })
    }

    /// Where zones connect.
    pub(super) fn server(&self) -> Result<Server> {
        Server::parse(&self.global.kds_address().replace("grpcs://", "https://"))
    }

    /// Global as a process to measure.
    pub(super) fn process(&self) -> Result<WatchedPid> {
        watched("global", &self.global)
    }

    /// Memory and processor time of global.
    pub(super) fn usage(&self) -> Result<Usage> {
        Ok(usage::read_all(&[self.process()?])?[0])
    }

    /// Writes policies until there are `count`, apart from those that come with the mesh.
    pub(super) async fn grow(&mut self, count: usize) -> Result<()> {
        let missing = count.saturating_sub(self.written);
        if missing == 0 {
            return Ok(());
        }
        let phase = Phase::counted("Writing policies", missing);
        let authority = self.api.url().trim_start_matches("http://").to_owned();
        let next = Arc::new(AtomicUsize::new(self.written));
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let mut client = Client::connect(&authority).await?;
            let (next, mesh) = (Arc::clone(&next), self.mesh.clone());
            writers.spawn(async move {
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    if index >= count {
                        return anyhow::Ok(());
                    }
                    let (path, body) = policy(&mesh, index);
                    let (status, answer) = client.send(Method::PUT, &path, Bytes::from(body.to_string())).await?;
                    if !status.is_success() {
                        bail!("{path} answered {status}: {}", String::from_utf8_lossy(&answer));
                    }
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            done??;
            phase.at(next.load(Relaxed).min(count) - self.written);
        }
        self.written = count;
        Ok(())
    }

    /// The policies that global lists, as [`policies`] gives them.
    pub(super) async fn policies(&self) -> Result<BTreeMap<String, Value>> {
        policies(&self.api, &self.mesh).await
    }
}

/// Path and body of a policy, with a few settings as policies have them.
fn policy(mesh: &str, index: usize) -> (String, Value) {
    let name = format!("policy-{index:05}");
    let body = json!({
        "type": POLICY,
        "mesh": mesh,
        "name": name,
        "labels": {"team": format!("team-{}", index % 10)},
        "spec": {
            "targetRef": {"kind": "MeshSubset", "tags": {"app": format!("app-{index}")}},
            "to": [{
                "targetRef": {"kind": "MeshService", "name": format!("service-{index}")},
                "default": {
                    "connectionTimeout": "5s",
                    "idleTimeout": format!("{}s", 10 + index % 50),
                    "http": {"requestTimeout": "2s"},
                },
            }],
        },
    });
    (format!("{}/{name}", collection(mesh)), body)
}

fn collection(mesh: &str) -> String {
    format!("/meshes/{mesh}/meshtimeouts")
}

/// Specifications of the policies that a control plane lists, by the names that they have at global.
pub(super) async fn policies(api: &Api, mesh: &str) -> Result<BTreeMap<String, Value>> {
    let mut policies = BTreeMap::new();
    loop {
        let path = format!("{}?size={PAGE}&offset={}", collection(mesh), policies.len());
        let page = api.get(&path).await?;
        let items = page["items"].as_array().ok_or_else(|| anyhow!("{path} answered {page}, which is no list"))?;
        for item in items {
            let name = item["labels"]["kuma.io/display-name"].as_str().or_else(|| item["name"].as_str());
            let name = name.ok_or_else(|| anyhow!("{path} lists {item}, which has no name"))?;
            policies.insert(name.to_owned(), item["spec"].clone());
        }
        if items.len() < PAGE {
            return Ok(policies);
        }
    }
}

/// How many policies a control plane lists; none while it does not answer, or not yet.
pub(super) async fn count_policies(client: &mut Option<Client>, authority: &str, mesh: &str) -> usize {
    let known = match client.take() {
        Some(client) => Ok(client),
        None => Client::connect(authority).await,
    };
    let Ok(mut connected) = known else { return 0 };
    let path = format!("{}?size=1", collection(mesh));
    let Ok((status, answer)) = connected.send(Method::GET, &path, Bytes::new()).await else { return 0 };
    *client = Some(connected);
    if status != StatusCode::OK {
        return 0;
    }
    let total = serde_json::from_slice::<Value>(&answer).ok().and_then(|page| page["total"].as_u64());
    total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0)
}

/// Compares what a zone has with what global has.
///
/// # Errors
/// When they differ; the text names a policy that does.
pub(super) fn compare(global: &BTreeMap<String, Value>, zone: &BTreeMap<String, Value>) -> Result<()> {
    for (name, specification) in global {
        match zone.get(name) {
            None => bail!("{POLICY} {name:?} did not arrive"),
            Some(other) if other != specification => {
                bail!("{POLICY} {name:?} arrived as {other}, and is {specification} at global")
            }
            Some(_) => {}
        }
    }
    match zone.keys().find(|name| !global.contains_key(*name)) {
        Some(name) => bail!("{POLICY} {name:?} is in the zone, and not at global"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named() {
        let list = |policies: &[(&str, u64)]| -> BTreeMap<String, Value> {
            policies.iter().map(|(name, value)| ((*name).to_owned(), json!({"value": value}))).collect()
        };
        let global = list(&[("a", 1), ("b", 2)]);
        assert!(compare(&global, &global).is_ok());
        for (zone, text) in [
            (list(&[("a", 1)]), "\"b\" did not arrive"),
            (list(&[("a", 1), ("b", 3)]), "\"b\" arrived as"),
            (list(&[("a", 1), ("b", 2), ("c", 3)]), "\"c\" is in the zone"),
        ] {
            let error = compare(&global, &zone).expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn policies_differ() {
        let (path, body) = policy("m", 7);
        assert_eq!(path, "/meshes/m/meshtimeouts/policy-00007");
        assert_eq!(body["name"], "policy-00007");
        assert_ne!(body["spec"], policy("m", 8).1["spec"]);
    }
}
