//! The policies of a mesh, decoded once.

use std::sync::Arc;

use prost::{Message, Name};
use tandem_model::kind::Kind;
use tandem_model::resource::{DecodeError, Resource, ResourceKey};
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

/// The policies of the older generation of a mesh, or of those kinds of it that somebody asks for; each list is sorted by name.
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

/// Does something with the list of a kind, whatever its type; `[&self]` or `[&mut self]` says how it is borrowed.
macro_rules! with_list {
    ([$($access:tt)*], $kind:expr, $list:ident => $action:expr, else $otherwise:expr) => {
        match $kind {
            Kind::CircuitBreaker => {
                let $list = $($access)*.circuit_breakers;
                $action
            }
            Kind::FaultInjection => {
                let $list = $($access)*.fault_injections;
                $action
            }
            Kind::HealthCheck => {
                let $list = $($access)*.health_checks;
                $action
            }
            Kind::MeshGatewayRoute => {
                let $list = $($access)*.gateway_routes;
                $action
            }
            Kind::ProxyTemplate => {
                let $list = $($access)*.proxy_templates;
                $action
            }
            Kind::RateLimit => {
                let $list = $($access)*.rate_limits;
                $action
            }
            Kind::Retry => {
                let $list = $($access)*.retries;
                $action
            }
            Kind::Timeout => {
                let $list = $($access)*.timeouts;
                $action
            }
            Kind::TrafficLog => {
                let $list = $($access)*.traffic_logs;
                $action
            }
            Kind::TrafficPermission => {
                let $list = $($access)*.traffic_permissions;
                $action
            }
            Kind::TrafficRoute => {
                let $list = $($access)*.traffic_routes;
                $action
            }
            Kind::TrafficTrace => {
                let $list = $($access)*.traffic_traces;
                $action
            }
            _ => $otherwise,
        }
    };
}

impl LegacyPolicies {
    /// Adds a stored policy, in place of the one of its name if there is one. Resources of other kinds than [`KINDS`] are passed
    /// over.
    ///
    /// # Errors
    /// When it does not decode; then nothing changes.
    pub fn add(&mut self, resource: Arc<Resource>) -> Result<(), DecodeError> {
        fn put<S: Message + Name + Default>(
            list: &mut Vec<Arc<Decoded<S>>>,
            resource: Arc<Resource>,
        ) -> Result<(), DecodeError> {
            let policy = Arc::new(Decoded::decode(resource)?);
            match position(list, &policy.resource.key) {
                Ok(known) => list[known] = policy,
                Err(place) => list.insert(place, policy),
            }
            Ok(())
        }
        with_list!([&mut self], resource.kind(), list => put(list, resource), else Ok(()))
    }

    /// Removes a policy. Returns whether it was there.
    pub fn remove(&mut self, key: &ResourceKey) -> bool {
        with_list!([&mut self], key.kind, list => match position(list, key) {
            Ok(known) => {
                list.remove(known);
                true
            }
            Err(_) => false,
        }, else false)
    }

    /// The resource of a policy.
    pub fn get(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        with_list!([&self], key.kind, list => {
            position(list, key).ok().map(|known| &list[known].resource)
        }, else None)
    }

    /// True when there is no policy of a kind.
    pub fn has_none(&self, kind: Kind) -> bool {
        with_list!([&self], kind, list => list.is_empty(), else true)
    }

    /// True when there is no policy at all.
    pub fn is_empty(&self) -> bool {
        KINDS.iter().all(|kind| self.has_none(*kind))
    }
}

/// Where a policy is in a list sorted by name, or where it belongs.
pub(super) fn position<S>(list: &[Arc<Decoded<S>>], key: &ResourceKey) -> Result<usize, usize> {
    list.binary_search_by(|policy| policy.resource.key.name.cmp(&key.name))
}
