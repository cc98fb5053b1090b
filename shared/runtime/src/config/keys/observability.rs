//! Diagnostics, metrics, tracing and scrape targets.

use super::{Key, keys};

keys! {
    used   "monitoringAssignmentServer.port" "KUMA_MONITORING_ASSIGNMENT_SERVER_PORT" Port "5676";
    used   "monitoringAssignmentServer.defaultFetchTimeout" "KUMA_MONITORING_ASSIGNMENT_SERVER_DEFAULT_FETCH_TIMEOUT"
        Duration "30s";
    used   "monitoringAssignmentServer.apiVersions" "KUMA_MONITORING_ASSIGNMENT_SERVER_API_VERSIONS" Texts "v1";
    used   "monitoringAssignmentServer.assignmentRefreshInterval" "KUMA_MONITORING_ASSIGNMENT_SERVER_ASSIGNMENT_REFRESH_INTERVAL"
        Duration "1s";
    used   "monitoringAssignmentServer.tlsEnabled" "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_ENABLED" Bool "false";
    used   "monitoringAssignmentServer.tlsCertFile" "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_CERT_FILE" Text "";
    used   "monitoringAssignmentServer.tlsKeyFile" "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_KEY_FILE" Text "";
    used   "monitoringAssignmentServer.tlsMinVersion" "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_MIN_VERSION"
        Text "TLSv1_2";
    used   "monitoringAssignmentServer.tlsMaxVersion" "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_MAX_VERSION" Text "";
    used   "monitoringAssignmentServer.tlsCipherSuites" "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_CIPHER_SUITES" Texts "";
    used   "metrics.dataplane.subscriptionLimit" "KUMA_METRICS_DATAPLANE_SUBSCRIPTION_LIMIT" Int "2";
    used   "metrics.dataplane.idleTimeout" "KUMA_METRICS_DATAPLANE_IDLE_TIMEOUT" Duration "5m0s";
    used   "metrics.zone.subscriptionLimit" "KUMA_METRICS_ZONE_SUBSCRIPTION_LIMIT" Int "10";
    unused "metrics.zone.idleTimeout" "KUMA_METRICS_ZONE_IDLE_TIMEOUT" Duration "5m0s";
    used   "metrics.zone.compactFinishedSubscriptions" "KUMA_METRICS_ZONE_COMPACT_FINISHED_SUBSCRIPTIONS" Bool "false";
    unused "metrics.mesh.minResyncTimeout" "KUMA_METRICS_MESH_MIN_RESYNC_TIMEOUT" Duration "0s";
    unused "metrics.mesh.maxResyncTimeout" "KUMA_METRICS_MESH_MAX_RESYNC_TIMEOUT" Duration "0s";
    unused "metrics.mesh.bufferSize" "KUMA_METRICS_MESH_BUFFER_SIZE" Int "1000";
    used   "metrics.mesh.minResyncInterval" "KUMA_METRICS_MESH_MIN_RESYNC_INTERVAL" Duration "1s";
    unused "metrics.mesh.fullResyncInterval" "KUMA_METRICS_MESH_FULL_RESYNC_INTERVAL" Duration "20s";
    unused "metrics.mesh.eventProcessors" "KUMA_METRICS_MESH_EVENT_PROCESSORS" Int "1";
    unused "metrics.controlPlane.reportResourcesCount" "KUMA_METRICS_CONTROL_PLANE_REPORT_RESOURCES_COUNT" Bool "true";
    unused "reports.enabled" "KUMA_REPORTS_ENABLED" Bool "false";
    used   "diagnostics.serverPort" "KUMA_DIAGNOSTICS_SERVER_PORT" Port "5680";
    unused "diagnostics.debugEndpoints" "KUMA_DIAGNOSTICS_DEBUG_ENDPOINTS" Bool "false";
    used   "diagnostics.tlsEnabled" "KUMA_DIAGNOSTICS_TLS_ENABLED" Bool "false";
    used   "diagnostics.tlsCertFile" "KUMA_DIAGNOSTICS_TLS_CERT_FILE" Text "";
    used   "diagnostics.tlsKeyFile" "KUMA_DIAGNOSTICS_TLS_KEY_FILE" Text "";
    used   "diagnostics.tlsMinVersion" "KUMA_DIAGNOSTICS_TLS_MIN_VERSION" Text "TLSv1_2";
    used   "diagnostics.tlsMaxVersion" "KUMA_DIAGNOSTICS_TLS_MAX_VERSION" Text "";
    used   "diagnostics.tlsCipherSuites" "KUMA_DIAGNOSTICS_TLS_CIPHER_SUITES" Texts "";
    unused "tracing.openTelemetry.enabled" "KUMA_TRACING_OPENTELEMETRY_ENABLED" Bool "false";
    unused "tracing.openTelemetry.endpoint" "KUMA_TRACING_OPENTELEMETRY_ENDPOINT" Text "";
}
