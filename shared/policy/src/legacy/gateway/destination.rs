//! Where the routes of a gateway lead, and the policies for it.
//!
//! Source: Kuma `pkg/plugins/runtime/gateway/connection_policy_generator.go`.

use std::sync::Arc;

use tandem_model::resource::Resource;
use tandem_model::tags::{Tags, selects};
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::conf::Route;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::http_route::filter::Filter;
use tandem_proto::mesh::v1alpha1::{
    CircuitBreaker, FaultInjection, HealthCheck, MeshGatewayRoute, RateLimit, Retry, Timeout,
};

use crate::legacy::selector::{first_rank, strongest};
use crate::legacy::{ConnectionPolicy, Decoded, LegacyPolicies};

/// The policies for requests from a listener of a gateway to a destination.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)] // the members are the kinds
pub struct DestinationPolicies {
    pub circuit_breaker: Option<Arc<Decoded<CircuitBreaker>>>,
    pub fault_injection: Option<Arc<Decoded<FaultInjection>>>,
    pub health_check: Option<Arc<Decoded<HealthCheck>>>,
    pub rate_limit: Option<Arc<Decoded<RateLimit>>>,
    pub retry: Option<Arc<Decoded<Retry>>>,
    pub timeout: Option<Arc<Decoded<Timeout>>>,
}

impl DestinationPolicies {
    /// Matches the policies of the mesh with the tags of a listener (see [`super::VirtualHost::tags`]) and of a destination.
    pub fn of(policies: &LegacyPolicies, listener: &Tags, destination: &Tags) -> Self {
        Self {
            circuit_breaker: best(&policies.circuit_breakers, listener, destination),
            fault_injection: best(&policies.fault_injections, listener, destination),
            health_check: best(&policies.health_checks, listener, destination),
            rate_limit: best(&policies.rate_limits, listener, destination),
            retry: best(&policies.retries, listener, destination),
            timeout: best(&policies.timeouts, listener, destination),
        }
    }

    /// The resources, sorted by the name of their kind.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        [
            self.circuit_breaker.as_ref().map(|policy| &policy.resource),
            self.fault_injection.as_ref().map(|policy| &policy.resource),
            self.health_check.as_ref().map(|policy| &policy.resource),
            self.rate_limit.as_ref().map(|policy| &policy.resource),
            self.retry.as_ref().map(|policy| &policy.resource),
            self.timeout.as_ref().map(|policy| &policy.resource),
        ]
        .into_iter()
        .flatten()
    }
}

/// Unlike for sidecars, the first selector that matches counts, not the most specific one.
fn best<S: ConnectionPolicy>(
    policies: &[Arc<Decoded<S>>],
    listener: &Tags,
    destination: &Tags,
) -> Option<Arc<Decoded<S>>> {
    let rank = |policy: &S| {
        let source = first_rank(policy.sources(), |selector| selects(selector, listener))?;
        Some(source + first_rank(policy.destinations(), |selector| selects(selector, destination))?)
    };
    strongest(policies.iter().filter_map(|policy| Some((rank(&policy.spec)?, policy)))).cloned()
}

/// The destinations of a route, mirrors included, sorted and each once.
pub fn destinations(route: &MeshGatewayRoute) -> Vec<&Tags> {
    let mut destinations: Vec<&Tags> = match route.conf.as_ref().and_then(|conf| conf.route.as_ref()) {
        Some(Route::Http(http)) => {
            let backends = http.rules.iter().flat_map(|rule| &rule.backends);
            let filters = http.rules.iter().flat_map(|rule| &rule.filters);
            let mirrors = filters.filter_map(|filter| match filter.filter.as_ref()? {
                Filter::Mirror(mirror) => mirror.backend.as_ref(),
                _ => None,
            });
            backends.chain(mirrors).map(|backend| &backend.destination).collect()
        }
        Some(Route::Tcp(tcp)) => {
            tcp.rules.iter().flat_map(|rule| &rule.backends).map(|backend| &backend.destination).collect()
        }
        None => Vec::new(),
    };
    destinations.sort();
    destinations.dedup();
    destinations
}
