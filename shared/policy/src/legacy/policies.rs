//! The policies of a mesh, decoded once.

use std::sync::Arc;

use prost::{Message, Name};
use tandem_model::kind::Kind;
use tandem_model::resource::{DecodeError, Resource};
use tandem_proto::mesh::v1alpha1::{
    CircuitBreaker, FaultInjection, HealthCheck, MeshGatewayRoute, ProxyTemplate, RateLimit, Retry, Timeout,
    TrafficLog, TrafficPermission, TrafficRoute, TrafficTrace,
};

/// The kinds that [`LegacyPolicies`] holds. VirtualOutbound is not among them: it applies to no proxy, it makes addresses.
pub const KINDS: [Kind; 12] = [
    Kind::CircuitBreaker,
    Kind::FaultInjection,
    Kind::HealthCheck,
    Kind::MeshGatewayRoute,
    Kind::ProxyTemplate,
    Kind::RateLimit,
    Kind::Retry,
    Kind::Timeout,
    Kind::TrafficLog,
    Kind::TrafficPermission,
    Kind::TrafficRoute,
    Kind::TrafficTrace,
];

/// A stored resource with its specification.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<S> {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its specification.
    pub spec: S,
}

impl<S: Message + Name + Default> Decoded<S> {
    /// Decodes a stored resource.
    ///
    /// # Errors
    /// When its specification is no message of this type.
    pub fn decode(resource: Arc<Resource>) -> Result<Self, DecodeError> {
        Ok(Self { spec: resource.proto()?, resource })
    }
}

/// The policies of the older generation of a mesh, or of those kinds of it that somebody asks for.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // the members are the kinds
pub struct LegacyPolicies {
    pub circuit_breakers: Vec<Arc<Decoded<CircuitBreaker>>>,
    pub fault_injections: Vec<Arc<Decoded<FaultInjection>>>,
    pub health_checks: Vec<Arc<Decoded<HealthCheck>>>,
    pub gateway_routes: Vec<Arc<Decoded<MeshGatewayRoute>>>,
    pub proxy_templates: Vec<Arc<Decoded<ProxyTemplate>>>,
    pub rate_limits: Vec<Arc<Decoded<RateLimit>>>,
    pub retries: Vec<Arc<Decoded<Retry>>>,
    pub timeouts: Vec<Arc<Decoded<Timeout>>>,
    pub traffic_logs: Vec<Arc<Decoded<TrafficLog>>>,
    pub traffic_permissions: Vec<Arc<Decoded<TrafficPermission>>>,
    pub traffic_routes: Vec<Arc<Decoded<TrafficRoute>>>,
    pub traffic_traces: Vec<Arc<Decoded<TrafficTrace>>>,
}

impl LegacyPolicies {
    /// Adds a stored policy. Resources of other kinds than [`KINDS`] are passed over.
    ///
    /// # Errors
    /// When it does not decode; then nothing is added.
    pub fn add(&mut self, resource: Arc<Resource>) -> Result<(), DecodeError> {
        fn push<S: Message + Name + Default>(
            list: &mut Vec<Arc<Decoded<S>>>,
            resource: Arc<Resource>,
        ) -> Result<(), DecodeError> {
            list.push(Arc::new(Decoded::decode(resource)?));
            Ok(())
        }
        match resource.kind() {
            Kind::CircuitBreaker => push(&mut self.circuit_breakers, resource),
            Kind::FaultInjection => push(&mut self.fault_injections, resource),
            Kind::HealthCheck => push(&mut self.health_checks, resource),
            Kind::MeshGatewayRoute => push(&mut self.gateway_routes, resource),
            Kind::ProxyTemplate => push(&mut self.proxy_templates, resource),
            Kind::RateLimit => push(&mut self.rate_limits, resource),
            Kind::Retry => push(&mut self.retries, resource),
            Kind::Timeout => push(&mut self.timeouts, resource),
            Kind::TrafficLog => push(&mut self.traffic_logs, resource),
            Kind::TrafficPermission => push(&mut self.traffic_permissions, resource),
            Kind::TrafficRoute => push(&mut self.traffic_routes, resource),
            Kind::TrafficTrace => push(&mut self.traffic_traces, resource),
            _ => Ok(()),
        }
    }
}
