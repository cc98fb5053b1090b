//! The sum over all meshes and zones that `GET /global-insight` shows.
//!
//! Source of the shape: Kuma `api/openapi/specs/common/resource.yaml` and
//! `pkg/insights/globalinsight/global_insight_service.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tandem_model::{Kind, Resource};
use tandem_proto::mesh::v1alpha1::mesh_insight::DataplaneStat;
use tandem_proto::mesh::v1alpha1::service_insight::service::{Status as ServiceStatus, Type as ServiceType};
use tandem_proto::mesh::v1alpha1::{MeshInsight, ServiceInsight, ZoneEgressInsight, ZoneIngressInsight};
use tandem_proto::system::v1alpha1::ZoneInsight;
use tandem_store::{Store, StoreError};

use crate::facts::is_online;

/// A number of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Total {
    /// How many there are.
    pub total: u64,
}

/// Things by whether they are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct OnlineStatus {
    /// Connected.
    pub online: u64,
    /// All.
    pub total: u64,
}

/// Proxies or services by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FullStatus {
    /// Not reachable.
    pub offline: u64,
    /// Fully reachable.
    pub online: u64,
    /// Reachable in part.
    pub partially_degraded: u64,
    /// All.
    pub total: u64,
}

/// Proxies by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dataplanes {
    /// Gateways configured by the mesh.
    pub gateway_builtin: FullStatus,
    /// Gateways of other products.
    pub gateway_delegated: FullStatus,
    /// Sidecars.
    pub standard: FullStatus,
}

/// Services by type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Outside of the mesh.
    pub external: Total,
    /// Of gateways configured by the mesh.
    pub gateway_builtin: FullStatus,
    /// Of gateways of other products.
    pub gateway_delegated: FullStatus,
    /// Of sidecars.
    pub internal: FullStatus,
}

/// What there is of zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Zones {
    /// Zone control planes.
    pub control_planes: OnlineStatus,
    /// Zone egress proxies.
    pub zone_egresses: OnlineStatus,
    /// Zone ingress proxies.
    pub zone_ingresses: OnlineStatus,
}

/// Body of `GET /global-insight`. Members are present even when zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GlobalInsight {
    /// When it was computed.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Proxies of all meshes.
    pub dataplanes: Dataplanes,
    /// Meshes.
    pub meshes: Total,
    /// Policies of all meshes.
    pub policies: Total,
    /// Resources of all meshes by type.
    pub resources: BTreeMap<String, Total>,
    /// Services of all meshes.
    pub services: Services,
    /// Zones, by their insights.
    pub zones: Zones,
}

/// Sums up the insights in the store. Insights that do not decode are reported and left out.
///
/// # Errors
/// When the store cannot be read.
pub async fn global_insight(store: &dyn Store) -> Result<GlobalInsight, StoreError> {
    let mut insight = GlobalInsight {
        created_at: Timestamp::now(),
        dataplanes: Dataplanes::default(),
        meshes: Total::default(),
        policies: Total::default(),
        resources: BTreeMap::new(),
        services: Services::default(),
        zones: Zones::default(),
    };
    for mesh in decoded::<MeshInsight>(store, Kind::MeshInsight).await? {
        insight.add_mesh(mesh);
    }
    for services in decoded::<ServiceInsight>(store, Kind::ServiceInsight).await? {
        insight.services.add(services);
    }
    for zone in decoded::<ZoneInsight>(store, Kind::ZoneInsight).await? {
        let open = zone.subscriptions.iter().any(|s| s.connect_time.is_some() && s.disconnect_time.is_none());
        insight.zones.control_planes.add(open);
    }
    for ingress in decoded::<ZoneIngressInsight>(store, Kind::ZoneIngressInsight).await? {
        insight.zones.zone_ingresses.add(is_online(&ingress.subscriptions));
    }
    for egress in decoded::<ZoneEgressInsight>(store, Kind::ZoneEgressInsight).await? {
        insight.zones.zone_egresses.add(is_online(&egress.subscriptions));
    }
    Ok(insight)
}

async fn decoded<M: prost::Message + Default>(store: &dyn Store, kind: Kind) -> Result<Vec<M>, StoreError> {
    let decode = |resource: &Resource| {
        resource.proto().inspect_err(|error| tracing::warn!(%error, "left out of the global insight")).ok()
    };
    Ok(store.list(kind, None).await?.iter().filter_map(|resource| decode(resource)).collect())
}

impl GlobalInsight {
    fn add_mesh(&mut self, mesh: MeshInsight) {
        self.meshes.total += 1;
        self.policies.total += mesh.policies.values().map(|policy| u64::from(policy.total)).sum::<u64>();
        for (name, stat) in mesh.resources {
            self.resources.entry(name).or_default().total += u64::from(stat.total);
        }
        let by_type = mesh.dataplanes_by_type.unwrap_or_default();
        self.dataplanes.standard.add(by_type.standard);
        self.dataplanes.gateway_builtin.add(by_type.gateway_builtin);
        self.dataplanes.gateway_delegated.add(by_type.gateway_delegated);
    }
}

impl OnlineStatus {
    fn add(&mut self, online: bool) {
        self.total += 1;
        self.online += u64::from(online);
    }
}

impl FullStatus {
    fn add(&mut self, stat: Option<DataplaneStat>) {
        let stat = stat.unwrap_or_default();
        self.offline += u64::from(stat.offline);
        self.online += u64::from(stat.online);
        self.partially_degraded += u64::from(stat.partially_degraded);
        self.total += u64::from(stat.total);
    }

    fn add_service(&mut self, status: ServiceStatus) {
        self.total += 1;
        match status {
            ServiceStatus::Online => self.online += 1,
            ServiceStatus::Offline => self.offline += 1,
            ServiceStatus::PartiallyDegraded => self.partially_degraded += 1,
            ServiceStatus::None | ServiceStatus::NotAvailable => {}
        }
    }
}

impl Services {
    fn add(&mut self, insight: ServiceInsight) {
        for service in insight.services.values() {
            let status = service.status();
            match service.service_type() {
                ServiceType::Internal => self.internal.add_service(status),
                ServiceType::External => self.external.total += 1,
                ServiceType::GatewayBuiltin => self.gateway_builtin.add_service(status),
                ServiceType::GatewayDelegated => self.gateway_delegated.add_service(status),
            }
        }
    }
}
