//! Services outside of the mesh: where their clusters lead, and how connections to them are secured.
//!
//! Source: Kuma `pkg/xds/topology/outbound.go`, `pkg/xds/envoy/clusters/v3/client_side_tls_configurer.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost::Message as _;
use tandem_model::Protocol;
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::Tags;
use tandem_policy::envoy::pb::{cluster as pb_cluster, core, tls};
use tandem_policy::envoy::{AssignmentDraft, ClusterDraft, EndpointAddress, EndpointDraft, LocalityDraft, names, pack};
use tandem_proto::mesh::v1alpha1::external_service::networking::Tls;
use tandem_proto::system::v1alpha1::{DataSource, Secret, data_source};
use tls::common_tls_context::ValidationContextType;
use tls::subject_alt_name_matcher::SanType;

use super::shape::{Discovery, HttpVersion, cluster, speak_http};
use super::tls::{inline, san};
use crate::index::{ExternalView, MeshState};

/// Tag of endpoints to which TLS is spoken; tells those of several services under one name apart.
const NAME_TAG: &str = "kuma.io/external-service-name";

/// The cluster of a service outside of the mesh and what of it comes with sorted maps, encoded. To be appended to the encoding of the
/// cluster once policies have edited it.
pub(crate) struct ExternalCluster {
    pub draft: ClusterDraft,
    pub rest: Vec<u8>,
}

/// A service that cannot be reached, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExternalError {
    #[error("ExternalServices of the service {0:?} mix IP addresses and host names, which one cluster cannot")]
    Mixed(String),
    #[error("ExternalService {name:?}: {reason}")]
    Tls { name: Arc<str>, reason: String },
}

/// The members of `Cluster` with maps.
#[derive(Clone, PartialEq, prost::Message)]
struct SocketMatches {
    #[prost(message, repeated, tag = "43")]
    transport_socket_matches: Vec<SocketMatch>,
}

/// `envoy.config.cluster.v3.Cluster.TransportSocketMatch` with a sorted map.
#[derive(Clone, PartialEq, prost::Message)]
struct SocketMatch {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    matches: Option<prost_types::Struct>,
    #[prost(message, optional, tag = "3")]
    transport_socket: Option<core::TransportSocket>,
}

/// Field number of `Cluster.load_assignment`.
const LOAD_ASSIGNMENT: u32 = 33;

/// The cluster of the ExternalServices of one name. `more_tags` are added to those of the endpoints; `prefer_ipv4` leaves out the
/// other family when host names are looked up.
pub(crate) fn external_cluster(
    name: &str,
    externals: &[&Arc<ExternalView>],
    protocol: Protocol,
    more_tags: &Tags,
    prefer_ipv4: bool,
    state: &MeshState,
) -> Result<ExternalCluster, ExternalError> {
    use pb_cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily};
    let mut draft = cluster(name, Discovery::Static);
    let by_address = externals.iter().filter(|external| external.host.parse::<IpAddr>().is_ok()).count();
    if by_address == 0 {
        draft.message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
    } else if by_address < externals.len() {
        return Err(ExternalError::Mixed(name.to_owned()));
    }
    if by_address == 0 && prefer_ipv4 {
        draft.message.dns_lookup_family = DnsLookupFamily::V4Only.into();
    }
    match protocol {
        Protocol::Http => speak_http(&mut draft, HttpVersion::One),
        Protocol::Http2 | Protocol::Grpc => speak_http(&mut draft, HttpVersion::Two),
        _ => {}
    }
    let mut endpoints = Vec::new();
    let mut sockets = SocketMatches::default();
    for external in externals {
        let mut tags = (*external.tags).clone();
        tags.extend(more_tags.clone());
        if external.tls.is_some() {
            tags.insert(NAME_TAG.to_owned(), external.name.to_string());
        }
        if let Some(config) = &external.tls {
            let context = context(config, &external.host, state)
                .map_err(|reason| ExternalError::Tls { name: external.name.clone(), reason })?;
            sockets.transport_socket_matches.push(SocketMatch {
                name: external.host.to_string(),
                matches: Some(as_struct(&tags)),
                transport_socket: Some(core::TransportSocket {
                    name: names::TLS_TRANSPORT_SOCKET.to_owned(),
                    config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&context))),
                }),
            });
        }
        endpoints.push(EndpointDraft {
            address: EndpointAddress::Socket(external.host.to_string(), external.port),
            weight: 1,
            tags: Some(Arc::new(tags)),
        });
    }
    let assignment = AssignmentDraft {
        cluster: name.to_owned(),
        localities: vec![LocalityDraft { endpoints, ..Default::default() }],
        overprovisioning_factor: None,
    };
    let mut rest = sockets.encode_to_vec();
    prost::encoding::bytes::encode(LOAD_ASSIGNMENT, &assignment.encode(), &mut rest);
    Ok(ExternalCluster { draft, rest })
}

