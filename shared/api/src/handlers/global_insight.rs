//! Sums over all meshes and zones: `/global-insight` and `/global-insights`.
//!
//! Shapes: Kuma `pkg/insights/globalinsight` and `pkg/api-server/global_insights_endpoints.go`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use tandem_model::{Kind, Scope};
use tandem_proto::mesh::v1alpha1::mesh_insight::DataplaneStat;
use tandem_proto::mesh::v1alpha1::service_insight::service::{Status as ServiceStatus, Type as ServiceType};
use tandem_proto::mesh::v1alpha1::{MeshInsight, ServiceInsight, ZoneEgressInsight, ZoneIngressInsight};
use tandem_proto::system::v1alpha1::ZoneInsight;

use crate::context::{ApiContext, SharedContext};
use crate::json;
use crate::problem::Problem;

const TITLE: &str = "Could not retrieve GlobalInsight";

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Total {
    total: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Online {
    online: u32,
    total: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct States {
    offline: u32,
    online: u32,
    partially_degraded: u32,
    total: u32,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dataplanes {
    gateway_builtin: States,
    gateway_delegated: States,
    standard: States,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Services {
    external: Total,
    gateway_builtin: States,
    gateway_delegated: States,
    internal: States,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Zones {
    control_planes: Online,
    zone_egresses: Online,
    zone_ingresses: Online,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GlobalInsight {
    created_at: Timestamp,
    dataplanes: Dataplanes,
    meshes: Total,
    policies: Total,
    resources: BTreeMap<String, Total>,
    services: Services,
    zones: Zones,
}

impl States {
    fn add(&mut self, stat: Option<&DataplaneStat>) {
        let Some(stat) = stat else { return };
        self.offline += stat.offline;
        self.online += stat.online;
        self.partially_degraded += stat.partially_degraded;
        self.total += stat.total;
    }

    fn count(&mut self, status: ServiceStatus) {
        self.total += 1;
        match status {
            ServiceStatus::Online => self.online += 1,
            ServiceStatus::Offline => self.offline += 1,
            ServiceStatus::PartiallyDegraded => self.partially_degraded += 1,
            ServiceStatus::None | ServiceStatus::NotAvailable => {}
        }
    }
}

impl Online {
    fn count(&mut self, online: bool) {
        self.total += 1;
        self.online += u32::from(online);
    }
}

impl GlobalInsight {
    fn add_mesh(&mut self, insight: &MeshInsight) {
        self.meshes.total += 1;
        if let Some(by_type) = &insight.dataplanes_by_type {
            self.dataplanes.standard.add(by_type.standard.as_ref());
            self.dataplanes.gateway_builtin.add(by_type.gateway_builtin.as_ref());
            self.dataplanes.gateway_delegated.add(by_type.gateway_delegated.as_ref());
        }
        self.policies.total += insight.policies.values().map(|stat| stat.total).sum::<u32>();
        for (kind, stat) in &insight.resources {
            self.resources.entry(kind.clone()).or_default().total += stat.total;
        }
    }

    fn add_services(&mut self, insight: &ServiceInsight) {
        for service in insight.services.values() {
            match service.service_type() {
                ServiceType::Internal => self.services.internal.count(service.status()),
                ServiceType::External => self.services.external.total += 1,
                ServiceType::GatewayBuiltin => self.services.gateway_builtin.count(service.status()),
                ServiceType::GatewayDelegated => self.services.gateway_delegated.count(service.status()),
            }
        }
    }
}

/// Hands the decoded specifications of all resources of a kind to `add`.
async fn each<M: prost::Message + Default>(
    context: &ApiContext,
    kind: Kind,
    mut add: impl FnMut(M),
) -> Result<(), Problem> {
    let resources = context.store.list(kind, None).await.map_err(|error| Problem::store(TITLE, &error))?;
    for resource in &resources {
        add(resource.proto().map_err(|error| Problem::internal(TITLE, &error))?);
    }
    Ok(())
}

/// Whether any of the subscriptions, given by their times, was opened and not closed.
fn is_online<T>(mut subscriptions: impl Iterator<Item = (Option<T>, Option<T>)>) -> bool {
    subscriptions.any(|(connected, disconnected)| connected.is_some() && disconnected.is_none())
}

/// `GET /global-insight`.
pub async fn global_insight(State(context): State<SharedContext>) -> Result<Response, Problem> {
    let mut sum = GlobalInsight { created_at: Timestamp::now(), ..GlobalInsight::default() };
    each(&context, Kind::MeshInsight, |insight| sum.add_mesh(&insight)).await?;
    each(&context, Kind::ServiceInsight, |insight| sum.add_services(&insight)).await?;
    let zones = &mut sum.zones;
    each(&context, Kind::ZoneInsight, |insight: ZoneInsight| {
        let times = insight.subscriptions.into_iter().map(|s| (s.connect_time, s.disconnect_time));
        zones.control_planes.count(is_online(times));
    })
    .await?;
    each(&context, Kind::ZoneIngressInsight, |insight: ZoneIngressInsight| {
        let times = insight.subscriptions.into_iter().map(|s| (s.connect_time, s.disconnect_time));
        zones.zone_ingresses.count(is_online(times));
    })
    .await?;
    each(&context, Kind::ZoneEgressInsight, |insight: ZoneEgressInsight| {
        let times = insight.subscriptions.into_iter().map(|s| (s.connect_time, s.disconnect_time));
        zones.zone_egresses.count(is_online(times));
    })
    .await?;
    Ok(json::ok(&sum))
}

#[derive(Serialize)]
struct GlobalCounts {
    r#type: &'static str,
    #[serde(rename = "creationTime")]
    creation_time: Timestamp,
    resources: BTreeMap<&'static str, Total>,
}

/// `GET /global-insights`: how many resources of each type of global scope there are.
pub async fn global_counts(State(context): State<SharedContext>) -> Result<Response, Problem> {
    let mut resources = BTreeMap::new();
    let counted = |kind: &Kind| {
        let descriptor = kind.descriptor();
        descriptor.scope == Scope::Global && descriptor.path.is_some() && !descriptor.name.ends_with("Insight")
    };
    for kind in Kind::all().filter(counted) {
        let list = context.store.list(kind, None).await;
        let list = list.map_err(|error| Problem::store("Could not retrieve global insights", &error))?;
        let total = u32::try_from(list.len()).unwrap_or(u32::MAX);
        resources.insert(kind.name(), Total { total });
    }
    Ok(json::ok(&GlobalCounts { r#type: "GlobalInsights", creation_time: Timestamp::now(), resources }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::mesh::v1alpha1::mesh_insight::{DataplanesByType, PolicyStat};
    use tandem_proto::mesh::v1alpha1::service_insight::Service;

    #[test]
    fn sums() {
        let mut sum = GlobalInsight::default();
        let stat = DataplaneStat { total: 3, online: 2, offline: 1, partially_degraded: 0 };
        let mesh = MeshInsight {
            dataplanes_by_type: Some(DataplanesByType { standard: Some(stat), ..DataplanesByType::default() }),
            policies: [("MeshTimeout".to_owned(), PolicyStat { total: 2 })].into(),
            ..MeshInsight::default()
        };
        sum.add_mesh(&mesh);
        sum.add_mesh(&mesh);
        let service = |kind: ServiceType, status: ServiceStatus| Service {
            service_type: kind.into(),
            status: status.into(),
            ..Service::default()
        };
        let services = [
            ("a".to_owned(), service(ServiceType::Internal, ServiceStatus::Online)),
            ("b".to_owned(), service(ServiceType::Internal, ServiceStatus::NotAvailable)),
            ("c".to_owned(), service(ServiceType::External, ServiceStatus::NotAvailable)),
        ];
        sum.add_services(&ServiceInsight { services: services.into() });
        assert_eq!((sum.meshes.total, sum.policies.total), (2, 4));
        assert_eq!(sum.dataplanes.standard, States { offline: 2, online: 4, partially_degraded: 0, total: 6 });
        assert_eq!(sum.services.internal, States { online: 1, total: 2, ..States::default() });
        assert_eq!(sum.services.external.total, 1);
    }

    #[test]
    fn connections() {
        assert!(is_online([(Some(1), Some(2)), (Some(3), None)].into_iter()));
        assert!(!is_online([(Some(1), Some(2)), (None, None)].into_iter()));
    }
}
