//! Timeouts of outgoing connections and requests.
//!
//! Source: Kuma `pkg/xds/envoy/{listeners,clusters}/v3/timeout_configurer.go`.

use std::time::Duration;

use tandem_proto::mesh::v1alpha1::timeout::Conf;
use tandem_proto::mesh::v1alpha1::timeout::conf::{Grpc, Http};

use super::protobuf_duration;
use crate::Protocol;
use crate::envoy::pb::route::{Route, route::Action};
use crate::envoy::pb::{Duration as ProtoDuration, core};
use crate::envoy::{ClusterDraft, ListenerDraft, duration};

/// Time to connect, where no policy says otherwise.
const CONNECT: Duration = Duration::from_secs(5);

/// The members about requests; without a policy all of them are absent.
fn parts(conf: Option<&Conf>) -> (Http, Grpc) {
    let of = |conf: &Conf| (conf.http.unwrap_or_default(), conf.grpc.unwrap_or_default());
    conf.map(of).unwrap_or_default()
}

/// What is absent counts as no limit.
fn or_none(value: Option<prost_types::Duration>) -> Option<ProtoDuration> {
    Some(protobuf_duration(value.unwrap_or_default()))
}

/// Sets the idle timeouts of a listener, to none at all without a policy.
pub fn set_listener(conf: Option<&Conf>, protocol: Protocol, listener: &mut ListenerDraft) {
    let (http, grpc) = parts(conf);
    if protocol.is_http_based() {
        let of_stream = match protocol {
            Protocol::Grpc => http.stream_idle_timeout.or(grpc.stream_idle_timeout),
            _ => http.stream_idle_timeout,
        };
        for manager in listener.http_mut() {
            manager.common_http_protocol_options.get_or_insert_default().idle_timeout = or_none(http.idle_timeout);
            manager.stream_idle_timeout = or_none(of_stream);
        }
    } else {
        let idle = conf.and_then(|conf| conf.tcp?.idle_timeout);
        listener.tcp_mut().for_each(|proxy| proxy.idle_timeout = or_none(idle));
    }
}

/// Sets the time a request may take, to no limit without a policy.
pub fn set_route(conf: Option<&Conf>, route: &mut Route) {
    if let Some(Action::Route(action)) = route.action.as_mut() {
        action.timeout = or_none(parts(conf).0.request_timeout);
    }
}

/// Sets the timeouts of a cluster.
pub fn set_cluster(conf: Option<&Conf>, protocol: Protocol, cluster: &mut ClusterDraft) {
    let connect = conf.and_then(|conf| conf.connect_timeout).map(protobuf_duration);
    cluster.message.connect_timeout = Some(connect.unwrap_or_else(|| duration(CONNECT)));
    if !protocol.is_http_based() {
        return;
    }
    let (http, grpc) = parts(conf);
    let limited =
        |value: Option<prost_types::Duration>| value.filter(|value| *value != prost_types::Duration::default());
    let of_grpc = limited(grpc.max_stream_duration).filter(|_| protocol == Protocol::Grpc);
    let options: &mut core::HttpProtocolOptions =
        cluster.http_mut().common_http_protocol_options.get_or_insert_default();
    options.idle_timeout = or_none(http.idle_timeout);
    options.max_stream_duration = limited(http.max_stream_duration).or(of_grpc).map(protobuf_duration);
}
