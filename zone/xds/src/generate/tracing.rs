//! Clusters of the servers to which a proxy sends logs and spans.
//!
//! Source: Kuma `pkg/xds/generator/tracing_proxy_generator.go`, `pkg/plugins/policies/{meshaccesslog,meshtrace}/plugin`.

use std::net::IpAddr;

use cluster::cluster::TransportSocketMatch;
use tandem_policy::endpoint::Endpoint;
use tandem_policy::envoy::pb::{cluster, core, tls};
use tandem_policy::envoy::{ClusterDraft, EndpointAddress, names, pack};
use tandem_policy::trace::{Provider, Tracing};

use super::shape::{HttpVersion, look_up, single_endpoint, speak_http};

/// The cluster of the collector of spans. `prefer_ipv4` leaves out the other family when a host name is looked up.
pub(crate) fn span_collector(tracing: &Tracing, prefer_ipv4: bool) -> ClusterDraft {
    let mut draft = collector(&tracing.cluster, &tracing.collector, prefer_ipv4);
    if tracing.provider == Provider::OpenTelemetry {
        speak_http(&mut draft, HttpVersion::Two);
    }
    draft
}

/// The cluster of an OpenTelemetry collector of logs.
pub(crate) fn log_collector(name: &str, endpoint: &Endpoint, prefer_ipv4: bool) -> ClusterDraft {
    let mut draft = collector(name, endpoint, prefer_ipv4);
    speak_http(&mut draft, HttpVersion::Two);
    draft
}

fn collector(name: &str, Endpoint { host, port, tls }: &Endpoint, prefer_ipv4: bool) -> ClusterDraft {
    let mut draft = single_endpoint(name, EndpointAddress::Socket(host.clone(), *port));
    let is_name = host.parse::<IpAddr>().is_err();
    if is_name {
        look_up(&mut draft, prefer_ipv4);
    }
    if *tls {
        let context = tls::UpstreamTlsContext {
            sni: if is_name { host.clone() } else { String::new() },
            allow_renegotiation: true,
            ..Default::default()
        };
        draft.message.transport_socket_matches.push(TransportSocketMatch {
            name: host.clone(),
            r#match: Some(Default::default()),
            transport_socket: Some(core::TransportSocket {
                name: names::TLS_TRANSPORT_SOCKET.to_owned(),
                config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&context))),
            }),
        });
    }
    draft
}
