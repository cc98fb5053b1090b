//! The resources of one proxy under construction.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::kri::Kri;

use super::pb::{route, tls};
use super::{AssignmentDraft, ClusterDraft, ListenerDraft};
use crate::Protocol;

/// Which part of generation produced a resource. Policies select resources by it; it is not sent to Envoy.
///
/// Source of the names: Kuma `pkg/xds/generator/metadata/origin.go` and the policy plugins.
#[allow(missing_docs)] // the variants are the origins' names
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    Admin,
    DirectAccess,
    Dns,
    DynamicConfig,
    Egress,
    Gateway,
    Inbound,
    Ingress,
    MeshAccessLog,
    MeshPassthrough,
    MeshProxyPatch,
    MeshTrace,
    OpenTelemetry,
    Outbound,
    Probe,
    Prometheus,
    ProxyTemplateModifications,
    ProxyTemplateRaw,
    Secrets,
    Tracing,
    Transparent,
}

impl Origin {
    /// Name by which MeshProxyPatch and ProxyTemplate know the origin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::DirectAccess => "direct-access",
            Self::Dns => "dns",
            Self::DynamicConfig => "dynamic-config",
            Self::Egress => "egress",
            Self::Gateway => "gateway",
            Self::Inbound => "inbound",
            Self::Ingress => "ingress",
            Self::MeshAccessLog => "meshaccesslog",
            Self::MeshPassthrough => "meshpassthrough",
            Self::MeshProxyPatch => "mesh-proxy-patch",
            Self::MeshTrace => "mesh-trace",
            Self::OpenTelemetry => "open-telemetry",
            Self::Outbound => "outbound",
            Self::Probe => "probe",
            Self::Prometheus => "prometheus",
            Self::ProxyTemplateModifications => "proxy-template-modifications",
            Self::ProxyTemplateRaw => "proxy-template-raw",
            Self::Secrets => "secrets",
            Self::Tracing => "tracing",
            Self::Transparent => "transparent",
        }
    }
}

/// A resource under construction with what policies need to find it.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<T> {
    /// Which part of generation produced it.
    pub origin: Origin,
    /// Destination it serves, with the port as section, when that is a real resource (MeshService, MeshExternalService,
    /// MeshMultiZoneService); `None` for everything else, destinations by `kuma.io/service` included.
    pub destination: Option<Arc<Kri>>,
    /// Value of `kuma.io/service` it serves, for destinations by tags; `None` for everything else.
    pub service: Option<Arc<str>>,
    /// What a real destination is called where one by tags has its service: in names of services in traces.
    pub alias: Option<Arc<str>>,
    /// Protocol spoken on it.
    pub protocol: Protocol,
    /// The resource itself.
    pub value: T,
}

impl<T> Draft<T> {
    /// A resource that serves no real destination and whose protocol does not matter.
    pub fn new(origin: Origin, value: T) -> Self {
        Self { origin, destination: None, service: None, alias: None, protocol: Protocol::Unknown, value }
    }

    /// The same resource, speaking `protocol`.
    #[must_use]
    pub fn speaking(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The same resource, serving a destination by tags.
    #[must_use]
    pub fn for_service(mut self, service: impl Into<Arc<str>>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// The same resource, serving a real destination.
    #[must_use]
    pub fn serving(mut self, destination: Arc<Kri>) -> Self {
        self.destination = Some(destination);
        self
    }

    /// The same resource, serving a real destination with this [alias](Self::alias).
    #[must_use]
    pub fn known_as(mut self, alias: Arc<str>) -> Self {
        self.alias = Some(alias);
        self
    }
}

/// All resources of one proxy, by name. Adding a name that exists replaces the resource.
///
/// A set may hold what one mesh contributes to a zone proxy as well as everything of a sidecar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DraftSet {
    /// Listeners.
    pub listeners: BTreeMap<String, Draft<ListenerDraft>>,
    /// Clusters.
    pub clusters: BTreeMap<String, Draft<ClusterDraft>>,
    /// Endpoints, by name of the cluster. Shared: an assignment that no policy edits is the caller's own, so that one
    /// encoding can serve many proxies; policies edit a copy ([`Arc::make_mut`]).
    pub assignments: BTreeMap<String, Draft<Arc<AssignmentDraft>>>,
    /// Route tables served over RDS.
    pub routes: BTreeMap<String, Draft<route::RouteConfiguration>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Draft<tls::Secret>>,
}

impl DraftSet {
    /// Adds a listener under its name.
    pub fn add_listener(&mut self, draft: Draft<ListenerDraft>) {
        self.listeners.insert(draft.value.message.name.clone(), draft);
    }

    /// Adds a cluster under its name.
    pub fn add_cluster(&mut self, draft: Draft<ClusterDraft>) {
        self.clusters.insert(draft.value.message.name.clone(), draft);
    }

    /// Adds endpoints under the name of their cluster.
    pub fn add_assignment(&mut self, draft: Draft<Arc<AssignmentDraft>>) {
        self.assignments.insert(draft.value.cluster.clone(), draft);
    }

    /// Adds a route table under its name.
    pub fn add_routes(&mut self, draft: Draft<route::RouteConfiguration>) {
        self.routes.insert(draft.value.name.clone(), draft);
    }

    /// Adds a secret under its name.
    pub fn add_secret(&mut self, draft: Draft<tls::Secret>) {
        self.secrets.insert(draft.value.name.clone(), draft);
    }
}
