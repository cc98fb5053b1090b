//! The table of kinds.

use super::{Descriptor, Direction, Encoding, Kind, PolicyTraits, Scope};

const BOTH_WAYS: Direction = Direction::GLOBAL_TO_ZONES.and(Direction::ZONE_TO_GLOBAL);

/// One row per kind, indexed by `Kind as usize`.
pub static DESCRIPTORS: [Descriptor; 52] = [
    proto(Kind::Mesh, "Mesh", Scope::Global, "kuma.mesh.v1alpha1.Mesh", Direction::GLOBAL_TO_ZONES)
        .path("meshes")
        .short_name("m")
        .in_federation(),
    proto(Kind::Dataplane, "Dataplane", Scope::Mesh, "kuma.mesh.v1alpha1.Dataplane", Direction::ZONE_TO_GLOBAL)
        .path("dataplanes")
        .short_name("dp"),
    proto(
        Kind::DataplaneInsight,
        "DataplaneInsight",
        Scope::Mesh,
        "kuma.mesh.v1alpha1.DataplaneInsight",
        Direction::ZONE_TO_GLOBAL,
    )
    .path("dataplane-insights")
    .read_only(),
    proto(
        Kind::ZoneIngress,
        "ZoneIngress",
        Scope::Global,
        "kuma.mesh.v1alpha1.ZoneIngress",
        Direction::ZONE_TO_GLOBAL.and(Direction::ACROSS_ZONES),
    )
    .path("zoneingresses")
    .alternative_path("zone-ingresses")
    .short_name("zi"),
    proto(
        Kind::ZoneIngressInsight,
        "ZoneIngressInsight",
        Scope::Global,
        "kuma.mesh.v1alpha1.ZoneIngressInsight",
        Direction::ZONE_TO_GLOBAL,
    )
    .path("zone-ingress-insights")
    .read_only(),
    proto(Kind::ZoneEgress, "ZoneEgress", Scope::Global, "kuma.mesh.v1alpha1.ZoneEgress", Direction::ZONE_TO_GLOBAL)
        .path("zoneegresses")
        .short_name("ze"),
    proto(
        Kind::ZoneEgressInsight,
        "ZoneEgressInsight",
        Scope::Global,
        "kuma.mesh.v1alpha1.ZoneEgressInsight",
        Direction::ZONE_TO_GLOBAL,
    )
    .path("zoneegressinsights")
    .read_only(),
    proto(
        Kind::Zone,
        "Zone",
        Scope::Global,
        "kuma.system.v1alpha1.Zone",
        Direction::PROVIDED_BY_GLOBAL.and(Direction::PROVIDED_BY_ZONE),
    )
    .path("zones"),
    proto(
        Kind::ZoneInsight,
        "ZoneInsight",
        Scope::Global,
        "kuma.system.v1alpha1.ZoneInsight",
        Direction::PROVIDED_BY_GLOBAL.and(Direction::PROVIDED_BY_ZONE),
    )
    .path("zone-insights")
    .read_only(),
    proto(
        Kind::MeshInsight,
        "MeshInsight",
        Scope::Global,
        "kuma.mesh.v1alpha1.MeshInsight",
        Direction::PROVIDED_BY_GLOBAL,
    )
    .path("mesh-insights")
    .read_only(),
    proto(
        Kind::ServiceInsight,
        "ServiceInsight",
        Scope::Mesh,
        "kuma.mesh.v1alpha1.ServiceInsight",
        Direction::GLOBAL_TO_ZONES,
    )
    .path("service-insights")
    .read_only(),
    proto(
        Kind::ExternalService,
        "ExternalService",
        Scope::Mesh,
        "kuma.mesh.v1alpha1.ExternalService",
        Direction::GLOBAL_TO_ZONES,
    )
    .path("external-services")
    .in_federation(),
    proto(Kind::MeshGateway, "MeshGateway", Scope::Mesh, "kuma.mesh.v1alpha1.MeshGateway", BOTH_WAYS)
        .path("meshgateways")
        .short_name("mgw")
        .in_federation(),
    proto(
        Kind::Secret,
        "Secret",
        Scope::Mesh,
        "kuma.system.v1alpha1.Secret",
        Direction::GLOBAL_TO_ZONES.and(Direction::PROVIDED_BY_ZONE),
    )
    .path("secrets")
    .admin_only()
    .in_federation(),
    proto(
        Kind::GlobalSecret,
        "GlobalSecret",
        Scope::Global,
        "kuma.system.v1alpha1.Secret",
        Direction::GLOBAL_TO_ZONES.and(Direction::PROVIDED_BY_ZONE),
    )
    .path("globalsecrets")
    .alternative_path("global-secrets")
    .admin_only()
    .in_federation(),
    proto(
        Kind::Config,
        "Config",
        Scope::Global,
        "kuma.system.v1alpha1.Config",
        Direction::GLOBAL_TO_ZONES.and(Direction::PROVIDED_BY_ZONE),
    ),
    json(Kind::MeshService, "MeshService", Scope::Mesh, true, Direction::ZONE_TO_GLOBAL.and(Direction::ACROSS_ZONES))
        .path("meshservices")
        .short_name("msvc"),
    json(Kind::MeshMultiZoneService, "MeshMultiZoneService", Scope::Mesh, true, Direction::GLOBAL_TO_ZONES)
        .path("meshmultizoneservices")
        .short_name("mzsvc")
        .in_federation(),
    json(Kind::MeshExternalService, "MeshExternalService", Scope::Mesh, true, BOTH_WAYS)
        .path("meshexternalservices")
        .short_name("extsvc")
        .in_federation(),
    json(Kind::HostnameGenerator, "HostnameGenerator", Scope::Global, false, BOTH_WAYS)
        .path("hostnamegenerators")
        .short_name("hg")
        .in_federation(),
    json(Kind::MeshIdentity, "MeshIdentity", Scope::Mesh, true, BOTH_WAYS)
        .path("meshidentities")
        .short_name("mid")
        .in_federation(),
    json(Kind::MeshTrust, "MeshTrust", Scope::Mesh, true, BOTH_WAYS)
        .path("meshtrusts")
        .short_name("mtrust")
        .in_federation(),
    json(Kind::Workload, "Workload", Scope::Mesh, true, Direction::ZONE_TO_GLOBAL).path("workloads").short_name("wl"),
    policy(Kind::MeshAccessLog, "MeshAccessLog", "meshaccesslogs", "mal", PolicyTraits::target_ref(true, true, true)),
    policy(
        Kind::MeshCircuitBreaker,
        "MeshCircuitBreaker",
        "meshcircuitbreakers",
        "mcb",
        PolicyTraits::target_ref(true, true, true),
    ),
    policy(
        Kind::MeshFaultInjection,
        "MeshFaultInjection",
        "meshfaultinjections",
        "mfi",
        PolicyTraits::target_ref(true, true, false),
    ),
    policy(
        Kind::MeshHTTPRoute,
        "MeshHTTPRoute",
        "meshhttproutes",
        "mhttpr",
        PolicyTraits::target_ref(true, false, false),
    ),
    policy(
        Kind::MeshHealthCheck,
        "MeshHealthCheck",
        "meshhealthchecks",
        "mhc",
        PolicyTraits::target_ref(true, false, false),
    ),
    policy(
        Kind::MeshLoadBalancingStrategy,
        "MeshLoadBalancingStrategy",
        "meshloadbalancingstrategies",
        "mlbs",
        PolicyTraits::target_ref(true, false, false),
    ),
    policy(Kind::MeshMetric, "MeshMetric", "meshmetrics", "mm", PolicyTraits::target_ref(false, false, false)),
    policy(
        Kind::MeshPassthrough,
        "MeshPassthrough",
        "meshpassthroughs",
        "mp",
        PolicyTraits::target_ref(false, false, false),
    ),
    policy(
        Kind::MeshProxyPatch,
        "MeshProxyPatch",
        "meshproxypatches",
        "mpp",
        PolicyTraits::target_ref(false, false, false),
    ),
    policy(Kind::MeshRateLimit, "MeshRateLimit", "meshratelimits", "mrl", PolicyTraits::target_ref(true, true, true)),
    policy(Kind::MeshRetry, "MeshRetry", "meshretries", "mr", PolicyTraits::target_ref(true, false, false)),
    policy(Kind::MeshTCPRoute, "MeshTCPRoute", "meshtcproutes", "mtcpr", PolicyTraits::target_ref(true, false, false)),
    policy(Kind::MeshTLS, "MeshTLS", "meshtlses", "mtls", PolicyTraits::target_ref(false, true, true)),
    policy(Kind::MeshTimeout, "MeshTimeout", "meshtimeouts", "mt", PolicyTraits::target_ref(true, true, true)),
    policy(Kind::MeshTrace, "MeshTrace", "meshtraces", "mtr", PolicyTraits::target_ref(false, false, false)),
    policy(
        Kind::MeshTrafficPermission,
        "MeshTrafficPermission",
        "meshtrafficpermissions",
        "mtp",
        PolicyTraits::target_ref(false, true, false),
    ),
    legacy_policy(Kind::CircuitBreaker, "CircuitBreaker", "circuit-breakers", "kuma.mesh.v1alpha1.CircuitBreaker"),
    legacy_policy(Kind::FaultInjection, "FaultInjection", "fault-injections", "kuma.mesh.v1alpha1.FaultInjection"),
    legacy_policy(Kind::HealthCheck, "HealthCheck", "health-checks", "kuma.mesh.v1alpha1.HealthCheck"),
    legacy_policy(
        Kind::MeshGatewayRoute,
        "MeshGatewayRoute",
        "meshgatewayroutes",
        "kuma.mesh.v1alpha1.MeshGatewayRoute",
    ),
    legacy_policy(Kind::ProxyTemplate, "ProxyTemplate", "proxytemplates", "kuma.mesh.v1alpha1.ProxyTemplate"),
    legacy_policy(Kind::RateLimit, "RateLimit", "rate-limits", "kuma.mesh.v1alpha1.RateLimit"),
    legacy_policy(Kind::Retry, "Retry", "retries", "kuma.mesh.v1alpha1.Retry"),
    legacy_policy(Kind::Timeout, "Timeout", "timeouts", "kuma.mesh.v1alpha1.Timeout"),
    legacy_policy(Kind::TrafficLog, "TrafficLog", "traffic-logs", "kuma.mesh.v1alpha1.TrafficLog"),
    legacy_policy(
        Kind::TrafficPermission,
        "TrafficPermission",
        "traffic-permissions",
        "kuma.mesh.v1alpha1.TrafficPermission",
    ),
    legacy_policy(Kind::TrafficRoute, "TrafficRoute", "traffic-routes", "kuma.mesh.v1alpha1.TrafficRoute"),
    legacy_policy(Kind::TrafficTrace, "TrafficTrace", "traffic-traces", "kuma.mesh.v1alpha1.TrafficTrace"),
    legacy_policy(Kind::VirtualOutbound, "VirtualOutbound", "virtual-outbounds", "kuma.mesh.v1alpha1.VirtualOutbound"),
];

