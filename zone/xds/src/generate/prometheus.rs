//! The listener at which the metrics of a proxy are fetched, as its Mesh configures it or a MeshMetric.
//!
//! It hands requests to kuma-dp, which adds the metrics of the applications to those of Envoy; which applications there are it
//! learns at its start, with the bootstrap configuration, or of a MeshMetric as settings.
//!
//! Source: Kuma `pkg/xds/generator/prometheus_endpoint_generator.go`, `pkg/plugins/policies/meshmetric/plugin/xds`.

use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::prometheus;
use tandem_policy::envoy::pb::{UInt32Value, core, listener, route, tls};
use tandem_policy::envoy::{ChainDraft, DownstreamTransport, Draft, DraftSet, EndpointAddress, NetworkFilter, Origin};
use tandem_policy::metric::{self, TlsMode};
use tandem_proto::mesh::v1alpha1::PrometheusMetricsBackendConfig;
use tandem_proto::mesh::v1alpha1::prometheus_tls_config::Mode;

use super::credential::{Credential, Credentials};
use super::http::{host_itself, manager, prefix, route_table, to_cluster};
use super::names::Naming;
use super::outbounds::Address;
use super::shape::{inbound_listener, single_endpoint};
use super::tls::downstream;
use crate::index::{DataplaneView, MeshView};
use crate::metadata::ProxyMetadata;

/// Cluster of kuma-dp's server of metrics, for the listener of the Mesh.
const HIJACKER: &str = "kuma:metrics:hijacker";

/// The listener of the Mesh.
const LISTENER: &str = "kuma:metrics:prometheus";

/// Path under which kuma-dp gathers what a MeshMetric asks for.
const GATHERED: &str = "/meshmetric";

/// Name of an endpoint of a MeshMetric that is for any server.
const ANY_CLIENT: &str = "default-backend";

/// What somebody asked for files of certificates gets where kuma-dp knows none.
const NO_FILES: &str = "kuma-dp was started without --metrics-cert-path and --metrics-key-path";

/// Everything the resources are built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Name of the listener.
    listener: String,
    /// Cluster of kuma-dp's server of metrics.
    hijacker: String,
    /// Address of the proxy.
    address: String,
    /// Port on which metrics are fetched.
    port: u32,
    /// Path under which metrics are fetched.
    path: String,
    /// What kuma-dp is asked for: path and query.
    target: String,
    /// How connections are secured.
    security: Security,
    /// Socket of kuma-dp.
    socket: String,
    /// The host has IPv6.
    ipv6: bool,
    /// Ports can be shared between workers.
    reuse_port: bool,
}

/// How connections for metrics are secured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Security {
    /// Plain text.
    Plain,
    /// With certificates of the mesh; connections of the proxy's own host in plain text.
    Mesh(Arc<Credential>),
    /// With a certificate on the host of the proxy.
    Files {
        /// Path of the certificate.
        certificate: String,
        /// Path of the key.
        key: String,
    },
}

impl Endpoint {
    /// What the mesh and the Dataplane say; `None` when there is to be no listener, which is told to `warn` if somebody may expect one.
    pub fn of(
        mesh: &MeshView,
        dataplane: &DataplaneView,
        metadata: &ProxyMetadata,
        outbounds: &[Address],
        credentials: &Credentials,
        mut warn: impl FnMut(String),
    ) -> Option<Self> {
        let settings = match prometheus::settings(&mesh.spec, &dataplane.spec) {
            Ok(settings) => settings?,
            Err(error) => {
                warn(format!("no listener for metrics: the settings of the mesh or the Dataplane are wrong: {error}"));
                return None;
            }
        };
        // Envoy's metrics are those of its administration interface.
        if metadata.admin_port == 0 {
            return None;
        }
        if let Some(user) = user_of(&settings, dataplane, outbounds) {
            let port = settings.port;
            warn(format!(
                "no listener for metrics: {user} uses their port {port}; choose another one in metrics.conf.port"
            ));
            return None;
        }
        let security = security(&settings, credentials, metadata).unwrap_or_else(|| {
            warn(format!("metrics are served in plain text: their tls.mode is providedTLS, and {NO_FILES}"));
            Security::Plain
        });
        Some(Self {
            listener: LISTENER.to_owned(),
            hijacker: HIJACKER.to_owned(),
            address: dataplane.address().to_owned(),
            port: settings.port,
            target: target(&settings),
            security,
            socket: hijacker_socket(dataplane, metadata),
            ipv6: metadata.ipv6_enabled,
            reuse_port: metadata.features.reuse_port,
            path: settings.path,
        })
    }

