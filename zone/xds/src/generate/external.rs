//! Services outside of the mesh: where their clusters lead, and how connections to them are secured.
//!
//! Source: Kuma `pkg/xds/topology/outbound.go`, `pkg/xds/envoy/clusters/v3/{client_side_tls,endpoint_cluster}_configurer.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost::Message as _;
use tandem_model::Protocol;
use tandem_model::core::mesh_external_service::{SanMatch, SanMatchType, TlsVersion, TlsVersions};
use tandem_model::label::{SERVICE_TAG, ZONE};
use tandem_model::tags::Tags;
use tandem_policy::envoy::pb::{cluster as pb_cluster, core, tls};
use tandem_policy::envoy::{ClusterDraft, names, pack};
use tandem_policy::load_balancing::Localities;
use tls::common_tls_context::ValidationContextType;
use tls::subject_alt_name_matcher::SanType;

use super::assignment::assignment;
use super::collect::Collector;
use super::shape::{Discovery, HttpVersion, cluster, speak_http};
use super::tls::{inline, san};
use crate::index::{Endpoint, ExternalView, MeshState, OutsideTls, Viewpoint};

/// Tag of endpoints to which TLS is spoken; tells those of several services under one name apart.
const NAME_TAG: &str = "kuma.io/external-service-name";

/// The endpoints of a cluster outside of the mesh, and how TLS is spoken to them.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub endpoints: Vec<Endpoint>,
    /// Those without TLS are spoken to in plain text.
    pub sockets: Vec<SocketMatch>,
}

/// The cluster of a service outside of the mesh and what of it comes with sorted maps, encoded. To be appended to the encoding of the
/// cluster once policies have edited it.
#[derive(Debug)]
pub(crate) struct ExternalCluster {
    pub draft: ClusterDraft,
    pub rest: Vec<u8>,
}

/// The members of `Cluster` with maps.
#[derive(Clone, PartialEq, prost::Message)]
struct SocketMatches {
    #[prost(message, repeated, tag = "43")]
    transport_socket_matches: Vec<SocketMatch>,
}

/// `envoy.config.cluster.v3.Cluster.TransportSocketMatch` with a sorted map.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SocketMatch {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    matches: Option<prost_types::Struct>,
    #[prost(message, optional, tag = "3")]
    transport_socket: Option<core::TransportSocket>,
}

/// Field number of `Cluster.load_assignment`.
const LOAD_ASSIGNMENT: u32 = 33;

impl Outside {
    /// Where the ExternalServices of one name are. One that cannot be reached is left out alone. `more_tags` are added to those of the
    /// endpoints.
    pub fn of_externals<'a>(
        externals: impl IntoIterator<Item = &'a Arc<ExternalView>>,
        more_tags: &Tags,
        view: Viewpoint<'_>,
        state: &MeshState,
        collector: &mut Collector<'_>,
    ) -> Self {
        let mut outside = Self::default();
        for external in externals {
            let tls = match state.outside_tls.get(&external.key) {
                Some(Err(reason)) => {
                    collector.left_out(&external.key, reason);
                    continue;
                }
                Some(Ok(tls)) => Some(tls),
                None => None,
            };
            let mut tags = (*external.tags).clone();
            tags.extend(more_tags.clone());
            if let Some(tls) = tls {
                tags.insert(NAME_TAG.to_owned(), external.key.name.clone());
                outside.sockets.push(socket(tls, &external.host, Some(&tags), ""));
            }
            let tags = Arc::new(tags);
            outside.endpoints.push(Endpoint {
                address: external.host.clone(),
                port: external.port,
                locality: view.locality(tags.get(ZONE).map(String::as_str)),
                tags,
                weight: 1,
                external: true,
            });
        }
        outside
    }

    /// The cluster; with host names among the endpoints one that looks them up, of the other address family too unless `prefer_ipv4`.
    /// `localities` are what policies make of the endpoints.
    pub fn cluster(
        &self,
        name: &str,
        protocol: Protocol,
        prefer_ipv4: bool,
        localities: Option<&Localities>,
    ) -> ExternalCluster {
        use pb_cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily};
        let mut draft = cluster(name, Discovery::Static);
        if self.endpoints.iter().any(|endpoint| !is_address(&endpoint.address)) {
            draft.message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
            if prefer_ipv4 {
                draft.message.dns_lookup_family = DnsLookupFamily::V4Only.into();
            }
        }
        if let Some(version) = http_version(protocol) {
            speak_http(&mut draft, version);
        }
        let mut rest = SocketMatches { transport_socket_matches: self.sockets.clone() }.encode_to_vec();
        let assignment = assignment(name, &self.endpoints, localities).encode();
        prost::encoding::bytes::encode(LOAD_ASSIGNMENT, &assignment, &mut rest);
        ExternalCluster { draft, rest }
    }
}

