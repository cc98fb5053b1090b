//! Resources to try effects on, and their parts.

use std::sync::Arc;
use std::time::Duration;

use tandem_model::kri::Kri;
use tandem_model::protocol::Protocol;
use tandem_policy::envoy::pb::http::HttpConnectionManager;
use tandem_policy::envoy::pb::http::http_connection_manager::RouteSpecifier;
use tandem_policy::envoy::pb::route::{Route, RouteAction, RouteConfiguration, VirtualHost, route::Action};
use tandem_policy::envoy::pb::tcp::TcpProxy;
use tandem_policy::envoy::pb::tls::DownstreamTlsContext;
use tandem_policy::envoy::pb::{self, Duration as ProtoDuration};
use tandem_policy::envoy::{
    ChainDraft, ClusterDraft, DownstreamTransport, Draft, ListenerDraft, NetworkFilter, Origin, duration,
};

/// Name of the route of a listener.
pub const ROUTE: &str = "route";

/// A listener with one chain.
pub fn listener(protocol: Protocol, filters: Vec<NetworkFilter>) -> Draft<ListenerDraft> {
    let chain = ChainDraft { filters, ..ChainDraft::default() };
    let mut draft = ListenerDraft { chains: vec![chain], ..ListenerDraft::default() };
    draft.message.name = "inbound:10.0.0.1:8080".to_owned();
    Draft::new(Origin::Inbound, draft).speaking(protocol)
}

/// A connection manager with one route.
pub fn http(route: &str) -> NetworkFilter {
    let route = Route {
        name: route.to_owned(),
        action: Some(Action::Route(RouteAction { timeout: Some(duration(Duration::ZERO)), ..RouteAction::default() })),
        ..Route::default()
    };
    let host = VirtualHost { routes: vec![route], ..VirtualHost::default() };
    let table = RouteConfiguration { virtual_hosts: vec![host], ..RouteConfiguration::default() };
    NetworkFilter::Http(Box::new(HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(table)),
        ..HttpConnectionManager::default()
    }))
}

/// A TCP proxy.
pub fn tcp() -> NetworkFilter {
    NetworkFilter::Tcp(Box::default())
}

/// The chain's transport secured.
pub fn secured(mut draft: Draft<ListenerDraft>) -> Draft<ListenerDraft> {
    for chain in &mut draft.value.chains {
        chain.transport = Some(DownstreamTransport::Tls(Box::<DownstreamTlsContext>::default()));
    }
    draft
}

/// A cluster.
pub fn cluster(protocol: Protocol) -> Draft<ClusterDraft> {
    Draft::new(Origin::Outbound, ClusterDraft::default()).speaking(protocol)
}

/// The identifier of service `backend`'s port `http`.
pub fn backend() -> Arc<Kri> {
    Arc::new("kri_msvc_default___backend_http".parse().expect("an identifier"))
}

/// The first connection manager.
pub fn manager(draft: &mut Draft<ListenerDraft>) -> &mut HttpConnectionManager {
    draft.value.http_mut().next().expect("a connection manager")
}

/// The first TCP proxy.
pub fn proxy(draft: &mut Draft<ListenerDraft>) -> &mut TcpProxy {
    draft.value.tcp_mut().next().expect("a TCP proxy")
}

/// Where the only route forwards to.
pub fn action(draft: &mut Draft<ListenerDraft>) -> &RouteAction {
    let Some(RouteSpecifier::RouteConfig(table)) = &manager(draft).route_specifier else { panic!("inline routes") };
    match &table.virtual_hosts[0].routes[0].action {
        Some(Action::Route(action)) => action,
        other => panic!("no forwarding action: {other:?}"),
    }
}

/// Whole and fractional seconds.
pub fn seconds(duration: Option<ProtoDuration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 + f64::from(duration.nanos) / 1e9)
}

/// Common HTTP options of a cluster.
pub fn common_http(draft: &Draft<ClusterDraft>) -> Option<&pb::core::HttpProtocolOptions> {
    draft.value.http.as_ref()?.common_http_protocol_options.as_ref()
}
