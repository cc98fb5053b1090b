//! The Kubernetes runtime, without injection.

use super::{Key, keys};

keys! {
    unused "runtime.kubernetes.admissionServer.address" "KUMA_RUNTIME_KUBERNETES_ADMISSION_SERVER_ADDRESS" Text "";
    unused "runtime.kubernetes.admissionServer.port" "KUMA_RUNTIME_KUBERNETES_ADMISSION_SERVER_PORT" Port "5443";
    unused "runtime.kubernetes.admissionServer.certDir" "KUMA_RUNTIME_KUBERNETES_ADMISSION_SERVER_CERT_DIR" Text "";
    unused "runtime.kubernetes.marshalingCacheExpirationTime" "KUMA_RUNTIME_KUBERNETES_MARSHALING_CACHE_EXPIRATION_TIME"
        Duration "5m0s";
    unused "runtime.kubernetes.allowedUsers" "KUMA_RUNTIME_KUBERNETES_ALLOWED_USERS" Texts "";
    unused "runtime.kubernetes.controlPlaneServiceName" "KUMA_RUNTIME_KUBERNETES_CONTROL_PLANE_SERVICE_NAME"
        Text "kuma-control-plane";
    unused "runtime.kubernetes.nodeTaintController.enabled" "KUMA_RUNTIME_KUBERNETES_NODE_TAINT_CONTROLLER_ENABLED"
        Bool "false";
    unused "runtime.kubernetes.nodeTaintController.cniApp" "KUMA_RUNTIME_KUBERNETES_NODE_TAINT_CONTROLLER_CNI_APP"
        Text "";
    unused "runtime.kubernetes.nodeTaintController.cniNamespace" "KUMA_RUNTIME_KUBERNETES_NODE_TAINT_CONTROLLER_CNI_NAMESPACE"
        Text "kube-system";
    unused "runtime.kubernetes.controllersConcurrency.podController" "KUMA_RUNTIME_KUBERNETES_CONTROLLERS_CONCURRENCY_POD_CONTROLLER"
        Int "10";
    unused "runtime.kubernetes.clientConfig.qps" "KUMA_RUNTIME_KUBERNETES_CLIENT_CONFIG_QPS" Int "100";
    unused "runtime.kubernetes.clientConfig.burstQps" "KUMA_RUNTIME_KUBERNETES_CLIENT_CONFIG_BURST_QPS" Int "100";
    unused "runtime.kubernetes.leaderElection.leaseDuration" "KUMA_RUNTIME_KUBERNETES_LEADER_ELECTION_LEASE_DURATION"
        Duration "15s";
    unused "runtime.kubernetes.leaderElection.renewDeadline" "KUMA_RUNTIME_KUBERNETES_LEADER_ELECTION_RENEW_DEADLINE"
        Duration "10s";
    unused "runtime.kubernetes.skipMeshOwnerReference" "KUMA_RUNTIME_KUBERNETES_SKIP_MESH_OWNER_REFERENCE" Bool "false";
    unused "runtime.kubernetes.supportGatewaySecretsInAllNamespaces" "KUMA_RUNTIME_KUBERNETES_SUPPORT_GATEWAY_SECRETS_IN_ALL_NAMESPACES"
        Bool "false";
    unused "runtime.kubernetes.workloadLabels" "KUMA_RUNTIME_KUBERNETES_WORKLOAD_LABELS" Texts "";
    unused "runtime.kubernetes.disallowMultipleMeshesPerNamespace" "KUMA_RUNTIME_KUBERNETES_DISALLOW_MULTIPLE_MESHES_PER_NAMESPACE"
        Bool "false";
}
