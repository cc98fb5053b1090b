//! Sidecar injection on Kubernetes.

use super::{Key, keys};

keys! {
    unused "runtime.kubernetes.injector.sidecarContainer.image" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_IMAGE"
        Text "kuma/kuma-dp:latest";
    unused "runtime.kubernetes.injector.sidecarContainer.uid" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_UID"
        Int "5678";
    unused "runtime.kubernetes.injector.sidecarContainer.gid" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_GUI"
        Int "5678";
    unused "runtime.kubernetes.injector.sidecarContainer.adminPort" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_ADMIN_PORT"
        Port "0";
    unused "runtime.kubernetes.injector.sidecarContainer.drainTime" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_DRAIN_TIME"
        Duration "30s";
    unused "runtime.kubernetes.injector.sidecarContainer.readinessProbe.initialDelaySeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_READINESS_PROBE_INITIAL_DELAY_SECONDS"
        Int "1";
    unused "runtime.kubernetes.injector.sidecarContainer.readinessProbe.timeoutSeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_READINESS_PROBE_TIMEOUT_SECONDS"
        Int "3";
    unused "runtime.kubernetes.injector.sidecarContainer.readinessProbe.periodSeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_READINESS_PROBE_PERIOD_SECONDS"
        Int "5";
    unused "runtime.kubernetes.injector.sidecarContainer.readinessProbe.successThreshold" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_READINESS_PROBE_SUCCESS_THRESHOLD"
        Int "1";
    unused "runtime.kubernetes.injector.sidecarContainer.readinessProbe.failureThreshold" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_READINESS_PROBE_FAILURE_THRESHOLD"
        Int "12";
    unused "runtime.kubernetes.injector.sidecarContainer.livenessProbe.initialDelaySeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_LIVENESS_PROBE_INITIAL_DELAY_SECONDS"
        Int "60";
    unused "runtime.kubernetes.injector.sidecarContainer.livenessProbe.timeoutSeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_LIVENESS_PROBE_TIMEOUT_SECONDS"
        Int "3";
    unused "runtime.kubernetes.injector.sidecarContainer.livenessProbe.periodSeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_LIVENESS_PROBE_PERIOD_SECONDS"
        Int "5";
    unused "runtime.kubernetes.injector.sidecarContainer.livenessProbe.failureThreshold" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_LIVENESS_PROBE_FAILURE_THRESHOLD"
        Int "12";
    unused "runtime.kubernetes.injector.sidecarContainer.startupProbe.initialDelaySeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_STARTUP_PROBE_INITIAL_DELAY_SECONDS"
        Int "1";
    unused "runtime.kubernetes.injector.sidecarContainer.startupProbe.timeoutSeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_STARTUP_PROBE_TIMEOUT_SECONDS"
        Int "3";
    unused "runtime.kubernetes.injector.sidecarContainer.startupProbe.periodSeconds" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_STARTUP_PROBE_PERIOD_SECONDS"
        Int "5";
    unused "runtime.kubernetes.injector.sidecarContainer.startupProbe.failureThreshold" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_STARTUP_PROBE_FAILURE_THRESHOLD"
        Int "12";
    unused "runtime.kubernetes.injector.sidecarContainer.resources.requests.cpu" "KUMA_INJECTOR_SIDECAR_CONTAINER_RESOURCES_REQUESTS_CPU"
        Text "50m";
    unused "runtime.kubernetes.injector.sidecarContainer.resources.requests.memory" "KUMA_INJECTOR_SIDECAR_CONTAINER_RESOURCES_REQUESTS_MEMORY"
        Text "64Mi";
    unused "runtime.kubernetes.injector.sidecarContainer.resources.limits.cpu" "KUMA_INJECTOR_SIDECAR_CONTAINER_RESOURCES_LIMITS_CPU"
        Text "1000m";
    unused "runtime.kubernetes.injector.sidecarContainer.resources.limits.memory" "KUMA_INJECTOR_SIDECAR_CONTAINER_RESOURCES_LIMITS_MEMORY"
        Text "512Mi";
    unused "runtime.kubernetes.injector.sidecarContainer.envVars" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_ENV_VARS"
        Map "";
    unused "runtime.kubernetes.injector.sidecarContainer.redirectPortInbound" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_REDIRECT_PORT_INBOUND"
        Port "15006";
    unused "runtime.kubernetes.injector.sidecarContainer.ipFamilyMode" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_IP_FAMILY_MODE"
        Text "dualstack";
    unused "runtime.kubernetes.injector.sidecarContainer.redirectPortOutbound" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_REDIRECT_PORT_OUTBOUND"
        Port "15001";
    unused "runtime.kubernetes.injector.sidecarContainer.waitForDataplaneReady" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_WAIT_FOR_DATAPLANE_READY"
        Bool "false";
    unused "runtime.kubernetes.injector.initContainer.image" "KUMA_INJECTOR_INIT_CONTAINER_IMAGE"
        Text "kuma/kuma-init:latest";
    unused "runtime.kubernetes.injector.containerPatches" "KUMA_RUNTIME_KUBERNETES_INJECTOR_CONTAINER_PATCHES" Texts "";
    unused "runtime.kubernetes.injector.cniEnabled" "KUMA_RUNTIME_KUBERNETES_INJECTOR_CNI_ENABLED" Bool "false";
    unused "runtime.kubernetes.injector.virtualProbesEnabled" "KUMA_RUNTIME_KUBERNETES_VIRTUAL_PROBES_ENABLED"
        Bool "false";
    unused "runtime.kubernetes.injector.virtualProbesPort" "KUMA_RUNTIME_KUBERNETES_VIRTUAL_PROBES_PORT" Port "9000";
    unused "runtime.kubernetes.injector.applicationProbeProxyPort" "KUMA_RUNTIME_KUBERNETES_APPLICATION_PROBE_PROXY_PORT"
        Port "9001";
    unused "runtime.kubernetes.injector.sidecarTraffic.excludeInboundPorts" "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_INBOUND_PORTS"
        Numbers "";
    unused "runtime.kubernetes.injector.sidecarTraffic.excludeOutboundPorts" "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_OUTBOUND_PORTS"
        Numbers "";
    unused "runtime.kubernetes.injector.sidecarTraffic.excludeInboundIPs" "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_INBOUND_IPS"
        Texts "";
    unused "runtime.kubernetes.injector.sidecarTraffic.excludeOutboundIPs" "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_OUTBOUND_IPS"
        Texts "";
    unused "runtime.kubernetes.injector.exceptions.labels" "KUMA_RUNTIME_KUBERNETES_EXCEPTIONS_LABELS"
        Map "openshift.io/build.name:*,openshift.io/deployer-pod-for.name:*";
    unused "runtime.kubernetes.injector.caCertFile" "KUMA_RUNTIME_KUBERNETES_INJECTOR_CA_CERT_FILE" Text "";
    unused "runtime.kubernetes.injector.builtinDNS.enabled" "KUMA_RUNTIME_KUBERNETES_INJECTOR_BUILTIN_DNS_ENABLED"
        Bool "true";
    unused "runtime.kubernetes.injector.builtinDNS.port" "KUMA_RUNTIME_KUBERNETES_INJECTOR_BUILTIN_DNS_PORT"
        Port "15053";
    unused "runtime.kubernetes.injector.builtinDNS.logging" "KUMA_RUNTIME_KUBERNETES_INJECTOR_BUILTIN_DNS_LOGGING"
        Bool "false";
    unused "runtime.kubernetes.injector.builtinDNS.experimentalProxy" "KUMA_RUNTIME_KUBERNETES_INJECTOR_BUILTIN_DNS_EXPERIMENTAL_PROXY"
        Bool "true";
    unused "runtime.kubernetes.injector.ebpf.enabled" "KUMA_RUNTIME_KUBERNETES_INJECTOR_EBPF_ENABLED" Bool "false";
    unused "runtime.kubernetes.injector.ebpf.instanceIPEnvVarName" "KUMA_RUNTIME_KUBERNETES_INJECTOR_EBPF_INSTANCE_IP_ENV_VAR_NAME"
        Text "INSTANCE_IP";
    unused "runtime.kubernetes.injector.ebpf.bpffsPath" "KUMA_RUNTIME_KUBERNETES_INJECTOR_EBPF_BPFFS_PATH"
        Text "/sys/fs/bpf";
    unused "runtime.kubernetes.injector.ebpf.cgroupPath" "KUMA_RUNTIME_KUBERNETES_INJECTOR_EBPF_CGROUP_PATH"
        Text "/sys/fs/cgroup";
    unused "runtime.kubernetes.injector.ebpf.tcAttachIface" "KUMA_RUNTIME_KUBERNETES_INJECTOR_EBPF_TC_ATTACH_IFACE"
        Text "";
    unused "runtime.kubernetes.injector.ebpf.programsSourcePath" "KUMA_RUNTIME_KUBERNETES_INJECTOR_EBPF_PROGRAMS_SOURCE_PATH"
        Text "/tmp/kuma-ebpf";
    unused "runtime.kubernetes.injector.ignoredServiceSelectorLabels" "KUMA_RUNTIME_KUBERNETES_INJECTOR_IGNORED_SERVICE_SELECTOR_LABELS"
        Texts "";
    unused "runtime.kubernetes.injector.nodeLabelsToCopy" "KUMA_RUNTIME_KUBERNETES_INJECTOR_NODE_LABELS_TO_COPY"
        Texts "topology.kubernetes.io/zone,topology.kubernetes.io/region,kubernetes.io/hostname";
    unused "runtime.kubernetes.injector.transparentProxyConfigMap" "KUMA_RUNTIME_KUBERNETES_INJECTOR_TRANSPARENT_PROXY_CONFIGMAP_NAME"
        Text "";
    unused "runtime.kubernetes.injector.unifiedResourceNamingEnabled" "KUMA_RUNTIME_KUBERNETES_INJECTOR_UNIFIED_RESOURCE_NAMING_ENABLED"
        Bool "false";
    unused "runtime.kubernetes.injector.spire.enabled" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SPIRE_ENABLED" Bool "false";
    unused "runtime.kubernetes.injector.spire.mountPath" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SPIRE_MOUNT_PATH"
        Text "/run/spire/sockets";
    unused "runtime.kubernetes.injector.spire.socketFileName" "KUMA_RUNTIME_KUBERNETES_INJECTOR_SPIRE_SOCKET_FILE_NAME"
        Text "socket";
}
