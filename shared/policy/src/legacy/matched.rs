//! The policies of one proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::{DataplaneExt as _, InboundInterface, OutboundExt as _, OutboundInterface};
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Inbound, Outbound};
use tandem_proto::mesh::v1alpha1::{
    CircuitBreaker, Dataplane, FaultInjection, HealthCheck, ProxyTemplate, RateLimit, Retry, Timeout, TrafficLog,
    TrafficPermission, TrafficRoute, TrafficTrace,
};

use super::connection::{all_for_tags, best_for_services, best_for_tags};
use super::{ConnectionPolicy, Decoded, LegacyPolicies, best_for_dataplane, traffic_route};

/// Name of the service that stands for traffic to unknown destinations.
pub const PASS_THROUGH: &str = "pass_through";

/// The policies that apply to a proxy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MatchedPolicies {
    /// Who may connect to an inbound.
    pub traffic_permissions: BTreeMap<InboundInterface, Arc<Decoded<TrafficPermission>>>,
    /// Faults of an inbound, strongest first.
    pub fault_injections: BTreeMap<InboundInterface, Vec<Arc<Decoded<FaultInjection>>>>,
    /// Limits of an inbound, strongest first.
    pub inbound_rate_limits: BTreeMap<InboundInterface, Vec<Arc<Decoded<RateLimit>>>>,
    /// Limits of an outbound.
    pub outbound_rate_limits: BTreeMap<OutboundInterface, Arc<Decoded<RateLimit>>>,
    /// Timeouts of an outbound.
    pub timeouts: BTreeMap<OutboundInterface, Arc<Decoded<Timeout>>>,
    /// Routes of an outbound, as written; see [`traffic_route::with_outbound_tags`].
    pub traffic_routes: BTreeMap<OutboundInterface, Arc<Decoded<TrafficRoute>>>,
    /// Access logs of the services of outbounds, and of [`PASS_THROUGH`].
    pub traffic_logs: BTreeMap<String, Arc<Decoded<TrafficLog>>>,
    /// Health checks of the services that the routes of outbounds lead to.
    pub health_checks: BTreeMap<String, Arc<Decoded<HealthCheck>>>,
    /// Circuit breakers of the services that the routes of outbounds lead to.
    pub circuit_breakers: BTreeMap<String, Arc<Decoded<CircuitBreaker>>>,
    /// Retries of the services that the routes of outbounds lead to.
    pub retries: BTreeMap<String, Arc<Decoded<Retry>>>,
    /// Tracing.
    pub traffic_trace: Option<Arc<Decoded<TrafficTrace>>>,
    /// What the proxy's configuration is made of.
    pub proxy_template: Option<Arc<Decoded<ProxyTemplate>>>,
}

impl MatchedPolicies {
    /// Matches the policies of its mesh with a proxy.
    ///
    /// `outbounds` are those of the Dataplane or, when outgoing traffic is redirected, those at virtual addresses; the ones that
    /// refer to a resource have nothing to do with these policies. `additional_inbounds` are those that the mesh adds to every
    /// proxy (see [`tandem_model::prometheus`]).
    pub fn of(
        policies: &LegacyPolicies,
        dataplane: &Dataplane,
        outbounds: &[Outbound],
        additional_inbounds: &[Inbound],
    ) -> Self {
        let outbounds: Vec<&Outbound> = outbounds.iter().filter(|outbound| outbound.backend_ref.is_none()).collect();
        let inbounds: Vec<(InboundInterface, &Inbound)> = dataplane
            .inbounds()
            .iter()
            .chain(additional_inbounds)
            .map(|inbound| (dataplane.inbound_interface(inbound), inbound))
            .collect();
        let to = Outgoing { dataplane, outbounds: &outbounds };
        let traffic_routes = to.by_outbound(&policies.traffic_routes);
        let reached = to.services(&traffic_routes);
        let listed = || outbounds.iter().map(|outbound| outbound.service()).chain([PASS_THROUGH]);
        Self {
            traffic_permissions: inbounds
                .iter()
                .filter_map(|(interface, inbound)| {
                    let policy = best_for_tags(&policies.traffic_permissions, &inbound.tags)?;
                    Some((interface.clone(), Arc::clone(policy)))
                })
                .collect(),
            fault_injections: all_by_inbound(&policies.fault_injections, &inbounds),
            inbound_rate_limits: all_by_inbound(&policies.rate_limits, &inbounds),
            outbound_rate_limits: to.by_outbound(&policies.rate_limits),
            timeouts: to.by_outbound(&policies.timeouts),
            traffic_logs: best_for_services(&policies.traffic_logs, dataplane, listed()),
            health_checks: to.by_service(&policies.health_checks, &reached),
            circuit_breakers: to.by_service(&policies.circuit_breakers, &reached),
            retries: to.by_service(&policies.retries, &reached),
            traffic_trace: best_for_dataplane(&policies.traffic_traces, dataplane).cloned(),
            proxy_template: best_for_dataplane(&policies.proxy_templates, dataplane).cloned(),
            traffic_routes,
        }
    }
}

fn all_by_inbound<S: ConnectionPolicy>(
    policies: &[Arc<Decoded<S>>],
    inbounds: &[(InboundInterface, &Inbound)],
) -> BTreeMap<InboundInterface, Vec<Arc<Decoded<S>>>> {
    let matched = inbounds.iter().map(|(interface, inbound)| (interface, all_for_tags(policies, &inbound.tags)));
    matched
        .filter(|(_, policies)| !policies.is_empty())
        .map(|(interface, policies)| (interface.clone(), policies))
        .collect()
}

/// A proxy as the origin of connections.
struct Outgoing<'a> {
    dataplane: &'a Dataplane,
    outbounds: &'a [&'a Outbound],
}

impl Outgoing<'_> {
    fn by_outbound<S: ConnectionPolicy>(
        &self,
        policies: &[Arc<Decoded<S>>],
    ) -> BTreeMap<OutboundInterface, Arc<Decoded<S>>> {
        let services = self.outbounds.iter().map(|outbound| outbound.service());
        let by_service = best_for_services(policies, self.dataplane, services);
        let matched = self
            .outbounds
            .iter()
            .filter_map(|outbound| Some((outbound.interface(), Arc::clone(by_service.get(outbound.service())?))));
        matched.collect()
    }

    fn by_service<S: ConnectionPolicy>(
        &self,
        policies: &[Arc<Decoded<S>>],
        services: &[String],
    ) -> BTreeMap<String, Arc<Decoded<S>>> {
        best_for_services(policies, self.dataplane, services.iter().map(String::as_str))
    }

    /// The services that connections end up at.
    fn services(&self, routes: &BTreeMap<OutboundInterface, Arc<Decoded<TrafficRoute>>>) -> Vec<String> {
        let reached = self.outbounds.iter().flat_map(|outbound| match routes.get(&outbound.interface()) {
            Some(route) => {
                route.spec.conf.as_ref().map_or_else(Vec::new, |conf| traffic_route::services(conf, &outbound.tags))
            }
            None => vec![outbound.service().to_owned()],
        });
        reached.collect()
    }
}
