//! The registry of resource kinds: one row per kind, and look-ups by name, path and short name.
//!
//! Source of names, paths, scopes and synchronization flags: Kuma 2.13
//! `pkg/core/resources/apis/**/zz_generated.resource*.go` and `pkg/plugins/policies/*/api/v1alpha1`.

mod descriptors;

use std::fmt;
use std::str::FromStr;

pub use descriptors::DESCRIPTORS;

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
