//! Listeners under construction.

use std::collections::BTreeMap;

use prost::Message;

use super::encode::{packed_filter, packed_transport, write_metadata};
use super::names;
use super::pb::{http, listener, rbac, tcp, tls};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;

/// A listener whose filter chains are typed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListenerDraft {
    /// Everything except filter chains and tags: `filter_chains` and `metadata` of this message stay empty.
    pub message: listener::Listener,
    /// Tags published as metadata [`names::TAGS_METADATA`]; `None` publishes no metadata, an empty map an empty set.
    pub tags: Option<BTreeMap<String, String>>,
    /// The filter chains in order.
    pub chains: Vec<ChainDraft>,
}

/// A filter chain whose filters are typed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChainDraft {
    /// Name; empty for none.
    pub name: String,
    /// Which connections the chain serves; `None` for all.
    pub matches: Option<listener::FilterChainMatch>,
    /// The network filters in order.
    pub filters: Vec<NetworkFilter>,
    /// How connections are secured; `None` for plain text.
    pub transport: Option<DownstreamTransport>,
}

/// A network filter. What policies edit is typed, the rest is packed.
#[allow(clippy::large_enum_variant)] // a chain has two or three of them
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkFilter {
    /// [`names::HTTP_CONNECTION_MANAGER`].
    Http(Box<http::HttpConnectionManager>),
    /// [`names::TCP_PROXY`].
    Tcp(Box<tcp::TcpProxy>),
    /// [`names::NETWORK_RBAC`].
    Rbac(Box<NetworkRbac>),
    /// Any other filter, packed already.
    Packed(listener::Filter),
}

/// Transport socket of a filter chain.
#[derive(Debug, Clone, PartialEq)]
pub enum DownstreamTransport {
    /// [`names::TLS_TRANSPORT_SOCKET`].
    Tls(Box<tls::DownstreamTlsContext>),
    /// Any other socket, packed already.
    Packed(TransportSocket),
}

impl NetworkFilter {
    /// Name under which the filter is configured.
    pub fn name(&self) -> &str {
        match self {
            Self::Http(_) => names::HTTP_CONNECTION_MANAGER,
            Self::Tcp(_) => names::TCP_PROXY,
            Self::Rbac(_) => names::NETWORK_RBAC,
            Self::Packed(filter) => &filter.name,
        }
    }

    /// An RBAC filter with these rules and nothing else.
    pub fn rbac(stat_prefix: String, rules: rbac::Rbac) -> Self {
        Self::Rbac(Box::new(NetworkRbac { rules: Some(rules), stat_prefix, ..NetworkRbac::default() }))
    }

    fn to_message(&self) -> listener::Filter {
        match self {
            Self::Http(manager) => packed_filter(names::HTTP_CONNECTION_MANAGER, manager.as_ref()),
            Self::Tcp(proxy) => packed_filter(names::TCP_PROXY, proxy.as_ref()),
            Self::Rbac(rbac) => packed_filter(names::NETWORK_RBAC, rbac.as_ref()),
            Self::Packed(filter) => filter.clone(),
        }
    }
}

impl DownstreamTransport {
    /// Name under which the socket is configured.
    pub fn name(&self) -> &str {
        match self {
            Self::Tls(_) => names::TLS_TRANSPORT_SOCKET,
            Self::Packed(socket) => &socket.name,
        }
    }

    fn to_message(&self) -> TransportSocket {
        match self {
            Self::Tls(context) => packed_transport(names::TLS_TRANSPORT_SOCKET, context.as_ref()),
            Self::Packed(socket) => socket.clone(),
        }
    }
}

impl ChainDraft {
    /// True when the chain ends TLS.
    pub fn is_tls(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.name() == names::TLS_TRANSPORT_SOCKET)
    }

    /// The HTTP connection managers of the chain.
    pub fn http_mut(&mut self) -> impl Iterator<Item = &mut http::HttpConnectionManager> {
        self.filters.iter_mut().filter_map(|filter| match filter {
            NetworkFilter::Http(manager) => Some(manager.as_mut()),
            _ => None,
        })
    }

    /// The TCP proxies of the chain.
    pub fn tcp_mut(&mut self) -> impl Iterator<Item = &mut tcp::TcpProxy> {
        self.filters.iter_mut().filter_map(|filter| match filter {
            NetworkFilter::Tcp(proxy) => Some(proxy.as_mut()),
            _ => None,
        })
    }

    fn to_message(&self) -> listener::FilterChain {
        listener::FilterChain {
            name: self.name.clone(),
            filter_chain_match: self.matches.clone(),
            filters: self.filters.iter().map(NetworkFilter::to_message).collect(),
            transport_socket: self.transport.as_ref().map(DownstreamTransport::to_message),
            ..listener::FilterChain::default()
        }
    }
}

impl ListenerDraft {
    /// The HTTP connection managers of all chains.
    pub fn http_mut(&mut self) -> impl Iterator<Item = &mut http::HttpConnectionManager> {
        self.chains.iter_mut().flat_map(ChainDraft::http_mut)
    }

    /// The TCP proxies of all chains.
    pub fn tcp_mut(&mut self) -> impl Iterator<Item = &mut tcp::TcpProxy> {
        self.chains.iter_mut().flat_map(ChainDraft::tcp_mut)
    }

    /// Deterministic encoding as `envoy.config.listener.v3.Listener`.
    pub fn encode(&self) -> Vec<u8> {
        /// Field number of `Listener.metadata`.
        const METADATA: u32 = 6;
        /// Field number of `Listener.filter_chains`.
        const FILTER_CHAINS: u32 = 3;
        let mut out = self.message.encode_to_vec();
        for chain in &self.chains {
            prost::encoding::message::encode(FILTER_CHAINS, &chain.to_message(), &mut out);
        }
        if let Some(tags) = &self.tags {
            write_metadata(METADATA, &[names::TAGS_METADATA], tags, None, &mut out);
        }
        out
    }
}

/// The routes of a connection manager that carries its route table inline; empty when it uses RDS.
pub(crate) fn inline_routes(
    manager: &mut http::HttpConnectionManager,
) -> impl Iterator<Item = &mut super::pb::route::Route> {
    let table = match manager.route_specifier.as_mut() {
        Some(http::http_connection_manager::RouteSpecifier::RouteConfig(table)) => Some(table),
        _ => None,
    };
    table.into_iter().flat_map(|table| table.virtual_hosts.iter_mut()).flat_map(|host| host.routes.iter_mut())
}

/// Puts HTTP filters in front of the one that hands requests on.
pub(crate) fn insert_before_router(
    manager: &mut http::HttpConnectionManager,
    filters: impl IntoIterator<Item = http::HttpFilter>,
) {
    let known = &mut manager.http_filters;
    let end = known.iter().rposition(|filter| filter.name == names::ROUTER).unwrap_or(known.len());
    known.splice(end..end, filters);
}
