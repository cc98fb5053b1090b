//! The link between global and zones.

use super::{Key, keys};

keys! {
    used   "multizone.global.kds.grpcPort" "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT" Port "5685";
    unused "multizone.global.kds.refreshInterval" "KUMA_MULTIZONE_GLOBAL_KDS_REFRESH_INTERVAL" Duration "1s";
    used   "multizone.global.kds.zoneInsightFlushInterval" "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_INSIGHT_FLUSH_INTERVAL"
        Duration "10s";
    used   "multizone.global.kds.tlsEnabled" "KUMA_MULTIZONE_GLOBAL_KDS_TLS_ENABLED" Bool "true";
    used   "multizone.global.kds.tlsCertFile" "KUMA_MULTIZONE_GLOBAL_KDS_TLS_CERT_FILE" Text "";
    used   "multizone.global.kds.tlsKeyFile" "KUMA_MULTIZONE_GLOBAL_KDS_TLS_KEY_FILE" Text "";
    used   "multizone.global.kds.tlsMinVersion" "KUMA_MULTIZONE_GLOBAL_KDS_TLS_MIN_VERSION" Text "TLSv1_2";
    used   "multizone.global.kds.tlsMaxVersion" "KUMA_MULTIZONE_GLOBAL_KDS_TLS_MAX_VERSION" Text "";
    used   "multizone.global.kds.tlsCipherSuites" "KUMA_MULTIZONE_GLOBAL_KDS_TLS_CIPHER_SUITES" Texts "";
    used   "multizone.global.kds.maxMsgSize" "KUMA_MULTIZONE_GLOBAL_KDS_MAX_MSG_SIZE" Uint "10485760";
    unused "multizone.global.kds.msgSendTimeout" "KUMA_MULTIZONE_GLOBAL_KDS_MSG_SEND_TIMEOUT" Duration "1m0s";
    unused "multizone.global.kds.nackBackoff" "KUMA_MULTIZONE_GLOBAL_KDS_NACK_BACKOFF" Duration "5s";
    used   "multizone.global.kds.responseBackoff" "KUMA_MULTIZONE_GLOBAL_KDS_RESPONSE_BACKOFF" Duration "0s";
    used   "multizone.global.kds.zoneHealthCheck.pollInterval" "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_POLL_INTERVAL"
        Duration "0s";
    used   "multizone.global.kds.zoneHealthCheck.timeout" "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_TIMEOUT"
        Duration "0s";
    unused "multizone.global.kds.zoneHealthCheck.closeStaleConn" "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_CLOSE_STALE_CONN"
        Bool "false";
    used   "multizone.global.kds.disabledZones" "KUMA_MULTIZONE_GLOBAL_KDS_DISABLED_ZONES" Text "pause";
    unused "multizone.global.kds.tracing.enabled" "KUMA_MULTIZONE_GLOBAL_KDS_TRACING_ENABLED" Bool "true";
    used   "multizone.global.kds.labels.skipPrefixes" "KUMA_MULTIZONE_GLOBAL_KDS_LABELS_SKIP_PREFIXES" Texts "";
    used   "multizone.global.kds.deletionGuard.share" "KUMA_MULTIZONE_GLOBAL_KDS_DELETION_GUARD_SHARE" Share "0.5";
    used   "multizone.global.kds.deletionGuard.minimum" "KUMA_MULTIZONE_GLOBAL_KDS_DELETION_GUARD_MINIMUM" Uint "10";
    used   "multizone.global.kds.deletionGuard.hold" "KUMA_MULTIZONE_GLOBAL_KDS_DELETION_GUARD_HOLD" Duration "5m0s";
    used   "multizone.global.kds.auth.type" "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE" Text "none";
    used   "multizone.global.kds.auth.clientCaFile" "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_CLIENT_CA_FILE" Text "";
    used   "multizone.zone.name" "KUMA_MULTIZONE_ZONE_NAME" Text "default";
    used   "multizone.zone.globalAddress" "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS" Text "";
    unused "multizone.zone.kds.refreshInterval" "KUMA_MULTIZONE_ZONE_KDS_REFRESH_INTERVAL" Duration "1s";
    used   "multizone.zone.kds.tlsSkipVerify" "KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY" Bool "false";
    used   "multizone.zone.kds.rootCaFile" "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE" Text "";
    used   "multizone.zone.kds.maxMsgSize" "KUMA_MULTIZONE_ZONE_KDS_MAX_MSG_SIZE" Uint "10485760";
    unused "multizone.zone.kds.msgSendTimeout" "KUMA_MULTIZONE_ZONE_KDS_MSG_SEND_TIMEOUT" Duration "1m0s";
    unused "multizone.zone.kds.nackBackoff" "KUMA_MULTIZONE_ZONE_KDS_NACK_BACKOFF" Duration "5s";
    used   "multizone.zone.kds.responseBackoff" "KUMA_MULTIZONE_ZONE_KDS_RESPONSE_BACKOFF" Duration "0s";
    used   "multizone.zone.kds.labels.skipPrefixes" "KUMA_MULTIZONE_ZONE_KDS_LABELS_SKIP_PREFIXES" Texts "";
    used   "multizone.zone.kds.deletionGuard.share" "KUMA_MULTIZONE_ZONE_KDS_DELETION_GUARD_SHARE" Share "0.5";
    used   "multizone.zone.kds.deletionGuard.minimum" "KUMA_MULTIZONE_ZONE_KDS_DELETION_GUARD_MINIMUM" Uint "10";
    used   "multizone.zone.kds.deletionGuard.hold" "KUMA_MULTIZONE_ZONE_KDS_DELETION_GUARD_HOLD" Duration "5m0s";
    used   "multizone.zone.kds.auth.cpTokenInline" "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE" Text "";
    used   "multizone.zone.kds.auth.cpTokenPath" "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH" Text "";
    used   "multizone.zone.kds.auth.clientCertFile" "KUMA_MULTIZONE_ZONE_KDS_AUTH_CLIENT_CERT_FILE" Text "";
    used   "multizone.zone.kds.auth.clientKeyFile" "KUMA_MULTIZONE_ZONE_KDS_AUTH_CLIENT_KEY_FILE" Text "";
    used   "multizone.zone.disableOriginLabelValidation" "KUMA_MULTIZONE_ZONE_DISABLE_ORIGIN_LABEL_VALIDATION"
        Bool "false";
    unused "multizone.zone.ingressUpdateInterval" "KUMA_MULTIZONE_ZONE_INGRESS_UPDATE_INTERVAL" Duration "1s";
}
