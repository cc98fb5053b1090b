//! Envoy resources for tests, made with the complete types.

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster::ClusterDiscoveryType};
use envoy_types::pb::envoy::config::core::v3::{ConfigSource, TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext, common_tls_context,
};
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration};
use prost::Message;

use super::wire;

fn packed(type_name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

fn fetched(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.into(), sds_config: Some(ConfigSource::default()) }
}

/// An encoded message.
pub(super) fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Cluster `echo` with endpoints by EDS, two secrets and a connect timeout in seconds.
pub(super) fn outbound(timeout: i64) -> Bytes {
    let combined = common_tls_context::CombinedCertificateValidationContext {
        validation_context_sds_secret_config: Some(fetched("mesh_ca")),
        ..Default::default()
    };
    let tls = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![fetched("identity_cert")],
            validation_context_type: Some(common_tls_context::ValidationContextType::CombinedValidationContext(
                combined,
            )),
            ..Default::default()
        }),
        ..Default::default()
    };
    bytes(&Cluster {
        name: "echo".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(wire::EDS)),
        connect_timeout: Some(ProtoDuration { seconds: timeout, nanos: 0 }),
        transport_socket: Some(TransportSocket {
            name: "tls".into(),
            config_type: Some(ConfigType::TypedConfig(packed(
                "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                &tls,
            ))),
        }),
        ..Default::default()
    })
}

/// A listener with the secret `other_cert` and the route configuration `routes`.
pub(super) fn inbound() -> Bytes {
    let tls = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![fetched("other_cert")],
            ..Default::default()
        }),
        ..Default::default()
    };
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            route_config_name: "routes".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let manager = packed("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", &manager);
    bytes(&Listener {
        name: "inbound".into(),
        filter_chains: vec![FilterChain {
            filters: vec![Filter { name: "http".into(), config_type: Some(filter::ConfigType::TypedConfig(manager)) }],
            transport_socket: Some(TransportSocket {
                name: "tls".into(),
                config_type: Some(ConfigType::TypedConfig(packed(
                    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    &tls,
                ))),
            }),
            ..Default::default()
        }],
        ..Default::default()
    })
}
