//! Access to Envoy's administration interface and to readiness.
//!
//! Source: Kuma `pkg/xds/generator/admin_proxy_generator.go`.

use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use tandem_policy::envoy::pb::{listener, route, tls};
use tandem_policy::envoy::{ChainDraft, DownstreamTransport, Draft, DraftSet, EndpointAddress, NetworkFilter, Origin};
use tls::common_tls_context::ValidationContextType;
use tls::subject_alt_name_matcher::SanType;

use super::http::{host_itself, manager, prefix, route_table, to_cluster};
use super::names::Naming;
use super::shape::{inbound_listener, single_endpoint, tls_inspector};
use super::tls::{inline, san};
use crate::input::{AdminTls, GenerateError};
use crate::metadata::ProxyMetadata;

/// DNS name in the certificate of the control plane when it connects to the administration port.
const CONTROL_PLANE: &str = "kuma-cp";

const READY: &str = "/ready";

/// The address on which the interface is reached by the proxy itself.
fn admin_address(given: &str) -> Result<&'static str, GenerateError> {
    match given {
        "" | "127.0.0.1" | "0.0.0.0" => Ok("127.0.0.1"),
        "::1" | "::" => Ok("::1"),
        other => Err(GenerateError::AdminAddress(other.to_owned())),
    }
}

fn rewritten(path: &str, cluster: &str) -> route::Route {
    let mut action = to_cluster(cluster);
    action.prefix_rewrite = path.to_owned();
    route::Route { r#match: prefix(path), action: Some(route::route::Action::Route(action)), ..Default::default() }
}

/// Serves `routes` on an administration port.
fn chain(naming: Naming, ipv6: bool, routes: Vec<route::Route>) -> ChainDraft {
    let table = route_table(String::new(), naming.admin().to_owned(), routes);
    let manager = manager(naming.admin(), host_itself(ipv6), table, Vec::new());
    ChainDraft { filters: vec![NetworkFilter::Http(Box::new(manager))], ..Default::default() }
}

/// Takes the control plane's certificate only.
fn transport(material: &AdminTls) -> DownstreamTransport {
    let context = tls::CommonTlsContext {
        tls_certificates: vec![tls::TlsCertificate {
            certificate_chain: Some(inline(&material.certificate)),
            private_key: Some(inline(&material.private_key)),
            ..Default::default()
        }],
        validation_context_type: Some(ValidationContextType::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: Some(inline(&material.ca)),
            match_typed_subject_alt_names: vec![san(SanType::Dns, MatchPattern::Exact(CONTROL_PLANE.to_owned()))],
            ..Default::default()
        })),
        ..Default::default()
    };
    DownstreamTransport::Tls(Box::new(tls::DownstreamTlsContext {
        common_tls_context: Some(context),
        require_client_certificate: Some(tandem_policy::envoy::pb::BoolValue { value: true }),
        ..Default::default()
    }))
}

/// The resources; none when the proxy has no administration port. `address` is that of the proxy.
pub(crate) fn admin(
    set: &mut DraftSet,
    address: &str,
    metadata: &ProxyMetadata,
    material: Option<&AdminTls>,
) -> Result<(), GenerateError> {
    if metadata.admin_port == 0 {
        return Ok(());
    }
    let inner = admin_address(&metadata.admin_address)?;
    // Kuma's wording of the error names another upper bound; a port above it is valid all the same.
    if metadata.readiness_port == 0 {
        return Err(GenerateError::ReadinessPort);
    }
    let features = metadata.features;
    let naming = Naming::unified_if(features.unified_naming);
    let readiness = if features.readiness_unix_socket {
        EndpointAddress::Pipe(metadata.socket("kuma-readiness-reporter"))
    } else {
        EndpointAddress::Socket(inner.to_owned(), metadata.readiness_port)
    };
    let interface = EndpointAddress::Socket(inner.to_owned(), metadata.admin_port);
    set.add_cluster(Draft::new(Origin::Admin, single_endpoint(naming.admin(), interface)));
    set.add_cluster(Draft::new(Origin::Admin, single_endpoint(naming.readiness(), readiness)));
    // On the interface's own address the port is taken by the interface itself.
    if address == inner {
        return Ok(());
    }
    let material = material.ok_or(GenerateError::AdminTlsMissing)?;
    let ipv6 = metadata.ipv6_enabled;
    let ready = || rewritten(READY, naming.readiness());
    let secured = ChainDraft {
        matches: Some(listener::FilterChainMatch { transport_protocol: "tls".to_owned(), ..Default::default() }),
        transport: Some(transport(material)),
        ..chain(naming, ipv6, vec![ready(), rewritten("/", naming.admin())])
    };
    let mut listener = inbound_listener(naming.admin().to_owned(), address, metadata.admin_port, features.reuse_port);
    listener.message.listener_filters.push(tls_inspector());
    listener.chains = vec![chain(naming, ipv6, vec![ready()]), secured];
    set.add_listener(Draft::new(Origin::Admin, listener));
    Ok(())
}
