//! Who may do what on the HTTP API.

use super::{Key, keys};

keys! {
    used   "access.type" "KUMA_ACCESS_TYPE" Text "static";
    used   "access.static.adminResources.users" "KUMA_ACCESS_STATIC_ADMIN_RESOURCES_USERS" Texts "mesh-system:admin";
    used   "access.static.adminResources.groups" "KUMA_ACCESS_STATIC_ADMIN_RESOURCES_GROUPS" Texts "mesh-system:admin";
    used   "access.static.generateDpToken.users" "KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN_USERS" Texts "mesh-system:admin";
    used   "access.static.generateDpToken.groups" "KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN_GROUPS"
        Texts "mesh-system:admin";
    used   "access.static.generateUserToken.users" "KUMA_ACCESS_STATIC_GENERATE_USER_TOKEN_USERS"
        Texts "mesh-system:admin";
    used   "access.static.generateUserToken.groups" "KUMA_ACCESS_STATIC_GENERATE_USER_TOKEN_GROUPS"
        Texts "mesh-system:admin";
    used   "access.static.generateZoneToken.users" "KUMA_ACCESS_STATIC_GENERATE_ZONE_TOKEN_USERS"
        Texts "mesh-system:admin";
    used   "access.static.generateZoneToken.groups" "KUMA_ACCESS_STATIC_GENERATE_ZONE_TOKEN_GROUPS"
        Texts "mesh-system:admin";
    used   "access.static.viewConfigDump.users" "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_USERS" Texts "";
    used   "access.static.viewConfigDump.groups" "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_GROUPS"
        Texts "mesh-system:unauthenticated,mesh-system:authenticated";
    used   "access.static.viewStats.users" "KUMA_ACCESS_STATIC_VIEW_STATS_USERS" Texts "";
    used   "access.static.viewStats.groups" "KUMA_ACCESS_STATIC_VIEW_STATS_GROUPS"
        Texts "mesh-system:unauthenticated,mesh-system:authenticated";
    used   "access.static.viewClusters.users" "KUMA_ACCESS_STATIC_VIEW_CLUSTERS_USERS" Texts "";
    used   "access.static.viewClusters.groups" "KUMA_ACCESS_STATIC_VIEW_CLUSTERS_GROUPS"
        Texts "mesh-system:unauthenticated,mesh-system:authenticated";
    used   "access.static.controlPlaneMetadata.users" "KUMA_ACCESS_STATIC_CONTROL_PLANE_METADATA_USERS" Texts "";
    used   "access.static.controlPlaneMetadata.groups" "KUMA_ACCESS_STATIC_CONTROL_PLANE_METADATA_GROUPS"
        Texts "mesh-system:unauthenticated,mesh-system:authenticated";
}
