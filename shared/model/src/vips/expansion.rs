//! From the names of a mesh to the outbounds and host names of proxies.
//!
//! Source of the rules: Kuma `pkg/xds/topology/dns.go`.

use std::collections::BTreeSet;

use tandem_proto::mesh::v1alpha1::Dataplane;

use super::{NameKind, VipTarget, Vips};
use crate::dataplane::InboundAddresses;
use crate::label::SERVICE_TAG;
use crate::name::is_dns_name;
use crate::tags::Tags;

/// A service at a virtual address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipOutbound {
    /// The address.
    pub address: String,
    /// The port.
    pub port: u32,
    /// Tags of the service.
    pub tags: Tags,
}

/// What the names of a mesh mean for its proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// Outbounds, in the order of the names.
    pub outbounds: Vec<VipOutbound>,
    /// Host names and the addresses they lead to.
    pub domains: Vec<(String, String)>,
}

/// Says what proxies are to know of the names of a mesh. `domain` is the ending of the host names of services, `port` the one
/// under which all of them are reached. Names without an address are left out.
pub fn expand(vips: &Vips, domain: &str, port: u32) -> Expansion {
    let mut expansion = Expansion::default();
    for (name, vip) in vips {
        let (Some(first), false) = (vip.outbounds.first(), vip.address.is_empty()) else { continue };
        let mut add = |port: u32, target: &VipTarget| {
            let outbound = VipOutbound { address: vip.address.clone(), port, tags: target.tags.clone() };
            expansion.outbounds.push(outbound);
        };
        let mut domains = Vec::new();
        if name.kind == NameKind::Service {
            let service = first.tags.get(SERVICE_TAG).map_or("", String::as_str);
            domains.push(format!("{service}.{domain}"));
            if service.contains('_') {
                domains.push(format!("{}.{domain}", service.replace('_', ".")));
            }
            if first.port != 0 {
                add(first.port, first);
            }
            if first.port != port {
                add(port, first);
            }
        } else {
            if is_dns_name(&name.name) {
                domains.push(name.name.clone());
            }
            for target in vip.outbounds.iter().filter(|target| target.port != 0) {
                add(target.port, target);
            }
            // Hosts of external services were once reached under the common port only, and still are.
            let has_port = vip.outbounds.iter().any(|target| target.port == port);
            if name.kind == NameKind::Host && !has_port && !domains.is_empty() {
                add(port, first);
            }
        }
        expansion.domains.extend(domains.into_iter().map(|domain| (domain, vip.address.clone())));
    }
    expansion
}

/// The outbounds that a Dataplane may use: those to the services it restricts itself to, if it does, and none at an address of its own.
///
/// Source of the rules: Kuma `pkg/xds/sync/dataplane_proxy_builder.go`.
pub fn reachable<'a>(outbounds: &'a [VipOutbound], dataplane: &'a Dataplane) -> impl Iterator<Item = &'a VipOutbound> {
    let networking = dataplane.networking.as_ref();
    let section = networking.and_then(|networking| networking.transparent_proxying.as_ref());
    let services = section.into_iter().flat_map(|section| &section.reachable_services);
    let services: BTreeSet<&str> = services.map(String::as_str).collect();
    let own = InboundAddresses::of(dataplane);
    outbounds.iter().filter(move |outbound| {
        let service = outbound.tags.get(SERVICE_TAG).map_or("", String::as_str);
        (services.is_empty() || services.contains(service)) && !own.contain(&outbound.address, outbound.port)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Vip, VipName};
    use super::*;

    fn vip(address: &str, targets: &[(u32, &str)]) -> Vip {
        let target = |(port, service): &(u32, &str)| VipTarget {
            port: *port,
            tags: [(SERVICE_TAG.to_owned(), (*service).to_owned())].into(),
            origin: String::new(),
        };
        Vip { address: address.to_owned(), outbounds: targets.iter().map(target).collect() }
    }

    fn expanded(kind: NameKind, name: &str, vip: Vip) -> (Vec<String>, Vec<String>) {
        let expansion = expand(&Vips::from([(VipName::new(kind, name), vip)]), "mesh", 80);
        let outbound = |outbound: &VipOutbound| format!("{}:{}", outbound.address, outbound.port);
        let domains = expansion.domains.into_iter().map(|(name, address)| format!("{name} {address}"));
        (expansion.outbounds.iter().map(outbound).collect(), domains.collect())
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn services_have_their_own_port_and_the_common_one() {
        let service = |name: &str, port| expanded(NameKind::Service, name, vip("240.0.0.0", &[(port, name)]));
        assert_eq!(service("web", 0), (texts(&["240.0.0.0:80"]), texts(&["web.mesh 240.0.0.0"])));
        assert_eq!(service("web", 80).0, texts(&["240.0.0.0:80"]));
        assert_eq!(service("web", 443).0, texts(&["240.0.0.0:443", "240.0.0.0:80"]));
        assert_eq!(
            service("web_ns_svc_80", 0).1,
            texts(&["web_ns_svc_80.mesh 240.0.0.0", "web.ns.svc.80.mesh 240.0.0.0"])
        );
    }

    #[test]
    fn hosts_have_the_common_port_too_and_domains_do_not() {
        let host = expanded(NameKind::Host, "example.com", vip("240.0.0.1", &[(443, "a"), (8080, "b")]));
        assert_eq!(
            host,
            (texts(&["240.0.0.1:443", "240.0.0.1:8080", "240.0.0.1:80"]), texts(&["example.com 240.0.0.1"]))
        );
        assert_eq!(expanded(NameKind::Host, "a.b", vip("240.0.0.1", &[(80, "a")])).0, texts(&["240.0.0.1:80"]));
        let address = expanded(NameKind::Host, "10.0.0.1", vip("10.0.0.1", &[(443, "a")]));
        assert_eq!(address, (texts(&["10.0.0.1:443"]), vec![]), "an address is no host name");
        let domain = expanded(NameKind::Domain, "v1.web.mesh", vip("240.0.0.2", &[(81, "web"), (82, "web")]));
        assert_eq!(domain, (texts(&["240.0.0.2:81", "240.0.0.2:82"]), texts(&["v1.web.mesh 240.0.0.2"])));
    }

    #[test]
    fn names_without_an_address_are_left_out() {
        assert_eq!(expanded(NameKind::Service, "web", vip("", &[(0, "web")])), (vec![], vec![]));
    }
}
