//! The assignments of one mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, prometheus};
use tandem_policy::metric::TlsMode;
use tandem_policy::policy::Policy;
use tandem_policy::subject::{Gateway, Subject};
use tandem_proto::mesh::v1alpha1::prometheus_tls_config::Mode;

use super::assignment::{Assignment, Endpoint};
use super::{DEFAULT_CLIENT, Source, backends, client_of};
use crate::index::{DataplaneView, MeshState, MeshView};

/// Label that names the MeshGateway of a builtin gateway.
const GATEWAY_LABEL: &str = "kuma_io_mesh_gateway";

/// The assignments of a mesh, and what they were made of.
#[derive(Debug)]
pub(super) struct MeshAssignments {
    basis: Basis,
    /// Sorted by name of the Dataplane; empty where the mesh has no metrics for Prometheus.
    rows: Vec<Row>,
}

/// Everything that decides about the assignments of a mesh.
#[derive(Debug)]
pub(super) struct Basis {
    rules: Rules,
    dataplanes_revision: u64,
}

/// Everything that decides about the assignments of a Dataplane, apart from itself.
#[derive(Debug)]
struct Rules {
    source: Source,
    config: Arc<MeshView>,
    /// MeshMetrics that have an effect.
    policies: Vec<Arc<Policy>>,
    gateways: Arc<Vec<Gateway>>,
}

/// A Dataplane and its assignments by client.
#[derive(Debug)]
struct Row {
    dataplane: Arc<DataplaneView>,
    assignments: Vec<(Arc<str>, Arc<Assignment>)>,
}

impl Basis {
    pub fn of(source: Source, config: &Arc<MeshView>, state: &MeshState) -> Self {
        let policies = match source {
            Source::Meshes => Vec::new(),
            Source::Policies => state.compiled.of_kind(Kind::MeshMetric).to_vec(),
        };
        let rules = Rules { source, config: config.clone(), policies, gateways: state.gateways.clone() };
        Self { rules, dataplanes_revision: state.dataplanes_revision }
    }
}

impl Rules {
    fn are(&self, other: &Self) -> bool {
        let same_policies = self.policies.len() == other.policies.len()
            && self.policies.iter().zip(&other.policies).all(|(one, other)| Arc::ptr_eq(one, other));
        self.source == other.source
            && Arc::ptr_eq(&self.config, &other.config)
            && Arc::ptr_eq(&self.gateways, &other.gateways)
            && same_policies
    }

    /// False when no Dataplane of the mesh can have any.
    fn may_assign(&self) -> bool {
        match self.source {
            Source::Meshes => {
                self.config.spec.metrics.as_ref().is_some_and(|metrics| !metrics.enabled_backend.is_empty())
            }
            Source::Policies => self.policies.iter().any(|policy| !backends(policy).is_empty()),
        }
    }
}

impl MeshAssignments {
    /// Those of a mesh in this state. Of what was before, the assignments of Dataplanes that nothing changed for are taken over.
    pub fn new(basis: Basis, state: &MeshState, before: Option<&Arc<Self>>) -> Self {
        if !basis.rules.may_assign() {
            return Self { basis, rows: Vec::new() };
        }
        let before = before.filter(|before| before.basis.rules.are(&basis.rules));
        let known = |dataplane: &Arc<DataplaneView>| {
            let rows = &before?.rows;
            let index = rows.binary_search_by(|row| row.dataplane.name.cmp(&dataplane.name)).ok()?;
            Some(&rows[index]).filter(|row| Arc::ptr_eq(&row.dataplane, dataplane))
        };
        let row = |dataplane: &Arc<DataplaneView>| {
            let assignments = match known(dataplane) {
                Some(row) => row.assignments.clone(),
                None => match basis.rules.source {
                    Source::Meshes => of_mesh(&basis.rules, dataplane),
                    Source::Policies => of_policies(&basis.rules, state, dataplane),
                },
            };
            Row { dataplane: dataplane.clone(), assignments }
        };
        let rows = state.dataplanes.values().map(row).collect();
        Self { basis, rows }
    }

    /// True when they were made of the same.
    pub fn is_of(&self, basis: &Basis) -> bool {
        self.basis.dataplanes_revision == basis.dataplanes_revision && self.basis.rules.are(&basis.rules)
    }

    /// Those for a client.
    pub fn of_client(&self, client: &str) -> impl Iterator<Item = &Arc<Assignment>> {
        let all = self.rows.iter().flat_map(|row| &row.assignments);
        all.filter(move |(of, _)| **of == *client).map(|(_, assignment)| assignment)
    }
}

/// Assignments as the Mesh asks for them. Settings that make no sense are told where the listener is made.
fn of_mesh(rules: &Rules, dataplane: &DataplaneView) -> Vec<(Arc<str>, Arc<Assignment>)> {
    let Some(settings) = prometheus::settings(&rules.config.spec, &dataplane.spec).ok().flatten() else {
        return Vec::new();
    };
    let mut labels = dataplane.tag_labels();
    if dataplane.spec.is_builtin_gateway() {
        let subject = Subject::new(&dataplane.resource, &dataplane.spec, &rules.gateways);
        let gateway = subject.gateway.map_or("", |gateway| &gateway.resource.key.name);
        labels.insert(GATEWAY_LABEL.to_owned(), gateway.to_owned());
    }
    let https = settings.tls.as_ref().is_some_and(|tls| tls.mode() == Mode::ProvidedTls);
    let endpoint = Endpoint { https, port: settings.port, path: &settings.path, labels };
    vec![(DEFAULT_CLIENT.into(), Arc::new(Assignment::new(dataplane, &endpoint)))]
}

/// Assignments as MeshMetrics ask for them, one for each client. Labels are not told: the proxy adds them to its metrics.
fn of_policies(rules: &Rules, state: &MeshState, dataplane: &DataplaneView) -> Vec<(Arc<str>, Arc<Assignment>)> {
    let subject = Subject::new(&dataplane.resource, &dataplane.spec, &rules.gateways);
    let own = state.compiled.for_proxy(&subject).own;
    let mut of_clients = BTreeMap::new();
    for backend in own.metric.iter().flat_map(|metric| metric.conf.prometheus()) {
        let https = backend.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::ProvidedTLS);
        let endpoint = Endpoint { https, port: backend.port, path: &backend.path, labels: BTreeMap::new() };
        // Of two backends for one client the proxy listens for the last one.
        of_clients.insert(client_of(backend).into(), Arc::new(Assignment::new(dataplane, &endpoint)));
    }
    of_clients.into_iter().collect()
}
