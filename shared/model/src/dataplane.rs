//! What the specification of a Dataplane means: its tag sets, and the addresses and ports of its inbounds and
//! outbounds.
//!
//! Source of the rules: Kuma `api/mesh/v1alpha1/dataplane_helpers.go`.

use std::net::IpAddr;

use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::gateway::GatewayType;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::State;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Gateway, Inbound, Outbound};

use crate::label::{PROTOCOL_TAG, SERVICE_TAG, ZONE};
use crate::protocol::Protocol;
use crate::tags::{TagMultimap, Tags, merged, selects};

/// Port of the placeholder inbound of a Kubernetes proxy that serves nothing.
pub const SERVICELESS_PORT: u32 = 49151;

/// Address of outbounds that have none.
const LOOPBACK: &str = "127.0.0.1";

/// Where an inbound listens and what it forwards to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InboundInterface {
    /// Address on which the proxy listens.
    pub address: String,
    /// Address under which other proxies reach it.
    pub advertised_address: String,
    /// Port on which the proxy listens.
    pub port: u32,
    /// Address of the workload.
    pub workload_address: String,
    /// Port of the workload.
    pub workload_port: u32,
}

/// Where an outbound listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutboundInterface {
    /// Address on which the proxy listens for its workload.
    pub address: String,
    /// Port on which it listens.
    pub port: u32,
}

/// The addresses and ports on which a proxy and its workload listen.
///
/// Source of the rules: Kuma `pkg/core/resources/apis/mesh/dataplane_helpers.go`, `UsesInboundInterface`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundAddresses(Vec<(String, u32)>);

impl InboundAddresses {
    /// Those of a Dataplane.
    pub fn of(dataplane: &Dataplane) -> Self {
        let interfaces = dataplane.inbounds().iter().map(|inbound| dataplane.inbound_interface(inbound));
        let both = |interface: InboundInterface| {
            [(interface.address, interface.port), (interface.workload_address, interface.workload_port)]
        };
        Self(interfaces.flat_map(both).collect())
    }

    /// True when one of them is at this address and port; an address that stands for all of a host is at each.
    pub fn contain(&self, address: &str, port: u32) -> bool {
        self.0.iter().any(|(own, own_port)| *own_port == port && overlap(own, address))
    }
}

fn overlap(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<IpAddr>(), b.parse::<IpAddr>()) else { return a == b };
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// Meaning of a Dataplane's specification.
pub trait DataplaneExt {
    /// The inbounds, in order.
    fn inbounds(&self) -> &[Inbound];
    /// The outbounds that the specification lists, in order.
    fn outbounds(&self) -> &[Outbound];
    /// The gateway part; `None` for a sidecar.
    fn gateway(&self) -> Option<&Gateway>;
    /// True for a gateway whose listeners Kuma configures.
    fn is_builtin_gateway(&self) -> bool;
    /// True for a gateway whose listeners another product configures.
    fn is_delegated_gateway(&self) -> bool;
    /// The tag set of each inbound, then that of the gateway.
    fn tag_sets(&self) -> impl Iterator<Item = &Tags>;
    /// All tags with all their values.
    fn all_tags(&self) -> TagMultimap;
    /// True when a selector matches one of the tag sets.
    fn is_selected_by(&self, selector: &Tags) -> bool;
    /// The service by which statistics name the proxy: the first in alphabetical order, else `unknown`.
    fn identifying_service(&self) -> &str;
    /// Address and ports of an inbound.
    fn inbound_interface(&self, inbound: &Inbound) -> InboundInterface;
    /// Sets the tag `kuma.io/zone` of every tag set.
    fn set_zone(&mut self, zone: &str);
}

impl DataplaneExt for Dataplane {
    fn inbounds(&self) -> &[Inbound] {
        self.networking.as_ref().map_or(&[], |networking| &networking.inbound)
    }

    fn outbounds(&self) -> &[Outbound] {
        self.networking.as_ref().map_or(&[], |networking| &networking.outbound)
    }

