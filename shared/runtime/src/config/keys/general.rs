//! Process-wide settings.

use super::{Key, keys};

keys! {
    used   "general.dnsCacheTTL" "KUMA_GENERAL_DNS_CACHE_TTL" Duration "10s";
    used   "general.tlsCertFile" "KUMA_GENERAL_TLS_CERT_FILE" Text "";
    used   "general.tlsKeyFile" "KUMA_GENERAL_TLS_KEY_FILE" Text "";
    used   "general.tlsMinVersion" "KUMA_GENERAL_TLS_MIN_VERSION" Text "TLSv1_2";
    used   "general.tlsMaxVersion" "KUMA_GENERAL_TLS_MAX_VERSION" Text "";
    used   "general.tlsCipherSuites" "KUMA_GENERAL_TLS_CIPHER_SUITES" Texts "";
    used   "general.workDir" "KUMA_GENERAL_WORK_DIR" Text "";
    used   "general.resilientComponentBaseBackoff" "KUMA_GENERAL_RESILIENT_COMPONENT_BASE_BACKOFF" Duration "5s";
    used   "general.resilientComponentMaxBackoff" "KUMA_GENERAL_RESILIENT_COMPONENT_MAX_BACKOFF" Duration "1m0s";
    used   "environment" "KUMA_ENVIRONMENT" Text "universal";
    used   "mode" "KUMA_MODE" Text "zone";
    used   "log.level" "KUMA_LOG_LEVEL" Text "info";
    used   "log.format" "KUMA_LOG_FORMAT" Text "text";
    unused "interCp.catalog.instanceAddress" "KUMA_INTER_CP_CATALOG_INSTANCE_ADDRESS" Text "";
    unused "interCp.catalog.heartbeatInterval" "KUMA_INTER_CP_CATALOG_HEARTBEAT_INTERVAL" Duration "5s";
    unused "interCp.catalog.writerInterval" "KUMA_INTER_CP_CATALOG_WRITER_INTERVAL" Duration "15s";
    unused "interCp.server.port" "KUMA_INTER_CP_SERVER_PORT" Port "5683";
    unused "interCp.server.tlsMinVersion" "KUMA_INTER_CP_SERVER_TLS_MIN_VERSION" Text "TLSv1_2";
    unused "interCp.server.tlsMaxVersion" "KUMA_INTER_CP_SERVER_TLS_MAX_VERSION" Text "";
    unused "interCp.server.tlsCipherSuites" "KUMA_INTER_CP_SERVER_TLS_CIPHER_SUITES" Texts "";
    unused "eventBus.bufferSize" "KUMA_EVENT_BUS_BUFFER_SIZE" Uint "100";
}