    /// What a backend of a MeshMetric says; `warn` is told what it says without effect.
    pub fn of_policy(
        backend: &metric::Prometheus,
        dataplane: &DataplaneView,
        metadata: &ProxyMetadata,
        naming: Naming,
        mut warn: impl FnMut(String),
    ) -> Self {
        let name = backend.client_id.as_deref().unwrap_or(ANY_CLIENT);
        let mut plain = |mode, why| {
            warn(format!("metrics of the backend {name:?} are served in plain text: its tls.mode is {mode}, {why}"));
            Security::Plain
        };
        let security = match backend.tls.as_ref().map(|tls| tls.mode).unwrap_or_default() {
            TlsMode::Disabled => Security::Plain,
            TlsMode::ProvidedTLS => files(metadata).unwrap_or_else(|| plain("ProvidedTLS", format!("and {NO_FILES}"))),
            TlsMode::ActiveMTLSBackend => plain("ActiveMTLSBackend", "which has no effect in this policy".to_owned()),
        };
        Self {
            listener: naming.metrics_endpoint(name),
            hijacker: naming.metrics_hijacker(name),
            address: dataplane.address().to_owned(),
            port: backend.port,
            path: backend.path.clone(),
            target: GATHERED.to_owned(),
            security,
            socket: hijacker_socket(dataplane, metadata),
            ipv6: metadata.ipv6_enabled,
            reuse_port: metadata.features.reuse_port,
        }
    }

    /// What connections are secured by, if that is something of the mesh.
    pub fn credential(&self) -> Option<&Credential> {
        match &self.security {
            Security::Mesh(credential) => Some(credential),
            Security::Plain | Security::Files { .. } => None,
        }
    }

    /// Adds the resources.
    pub fn generate(&self, set: &mut DraftSet) {
        let hijacker = single_endpoint(&self.hijacker, EndpointAddress::Pipe(self.socket.clone()));
        set.add_cluster(Draft::new(Origin::Prometheus, hijacker));
        let mut listener = inbound_listener(self.listener.clone(), &self.address, self.port, self.reuse_port);
        listener.chains = match &self.security {
            Security::Plain => vec![self.chain()],
            Security::Mesh(credential) => {
                let context = downstream(credential);
                let secured = DownstreamTransport::Tls(Box::new(context));
                vec![
                    ChainDraft { matches: Some(from(&self.address)), ..self.chain() },
                    ChainDraft { transport: Some(secured), ..self.chain() },
                ]
            }
            // The first chain is Kuma's: without an inspector of TLS no connection matches it.
            Security::Files { certificate, key } => vec![
                ChainDraft {
                    matches: Some(listener::FilterChainMatch {
                        transport_protocol: "tls".to_owned(),
                        ..Default::default()
                    }),
                    ..self.chain()
                },
                ChainDraft { transport: Some(with_files(certificate, key)), ..self.chain() },
            ],
        };
        set.add_listener(Draft::new(Origin::Prometheus, listener));
    }

    fn chain(&self) -> ChainDraft {
        let mut action = to_cluster(&self.hijacker);
        action.prefix_rewrite.clone_from(&self.target);
        let route = route::Route {
            r#match: prefix(&self.path),
            action: Some(route::route::Action::Route(action)),
            ..Default::default()
        };
        let table = route_table(String::new(), self.listener.clone(), vec![route]);
        let manager = manager(&self.listener, host_itself(self.ipv6), table, Vec::new());
        ChainDraft { filters: vec![NetworkFilter::Http(Box::new(manager))], ..Default::default() }
    }
}

