//! The servers that proxies talk to.

use super::{Key, keys};

keys! {
    used   "bootstrapServer.params.adminAddress" "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_ADDRESS" Text "127.0.0.1";
    used   "bootstrapServer.params.adminPort" "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_PORT" Port "9901";
    used   "bootstrapServer.params.adminAccessLogPath" "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_ACCESS_LOG_PATH"
        Text "/dev/null";
    used   "bootstrapServer.params.xdsHost" "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_HOST" Text "";
    used   "bootstrapServer.params.xdsPort" "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT" Port "0";
    used   "bootstrapServer.params.xdsConnectTimeout" "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_CONNECT_TIMEOUT" Duration "1s";
    used   "bootstrapServer.params.corefileTemplatePath" "KUMA_BOOTSTRAP_SERVER_PARAMS_COREFILE_TEMPLATE_PATH" Text "";
    used   "bootstrapServer.maxRequestSize" "KUMA_BOOTSTRAP_SERVER_MAX_REQUEST_SIZE" Uint "1048576";
    used   "bootstrapServer.maxMemory" "KUMA_BOOTSTRAP_SERVER_MAX_MEMORY" Uint "67108864";
    unused "xdsServer.dataplaneConfigurationRefreshInterval" "KUMA_XDS_SERVER_DATAPLANE_CONFIGURATION_REFRESH_INTERVAL"
        Duration "1s";
    used   "xdsServer.dataplaneStatusFlushInterval" "KUMA_XDS_SERVER_DATAPLANE_STATUS_FLUSH_INTERVAL" Duration "10s";
    used   "xdsServer.dataplaneDeregistrationDelay" "KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY" Duration "10s";
    unused "xdsServer.nackBackoff" "KUMA_XDS_SERVER_NACK_BACKOFF" Duration "5s";
    used   "dpServer.port" "KUMA_DP_SERVER_PORT" Port "5678";
    used   "dpServer.tlsCertFile" "KUMA_DP_SERVER_TLS_CERT_FILE" Text "";
    used   "dpServer.tlsKeyFile" "KUMA_DP_SERVER_TLS_KEY_FILE" Text "";
    used   "dpServer.tlsMinVersion" "KUMA_DP_SERVER_TLS_MIN_VERSION" Text "TLSv1_2";
    used   "dpServer.tlsMaxVersion" "KUMA_DP_SERVER_TLS_MAX_VERSION" Text "";
    used   "dpServer.tlsCipherSuites" "KUMA_DP_SERVER_TLS_CIPHER_SUITES" Texts "";
    used   "dpServer.readHeaderTimeout" "KUMA_DP_SERVER_READ_HEADER_TIMEOUT" Duration "5s";
    used   "dpServer.gracefulShutdownTimeout" "KUMA_DP_SERVER_GRACEFUL_SHUTDOWN_TIMEOUT" Duration "10s";
    used   "dpServer.arrivals.maxWaiting" "KUMA_DP_SERVER_ARRIVALS_MAX_WAITING" Uint "8192";
    used   "dpServer.arrivals.maxWait" "KUMA_DP_SERVER_ARRIVALS_MAX_WAIT" Duration "30s";
    used   "dpServer.limits.maxPendingConnections" "KUMA_DP_SERVER_LIMITS_MAX_PENDING_CONNECTIONS" Uint "16384";
    used   "dpServer.limits.firstRequestTimeout" "KUMA_DP_SERVER_LIMITS_FIRST_REQUEST_TIMEOUT" Duration "30s";
    used   "dpServer.limits.idleTimeout" "KUMA_DP_SERVER_LIMITS_IDLE_TIMEOUT" Duration "1m";
    used   "dpServer.limits.maxStreams" "KUMA_DP_SERVER_LIMITS_MAX_STREAMS" Uint "32";
    used   "dpServer.limits.maxNodeSize" "KUMA_DP_SERVER_LIMITS_MAX_NODE_SIZE" Uint "1048576";
    used   "dpServer.limits.maxSubscriptionSize" "KUMA_DP_SERVER_LIMITS_MAX_SUBSCRIPTION_SIZE" Uint "8388608";
    used   "dpServer.certificates.keyType" "KUMA_DP_SERVER_CERTIFICATES_KEY_TYPE" Text "ecdsa";
    used   "dpServer.authn.dpProxy.type" "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE" Text "";
    used   "dpServer.authn.dpProxy.dpToken.enableIssuer" "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER"
        Bool "true";
    used   "dpServer.authn.dpProxy.dpToken.validator.useSecrets" "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS"
        Bool "true";
    used   "dpServer.authn.dpProxy.dpToken.validator.publicKeys" "" MeshedPublicKeys "";
    used   "dpServer.authn.zoneProxy.type" "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE" Text "";
    used   "dpServer.authn.zoneProxy.zoneToken.enableIssuer" "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER"
        Bool "true";
    used   "dpServer.authn.zoneProxy.zoneToken.validator.useSecrets" "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS"
        Bool "true";
    used   "dpServer.authn.zoneProxy.zoneToken.validator.publicKeys" "" PublicKeys "";
    used   "dpServer.authn.enableReloadableTokens" "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS" Bool "false";
    used   "dpServer.authn.takeoverProtection" "KUMA_DP_SERVER_AUTHN_TAKEOVER_PROTECTION" Bool "true";
    used   "dpServer.hds.enabled" "KUMA_DP_SERVER_HDS_ENABLED" Bool "true";
    used   "dpServer.hds.interval" "KUMA_DP_SERVER_HDS_INTERVAL" Duration "5s";
    unused "dpServer.hds.refreshInterval" "KUMA_DP_SERVER_HDS_REFRESH_INTERVAL" Duration "10s";
    used   "dpServer.hds.checkDefaults.timeout" "KUMA_DP_SERVER_HDS_CHECK_TIMEOUT" Duration "2s";
    used   "dpServer.hds.checkDefaults.interval" "KUMA_DP_SERVER_HDS_CHECK_INTERVAL" Duration "1s";
    used   "dpServer.hds.checkDefaults.noTrafficInterval" "KUMA_DP_SERVER_HDS_CHECK_NO_TRAFFIC_INTERVAL" Duration "1s";
    used   "dpServer.hds.checkDefaults.healthyThreshold" "KUMA_DP_SERVER_HDS_CHECK_HEALTHY_THRESHOLD" Uint "1";
    used   "dpServer.hds.checkDefaults.unhealthyThreshold" "KUMA_DP_SERVER_HDS_CHECK_UNHEALTHY_THRESHOLD" Uint "1";
    used   "proxy.gateway.globalDownstreamMaxConnections" "KUMA_PROXY_GATEWAY_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS"
        Uint "50000";
}
