//! Names that the proxy's host resolves: published to kuma-dp if it answers queries itself, else by a name server in Envoy.
//!
//! Source: Kuma `pkg/xds/generator/dns_generator.go`, `pkg/dns/dpapi`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use envoy_types::pb::envoy::data::dns::v3::{DnsTable, dns_table};
use envoy_types::pb::envoy::extensions::filters::udp::dns_filter::v3::{DnsFilterConfig, dns_filter_config};
use serde::Serialize;
use tandem_policy::envoy::pb::{core, listener};
use tandem_policy::envoy::{ListenerDraft, duration, pack};

use super::dynconf::Document;
use super::names::Naming;
use super::shape::inbound_listener;
use crate::metadata::ProxyMetadata;

/// Seconds that an answer may be kept. Short, as a name may move to another address when services change.
const TTL: u32 = 30;

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

/// Path of the document with the names.
const PATH: &str = "/dns";

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

/// The names for a kuma-dp that answers queries itself. The form is a contract with it.
pub(crate) fn document(records: &Records) -> Document {
    Document { path: PATH, body: published(records) }
}

fn published(records: &Records) -> String {
    let record = |(name, addresses): (&String, &Vec<IpAddr>)| Record {
        name: name.clone(),
        ips: addresses.iter().map(text).collect(),
    };
    let published = Published { records: records.iter().map(record).collect(), ttl: TTL };
    serde_json::to_string(&published).expect("strings and numbers have a JSON form")
}

/// A name server in Envoy, for a kuma-dp that does not answer queries itself.
pub(crate) fn name_server(records: &Records, metadata: &ProxyMetadata, naming: Naming) -> ListenerDraft {
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
