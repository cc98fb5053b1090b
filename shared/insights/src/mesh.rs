//! The facts of one mesh and the aggregates over them.
//!
//! Source of the rules: Kuma `pkg/insights/resyncer.go`. Unlike there, tags that name no service do not make a service
//! with an empty name.

use std::collections::{BTreeMap, BTreeSet};

use tandem_model::{Kind, Resource, Scope};
use tandem_proto::mesh::v1alpha1::mesh_insight::{
    DataplaneStat, DataplanesByType, DpVersions, Mtls, PolicyStat, ResourceStat, ServiceStat,
};
use tandem_proto::mesh::v1alpha1::service_insight::Service;
use tandem_proto::mesh::v1alpha1::service_insight::service::{
    DataplaneStat as ServiceDataplaneStat, Status as ServiceStatus, Type as ServiceType,
};
use tandem_proto::mesh::v1alpha1::{Dataplane, DataplaneInsight, ExternalService, MeshInsight, ServiceInsight};

use crate::facts::{DataplaneFacts, ExternalFacts, InsightFacts, Member, ProxyStatus, Role};

/// Version of a proxy that told none.
const UNKNOWN_VERSION: &str = "unknown";

/// What is known of the resources of one mesh.
#[derive(Debug, Default)]
pub(crate) struct MeshFacts {
    /// Whether the Mesh itself exists; its resources may outlive it.
    pub(crate) exists: bool,
    dataplanes: BTreeMap<String, DataplaneFacts>,
    insights: BTreeMap<String, InsightFacts>,
    externals: BTreeMap<String, ExternalFacts>,
    /// How many resources there are of each counted kind; no zeros.
    counts: BTreeMap<Kind, u32>,
}

/// True for kinds whose resources are counted.
fn is_counted(kind: Kind) -> bool {
    kind.descriptor().scope == Scope::Mesh && !kind.name().ends_with("Insight")
}

impl MeshFacts {
    /// True when nothing is left to know.
    pub(crate) fn is_empty(&self) -> bool {
        !self.exists && self.counts.is_empty() && self.insights.is_empty()
    }

    /// Takes notice of a change of a mesh-scoped resource; true when the aggregates may differ now.
    pub(crate) fn apply(&mut self, kind: Kind, name: &str, old: Option<&Resource>, new: Option<&Resource>) -> bool {
        let counted = is_counted(kind) && self.count(kind, old.is_some(), new.is_some());
        let told = match kind {
            Kind::Dataplane => {
                let facts = new.and_then(decoded::<Dataplane>).map(|dataplane| DataplaneFacts::of(&dataplane));
                replace(&mut self.dataplanes, name, facts)
            }
            Kind::DataplaneInsight => {
                let facts = new.and_then(decoded::<DataplaneInsight>).map(InsightFacts::of);
                replace(&mut self.insights, name, facts)
            }
            Kind::ExternalService => {
                let facts = new.and_then(decoded::<ExternalService>).map(ExternalFacts::of);
                replace(&mut self.externals, name, facts)
            }
            _ => false,
        };
        counted || told
    }

    fn count(&mut self, kind: Kind, before: bool, after: bool) -> bool {
        match (before, after) {
            (false, true) => *self.counts.entry(kind).or_default() += 1,
            (true, false) => {
                if let Some(count) = self.counts.get_mut(&kind) {
                    *count -= 1;
                    if *count == 0 {
                        self.counts.remove(&kind);
                    }
                }
            }
            _ => return false,
        }
        true
    }

    fn proxies(&self) -> impl Iterator<Item = (&DataplaneFacts, &InsightFacts)> {
        static UNSEEN: InsightFacts = InsightFacts::UNSEEN;
        self.dataplanes.iter().map(|(name, dataplane)| (dataplane, self.insights.get(name).unwrap_or(&UNSEEN)))
    }

