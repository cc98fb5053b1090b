//! The typed form of the keys that this build uses. One struct per section, fields named as the YAML keys.

mod access;
mod api_server;
mod multizone;
mod proxies;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

pub use access::{Access, Allowed, StaticAccess};
pub use api_server::{
    ApiServer, Authn, ClientCertificates, Gui, HttpServer, HttpsServer, PublicKey, UserTokens, Validator,
};
pub use multizone::{
    DeletionGuard, DisabledZones, GlobalKds, KdsLabels, KdsServer, KdsServerAuth, Multizone, ZoneAuthn,
    ZoneHealthCheck, ZoneKds, ZoneKdsAuth, ZoneSettings,
};
pub use proxies::{
    Bootstrap, BootstrapParams, Certificates, DpLimits, DpServer, DpServerAuthn, DpTokenAuthn, Gateway, Hds, HdsCheck,
    KeyType, Proxy, ProxyAuthn, TokenAuthn, XdsServer, ZoneProxyAuthn,
};

use super::{Role, Tls, duration};

/// The configuration of a control plane.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Which control plane this is.
    pub mode: Role,
    /// Always `universal`.
    pub environment: String,
    /// Process-wide settings.
    pub general: General,
    /// Logs.
    pub log: Log,
    /// Where resources are kept.
    pub store: StoreSettings,
    /// The HTTP API.
    pub api_server: ApiServer,
    /// Who may do what on the HTTP API.
    pub access: Access,
    /// The server for proxies (zone).
    pub dp_server: DpServer,
    /// Envoy configuration served to proxies (zone).
    pub xds_server: XdsServer,
    /// What proxies start with (zone).
    pub bootstrap_server: Bootstrap,
    /// Settings of the proxies themselves (zone).
    pub proxy: Proxy,
    /// Health, readiness and metrics.
    pub diagnostics: Diagnostics,
    /// What Prometheus is told of proxies (zone).
    pub monitoring_assignment_server: MonitoringAssignmentServer,
    /// Default resources.
    pub defaults: Defaults,
    /// The link between global and zones.
    pub multizone: Multizone,
    /// What insights keep.
    pub metrics: Metrics,
    /// Address ranges.
    pub ipam: Ipam,
    /// MeshServices made from Dataplanes.
    pub mesh_service: MeshServices,
    /// Host names of services.
    pub dns_server: DnsServer,
    /// What depends on where the control plane runs.
    pub runtime: Runtime,
    /// Policies selected by `targetRef` (zone).
    pub policies: Policies,
    /// Settings that may change.
    pub experimental: Experimental,
}

impl Config {
    /// True for a zone control plane that has a global one.
    pub fn is_federated_zone(&self) -> bool {
        self.mode == Role::Zone && !self.multizone.zone.global_address.is_empty()
    }
}

/// Process-wide settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct General {
    /// How long the address of a host name in a resource counts; then the name is looked up again.
    #[serde(rename = "dnsCacheTTL", deserialize_with = "duration::deserialize")]
    pub dns_cache_ttl: Duration,
    /// Directory for generated files; made with mode 0700.
    pub work_dir: PathBuf,
    /// The certificate of every server that has none of its own.
    pub tls: Tls,
    /// True when no certificate is configured: `tls` names files in `work_dir` that are to be generated if absent.
    #[serde(skip)]
    pub generated_certificate: bool,
    /// First delay before something that failed, as the connection to global, is tried again.
    #[serde(deserialize_with = "duration::deserialize")]
    pub resilient_component_base_backoff: Duration,
    /// Longest such delay.
    #[serde(deserialize_with = "duration::deserialize")]
    pub resilient_component_max_backoff: Duration,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// Level, or levels by target, see [`crate::log::parse_level`].
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

/// Where resources are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreSettings {
    /// Backend.
    pub r#type: StoreType,
    /// Settings of the sled backend.
    pub sled: Sled,
    /// Encryption of what the sled backend writes.
    pub encryption: StoreEncryption,
    /// Skip the checks that refuse to delete what is in use.
    pub unsafe_delete: bool,
}

/// Backend of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreType {
    /// Lost when the process ends.
    Memory,
    /// On disk.
    Sled,
}

/// Settings of the sled backend.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sled {
    /// Directory of the database.
    pub path: PathBuf,
}

/// Encryption of what is stored.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreEncryption {
    /// Whether what is stored is encrypted.
    pub enabled: bool,
    /// Keys of 32 bytes in base64, separated by white space: the first one encrypts, all decrypt. Empty when they are in a file.
    pub key: String,
    /// File with such keys.
    pub key_file: PathBuf,
    /// True when neither is configured: `key_file` names a file in the working directory that is made if no key is needed yet.
    #[serde(skip)]
    pub generated_key_file: bool,
}

/// Does not show the key.
impl fmt::Debug for StoreEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled, key, key_file, generated_key_file } = self;
        f.debug_struct("StoreEncryption")
            .field("enabled", enabled)
            .field("key", &if key.is_empty() { "" } else { "*****" })
            .field("key_file", key_file)
            .field("generated_key_file", generated_key_file)
            .finish()
    }
}

