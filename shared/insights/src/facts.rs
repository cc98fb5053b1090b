//! The little that the aggregates need to know of each resource.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/mesh/dataplane_overview_helpers.go`,
//! `api/mesh/v1alpha1/dataplane_insight_helpers.go`.

use tandem_model::dataplane::{DataplaneExt, InboundExt};
use tandem_model::label::{SERVICE_TAG, ZONE};
use tandem_model::tags::Tags;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::State;
use tandem_proto::mesh::v1alpha1::service_insight::service::Type as ServiceType;
use tandem_proto::mesh::v1alpha1::{Dataplane, DataplaneInsight, DiscoverySubscription, ExternalService};

/// State of a proxy as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyStatus {
    /// Connected, and every inbound is ready.
    Online,
    /// Connected, and some of its inbounds are not ready.
    PartiallyDegraded,
    /// Not connected, or none of its inbounds is ready. A sidecar without inbounds counts as that.
    Offline,
}

impl ProxyStatus {
    /// The state of a proxy, given whether it is connected.
    pub fn of(dataplane: &Dataplane, online: bool) -> Self {
        Self::from_parts(Readiness::of(dataplane), online)
    }

    fn from_parts(readiness: Readiness, online: bool) -> Self {
        match readiness {
            _ if !online => Self::Offline,
            Readiness::None => Self::Offline,
            Readiness::Some => Self::PartiallyDegraded,
            Readiness::All => Self::Online,
        }
    }
}

/// True when one of the subscriptions of a proxy is open.
pub fn is_online(subscriptions: &[DiscoverySubscription]) -> bool {
    subscriptions.iter().any(|s| s.connect_time.is_some() && s.disconnect_time.is_none())
}

/// Role of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Standard,
    GatewayBuiltin,
    GatewayDelegated,
}

/// How many of the inbounds of a proxy are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    None,
    Some,
    All,
}

impl Readiness {
    fn of(dataplane: &Dataplane) -> Self {
        if dataplane.gateway().is_some() {
            return Self::All;
        }
        let inbounds = dataplane.inbounds();
        let bad = inbounds
            .iter()
            .filter(|i| i.health.as_ref().is_some_and(|health| !health.ready) || i.state() == State::NotReady)
            .count();
        match bad {
            bad if bad == inbounds.len() => Self::None,
            0 => Self::All,
            _ => Self::Some,
        }
    }
}

/// A service that a resource stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) service: String,
    /// Empty when the tags do not tell.
    pub(crate) zone: String,
    pub(crate) kind: ServiceType,
}

impl Member {
    /// `None` for tags that name no service.
    fn of(tags: &Tags, kind: ServiceType) -> Option<Self> {
        let service = tags.get(SERVICE_TAG).filter(|service| !service.is_empty())?.clone();
        Some(Self { service, zone: tags.get(ZONE).cloned().unwrap_or_default(), kind })
    }
}

/// What counts of a Dataplane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataplaneFacts {
    pub(crate) role: Role,
    readiness: Readiness,
    /// One for the gateway, then one for each inbound.
    pub(crate) members: Vec<Member>,
}

impl DataplaneFacts {
    pub(crate) fn of(dataplane: &Dataplane) -> Self {
        let (role, kind) = match dataplane.gateway() {
            None => (Role::Standard, ServiceType::Internal),
            Some(_) if dataplane.is_builtin_gateway() => (Role::GatewayBuiltin, ServiceType::GatewayBuiltin),
            Some(_) => (Role::GatewayDelegated, ServiceType::GatewayDelegated),
        };
        let gateway = dataplane.gateway().and_then(|gateway| Member::of(&gateway.tags, kind));
        let inbounds = dataplane.inbounds().iter().filter(|inbound| !inbound.is_ignored());
        let inbounds = inbounds.filter_map(|inbound| Member::of(&inbound.tags, ServiceType::Internal));
        Self { role, readiness: Readiness::of(dataplane), members: gateway.into_iter().chain(inbounds).collect() }
    }

    pub(crate) fn status(&self, insight: &InsightFacts) -> ProxyStatus {
        ProxyStatus::from_parts(self.readiness, insight.online)
    }
}

/// What counts of a DataplaneInsight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InsightFacts {
    online: bool,
    /// Versions of the last subscription; empty when not known.
    pub(crate) kuma_dp: String,
    pub(crate) envoy: String,
    pub(crate) mtls: Option<MtlsFacts>,
}

/// Certificate authorities of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MtlsFacts {
    pub(crate) issued: String,
    pub(crate) supported: Vec<String>,
}

impl InsightFacts {
    /// Of a proxy that never connected.
    pub(crate) const UNSEEN: Self = Self { online: false, kuma_dp: String::new(), envoy: String::new(), mtls: None };

    pub(crate) fn of(insight: DataplaneInsight) -> Self {
        let online = is_online(&insight.subscriptions);
        let version = insight.subscriptions.into_iter().next_back().and_then(|last| last.version).unwrap_or_default();
        let mtls = insight.m_tls;
        Self {
            online,
            kuma_dp: version.kuma_dp.unwrap_or_default().version,
            envoy: version.envoy.unwrap_or_default().version,
            mtls: mtls.map(|mtls| MtlsFacts { issued: mtls.issued_backend, supported: mtls.supported_backends }),
        }
    }
}

/// What counts of an ExternalService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalFacts {
    /// `None` when the tags name no service.
    pub(crate) member: Option<Member>,
    pub(crate) address: String,
}

impl ExternalFacts {
    pub(crate) fn of(service: ExternalService) -> Self {
        let member = Member::of(&service.tags, ServiceType::External);
        Self { member, address: service.networking.unwrap_or_default().address }
    }
}