const fn row(kind: Kind, name: &'static str, scope: Scope, encoding: Encoding, direction: Direction) -> Descriptor {
    Descriptor {
        kind,
        name,
        scope,
        path: None,
        alternative_path: None,
        short_name: None,
        direction,
        encoding,
        policy: None,
        read_only: false,
        admin_only: false,
        in_federation: false,
    }
}

const fn proto(
    kind: Kind,
    name: &'static str,
    scope: Scope,
    message: &'static str,
    direction: Direction,
) -> Descriptor {
    row(kind, name, scope, Encoding::Proto { message }, direction)
}

const fn json(kind: Kind, name: &'static str, scope: Scope, status: bool, direction: Direction) -> Descriptor {
    row(kind, name, scope, Encoding::Json { status }, direction)
}

/// A policy selected by `targetRef`: written on both sides and passed on to all zones.
const fn policy(
    kind: Kind,
    name: &'static str,
    path: &'static str,
    short_name: &'static str,
    traits: PolicyTraits,
) -> Descriptor {
    let mut row = json(kind, name, Scope::Mesh, false, BOTH_WAYS.and(Direction::ACROSS_ZONES))
        .path(path)
        .short_name(short_name)
        .in_federation();
    row.policy = Some(traits);
    row
}

/// A policy of the older generation: written on global alone.
const fn legacy_policy(kind: Kind, name: &'static str, path: &'static str, message: &'static str) -> Descriptor {
    let mut row = proto(kind, name, Scope::Mesh, message, Direction::GLOBAL_TO_ZONES).path(path).in_federation();
    row.policy = Some(PolicyTraits::LEGACY);
    row
}

impl Descriptor {
    const fn path(mut self, path: &'static str) -> Self {
        self.path = Some(path);
        self
    }

    const fn alternative_path(mut self, path: &'static str) -> Self {
        self.alternative_path = Some(path);
        self
    }

    const fn short_name(mut self, short_name: &'static str) -> Self {
        self.short_name = Some(short_name);
        self
    }

    const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    const fn admin_only(mut self) -> Self {
        self.admin_only = true;
        self
    }

    const fn in_federation(mut self) -> Self {
        self.in_federation = true;
        self
    }
}
