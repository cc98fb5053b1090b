//! The registry of resource kinds: one row per kind, and look-ups by name, path and short name.
//!
//! Source of names, paths, scopes and synchronization flags: Kuma 2.13
//! `pkg/core/resources/apis/**/zz_generated.resource*.go` and `pkg/plugins/policies/*/api/v1alpha1`.

use std::fmt;
use std::str::FromStr;

/// Type of a resource. The order is that of [`DESCRIPTORS`].
#[allow(missing_docs)] // the variants are the names of the kinds, described by their descriptors
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Mesh,
    Dataplane,
    DataplaneInsight,
    ZoneIngress,
    ZoneIngressInsight,
    ZoneEgress,
    ZoneEgressInsight,
    Zone,
    ZoneInsight,
    MeshInsight,
    ServiceInsight,
    ExternalService,
    MeshGateway,
    Secret,
    GlobalSecret,
    Config,
    MeshService,
    MeshMultiZoneService,
    MeshExternalService,
    HostnameGenerator,
    MeshIdentity,
    MeshTrust,
    Workload,
    MeshAccessLog,
    MeshCircuitBreaker,
    MeshFaultInjection,
    MeshHTTPRoute,
    MeshHealthCheck,
    MeshLoadBalancingStrategy,
    MeshMetric,
    MeshPassthrough,
    MeshProxyPatch,
    MeshRateLimit,
    MeshRetry,
    MeshTCPRoute,
    MeshTLS,
    MeshTimeout,
    MeshTrace,
    MeshTrafficPermission,
    CircuitBreaker,
    FaultInjection,
    HealthCheck,
    MeshGatewayRoute,
    ProxyTemplate,
    RateLimit,
    Retry,
    Timeout,
    TrafficLog,
    TrafficPermission,
    TrafficRoute,
    TrafficTrace,
    VirtualOutbound,
}

/// Whether resources of a kind belong to a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Identified by name alone.
    Global,
    /// Identified by mesh and name.
    Mesh,
}

/// How the specification of a kind is encoded in the store and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A protobuf message, spliced flat into the JSON of the HTTP API.
    Proto {
        /// Full name of the message.
        message: &'static str,
    },
    /// A JSON object, nested as `spec` in the JSON of the HTTP API.
    Json {
        /// Whether the kind has a `status`.
        status: bool,
    },
}

/// Which control plane may write a kind, and which way it is synchronized. A set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction(u8);

impl Direction {
    const TO_ZONE: u8 = 1;
    const TO_GLOBAL: u8 = 4;
    const FROM_ZONE: u8 = 8;
    const FROM_GLOBAL: u8 = 16;
    const ACROSS: u8 = 32;

    /// Written on global, sent to all zones.
    pub const GLOBAL_TO_ZONES: Self = Self(Self::FROM_GLOBAL | Self::TO_ZONE);
    /// Written in a zone, sent to global.
    pub const ZONE_TO_GLOBAL: Self = Self(Self::FROM_ZONE | Self::TO_GLOBAL);
    /// What a zone wrote is sent on by global to the other zones.
    pub const ACROSS_ZONES: Self = Self(Self::ACROSS);
    /// Written on global, not sent because of this flag.
    pub const PROVIDED_BY_GLOBAL: Self = Self(Self::FROM_GLOBAL);
    /// Written in a zone, not sent because of this flag.
    pub const PROVIDED_BY_ZONE: Self = Self(Self::FROM_ZONE);

    /// Both sets of flags together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// True when a global control plane may write resources of this kind.
    pub const fn provided_by_global(self) -> bool {
        self.has(Self::FROM_GLOBAL)
    }

    /// True when a zone control plane may write resources of this kind.
    pub const fn provided_by_zone(self) -> bool {
        self.has(Self::FROM_ZONE)
    }

    /// True when what global wrote is sent to zones.
    pub const fn global_to_zones(self) -> bool {
        self.has(Self::FROM_GLOBAL | Self::TO_ZONE)
    }

    /// True when what a zone wrote is sent on to other zones.
    pub const fn across_zones(self) -> bool {
        self.has(Self::ACROSS)
    }