/// Version of HTTP that is spoken to something outside of the mesh; `None` for what is not HTTP.
pub(crate) fn http_version(protocol: Protocol) -> Option<HttpVersion> {
    match protocol {
        Protocol::Http => Some(HttpVersion::One),
        Protocol::Http2 | Protocol::Grpc => Some(HttpVersion::Two),
        _ => None,
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// How connections to a host are secured, for the endpoints with these tags or else for all. `system_authority` is the path of the
/// authorities on the proxy's host; empty when there are none.
pub(crate) fn socket(tls: &OutsideTls, host: &str, tags: Option<&Tags>, system_authority: &str) -> SocketMatch {
    let context = context(tls, host, system_authority);
    SocketMatch {
        name: host.to_owned(),
        matches: tags.map(as_struct),
        transport_socket: Some(core::TransportSocket {
            name: names::TLS_TRANSPORT_SOCKET.to_owned(),
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&context))),
        }),
    }
}

fn as_struct(tags: &Tags) -> prost_types::Struct {
    let text = |text: &String| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.clone())) };
    let fields: BTreeMap<_, _> =
        tags.iter().filter(|(tag, _)| *tag != SERVICE_TAG).map(|(tag, value)| (tag.clone(), text(value))).collect();
    prost_types::Struct { fields }
}

/// Without an authority the certificate of the other side is not verified.
fn context(outside: &OutsideTls, host: &str, system_authority: &str) -> tls::UpstreamTlsContext {
    let sni = match &outside.server_name {
        Some(name) => name.clone(),
        // An address is no server name.
        None if is_address(host) => String::new(),
        None => host.to_owned(),
    };
    let from_host = || core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(system_authority.to_owned())),
        ..Default::default()
    };
    let of_host = outside.system_authority && !system_authority.is_empty();
    let authority = outside.authority.as_ref().map(|pem| inline(pem)).or_else(|| of_host.then(from_host));
    let validation = authority.map(|authority| tls::CertificateValidationContext {
        trusted_ca: Some(authority),
        match_typed_subject_alt_names: server_names(outside, if sni.is_empty() { host } else { &sni }),
        ..Default::default()
    });
    let certificate = outside.certificate.as_ref().map(|certificate| tls::TlsCertificate {
        certificate_chain: Some(inline(&certificate.chain)),
        private_key: Some(inline(&certificate.key)),
        ..Default::default()
    });
    let common = tls::CommonTlsContext {
        tls_params: parameters(&outside.versions),
        tls_certificates: certificate.into_iter().collect(),
        validation_context_type: validation.map(ValidationContextType::ValidationContext),
        ..Default::default()
    };
    tls::UpstreamTlsContext {
        common_tls_context: (common != tls::CommonTlsContext::default()).then_some(common),
        sni,
        allow_renegotiation: outside.allow_renegotiation,
        ..Default::default()
    }
}

/// The names of which the certificate of the server must have one; any will do when there are none.
fn server_names(outside: &OutsideTls, asked_for: &str) -> Vec<tls::SubjectAltNameMatcher> {
    if outside.any_name {
        return Vec::new();
    }
    let types = [SanType::Dns, SanType::IpAddress];
    let asked_for = types.map(|san_type| san(san_type, MatchPattern::Exact(asked_for.to_owned())));
    let pattern = |name: &SanMatch| match name.kind {
        SanMatchType::Exact => MatchPattern::Exact(name.value.clone()),
        SanMatchType::Prefix => MatchPattern::Prefix(name.value.clone()),
    };
    let more =
        types.into_iter().flat_map(|san_type| outside.names.iter().map(move |name| san(san_type, pattern(name))));
    asked_for.into_iter().chain(more).collect()
}

fn parameters(versions: &TlsVersions) -> Option<tls::TlsParameters> {
    use tls::tls_parameters::TlsProtocol;
    let version = |version: TlsVersion| match version {
        TlsVersion::TLSAuto => TlsProtocol::TlsAuto,
        TlsVersion::TLS10 => TlsProtocol::TlSv10,
        TlsVersion::TLS11 => TlsProtocol::TlSv11,
        TlsVersion::TLS12 => TlsProtocol::TlSv12,
        TlsVersion::TLS13 => TlsProtocol::TlSv13,
    };
    (*versions != TlsVersions::default()).then(|| tls::TlsParameters {
        tls_minimum_protocol_version: version(versions.min).into(),
        tls_maximum_protocol_version: version(versions.max).into(),
        ..Default::default()
    })
}