    fn gateway(&self) -> Option<&Gateway> {
        self.networking.as_ref()?.gateway.as_ref()
    }

    fn is_builtin_gateway(&self) -> bool {
        self.gateway().is_some_and(|gateway| gateway.r#type() == GatewayType::Builtin)
    }

    fn is_delegated_gateway(&self) -> bool {
        self.gateway().is_some_and(|gateway| gateway.r#type() == GatewayType::Delegated)
    }

    fn tag_sets(&self) -> impl Iterator<Item = &Tags> {
        self.inbounds().iter().map(|inbound| &inbound.tags).chain(self.gateway().map(|gateway| &gateway.tags))
    }

    fn all_tags(&self) -> TagMultimap {
        merged(self.tag_sets())
    }

    fn is_selected_by(&self, selector: &Tags) -> bool {
        selector.is_empty() || self.tag_sets().any(|tags| selects(selector, tags))
    }

    fn identifying_service(&self) -> &str {
        self.tag_sets().filter_map(|tags| tags.get(SERVICE_TAG)).min().map_or("unknown", String::as_str)
    }

    fn inbound_interface(&self, inbound: &Inbound) -> InboundInterface {
        let networking = self.networking.as_ref();
        let proxy_address = networking.map_or("", |networking| &networking.address);
        let advertised = networking.map_or("", |networking| &networking.advertised_address);
        let address = first_set(&inbound.address, proxy_address);
        InboundInterface {
            address: address.to_owned(),
            advertised_address: first_set(advertised, address).to_owned(),
            port: inbound.port,
            workload_address: first_set(&inbound.service_address, address).to_owned(),
            workload_port: if inbound.service_port == 0 { inbound.port } else { inbound.service_port },
        }
    }

    fn set_zone(&mut self, zone: &str) {
        let Some(networking) = &mut self.networking else { return };
        let inbounds = networking.inbound.iter_mut().map(|inbound| &mut inbound.tags);
        for tags in inbounds.chain(networking.gateway.as_mut().map(|gateway| &mut gateway.tags)) {
            tags.insert(ZONE.to_owned(), zone.to_owned());
        }
    }
}

fn first_set<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// Meaning of an inbound.
pub trait InboundExt {
    /// True when it takes part in load balancing: in state `Ready` and not known as unready.
    fn is_healthy(&self) -> bool;
    /// True when it is excluded from everything but the proxy's own configuration.
    fn is_ignored(&self) -> bool;
    /// Value of the tag `kuma.io/service`; empty when absent.
    fn service(&self) -> &str;
    /// The protocol its tag tells.
    fn protocol(&self) -> Protocol;
    /// Name by which identifiers and policies refer to it: its own, else the port.
    fn section_name(&self) -> String;
}

impl InboundExt for Inbound {
    fn is_healthy(&self) -> bool {
        self.state() == State::Ready && self.health.as_ref().is_none_or(|health| health.ready)
    }

    fn is_ignored(&self) -> bool {
        self.state() == State::Ignored
    }

    fn service(&self) -> &str {
        self.tags.get(SERVICE_TAG).map_or("", String::as_str)
    }

    fn protocol(&self) -> Protocol {
        self.tags.get(PROTOCOL_TAG).map_or(Protocol::Unknown, |name| Protocol::parse(name))
    }

    fn section_name(&self) -> String {
        if self.name.is_empty() { self.port.to_string() } else { self.name.clone() }
    }
}

/// Meaning of an outbound.
pub trait OutboundExt {
    /// Where it listens.
    fn interface(&self) -> OutboundInterface;
    /// Value of the tag `kuma.io/service`; empty when absent.
    fn service(&self) -> &str;
}

impl OutboundExt for Outbound {
    fn interface(&self) -> OutboundInterface {
        OutboundInterface { address: first_set(&self.address, LOOPBACK).to_owned(), port: self.port }
    }

    fn service(&self) -> &str {
        self.tags.get(SERVICE_TAG).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests;
