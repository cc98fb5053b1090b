//! What MeshTimeout does to Envoy. Every default is written, with or without a policy.
//!
//! Source: Kuma `pkg/plugins/policies/meshtimeout/plugin/xds/configurer.go` and `pkg/plugins/policies/core/defaults`.

use super::schema::{Conf, Http};
use crate::Protocol;
use crate::envoy::pb::{core, route};
use crate::envoy::{ClusterDraft, ListenerDraft, inline_routes};
use crate::schema::GoDuration;

/// What holds where no policy says otherwise.
mod default {
    use crate::schema::GoDuration;

    pub(super) const CONNECTION: GoDuration = GoDuration::from_secs(5);
    pub(super) const IDLE: GoDuration = GoDuration::from_secs(3600);
    pub(super) const REQUEST: GoDuration = GoDuration::from_secs(15);
    pub(super) const STREAM_IDLE: GoDuration = GoDuration::from_secs(30 * 60);
    pub(super) const DISABLED: GoDuration = GoDuration(0);
}

impl Conf {
    fn http(&self) -> Http {
        self.http.clone().unwrap_or_default()
    }
}

/// Sets the timeouts of a listener and of all its routes.
pub(crate) fn listener(conf: &Conf, protocol: Protocol, listener: &mut ListenerDraft) {
    if protocol.is_http_based() {
        listener_of_requests(Some(conf), listener, |_| Some(conf));
    } else if is_proxied_as_tcp(protocol) {
        listener_of_connections(conf, listener);
    }
}

/// Sets the timeouts of a listener for a destination by tags: nothing but the idle timeout of its HTTP connections,
/// which belongs to the cluster, changes without a policy. `conf_of_route` finds what holds for the route with a name.
pub(crate) fn listener_by_tags<'a>(
    conf: Option<&'a Conf>,
    protocol: Protocol,
    listener: &mut ListenerDraft,
    conf_of_route: impl Fn(&str) -> Option<&'a Conf>,
) {
    if protocol.is_http_based() {
        listener_of_requests(conf, listener, conf_of_route);
    } else if let Some(conf) = conf.filter(|_| is_proxied_as_tcp(protocol)) {
        listener_of_connections(conf, listener);
    }
}

fn is_proxied_as_tcp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Unknown | Protocol::Tcp | Protocol::Kafka)
}

fn listener_of_connections(conf: &Conf, listener: &mut ListenerDraft) {
    for proxy in listener.tcp_mut() {
        proxy.idle_timeout = Some(conf.idle_timeout.unwrap_or(default::IDLE).to_proto());
    }
}

fn listener_of_requests<'a>(
    conf: Option<&Conf>,
    listener: &mut ListenerDraft,
    conf_of_route: impl Fn(&str) -> Option<&'a Conf>,
) {
    for manager in listener.http_mut() {
        for route in inline_routes(manager) {
            if let Some(conf) = conf_of_route(&route.name) {
                set_route(conf, route);
            }
        }
        if let Some(conf) = conf {
            let timeout = conf.http().request_headers_timeout.unwrap_or(default::DISABLED);
            manager.request_headers_timeout = Some(timeout.to_proto());
        }
        let options = manager.common_http_protocol_options.get_or_insert_default();
        options.idle_timeout = Some(default::DISABLED.to_proto());
    }
}

/// Sets the timeouts of one route, if it forwards.
pub(crate) fn set_route(conf: &Conf, route: &mut route::Route) {
    let Some(route::route::Action::Route(action)) = route.action.as_mut() else { return };
    let http = conf.http();
    action.timeout = Some(http.request_timeout.unwrap_or(default::REQUEST).to_proto());
    match http.stream_idle_timeout {
        Some(timeout) => action.idle_timeout = Some(timeout.to_proto()),
        None => {
            action.idle_timeout.get_or_insert_with(|| default::STREAM_IDLE.to_proto());
        }
    }
}

/// Sets the timeouts of a cluster.
pub(crate) fn cluster(conf: &Conf, protocol: Protocol, cluster: &mut ClusterDraft) {
    cluster.message.connect_timeout = Some(conf.connection_timeout.unwrap_or(default::CONNECTION).to_proto());
    if !matches!(protocol, Protocol::Http | Protocol::Http2) {
        return;
    }
    let http = conf.http();
    let set = |value: Option<GoDuration>, default: GoDuration| Some(value.unwrap_or(default).to_proto());
    let options: &mut core::HttpProtocolOptions =
        cluster.http_mut().common_http_protocol_options.get_or_insert_default();
    options.idle_timeout = set(conf.idle_timeout, default::IDLE);
    options.max_stream_duration = set(http.max_stream_duration, default::DISABLED);
    options.max_connection_duration = set(http.max_connection_duration, default::DISABLED);
}