/// Who listens at the address and port of the metrics already, for a person.
fn user_of(
    settings: &PrometheusMetricsBackendConfig,
    dataplane: &DataplaneView,
    outbounds: &[Address],
) -> Option<String> {
    let own = dataplane.address();
    let is_used = |address: &str, port: u32| port == settings.port && overlap(own, address);
    let of_inbound = dataplane.spec.inbounds().iter().enumerate().find_map(|(index, inbound)| {
        let interface = dataplane.spec.inbound_interface(inbound);
        if is_used(&interface.address, interface.port) {
            Some(format!("networking.inbound[{index}]"))
        } else if is_used(&interface.workload_address, interface.workload_port) {
            Some(format!("the workload of networking.inbound[{index}]"))
        } else {
            None
        }
    });
    of_inbound.or_else(|| {
        let (address, _) = outbounds.iter().find(|(address, port)| is_used(address, *port))?;
        Some(format!("the outbound at {address}"))
    })
}

/// True when listening on both addresses is listening twice.
fn overlap(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one.is_unspecified() || other.is_unspecified() || one == other,
        _ => one == other,
    }
}

/// `None` when files are asked for whose paths are not known.
fn security(
    settings: &PrometheusMetricsBackendConfig,
    credentials: &Credentials,
    metadata: &ProxyMetadata,
) -> Option<Security> {
    let by_mesh = || credentials.mesh.clone().map_or(Security::Plain, Security::Mesh);
    match settings.tls.as_ref().map(|tls| tls.mode()) {
        Some(Mode::ActiveMtlsBackend) => Some(by_mesh()),
        None if settings.skip_mtls != Some(true) => Some(by_mesh()),
        Some(Mode::ProvidedTls) => files(metadata),
        Some(Mode::Disabled) | None => Some(Security::Plain),
    }
}

/// The files that kuma-dp was started with; `None` when it was not.
fn files(metadata: &ProxyMetadata) -> Option<Security> {
    let (certificate, key) = (metadata.metrics_cert_path.clone(), metadata.metrics_key_path.clone());
    (!certificate.is_empty() && !key.is_empty()).then_some(Security::Files { certificate, key })
}

/// Socket of kuma-dp's server of metrics.
fn hijacker_socket(dataplane: &DataplaneView, metadata: &ProxyMetadata) -> String {
    let key = &dataplane.resource.key;
    metadata.socket(&format!("kuma-mh-{}-{}", key.name, key.mesh))
}

/// What kuma-dp is asked for: it hands the query on to Envoy. A filter alone keeps its `&`, as Kuma writes it.
fn target(settings: &PrometheusMetricsBackendConfig) -> String {
    let Some(envoy) = &settings.envoy else { return "/".to_owned() };
    let mut query = String::new();
    if !envoy.filter_regex.is_empty() {
        query = format!("filter={}&", envoy.filter_regex);
    }
    if envoy.used_only == Some(true) {
        query += "usedonly";
    }
    if query.is_empty() { "/".to_owned() } else { format!("/?{query}") }
}

/// Matches connections from one address.
fn from(address: &str) -> listener::FilterChainMatch {
    let length = if address.contains(':') { 128 } else { 32 };
    let range = core::CidrRange { address_prefix: address.to_owned(), prefix_len: Some(UInt32Value { value: length }) };
    listener::FilterChainMatch { source_prefix_ranges: vec![range], ..Default::default() }
}

fn with_files(certificate: &str, key: &str) -> DownstreamTransport {
    let file = |path: &str| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    };
    let context = tls::CommonTlsContext {
        tls_certificates: vec![tls::TlsCertificate {
            certificate_chain: Some(file(certificate)),
            private_key: Some(file(key)),
            ..Default::default()
        }],
        ..Default::default()
    };
    DownstreamTransport::Tls(Box::new(tls::DownstreamTlsContext {
        common_tls_context: Some(context),
        ..Default::default()
    }))
}