    /// True when global sends this kind to zones at all.
    pub const fn sent_to_zones(self) -> bool {
        self.global_to_zones() || self.across_zones()
    }

    /// True when a zone sends this kind to global.
    pub const fn sent_to_global(self) -> bool {
        self.has(Self::FROM_ZONE | Self::TO_GLOBAL)
    }
}

/// What kind of policy a kind is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyTraits {
    /// Selected by `targetRef` (true) or by source and destination tags (false).
    pub target_ref: bool,
    /// Has a `to` list.
    pub to: bool,
    /// Has a `from` list.
    pub from: bool,
    /// Has a `rules` list that replaces `from`.
    pub rules: bool,
}

impl PolicyTraits {
    /// A policy of the older generation.
    pub const LEGACY: Self = Self { target_ref: false, to: false, from: false, rules: false };

    /// A policy selected by `targetRef`.
    pub const fn target_ref(to: bool, from: bool, rules: bool) -> Self {
        Self { target_ref: true, to, from, rules }
    }
}

/// Everything that distinguishes one kind from another.
#[derive(Debug)]
pub struct Descriptor {
    /// The kind described.
    pub kind: Kind,
    /// CamelCase name, as in the member `type`.
    pub name: &'static str,
    /// Whether it belongs to a mesh.
    pub scope: Scope,
    /// Path segment of the HTTP API; `None` when the kind is not served.
    pub path: Option<&'static str>,
    /// Second path segment that serves the same resources.
    pub alternative_path: Option<&'static str>,
    /// Short name used in resource identifiers; kinds without one have no identifier.
    pub short_name: Option<&'static str>,
    /// Who writes it and where it is sent.
    pub direction: Direction,
    /// Encoding of the specification.
    pub encoding: Encoding,
    /// Set for policies.
    pub policy: Option<PolicyTraits>,
    /// Written by control planes only.
    pub read_only: bool,
    /// Visible to administrators only.
    pub admin_only: bool,
    /// Exported by `kumactl export --profile federation`.
    pub in_federation: bool,
}

impl Kind {
    /// All kinds, in the order of their descriptors.
    pub fn all() -> impl Iterator<Item = Kind> {
        DESCRIPTORS.iter().map(|descriptor| descriptor.kind)
    }

