//! Default resources and what is computed from resources.

use super::{Key, keys};

keys! {
    used   "runtime.universal.dataplaneCleanupAge" "KUMA_RUNTIME_UNIVERSAL_DATAPLANE_CLEANUP_AGE" Duration "72h0m0s";
    used   "runtime.universal.zoneResourceCleanupAge" "KUMA_RUNTIME_UNIVERSAL_ZONE_RESOURCE_CLEANUP_AGE"
        Duration "72h0m0s";
    unused "runtime.universal.vipRefreshInterval" "KUMA_RUNTIME_UNIVERSAL_VIP_REFRESH_INTERVAL" Duration "500ms";
    unused "runtime.universal.spire.socketPath" "KUMA_RUNTIME_UNIVERSAL_SPIRE_SOCKET_PATH"
        Text "/tmp/spire-agent/public/api.sock";
    unused "runtime.universal.workload.generationInterval" "KUMA_RUNTIME_UNIVERSAL_WORKLOAD_GENERATION_INTERVAL"
        Duration "2s";
    used   "defaults.skipMeshCreation" "KUMA_DEFAULTS_SKIP_MESH_CREATION" Bool "false";
    used   "defaults.skipTenantResources" "KUMA_DEFAULTS_SKIP_TENANT_RESOURCES" Bool "false";
    used   "defaults.createMeshRoutingResources" "KUMA_DEFAULTS_CREATE_MESH_ROUTING_RESOURCES" Bool "false";
    used   "defaults.SkipHostnameGenerators" "KUMA_DEFAULTS_SKIP_HOSTNAME_GENERATORS" Bool "false";
    used   "dnsServer.domain" "KUMA_DNS_SERVER_DOMAIN" Text "mesh";
    used   "dnsServer.CIDR" "KUMA_DNS_SERVER_CIDR" Text "240.0.0.0/4";
    used   "dnsServer.serviceVipEnabled" "KUMA_DNS_SERVER_SERVICE_VIP_ENABLED" Bool "true";
    used   "dnsServer.serviceVipPort" "KUMA_DNS_SERVER_SERVICE_VIP_PORT" Port "80";
    unused "experimental.kubeOutboundsAsVIPs" "KUMA_EXPERIMENTAL_KUBE_OUTBOUNDS_AS_VIPS" Bool "true";
    used   "experimental.useTagFirstVirtualOutboundModel" "KUMA_EXPERIMENTAL_USE_TAG_FIRST_VIRTUAL_OUTBOUND_MODEL"
        Bool "false";
    used   "experimental.ingressTagFilters" "KUMA_EXPERIMENTAL_INGRESS_TAG_FILTERS" Texts "";
    unused "experimental.kdsEventBasedWatchdog.enabled" "KUMA_EXPERIMENTAL_KDS_EVENT_BASED_WATCHDOG_ENABLED"
        Bool "false";
    unused "experimental.kdsEventBasedWatchdog.flushInterval" "KUMA_EXPERIMENTAL_KDS_EVENT_BASED_WATCHDOG_FLUSH_INTERVAL"
        Duration "5s";
    unused "experimental.kdsEventBasedWatchdog.fullResyncInterval" "KUMA_EXPERIMENTAL_KDS_EVENT_BASED_WATCHDOG_FULL_RESYNC_INTERVAL"
        Duration "1m0s";
    unused "experimental.kdsEventBasedWatchdog.delayFullResync" "KUMA_EXPERIMENTAL_KDS_EVENT_BASED_WATCHDOG_DELAY_FULL_RESYNC"
        Bool "false";
    unused "experimental.autoReachableServices" "KUMA_EXPERIMENTAL_AUTO_REACHABLE_SERVICES" Bool "false";
    unused "experimental.sidecarContainers" "KUMA_EXPERIMENTAL_SIDECAR_CONTAINERS" Bool "false";
    unused "experimental.deltaXds" "KUMA_EXPERIMENTAL_DELTA_XDS" Bool "false";
    used   "policies.pluginPoliciesEnabled" "KUMA_PLUGIN_POLICIES_ENABLED"
        Texts "meshaccesslogs,meshcircuitbreakers,meshfaultinjections,meshhealthchecks,meshhttproutes,\
            meshloadbalancingstrategies,meshmetrics,meshpassthroughs,meshproxypatches,meshratelimits,\
            meshretries,meshtcproutes,meshtimeouts,meshtlses,meshtraces,meshtrafficpermissions";
    used   "policies.denyOverridesAllow" "KUMA_POLICIES_DENY_OVERRIDES_ALLOW" Bool "true";
    unused "coreResources.enabled" "KUMA_CORE_RESOURCES_ENABLED"
        Texts "hostnamegenerators,meshexternalservices,meshidentities,meshmultizoneservices,meshservices,\
            meshtrusts,workloads";
    unused "coreResources.status.meshMultiZoneServiceInterval" "KUMA_CORE_RESOURCES_STATUS_MESH_MULTI_ZONE_SERVICE_INTERVAL"
        Duration "5s";
    unused "coreResources.status.meshServiceInterval" "KUMA_CORE_RESOURCES_STATUS_MESH_SERVICE_INTERVAL" Duration "5s";
    unused "coreResources.status.meshIdentityInterval" "KUMA_CORE_RESOURCES_STATUS_MESH_IDENTITY_INTERVAL"
        Duration "5s";
    unused "coreResources.status.workloadInterval" "KUMA_CORE_RESOURCES_STATUS_WORKLOAD_INTERVAL" Duration "5s";
    used   "ipam.meshService.cidr" "KUMA_IPAM_MESH_SERVICE_CIDR" Text "241.0.0.0/8";
    used   "ipam.meshExternalService.cidr" "KUMA_IPAM_MESH_EXTERNAL_SERVICE_CIDR" Text "242.0.0.0/8";
    used   "ipam.meshMultiZoneService.cidr" "KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR" Text "243.0.0.0/8";
    unused "ipam.allocationInterval" "KUMA_IPAM_ALLOCATION_INTERVAL" Duration "5s";
    used   "ipam.knownInternalCIDRs" "KUMA_IPAM_KNOWN_INTERNAL_CIDRS"
        Texts "10.0.0.0/8,192.168.0.0/16,172.16.0.0/12,fc00::/7,fd00::/8,127.0.0.1/32,::1/128";
    unused "meshService.generationInterval" "KUMA_MESH_SERVICE_GENERATION_INTERVAL" Duration "2s";
    used   "meshService.deletionGracePeriod" "KUMA_MESH_SERVICE_DELETION_GRACE_PERIOD" Duration "1h0m0s";
}
