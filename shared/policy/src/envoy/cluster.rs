//! Clusters under construction.

use prost::Message;

use super::encode::{pack, packed_transport};
use super::names;
use super::pb::{cluster, core, tls, upstream_http};

/// A cluster whose protocol options and transport are typed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterDraft {
    /// Everything except what the other fields hold: `transport_socket` and the entry
    /// [`names::HTTP_PROTOCOL_OPTIONS`] of `typed_extension_protocol_options` stay empty.
    pub message: cluster::Cluster,
    /// HTTP protocol options; `None` leaves Envoy's default, HTTP/1.1.
    pub http: Option<Box<upstream_http::HttpProtocolOptions>>,
    /// How connections are secured; `None` for plain text.
    pub transport: Option<UpstreamTransport>,
}

/// Transport socket of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum UpstreamTransport {
    /// [`names::TLS_TRANSPORT_SOCKET`].
    Tls(Box<tls::UpstreamTlsContext>),
    /// Any other socket, packed already.
    Packed(core::TransportSocket),
}

impl ClusterDraft {
    /// The protocol options, created empty when absent.
    pub fn http_mut(&mut self) -> &mut upstream_http::HttpProtocolOptions {
        self.http.get_or_insert_default()
    }

    /// The common load balancing configuration, created empty when absent.
    pub fn common_lb_mut(&mut self) -> &mut cluster::cluster::CommonLbConfig {
        self.message.common_lb_config.get_or_insert_default()
    }

    /// The complete message.
    pub fn to_message(&self) -> cluster::Cluster {
        let mut message = self.message.clone();
        if let Some(http) = &self.http {
            let options = pack(http.as_ref());
            message.typed_extension_protocol_options.insert(names::HTTP_PROTOCOL_OPTIONS.to_owned(), options);
        }
        match &self.transport {
            Some(UpstreamTransport::Tls(context)) => {
                message.transport_socket = Some(packed_transport(names::TLS_TRANSPORT_SOCKET, context.as_ref()));
            }
            Some(UpstreamTransport::Packed(socket)) => message.transport_socket = Some(socket.clone()),
            None => {}
        }
        message
    }

    /// Encoding as `envoy.config.cluster.v3.Cluster`. Deterministic as long as the maps of `message` have at most one
    /// entry each.
    pub fn encode(&self) -> Vec<u8> {
        self.to_message().encode_to_vec()
    }
}