    /// Counts over the mesh.
    pub(crate) fn mesh_insight(&self) -> MeshInsight {
        let mut total = DataplaneStat::default();
        let mut by_type = [DataplaneStat::default(); 3];
        let mut versions = DpVersions::default();
        let mut mtls = Mtls::default();
        let mut internal = BTreeSet::new();
        for (dataplane, insight) in self.proxies() {
            let status = dataplane.status(insight);
            count(&mut total, status);
            count(&mut by_type[position(dataplane.role)], status);
            for (versions, version) in
                [(&mut versions.kuma_dp, &insight.kuma_dp), (&mut versions.envoy, &insight.envoy)]
            {
                let version = if version.is_empty() { UNKNOWN_VERSION } else { version };
                let stat = versions.entry(version.to_owned()).or_default();
                count(stat, status);
                // Clients of Kuma know it without the degraded ones.
                stat.total = stat.online + stat.offline;
            }
            if let Some(backends) = &insight.mtls {
                count(mtls.issued_backends.entry(backends.issued.clone()).or_default(), status);
                for backend in &backends.supported {
                    count(mtls.supported_backends.entry(backend.clone()).or_default(), status);
                }
            }
            internal.extend(dataplane.members.iter().map(|member| &member.service));
        }
        let [standard, builtin, delegated] = by_type;
        let gateway = DataplaneStat {
            total: builtin.total + delegated.total,
            online: builtin.online + delegated.online,
            offline: builtin.offline + delegated.offline,
            partially_degraded: builtin.partially_degraded + delegated.partially_degraded,
        };
        let (internal, external) = (length(internal.len()), length(self.externals.len()));
        let policies = self.counts.iter().filter(|(kind, _)| kind.descriptor().policy.is_some());
        MeshInsight {
            dataplanes: Some(total),
            policies: policies.map(|(kind, total)| (kind.name().to_owned(), PolicyStat { total: *total })).collect(),
            dp_versions: Some(versions),
            m_tls: Some(mtls),
            services: Some(ServiceStat { total: internal + external, internal, external }),
            dataplanes_by_type: Some(DataplanesByType {
                standard: Some(standard),
                gateway: Some(gateway),
                gateway_builtin: Some(builtin),
                gateway_delegated: Some(delegated),
            }),
            resources: self
                .counts
                .iter()
                .map(|(kind, total)| (kind.name().to_owned(), ResourceStat { total: *total }))
                .collect(),
        }
    }

    /// The services of the mesh.
    pub(crate) fn service_insight(&self) -> ServiceInsight {
        let mut services = BTreeMap::new();
        for (dataplane, insight) in self.proxies() {
            let backend = insight.mtls.as_ref().map(|mtls| &mtls.issued).filter(|backend| !backend.is_empty());
            for member in &dataplane.members {
                let service = join(&mut services, member);
                let stat = service.dataplanes.get_or_insert_default();
                match dataplane.status(insight) {
                    ProxyStatus::Online => stat.online += 1,
                    ProxyStatus::Offline | ProxyStatus::PartiallyDegraded => stat.offline += 1,
                }
                if let Some(backend) = backend {
                    *service.issued_backends.entry(backend.clone()).or_default() += 1;
                }
            }
        }
        for external in self.externals.values() {
            if let Some(member) = &external.member {
                let known = services.contains_key(&member.service);
                let service = join(&mut services, member);
                if !known {
                    service.address_port.clone_from(&external.address);
                }
            }
        }
        for service in services.values_mut() {
            service.set_status(status(service));
        }
        ServiceInsight { services }
    }
}

/// The service of a member; the first member decides on its type.
fn join<'s>(services: &'s mut BTreeMap<String, Service>, member: &Member) -> &'s mut Service {
    let service = services.entry(member.service.clone()).or_insert_with(|| Service {
        service_type: member.kind.into(),
        dataplanes: Some(ServiceDataplaneStat::default()),
        ..Service::default()
    });
    if !member.zone.is_empty()
        && let Err(place) = service.zones.binary_search(&member.zone)
    {
        service.zones.insert(place, member.zone.clone());
    }
    service
}

fn status(service: &Service) -> ServiceStatus {
    let stat = service.dataplanes.unwrap_or_default();
    match stat.online {
        _ if service.service_type() == ServiceType::External => ServiceStatus::NotAvailable,
        0 => ServiceStatus::Offline,
        _ if stat.offline == 0 => ServiceStatus::Online,
        _ => ServiceStatus::PartiallyDegraded,
    }
}

/// Place of a role in `by_type`.
fn position(role: Role) -> usize {
    match role {
        Role::Standard => 0,
        Role::GatewayBuiltin => 1,
        Role::GatewayDelegated => 2,
    }
}

fn count(stat: &mut DataplaneStat, status: ProxyStatus) {
    stat.total += 1;
    match status {
        ProxyStatus::Online => stat.online += 1,
        ProxyStatus::PartiallyDegraded => stat.partially_degraded += 1,
        ProxyStatus::Offline => stat.offline += 1,
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Sets or removes the facts of a resource; true when that made a difference.
fn replace<F: PartialEq>(facts: &mut BTreeMap<String, F>, name: &str, new: Option<F>) -> bool {
    if facts.get(name) == new.as_ref() {
        return false;
    }
    match new {
        Some(new) => facts.insert(name.to_owned(), new),
        None => facts.remove(name),
    };
    true
}

/// The specification of a resource; one that does not decode is reported.
fn decoded<M: prost::Message + Default>(resource: &Resource) -> Option<M> {
    resource.proto().inspect_err(|error| tracing::warn!(%error, "left out of insights")).ok()
}
