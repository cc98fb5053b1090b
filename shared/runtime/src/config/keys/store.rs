//! Where resources are kept.

use super::{Key, keys};

keys! {
    used   "store.type" "KUMA_STORE_TYPE" Text "sled";
    used   "store.sled.path" "KUMA_STORE_SLED_PATH" Text "";
    used   "store.encryption.enabled" "KUMA_STORE_ENCRYPTION_ENABLED" Bool "true";
    used   "store.encryption.key" "KUMA_STORE_ENCRYPTION_KEY" Text "";
    used   "store.encryption.keyFile" "KUMA_STORE_ENCRYPTION_KEY_FILE" Text "";
    unused "store.postgres.host" "KUMA_STORE_POSTGRES_HOST" Text "127.0.0.1";
    unused "store.postgres.port" "KUMA_STORE_POSTGRES_PORT" Port "15432";
    unused "store.postgres.user" "KUMA_STORE_POSTGRES_USER" Text "kuma";
    unused "store.postgres.password" "KUMA_STORE_POSTGRES_PASSWORD" Text "kuma";
    unused "store.postgres.dbName" "KUMA_STORE_POSTGRES_DB_NAME" Text "kuma";
    unused "store.postgres.driverName" "KUMA_STORE_POSTGRES_DRIVER_NAME" Text "pgx";
    unused "store.postgres.connectionTimeout" "KUMA_STORE_POSTGRES_CONNECTION_TIMEOUT" Int "5";
    unused "store.postgres.maxConnectionIdleTime" "KUMA_STORE_POSTGRES_MAX_CONNECTION_IDLE_TIME" Duration "30m0s";
    unused "store.postgres.maxConnectionLifetime" "KUMA_STORE_POSTGRES_MAX_CONNECTION_LIFETIME" Duration "1h0m0s";
    unused "store.postgres.maxConnectionLifetimeJitter" "KUMA_STORE_POSTGRES_MAX_CONNECTION_LIFETIME_JITTER"
        Duration "1m0s";
    unused "store.postgres.healthCheckInterval" "KUMA_STORE_POSTGRES_HEALTH_CHECK_INTERVAL" Duration "30s";
    unused "store.postgres.minOpenConnections" "KUMA_STORE_POSTGRES_MIN_OPEN_CONNECTIONS" Int "0";
    unused "store.postgres.maxOpenConnections" "KUMA_STORE_POSTGRES_MAX_OPEN_CONNECTIONS" Int "50";
    unused "store.postgres.maxIdleConnections" "KUMA_STORE_POSTGRES_MAX_IDLE_CONNECTIONS" Int "50";
    unused "store.postgres.tls.mode" "KUMA_STORE_POSTGRES_TLS_MODE" Text "disable";
    unused "store.postgres.tls.certPath" "KUMA_STORE_POSTGRES_TLS_CERT_PATH" Text "";
    unused "store.postgres.tls.keyPath" "KUMA_STORE_POSTGRES_TLS_KEY_PATH" Text "";
    unused "store.postgres.tls.caPath" "KUMA_STORE_POSTGRES_TLS_CA_PATH" Text "";
    unused "store.postgres.tls.disableSSLSNI" "KUMA_STORE_POSTGRES_TLS_DISABLE_SSLSNI" Bool "false";
    unused "store.postgres.maxListQueryElements" "KUMA_STORE_POSTGRES_MAX_LIST_QUERY_ELEMENTS" Uint "0";
    unused "store.postgres.readReplica.host" "KUMA_STORE_POSTGRES_READ_REPLICA_HOST" Text "";
    unused "store.postgres.readReplica.port" "KUMA_STORE_POSTGRES_READ_REPLICA_PORT" Port "5432";
    unused "store.postgres.readReplica.ratio" "KUMA_STORE_POSTGRES_READ_REPLICA_RATIO" Uint "100";
    unused "store.kubernetes.systemNamespace" "KUMA_STORE_KUBERNETES_SYSTEM_NAMESPACE" Text "kuma-system";
    unused "store.cache.enabled" "KUMA_STORE_CACHE_ENABLED" Bool "true";
    unused "store.cache.expirationTime" "KUMA_STORE_CACHE_EXPIRATION_TIME" Duration "1s";
    unused "store.upsert.conflictRetryBaseBackoff" "KUMA_STORE_UPSERT_CONFLICT_RETRY_BASE_BACKOFF" Duration "200ms";
    unused "store.upsert.conflictRetryMaxTimes" "KUMA_STORE_UPSERT_CONFLICT_RETRY_MAX_TIMES" Uint "10";
    unused "store.upsert.conflictRetryJitterPercent" "KUMA_STORE_UPSERT_CONFLICT_RETRY_JITTER_PERCENT" Uint "30";
    used   "store.unsafeDelete" "KUMA_STORE_UNSAFE_DELETE" Bool "false";
}
