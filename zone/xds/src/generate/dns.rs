//! Names that the proxy's host resolves, and the listener on which they and other settings are published to kuma-dp.
//!
//! Source: Kuma `pkg/xds/generator/dns_generator.go`, `pkg/xds/dynconf`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use envoy_types::pb::envoy::data::dns::v3::{DnsTable, dns_table};
use envoy_types::pb::envoy::extensions::filters::udp::dns_filter::v3::{DnsFilterConfig, dns_filter_config};
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tandem_policy::envoy::pb::{UInt32Value, core, listener, route};
use tandem_policy::envoy::{ChainDraft, Draft, DraftSet, ListenerDraft, NetworkFilter, Origin, duration, pack};

use super::http::{host_itself, manager, route_table};
use super::names::Naming;
use super::shape::{inbound_listener, pipe_address};
use crate::metadata::ProxyMetadata;

/// Seconds that an answer may be kept. Short, as a name may move to another address when services change.
const TTL: u32 = 30;

/// Path under which kuma-dp asks for the names.
const PATH: &str = "/dns";

/// Name → addresses, for the names that lead to outbounds of a proxy.
pub(crate) type Records = BTreeMap<String, Vec<IpAddr>>;

/// The address under which resolvers that ask for IPv6 find an IPv4 address: `::ffff:f100:1` for 241.0.0.1.
pub(crate) fn mapped_to_ipv6(address: Ipv4Addr) -> IpAddr {
    address.to_ipv6_mapped().into()
}

/// Text of an address: IPv4 inside IPv6 is written as hexadecimal groups, unlike in Rust's own form.
fn text(address: &IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            let [.., high, low] = v6.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        other => other.to_string(),
    }
}

/// Adds what publishes the names: to kuma-dp if it answers queries itself, else as a name server in Envoy.
pub(crate) fn dns(set: &mut DraftSet, records: &Records, metadata: &ProxyMetadata, naming: Naming) {
    if metadata.features.embedded_dns {
        let body = published(records);
        set.add_listener(Draft::new(Origin::DynamicConfig, dynamic_config(&body, metadata, naming)));
    } else {
        set.add_listener(Draft::new(Origin::Dns, name_server(records, metadata, naming)));
    }
}

#[derive(Serialize)]
struct Published {
    records: Vec<Record>,
    ttl: u32,
}

#[derive(Serialize)]
struct Record {
    name: String,
    ips: Vec<String>,
}

fn published(records: &Records) -> String {
    let record = |(name, addresses): (&String, &Vec<IpAddr>)| Record {
        name: name.clone(),
        ips: addresses.iter().map(text).collect(),
    };
    let published = Published { records: records.iter().map(record).collect(), ttl: TTL };
    serde_json::to_string(&published).expect("strings and numbers have a JSON form")
}

/// The listener on which kuma-dp asks for settings; an unchanged body is answered with 304.
fn dynamic_config(body: &str, metadata: &ProxyMetadata, naming: Naming) -> ListenerDraft {
    let name = naming.dynamic_config();
    let hash = hex::encode(Sha256::digest(body));
    let (changed, unchanged) = match naming {
        Naming::Legacy => (format!("{name}:{PATH}"), String::new()),
        Naming::Unified => ("system_dynamicconfig_dns".to_owned(), "system_dynamicconfig_dns_not_modified".to_owned()),
    };
    let exact = |value: &str| matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(value.to_owned())),
        ..Default::default()
    };
    let path = |headers| route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Path(PATH.to_owned())),
        headers,
        ..Default::default()
    };
    let if_none_match = route::HeaderMatcher {
        name: "If-None-Match".to_owned(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(exact(&hash))),
        ..Default::default()
    };
    let answer = |status, body: Option<&str>| {
        let body = body.map(|body| core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(body.to_owned())),
            ..Default::default()
        });
        Some(route::route::Action::DirectResponse(route::DirectResponseAction { status, body, ..Default::default() }))
    };
    let etag = core::HeaderValueOption {
        header: Some(core::HeaderValue { key: "Etag".to_owned(), value: hash.clone(), ..Default::default() }),
        ..Default::default()
    };
    let routes = vec![
        route::Route {
            name: unchanged,
            r#match: Some(path(vec![if_none_match])),
            action: answer(304, None),
            ..Default::default()
        },
        route::Route {
            name: changed,
            r#match: Some(path(Vec::new())),
            response_headers_to_add: vec![etag],
            action: answer(200, Some(body)),
            ..Default::default()
        },
    ];
    let mut table = route_table(String::new(), name.to_owned(), routes);
    table.validate_clusters = None;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    table.max_direct_response_body_size_bytes = Some(UInt32Value { value: length });
    let manager = manager(name, host_itself(metadata.ipv6_enabled), table, Vec::new());
    ListenerDraft {
        message: listener::Listener {
            name: name.to_owned(),
            address: Some(pipe_address(metadata.socket("kuma-mesh-metric-config"))),
            ..Default::default()
        },
        chains: vec![ChainDraft { filters: vec![NetworkFilter::Http(Box::new(manager))], ..Default::default() }],
        ..Default::default()
    }
}

/// A name server in Envoy, for a kuma-dp that does not answer queries itself.
fn name_server(records: &Records, metadata: &ProxyMetadata, naming: Naming) -> ListenerDraft {
    use dns_table::dns_endpoint::EndpointConfig;
    let domain = |(name, addresses): (&String, &Vec<IpAddr>)| dns_table::DnsVirtualDomain {
        name: name.clone(),
        endpoint: Some(dns_table::DnsEndpoint {
            endpoint_config: Some(EndpointConfig::AddressList(dns_table::AddressList {
                address: addresses.iter().map(text).collect(),
            })),
        }),
        answer_ttl: Some(duration(Duration::from_secs(u64::from(TTL)))),
    };
    let table = DnsTable { virtual_domains: records.iter().map(domain).collect(), ..Default::default() };
    let config = DnsFilterConfig {
        stat_prefix: "kuma_dns".to_owned(),
        server_config: Some(dns_filter_config::ServerContextConfig {
            config_source: Some(dns_filter_config::server_context_config::ConfigSource::InlineDnsTable(table)),
        }),
        ..Default::default()
    };
    let name = match naming {
        Naming::Legacy => "kuma:dns",
        Naming::Unified => "system_dns",
    };
    // Datagram listeners always share their port between workers.
    let mut draft = inbound_listener(name.to_owned(), "127.0.0.1", metadata.dns_port, true);
    if let Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) }) =
        &mut draft.message.address
    {
        socket.protocol = core::socket_address::Protocol::Udp.into();
    }
    draft.message.listener_filters.push(listener::ListenerFilter {
        name: "envoy.filters.udp.dns_filter".to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pack(&config))),
        ..Default::default()
    });
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_published_sorted_in_compact_form() {
        let ipv4 = Ipv4Addr::new(241, 0, 0, 1);
        let records = Records::from([
            ("b.mesh".to_owned(), vec![ipv4.into()]),
            ("a.mesh".to_owned(), vec![ipv4.into(), mapped_to_ipv6(ipv4)]),
        ]);
        assert_eq!(
            published(&records),
            r#"{"records":[{"name":"a.mesh","ips":["241.0.0.1","::ffff:f100:1"]},{"name":"b.mesh","ips":["241.0.0.1"]}],"ttl":30}"#
        );
        assert_eq!(published(&Records::new()), r#"{"records":[],"ttl":30}"#);
    }
}
