//! Envoy resources under construction.
//!
//! Generation of a proxy's configuration builds a [`DraftSet`], the effects of the policies edit it, and only then is
//! everything encoded. What policies edit is kept as typed values ([`HttpConnectionManager`](http::HttpConnectionManager)
//! inside [`NetworkFilter::Http`], [`UpstreamTlsContext`](tls::UpstreamTlsContext) inside [`UpstreamTransport::Tls`], …) instead of packed
//! `google.protobuf.Any`, so that an edit costs a field access, not a decode and an encode.
//!
//! Encoding is deterministic: the same draft gives the same bytes in every run and in every process. The generated
//! Envoy types hold protobuf maps in hash maps, which have no order, so maps that can have more than one entry (tags
//! in metadata) are kept in drafts as sorted maps and encoded here.

mod assignment;
mod client;
mod cluster;
mod encode;
mod header;
pub(crate) mod health_check;
mod listener;
pub(crate) mod matcher;
mod percent;
pub(crate) mod regex;
mod set;

pub use assignment::{AssignmentDraft, EndpointAddress, EndpointDraft, LocalityDraft};
pub(crate) use client::{any_client, extension};
pub use cluster::{ClusterDraft, UpstreamTransport};
pub use encode::{duration, pack, packed_filter, sanitize_stat_prefix};
pub(crate) use encode::{encode_metadata_field, grpc_cluster};
pub(crate) use header::{header_to_add, headers_to_add};
pub use listener::{ChainDraft, DownstreamTransport, ListenerDraft, NetworkFilter};
pub(crate) use listener::{inline_routes, insert_before_router};
pub(crate) use percent::percent;
pub use set::{Draft, DraftSet, Origin};

/// Names under which Envoy and Kuma know filters and extensions.
pub mod names {
    /// Network filter: HTTP connection manager.
    pub const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
    /// Network filter: TCP proxy.
    pub const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";
    /// Network filter: role-based access control.
    pub const NETWORK_RBAC: &str = "envoy.filters.network.rbac";
    /// HTTP filter: role-based access control.
    pub const HTTP_RBAC: &str = "envoy.filters.http.rbac";
    /// HTTP filter: router, always the last one.
    pub const ROUTER: &str = "envoy.filters.http.router";
    /// Transport socket: TLS.
    pub const TLS_TRANSPORT_SOCKET: &str = "envoy.transport_sockets.tls";
    /// Key of a cluster's HTTP protocol options.
    pub const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    /// Namespace of listener metadata that carries the tags of the inbound or outbound.
    pub const TAGS_METADATA: &str = "io.kuma.tags";
    /// Namespace of endpoint metadata used for subset and retry host selection.
    pub const LB_METADATA: &str = "envoy.lb";
    /// Namespace of endpoint metadata used to choose a transport socket.
    pub const TRANSPORT_SOCKET_MATCH_METADATA: &str = "envoy.transport_socket_match";
}

/// Shorter paths to the generated Envoy messages that drafts are made of.
pub mod pb {
    pub use envoy_types::pb::envoy::config::cluster::v3 as cluster;
    pub use envoy_types::pb::envoy::config::core::v3 as core;
    pub use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
    pub use envoy_types::pb::envoy::config::listener::v3 as listener;
    pub use envoy_types::pb::envoy::config::rbac::v3 as rbac;
    pub use envoy_types::pb::envoy::config::route::v3 as route;
    pub use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
    pub use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
    pub use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
    pub use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream_http;
    pub use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
}

#[allow(unused_imports)] // for the links in the module's documentation
use pb::{http, tls};
