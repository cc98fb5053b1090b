//! What Prometheus is told of a zone: where the metrics of each Dataplane are fetched (MADS v1).
//!
//! As soon as any MeshMetric has a backend for Prometheus, the MeshMetrics say it for all meshes; until then the metrics backends
//! of the meshes do. Each Prometheus server is a client with an identifier of its own choice, and is told of the backends that
//! name it.
//!
//! Source of the rules: Kuma `pkg/mads/v1/{reconcile,generator}`, `pkg/mads/util.go`.

mod assignment;
mod mesh;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tandem_model::Kind;
use tandem_policy::metric;
use tandem_policy::policy::Policy;

use crate::index::Snapshot;
use assignment::Assignment;
use mesh::MeshAssignments;

pub use assignment::TYPE_URL;

/// The client that is meant where a backend names none, and that servers are which nobody names.
pub const DEFAULT_CLIENT: &str = "_kuma-default-client";

/// What all clients are told. The same snapshot gives the same, whatever was before; an earlier state only saves work.
#[derive(Debug, Clone, Default)]
pub struct MonitoringAssignments {
    meshes: BTreeMap<Arc<str>, Arc<MeshAssignments>>,
    clients: BTreeMap<Arc<str>, Arc<ClientAssignments>>,
    /// For clients that nobody names while there is no default client either.
    nobody: Arc<ClientAssignments>,
}

/// Who says where metrics are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The enabled metrics backend of each Mesh.
    Meshes,
    /// MeshMetrics.
    Policies,
}

impl MonitoringAssignments {
    /// What clients are told after a change. Only what the change concerns is made anew.
    #[must_use]
    pub fn following(&self, snapshot: &Snapshot) -> Self {
        let named: BTreeSet<Arc<str>> = clients_of_policies(snapshot);
        let source = if named.is_empty() { Source::Meshes } else { Source::Policies };
        let mut meshes = BTreeMap::new();
        for (name, state) in &snapshot.meshes {
            // Of a mesh that is being deleted, its Dataplanes may be left.
            let Some(config) = &state.config else { continue };
            let before = self.meshes.get(name);
            let basis = mesh::Basis::of(source, config, state);
            let part = match before.filter(|before| before.is_of(&basis)) {
                Some(before) => before.clone(),
                None => Arc::new(MeshAssignments::new(basis, state, before)),
            };
            meshes.insert(name.clone(), part);
        }
        let named = if named.is_empty() { BTreeSet::from([DEFAULT_CLIENT.into()]) } else { named };
        let is_same = named.iter().eq(self.clients.keys())
            && meshes.len() == self.meshes.len()
            && meshes.iter().zip(&self.meshes).all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(one.1, other.1));
        if is_same {
            return self.clone();
        }
        let clients = named.into_iter().map(|client| {
            let all = meshes.values().flat_map(|mesh| mesh.of_client(&client)).cloned();
            let new = ClientAssignments::new(all.collect());
            let known = self.clients.get(&client).filter(|known| known.version == new.version);
            (client.clone(), known.cloned().unwrap_or_else(|| Arc::new(new)))
        });
        let clients = clients.collect();
        Self { meshes, clients, nobody: self.nobody.clone() }
    }

    /// What the client with this identifier is told: as the default client, if no backend names it.
    pub fn of_client(&self, id: &str) -> &Arc<ClientAssignments> {
        self.clients.get(id).or_else(|| self.clients.get(DEFAULT_CLIENT)).unwrap_or(&self.nobody)
    }

    /// True when every client is told the same.
    pub fn tells_the_same(&self, other: &Self) -> bool {
        let versions = |all: &Self| -> Vec<_> {
            all.clients.iter().map(|(client, told)| (client.clone(), told.version.clone())).collect()
        };
        versions(self) == versions(other)
    }
}

/// The clients that backends of MeshMetrics name; empty when no MeshMetric has a backend for Prometheus.
fn clients_of_policies(snapshot: &Snapshot) -> BTreeSet<Arc<str>> {
    let policies = snapshot.meshes.values().flat_map(|mesh| mesh.compiled.of_kind(Kind::MeshMetric));
    policies.flat_map(|policy| backends(policy)).map(|backend| client_of(&backend).into()).collect()
}

/// The backends of a MeshMetric for Prometheus.
fn backends(policy: &Policy) -> Vec<metric::Prometheus> {
    let conf: metric::Conf =
        policy.default.clone().and_then(|conf| serde_json::from_value(conf).ok()).unwrap_or_default();
    conf.prometheus().cloned().collect()
}

/// Whom a backend is for.
fn client_of(backend: &metric::Prometheus) -> &str {
    backend.client_id.as_deref().unwrap_or(DEFAULT_CLIENT)
}

/// What one client is told.
#[derive(Debug)]
pub struct ClientAssignments {
    /// Changes with the assignments: 32 hexadecimal digits, the same in every process for the same assignments.
    version: String,
    /// Sorted by mesh and name of the Dataplane.
    assignments: Vec<Arc<Assignment>>,
    response: OnceLock<Bytes>,
}

impl Default for ClientAssignments {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl ClientAssignments {
    fn new(assignments: Vec<Arc<Assignment>>) -> Self {
        let mut digest = Sha256::new();
        assignments.iter().for_each(|assignment| digest.update(assignment.digest()));
        let version = hex::encode(&digest.finalize()[..16]);
        Self { version, assignments, response: OnceLock::new() }
    }

    /// See the member.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The `DiscoveryResponse` in JSON, with the assignments of these names or, without any, with all.
    pub fn response(&self, names: &BTreeSet<String>) -> Bytes {
        if names.is_empty() {
            return self.response.get_or_init(|| self.encode(|_| true)).clone();
        }
        self.encode(|assignment| names.contains(assignment.name()))
    }

    fn encode(&self, wanted: impl Fn(&Assignment) -> bool) -> Bytes {
        let wanted: Vec<&str> = self.assignments.iter().filter(|one| wanted(one)).map(|one| one.json()).collect();
        let mut response = String::with_capacity(160 + wanted.iter().map(|json| json.len() + 1).sum::<usize>());
        response.push_str("{\"version_info\":\"");
        response.push_str(&self.version);
        response.push('"');
        if !wanted.is_empty() {
            response.push_str(",\"resources\":[");
            for (index, json) in wanted.into_iter().enumerate() {
                if index > 0 {
                    response.push(',');
                }
                response.push_str(json);
            }
            response.push(']');
        }
        response.push_str(",\"type_url\":\"");
        response.push_str(TYPE_URL);
        response.push_str("\"}");
        response.into()
    }
}