    /// The row of this kind.
    pub fn descriptor(self) -> &'static Descriptor {
        &DESCRIPTORS[self as usize]
    }

    /// CamelCase name.
    pub fn name(self) -> &'static str {
        self.descriptor().name
    }

    /// True for kinds that belong to a mesh.
    pub fn is_mesh_scoped(self) -> bool {
        self.descriptor().scope == Scope::Mesh
    }

    /// True for kinds selected by `targetRef`.
    pub fn is_target_ref_policy(self) -> bool {
        self.descriptor().policy.is_some_and(|policy| policy.target_ref)
    }

    /// True for kinds whose specification is JSON.
    pub fn is_json(self) -> bool {
        matches!(self.descriptor().encoding, Encoding::Json { .. })
    }

    /// True for kinds that have a status.
    pub fn has_status(self) -> bool {
        matches!(self.descriptor().encoding, Encoding::Json { status: true })
    }

    /// The kind served under a path segment of the HTTP API.
    pub fn from_path(path: &str) -> Option<Kind> {
        DESCRIPTORS.iter().find(|d| d.path == Some(path) || d.alternative_path == Some(path)).map(|d| d.kind)
    }

    /// The kind with a short name.
    pub fn from_short_name(short_name: &str) -> Option<Kind> {
        DESCRIPTORS.iter().find(|d| d.short_name == Some(short_name)).map(|d| d.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of a known kind.
#[derive(Debug, thiserror::Error)]
#[error("unknown resource type {0:?}")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        DESCRIPTORS.iter().find(|d| d.name == name).map(|d| d.kind).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// One row per kind, indexed by `Kind as usize`.
pub static DESCRIPTORS: [Descriptor; 52] = [
    Descriptor {
        kind: Kind::Mesh,
        name: "Mesh",
        scope: Scope::Global,
        path: Some("meshes"),
        alternative_path: None,
        short_name: Some("m"),
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.Mesh" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::Dataplane,
        name: "Dataplane",
        scope: Scope::Mesh,
        path: Some("dataplanes"),
        alternative_path: None,
        short_name: Some("dp"),
        direction: Direction::ZONE_TO_GLOBAL,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.Dataplane" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::DataplaneInsight,
        name: "DataplaneInsight",
        scope: Scope::Mesh,
        path: Some("dataplane-insights"),
        alternative_path: None,
        short_name: None,
        direction: Direction::ZONE_TO_GLOBAL,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.DataplaneInsight" },
        policy: None,
        read_only: true,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ZoneIngress,
        name: "ZoneIngress",
        scope: Scope::Global,
        path: Some("zoneingresses"),
        alternative_path: Some("zone-ingresses"),
        short_name: Some("zi"),
        direction: Direction::ZONE_TO_GLOBAL.and(Direction::ACROSS_ZONES),
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ZoneIngress" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ZoneIngressInsight,
        name: "ZoneIngressInsight",
        scope: Scope::Global,
        path: Some("zone-ingress-insights"),
        alternative_path: None,
        short_name: None,
        direction: Direction::ZONE_TO_GLOBAL,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ZoneIngressInsight" },
        policy: None,
        read_only: true,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ZoneEgress,
        name: "ZoneEgress",
        scope: Scope::Global,
        path: Some("zoneegresses"),
        alternative_path: None,
        short_name: Some("ze"),
        direction: Direction::ZONE_TO_GLOBAL,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ZoneEgress" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ZoneEgressInsight,
        name: "ZoneEgressInsight",
        scope: Scope::Global,
        path: Some("zoneegressinsights"),
        alternative_path: None,
        short_name: None,
        direction: Direction::ZONE_TO_GLOBAL,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ZoneEgressInsight" },
        policy: None,
        read_only: true,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::Zone,
        name: "Zone",
        scope: Scope::Global,
        path: Some("zones"),
        alternative_path: None,
        short_name: None,
        direction: Direction::PROVIDED_BY_GLOBAL.and(Direction::PROVIDED_BY_ZONE),
        encoding: Encoding::Proto { message: "kuma.system.v1alpha1.Zone" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ZoneInsight,
        name: "ZoneInsight",
        scope: Scope::Global,
        path: Some("zone-insights"),
        alternative_path: None,
        short_name: None,
        direction: Direction::PROVIDED_BY_GLOBAL.and(Direction::PROVIDED_BY_ZONE),
        encoding: Encoding::Proto { message: "kuma.system.v1alpha1.ZoneInsight" },
        policy: None,
        read_only: true,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::MeshInsight,
        name: "MeshInsight",
        scope: Scope::Global,
        path: Some("mesh-insights"),
        alternative_path: None,
        short_name: None,
        direction: Direction::PROVIDED_BY_GLOBAL,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.MeshInsight" },
        policy: None,
        read_only: true,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ServiceInsight,
        name: "ServiceInsight",
        scope: Scope::Mesh,
        path: Some("service-insights"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ServiceInsight" },
        policy: None,
        read_only: true,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::ExternalService,
        name: "ExternalService",
        scope: Scope::Mesh,
        path: Some("external-services"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ExternalService" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshGateway,
        name: "MeshGateway",
        scope: Scope::Mesh,
        path: Some("meshgateways"),
        alternative_path: None,
        short_name: Some("mgw"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL),
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.MeshGateway" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::Secret,
        name: "Secret",
        scope: Scope::Mesh,
        path: Some("secrets"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::PROVIDED_BY_ZONE),
        encoding: Encoding::Proto { message: "kuma.system.v1alpha1.Secret" },
        policy: None,
        read_only: false,
        admin_only: true,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::GlobalSecret,
        name: "GlobalSecret",
        scope: Scope::Global,
        path: Some("globalsecrets"),
        alternative_path: Some("global-secrets"),
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::PROVIDED_BY_ZONE),
        encoding: Encoding::Proto { message: "kuma.system.v1alpha1.Secret" },
        policy: None,
        read_only: false,
        admin_only: true,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::Config,
        name: "Config",
        scope: Scope::Global,
        path: None,
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::PROVIDED_BY_ZONE),
        encoding: Encoding::Proto { message: "kuma.system.v1alpha1.Config" },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::MeshService,
        name: "MeshService",
        scope: Scope::Mesh,
        path: Some("meshservices"),
        alternative_path: None,
        short_name: Some("msvc"),
        direction: Direction::ZONE_TO_GLOBAL.and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: true },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::MeshMultiZoneService,
        name: "MeshMultiZoneService",
        scope: Scope::Mesh,
        path: Some("meshmultizoneservices"),
        alternative_path: None,
        short_name: Some("mzsvc"),
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Json { status: true },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshExternalService,
        name: "MeshExternalService",
        scope: Scope::Mesh,
        path: Some("meshexternalservices"),
        alternative_path: None,
        short_name: Some("extsvc"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL),
        encoding: Encoding::Json { status: true },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::HostnameGenerator,
        name: "HostnameGenerator",
        scope: Scope::Global,
        path: Some("hostnamegenerators"),
        alternative_path: None,
        short_name: Some("hg"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL),
        encoding: Encoding::Json { status: false },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshIdentity,
        name: "MeshIdentity",
        scope: Scope::Mesh,
        path: Some("meshidentities"),
        alternative_path: None,
        short_name: Some("mid"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL),
        encoding: Encoding::Json { status: true },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshTrust,
        name: "MeshTrust",
        scope: Scope::Mesh,
        path: Some("meshtrusts"),
        alternative_path: None,
        short_name: Some("mtrust"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL),
        encoding: Encoding::Json { status: true },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::Workload,
        name: "Workload",
        scope: Scope::Mesh,
        path: Some("workloads"),
        alternative_path: None,
        short_name: Some("wl"),
        direction: Direction::ZONE_TO_GLOBAL,
        encoding: Encoding::Json { status: true },
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    },
    Descriptor {
        kind: Kind::MeshAccessLog,
        name: "MeshAccessLog",
        scope: Scope::Mesh,
        path: Some("meshaccesslogs"),
        alternative_path: None,
        short_name: Some("mal"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, true, true)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshCircuitBreaker,
        name: "MeshCircuitBreaker",
        scope: Scope::Mesh,
        path: Some("meshcircuitbreakers"),
        alternative_path: None,
        short_name: Some("mcb"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, true, true)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshFaultInjection,
        name: "MeshFaultInjection",
        scope: Scope::Mesh,
        path: Some("meshfaultinjections"),
        alternative_path: None,
        short_name: Some("mfi"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, true, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshHTTPRoute,
        name: "MeshHTTPRoute",
        scope: Scope::Mesh,
        path: Some("meshhttproutes"),
        alternative_path: None,
        short_name: Some("mhttpr"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshHealthCheck,
        name: "MeshHealthCheck",
        scope: Scope::Mesh,
        path: Some("meshhealthchecks"),
        alternative_path: None,
        short_name: Some("mhc"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshLoadBalancingStrategy,
        name: "MeshLoadBalancingStrategy",
        scope: Scope::Mesh,
        path: Some("meshloadbalancingstrategies"),
        alternative_path: None,
        short_name: Some("mlbs"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshMetric,
        name: "MeshMetric",
        scope: Scope::Mesh,
        path: Some("meshmetrics"),
        alternative_path: None,
        short_name: Some("mm"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(false, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshPassthrough,
        name: "MeshPassthrough",
        scope: Scope::Mesh,
        path: Some("meshpassthroughs"),
        alternative_path: None,
        short_name: Some("mp"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(false, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshProxyPatch,
        name: "MeshProxyPatch",
        scope: Scope::Mesh,
        path: Some("meshproxypatches"),
        alternative_path: None,
        short_name: Some("mpp"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(false, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshRateLimit,
        name: "MeshRateLimit",
        scope: Scope::Mesh,
        path: Some("meshratelimits"),
        alternative_path: None,
        short_name: Some("mrl"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, true, true)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshRetry,
        name: "MeshRetry",
        scope: Scope::Mesh,
        path: Some("meshretries"),
        alternative_path: None,
        short_name: Some("mr"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshTCPRoute,
        name: "MeshTCPRoute",
        scope: Scope::Mesh,
        path: Some("meshtcproutes"),
        alternative_path: None,
        short_name: Some("mtcpr"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshTLS,
        name: "MeshTLS",
        scope: Scope::Mesh,
        path: Some("meshtlses"),
        alternative_path: None,
        short_name: Some("mtls"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(false, true, true)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshTimeout,
        name: "MeshTimeout",
        scope: Scope::Mesh,
        path: Some("meshtimeouts"),
        alternative_path: None,
        short_name: Some("mt"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(true, true, true)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshTrace,
        name: "MeshTrace",
        scope: Scope::Mesh,
        path: Some("meshtraces"),
        alternative_path: None,
        short_name: Some("mtr"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(false, false, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshTrafficPermission,
        name: "MeshTrafficPermission",
        scope: Scope::Mesh,
        path: Some("meshtrafficpermissions"),
        alternative_path: None,
        short_name: Some("mtp"),
        direction: Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL).and(Direction::ACROSS_ZONES),
        encoding: Encoding::Json { status: false },
        policy: Some(PolicyTraits::target_ref(false, true, false)),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::CircuitBreaker,
        name: "CircuitBreaker",
        scope: Scope::Mesh,
        path: Some("circuit-breakers"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.CircuitBreaker" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::FaultInjection,
        name: "FaultInjection",
        scope: Scope::Mesh,
        path: Some("fault-injections"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.FaultInjection" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::HealthCheck,
        name: "HealthCheck",
        scope: Scope::Mesh,
        path: Some("health-checks"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.HealthCheck" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::MeshGatewayRoute,
        name: "MeshGatewayRoute",
        scope: Scope::Mesh,
        path: Some("meshgatewayroutes"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.MeshGatewayRoute" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::ProxyTemplate,
        name: "ProxyTemplate",
        scope: Scope::Mesh,
        path: Some("proxytemplates"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.ProxyTemplate" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::RateLimit,
        name: "RateLimit",
        scope: Scope::Mesh,
        path: Some("rate-limits"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.RateLimit" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::Retry,
        name: "Retry",
        scope: Scope::Mesh,
        path: Some("retries"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.Retry" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::Timeout,
        name: "Timeout",
        scope: Scope::Mesh,
        path: Some("timeouts"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.Timeout" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::TrafficLog,
        name: "TrafficLog",
        scope: Scope::Mesh,
        path: Some("traffic-logs"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.TrafficLog" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::TrafficPermission,
        name: "TrafficPermission",
        scope: Scope::Mesh,
        path: Some("traffic-permissions"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.TrafficPermission" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::TrafficRoute,
        name: "TrafficRoute",
        scope: Scope::Mesh,
        path: Some("traffic-routes"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.TrafficRoute" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::TrafficTrace,
        name: "TrafficTrace",
        scope: Scope::Mesh,
        path: Some("traffic-traces"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.TrafficTrace" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
    Descriptor {
        kind: Kind::VirtualOutbound,
        name: "VirtualOutbound",
        scope: Scope::Mesh,
        path: Some("virtual-outbounds"),
        alternative_path: None,
        short_name: None,
        direction: Direction::GLOBAL_TO_ZONES,
        encoding: Encoding::Proto { message: "kuma.mesh.v1alpha1.VirtualOutbound" },
        policy: Some(PolicyTraits::LEGACY),
        read_only: false,
        admin_only: false,
        in_federation: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_indexed_by_kind() {
        for (index, descriptor) in DESCRIPTORS.iter().enumerate() {
            assert_eq!(descriptor.kind as usize, index, "{}", descriptor.name);
        }
    }

    #[test]
    fn as_many_kinds_travel_as_in_kuma() {
        assert_eq!(Kind::all().filter(|k| k.descriptor().direction.sent_to_zones()).count(), 43);
        assert_eq!(Kind::all().filter(|k| k.descriptor().direction.sent_to_global()).count(), 29);
        assert_eq!(Kind::all().filter(|k| k.descriptor().path.is_some()).count(), 51);
    }
}
