//! One mesh as inspection sees it.

use std::collections::HashMap;
use std::sync::Arc;

use tandem_model::mesh::MeshExt as _;
use tandem_model::vips::{Vips, config_name, parse};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::destinations::{DESTINATION_KINDS, Destinations};
use tandem_policy::matching::{Matched, match_policies};
use tandem_policy::policy::Policy;
use tandem_policy::subject::{Gateway, Subject};
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode as MeshServicesMode;
use tandem_proto::system::v1alpha1::Config;
use tandem_store::Store;

use crate::problem::Problem;

/// The policies selected by `targetRef`, in the order in which inspection lists them.
///
/// Source: Kuma `pkg/plugins/policies/core/ordered/ordered.go`.
pub const POLICY_ORDER: [Kind; 16] = [
    Kind::MeshHTTPRoute,
    Kind::MeshTCPRoute,
    Kind::MeshTLS,
    Kind::MeshLoadBalancingStrategy,
    Kind::MeshPassthrough,
    Kind::MeshAccessLog,
    Kind::MeshTrace,
    Kind::MeshFaultInjection,
    Kind::MeshRateLimit,
    Kind::MeshTimeout,
    Kind::MeshTrafficPermission,
    Kind::MeshHealthCheck,
    Kind::MeshCircuitBreaker,
    Kind::MeshRetry,
    Kind::MeshMetric,
    Kind::MeshProxyPatch,
];

/// A mesh at one moment: itself, its policies, what they can refer to, and its gateways. Dataplanes are not part of it,
/// since there are many and most questions are about one: see [`super::Proxy`].
#[derive(Debug, Clone)]
pub struct MeshView {
    /// The Mesh.
    pub mesh: Arc<Resource>,
    /// Its specification.
    pub spec: Mesh,
    /// What `to` entries can refer to: the mesh, its services of all kinds and its MeshHTTPRoutes.
    pub destinations: Arc<Destinations>,
    /// Its MeshGateways, sorted by name.
    pub gateways: Vec<Gateway>,
    policies: HashMap<Kind, Vec<Arc<Policy>>>,
    /// Services known by their tags, at their virtual addresses.
    pub(super) vips: Vips,
}

impl MeshView {
    /// Reads a mesh.
    ///
    /// A policy or gateway that does not decode is left out and reported in the log, as if it did not exist.
    ///
    /// # Errors
    /// Under `title`: 404 when there is no such mesh, 500 when the store cannot be read.
    pub async fn load(store: &dyn Store, mesh: &str, title: &str) -> Result<Self, Problem> {
        let key = ResourceKey::global(Kind::Mesh, mesh);
        let found = store.get(&key).await.map_err(|error| Problem::store(title, &error))?;
        let resource = found.ok_or_else(|| Problem::not_found(title))?;
        let spec = resource.proto().map_err(|error| Problem::internal(title, &error))?;
        let mut by_kind = HashMap::new();
        for kind in POLICY_ORDER {
            by_kind.insert(kind, policies(store, kind, mesh, title).await?);
        }
        let mut destinations = vec![Arc::clone(&resource)];
        for kind in DESTINATION_KINDS.into_iter().filter(|kind| *kind != Kind::Mesh) {
            destinations.extend(list(store, kind, mesh, title).await?);
        }
        Ok(Self {
            mesh: resource,
            spec,
            destinations: Arc::new(Destinations::new(destinations)),
            gateways: gateways(store, mesh, title).await?,
            policies: by_kind,
            vips: vips(store, mesh, title).await?,
        })
    }

    /// The mesh after a change of a policy selected by `targetRef`: the new one, or none for a deletion.
    pub fn supposing(&self, key: &ResourceKey, policy: Option<Arc<Policy>>) -> Self {
        let mut supposed = self.clone();
        let of_kind = supposed.policies.entry(key.kind).or_default();
        of_kind.retain(|stored| stored.resource.key != *key);
        of_kind.extend(policy.clone());
        of_kind.sort_by(|a, b| a.resource.key.name.cmp(&b.resource.key.name));
        if key.kind == Kind::MeshHTTPRoute {
            let all = DESTINATION_KINDS.into_iter().flat_map(|kind| self.destinations.of_kind(kind));
            let others = all.map(|destination| destination.resource.clone()).filter(|other| other.key != *key);
            let route = policy.map(|policy| policy.resource.clone());
            supposed.destinations = Arc::new(Destinations::new(others.chain(route)));
        }
        supposed
    }

    /// The policies of a kind, shadow policies included, sorted by stored name. None for kinds that are no policies
    /// selected by `targetRef`.
    pub fn policies(&self, kind: Kind) -> &[Arc<Policy>] {
        self.policies.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// The MeshHTTPRoutes, which other policies can be about.
    pub fn routes(&self) -> &[Arc<Policy>] {
        self.policies(Kind::MeshHTTPRoute)
    }

    /// The policies of a kind that apply to a proxy. Shadow policies count only if `with_shadow`.
    pub fn matched(&self, kind: Kind, subject: &Subject<'_>, with_shadow: bool) -> Matched {
        match_policies(self.policies(kind), subject, self.routes(), with_shadow)
    }

    /// True when services are found through MeshServices only.
    pub fn exclusive(&self) -> bool {
        self.spec.mesh_services_mode() == MeshServicesMode::Exclusive
    }
}

/// All resources of a kind in a mesh, sorted by name.
pub(super) async fn list(
    store: &dyn Store,
    kind: Kind,
    mesh: &str,
    title: &str,
) -> Result<Vec<Arc<Resource>>, Problem> {
    store.list(kind, Some(mesh)).await.map_err(|error| Problem::store(title, &error))
}

/// The policies of a kind in a mesh, sorted by name; those that do not decode are left out and logged.
///
/// # Errors
/// 500 under `title` when the store cannot be read.
pub async fn policies(store: &dyn Store, kind: Kind, mesh: &str, title: &str) -> Result<Vec<Arc<Policy>>, Problem> {
    let stored = list(store, kind, mesh, title).await?;
    Ok(stored.into_iter().filter_map(|resource| decoded(Policy::decode(resource))).map(Arc::new).collect())
}

/// The MeshGateways of a mesh, sorted by name; those that do not decode are left out and logged.
///
/// # Errors
/// 500 under `title` when the store cannot be read.
pub async fn gateways(store: &dyn Store, mesh: &str, title: &str) -> Result<Vec<Gateway>, Problem> {
    let stored = list(store, Kind::MeshGateway, mesh, title).await?;
    Ok(stored.into_iter().filter_map(|resource| decoded(Gateway::decode(resource))).collect())
}

/// The virtual addresses of a mesh; none where nobody gives any, as at global. What cannot be read is left out and logged.
async fn vips(store: &dyn Store, mesh: &str, title: &str) -> Result<Vips, Problem> {
    let key = ResourceKey::global(Kind::Config, config_name(mesh));
    let config = store.get(&key).await.map_err(|error| Problem::store(title, &error))?;
    let text = config.and_then(|config| decoded(config.proto::<Config>())).unwrap_or_default().config;
    Ok(decoded(parse(&text)).unwrap_or_default())
}

fn decoded<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "inspection leaves out a resource that does not decode")).ok()
}