fn as_struct(tags: &Tags) -> prost_types::Struct {
    let text = |text: &String| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.clone())) };
    let fields: BTreeMap<_, _> =
        tags.iter().filter(|(tag, _)| *tag != SERVICE_TAG).map(|(tag, value)| (tag.clone(), text(value))).collect();
    prost_types::Struct { fields }
}

/// How TLS is spoken to a host. Without an authority the certificate of the other side is not verified.
fn context(config: &Tls, host: &str, state: &MeshState) -> Result<tls::UpstreamTlsContext, String> {
    let is_name = host.parse::<IpAddr>().is_err();
    let sni = match &config.server_name {
        Some(name) if !name.is_empty() => name.clone(),
        _ if is_name => host.to_owned(),
        _ => String::new(),
    };
    let load = |source: &Option<DataSource>, what: &str| match source.as_ref().and_then(|source| source.r#type.as_ref())
    {
        None => Ok(None),
        Some(source) => load(source, state).map(Some).map_err(|reason| format!("networking.tls.{what}: {reason}")),
    };
    let authority = load(&config.ca_cert, "caCert")?;
    let certificate = load(&config.client_cert, "clientCert")?.zip(load(&config.client_key, "clientKey")?);
    let expected = if sni.is_empty() { host } else { &sni };
    let validation = authority.map(|pem| tls::CertificateValidationContext {
        trusted_ca: Some(inline(&pem)),
        match_typed_subject_alt_names: match config.skip_hostname_verification {
            Some(true) => Vec::new(),
            _ => [SanType::Dns, SanType::IpAddress]
                .map(|san_type| san(san_type, MatchPattern::Exact(expected.to_owned())))
                .into(),
        },
        ..Default::default()
    });
    let certificates = certificate.map(|(chain, key)| tls::TlsCertificate {
        certificate_chain: Some(inline(&chain)),
        private_key: Some(inline(&key)),
        ..Default::default()
    });
    let needs_context = validation.is_some() || certificates.is_some();
    let context = tls::CommonTlsContext {
        tls_certificates: certificates.into_iter().collect(),
        validation_context_type: validation.map(ValidationContextType::ValidationContext),
        ..Default::default()
    };
    Ok(tls::UpstreamTlsContext {
        common_tls_context: needs_context.then_some(context),
        sni,
        allow_renegotiation: config.allow_renegotiation.unwrap_or_default(),
        ..Default::default()
    })
}

/// Bytes given in place or by a Secret of the mesh.
fn load(source: &data_source::Type, state: &MeshState) -> Result<Vec<u8>, String> {
    match source {
        data_source::Type::Inline(bytes) => Ok(bytes.clone()),
        data_source::Type::InlineString(text) => Ok(text.clone().into_bytes()),
        data_source::Type::File(path) => {
            Err(format!("the file {path:?} is not read by a zone; store its content as a secret"))
        }
        data_source::Type::Secret(name) => {
            let secret = state.secrets.get(name.as_str()).ok_or_else(|| format!("no secret {name:?} in the mesh"))?;
            let secret: Secret = secret.proto().map_err(|error| error.to_string())?;
            secret.data.filter(|data| !data.is_empty()).ok_or_else(|| format!("the secret {name:?} is empty"))
        }
    }
}
