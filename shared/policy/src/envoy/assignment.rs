//! Endpoints of a cluster under construction.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::encode::write_metadata;
use super::names;
use super::pb::{UInt32Value, core, endpoint};

/// A `ClusterLoadAssignment` whose endpoints are plain values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AssignmentDraft {
    /// Name of the cluster.
    pub cluster: String,
    /// Groups of endpoints in order.
    pub localities: Vec<LocalityDraft>,
    /// Overprovisioning factor in percent; `None` leaves Envoy's default, 140.
    pub overprovisioning_factor: Option<u32>,
}

/// The endpoints of one locality and priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LocalityDraft {
    /// Zone; empty for none. A group with neither zone nor sub-zone carries no locality at all.
    pub zone: String,
    /// Sub-zone; empty for none.
    pub sub_zone: String,
    /// Priority: 0 is preferred.
    pub priority: u32,
    /// Weight among localities of one priority; written only if greater than zero.
    pub weight: u32,
    /// The endpoints in order.
    pub endpoints: Vec<EndpointDraft>,
}

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// Address (IP or host name) and port.
    Socket(String, u32),
    /// Path of a Unix domain socket.
    Pipe(String),
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointDraft {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Load balancing weight; written only if greater than zero.
    pub weight: u32,
    /// Its tags, published as metadata (without `kuma.io/service`) under [`names::LB_METADATA`] and
    /// [`names::TRANSPORT_SOCKET_MATCH_METADATA`]; `None` publishes no metadata.
    pub tags: Option<Arc<BTreeMap<String, String>>>,
}

/// Field numbers of `ClusterLoadAssignment`, `LocalityLbEndpoints` and `LbEndpoint`.
mod field {
    pub const ENDPOINTS: u32 = 2;
    pub const LB_ENDPOINTS: u32 = 2;
    pub const METADATA: u32 = 3;
}

fn write_nested(number: u32, payload: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

impl EndpointDraft {
    fn to_message(&self) -> endpoint::LbEndpoint {
        use core::address::Address;
        use core::socket_address::PortSpecifier;
        let address = match &self.address {
            EndpointAddress::Socket(address, port) => Address::SocketAddress(core::SocketAddress {
                address: address.clone(),
                port_specifier: Some(PortSpecifier::PortValue(*port)),
                ..core::SocketAddress::default()
            }),
            EndpointAddress::Pipe(path) => Address::Pipe(core::Pipe { path: path.clone(), ..core::Pipe::default() }),
        };
        endpoint::LbEndpoint {
            host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
                address: Some(core::Address { address: Some(address) }),
                ..endpoint::Endpoint::default()
            })),
            load_balancing_weight: (self.weight > 0).then_some(UInt32Value { value: self.weight }),
            ..endpoint::LbEndpoint::default()
        }
    }

    fn encode(&self) -> Vec<u8> {
        const NAMESPACES: [&str; 2] = [names::LB_METADATA, names::TRANSPORT_SOCKET_MATCH_METADATA];
        let mut out = self.to_message().encode_to_vec();
        if let Some(tags) = &self.tags {
            write_metadata(field::METADATA, &NAMESPACES, tags, Some(tandem_model::label::SERVICE_TAG), &mut out);
        }
        out
    }
}

impl LocalityDraft {
    fn encode(&self) -> Vec<u8> {
        let locality = (!self.zone.is_empty() || !self.sub_zone.is_empty()).then(|| core::Locality {
            zone: self.zone.clone(),
            sub_zone: self.sub_zone.clone(),
            ..core::Locality::default()
        });
        let message = endpoint::LocalityLbEndpoints {
            locality,
            priority: self.priority,
            load_balancing_weight: (self.weight > 0).then_some(UInt32Value { value: self.weight }),
            ..endpoint::LocalityLbEndpoints::default()
        };
        let mut out = message.encode_to_vec();
        for endpoint in &self.endpoints {
            write_nested(field::LB_ENDPOINTS, &endpoint.encode(), &mut out);
        }
        out
    }
}

impl AssignmentDraft {
    /// Deterministic encoding as `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    pub fn encode(&self) -> Vec<u8> {
        let message = endpoint::ClusterLoadAssignment {
            cluster_name: self.cluster.clone(),
            policy: self.overprovisioning_factor.map(|factor| endpoint::cluster_load_assignment::Policy {
                overprovisioning_factor: Some(UInt32Value { value: factor }),
                ..endpoint::cluster_load_assignment::Policy::default()
            }),
            ..endpoint::ClusterLoadAssignment::default()
        };
        let mut out = message.encode_to_vec();
        for locality in &self.localities {
            write_nested(field::ENDPOINTS, &locality.encode(), &mut out);
        }
        out
    }

    /// The decoded message, for clusters that carry their endpoints inline.
    pub fn to_message(&self) -> endpoint::ClusterLoadAssignment {
        endpoint::ClusterLoadAssignment::decode(self.encode().as_slice()).expect("encoded by this module just now")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_decodes_to_what_was_drafted() {
        let tags = [("kuma.io/service", "backend"), ("kuma.io/zone", "east")].map(|(k, v)| (k.into(), v.into()));
        let draft = AssignmentDraft {
            cluster: "backend".into(),
            overprovisioning_factor: Some(200),
            localities: vec![LocalityDraft {
                zone: "east".into(),
                priority: 1,
                endpoints: vec![EndpointDraft {
                    address: EndpointAddress::Socket("10.0.0.1".into(), 80),
                    weight: 3,
                    tags: Some(Arc::new(tags.into())),
                }],
                ..LocalityDraft::default()
            }],
        };
        let message = draft.to_message();
        assert_eq!(message.cluster_name, "backend");
        let group = &message.endpoints[0];
        assert_eq!((group.priority, group.locality.as_ref().map(|l| l.zone.as_str())), (1, Some("east")));
        let metadata = group.lb_endpoints[0].metadata.as_ref().expect("metadata");
        let lb = &metadata.filter_metadata[names::LB_METADATA];
        assert_eq!(lb.fields.keys().collect::<Vec<_>>(), ["kuma.io/zone"]);
        assert_eq!(metadata.filter_metadata.len(), 2);
    }
}