/// Health, readiness and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Diagnostics {
    /// Port on all interfaces.
    pub server_port: u16,
    /// Whether the port speaks TLS.
    pub tls_enabled: bool,
    /// TLS settings, when enabled.
    pub tls: Tls,
}

/// Tells Prometheus where the metrics of proxies are fetched (MADS).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonitoringAssignmentServer {
    /// Port on all interfaces.
    pub port: u16,
    /// How long a request waits for news, unless it says so itself.
    #[serde(deserialize_with = "duration::deserialize")]
    pub default_fetch_timeout: Duration,
    /// Versions of the protocol that are served; `v1` is the only one.
    pub api_versions: Vec<String>,
    /// Least time between two looks at what changed.
    #[serde(deserialize_with = "duration::deserialize")]
    pub assignment_refresh_interval: Duration,
    /// Whether the port speaks TLS.
    pub tls_enabled: bool,
    /// TLS settings, when enabled.
    pub tls: Tls,
}

/// Default resources.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// Do not create the Mesh `default`.
    pub skip_mesh_creation: bool,
    /// Do not create any resource at start.
    pub skip_tenant_resources: bool,
    /// Create a TrafficPermission and a TrafficRoute with every Mesh.
    pub create_mesh_routing_resources: bool,
    /// Do not create HostnameGenerators.
    #[serde(rename = "SkipHostnameGenerators")]
    pub skip_hostname_generators: bool,
}

/// What insights keep.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// Insights of proxies.
    pub dataplane: ProxyInsights,
    /// Insights of zones.
    pub zone: ZoneInsights,
    /// Insights of meshes.
    pub mesh: MeshInsights,
}

/// Insights of proxies.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyInsights {
    /// How many of the last subscriptions are kept.
    pub subscription_limit: usize,
    /// A proxy that does not come back for so long after a restart of the control plane is recorded as disconnected.
    #[serde(deserialize_with = "duration::deserialize")]
    pub idle_timeout: Duration,
}

/// Insights of zones.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneInsights {
    /// How many of the last subscriptions are kept.
    pub subscription_limit: usize,
    /// Finished subscriptions lose their configuration and their statistics by type.
    pub compact_finished_subscriptions: bool,
}

/// Insights of meshes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshInsights {
    /// Least time between two writes of the insights of a mesh.
    #[serde(deserialize_with = "duration::deserialize")]
    pub min_resync_interval: Duration,
}

/// Host names of services.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsServer {
    /// Ending of the host names of services.
    pub domain: String,
    /// Port under which services are reached by host name.
    pub service_vip_port: u16,
    /// Virtual addresses of services known by the tag `kuma.io/service`, and of host names that policies make.
    #[serde(rename = "CIDR")]
    pub cidr: IpNet,
    /// Services have a virtual address each.
    pub service_vip_enabled: bool,
}

/// What depends on where the control plane runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Runtime {
    /// Outside Kubernetes.
    pub universal: UniversalRuntime,
}

/// What holds outside Kubernetes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UniversalRuntime {
    /// A Dataplane whose proxy is disconnected for longer is deleted.
    #[serde(deserialize_with = "duration::deserialize")]
    pub dataplane_cleanup_age: Duration,
    /// A ZoneIngress or ZoneEgress whose proxy is disconnected for longer is deleted.
    #[serde(deserialize_with = "duration::deserialize")]
    pub zone_resource_cleanup_age: Duration,
}

/// Address ranges.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ipam {
    /// Ranges that Envoy treats as internal.
    #[serde(rename = "knownInternalCIDRs")]
    pub known_internal_cidrs: Vec<String>,
    /// Virtual addresses of MeshServices.
    pub mesh_service: AddressRange,
    /// Virtual addresses of MeshExternalServices.
    pub mesh_external_service: AddressRange,
    /// Virtual addresses of MeshMultiZoneServices.
    pub mesh_multi_zone_service: AddressRange,
}

/// Virtual addresses of one kind of service.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressRange {
    /// All of them.
    pub cidr: IpNet,
}

/// MeshServices made from Dataplanes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshServices {
    /// How long one stays when no Dataplane provides it any more.
    #[serde(deserialize_with = "duration::deserialize")]
    pub deletion_grace_period: Duration,
}

/// Policies selected by `targetRef`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policies {
    /// The kinds that have an effect, by the names that they have in paths of the HTTP API.
    pub plugin_policies_enabled: Vec<String>,
    /// Whether what a MeshTrafficPermission denies stays denied unless an exception is made to it.
    pub deny_overrides_allow: bool,
}

/// Settings that may change.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Experimental {
    /// Prefixes of the tags that are kept in the available services of a ZoneIngress; empty keeps all.
    pub ingress_tag_filters: Vec<String>,
    /// Virtual addresses are kept in a shorter form.
    pub use_tag_first_virtual_outbound_model: bool,
}
