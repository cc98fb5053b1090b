//! What the policies of the older generation amount to for a proxy, shared between proxies.
//!
//! Most proxies of a mesh are selected by the same policies. What these amount to is computed once per combination of
//! policies, not per proxy: [`Compiled::for_proxy`] returns the same [`Arc`]s for all proxies and inbounds that the same
//! policies select.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::kind::Kind;
use tandem_model::label::SERVICE_TAG;
use tandem_model::resource::ResourceKey;
use tandem_model::tags::{ANY, Rank, Tags, selects};
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::mesh::v1alpha1::{
    CircuitBreaker, Dataplane, FaultInjection, HealthCheck, ProxyTemplate, RateLimit, Retry, Timeout, TrafficLog,
    TrafficPermission, TrafficRoute, TrafficTrace,
};

use super::connection::{all_for_tags, best_for_tags};
use super::selector::{best_rank, compare, selects_dataplane};
use super::{ConnectionPolicy, Decoded, LegacyPolicies, best_for_dataplane};

/// The policies of a mesh at one moment, and what has been computed from them so far.
#[derive(Debug, Default)]
pub struct Compiled {
    policies: LegacyPolicies,
    memo: Mutex<Memo>,
}

#[derive(Debug, Default)]
struct Memo {
    /// By the policies whose sources select a proxy.
    outbounds: HashMap<Sources, Arc<OutboundPolicies>>,
    /// By the policies whose destinations select an inbound.
    inbounds: HashMap<InboundKey, Arc<InboundPolicies>>,
}

/// Policies whose sources select a proxy: by kind, in the order of the members of [`OutboundPolicies`], index and rank.
type Sources = [Vec<(usize, Rank)>; 7];

/// Addresses of the policies that an inbound is subject to. Those of a mesh live as long as what is remembered about them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InboundKey {
    permission: Option<usize>,
    faults: Vec<usize>,
    limits: Vec<usize>,
}

/// What holds for a proxy.
#[derive(Debug, Clone)]
pub struct ProxyPolicies {
    /// For its outgoing traffic.
    pub outbound: Arc<OutboundPolicies>,
    /// For the incoming traffic of each inbound, in the order of the Dataplane.
    pub inbounds: Vec<Arc<InboundPolicies>>,
    /// Tracing.
    pub traffic_trace: Option<Arc<Decoded<TrafficTrace>>>,
    /// What the proxy's configuration is made of.
    pub proxy_template: Option<Arc<Decoded<ProxyTemplate>>>,
}

/// What holds for incoming traffic of an inbound.
#[derive(Debug, Default, Clone)]
pub struct InboundPolicies {
    /// Who may connect; `None` when no policy selects the inbound.
    pub traffic_permission: Option<Arc<Decoded<TrafficPermission>>>,
    /// Faults, strongest first.
    pub fault_injections: Vec<Arc<Decoded<FaultInjection>>>,
    /// Limits, strongest first.
    pub rate_limits: Vec<Arc<Decoded<RateLimit>>>,
}

/// What holds for outgoing traffic of a proxy, by service.
#[derive(Debug, Default, PartialEq)]
pub struct OutboundPolicies {
    /// Timeouts.
    pub timeouts: ByService<Timeout>,
    /// Limits.
    pub rate_limits: ByService<RateLimit>,
    /// Routes, as written; see [`traffic_route::with_outbound_tags`](super::traffic_route::with_outbound_tags).
    pub traffic_routes: ByService<TrafficRoute>,
    /// Access logs, also of [`PASS_THROUGH`](super::PASS_THROUGH).
    pub traffic_logs: ByService<TrafficLog>,
    /// Health checks.
    pub health_checks: ByService<HealthCheck>,
    /// Circuit breakers.
    pub circuit_breakers: ByService<CircuitBreaker>,
    /// Retries.
    pub retries: ByService<Retry>,
}

/// The policies of one kind for connections from a proxy. Of the destination only the service is known, so destinations that ask
/// for other tags match nothing.
#[derive(Debug)]
pub struct ByService<S> {
    /// For any service.
    any: Option<Candidate<S>>,
    /// For one service.
    one: BTreeMap<String, Candidate<S>>,
}

type Candidate<S> = (Rank, Arc<Decoded<S>>);

impl<S> Default for ByService<S> {
    fn default() -> Self {
        Self { any: None, one: BTreeMap::new() }
    }
}

/// Two are equal when they hold the same policies in memory.
impl<S> PartialEq for ByService<S> {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &Candidate<S>, other: &Candidate<S>| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1);
        let any = match (&self.any, &other.any) {
            (Some(one), Some(other)) => same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let pairs = || self.one.iter().zip(&other.one);
        any && self.one.len() == other.one.len() && pairs().all(|(one, other)| one.0 == other.0 && same(one.1, other.1))
    }
}

impl<S: ConnectionPolicy> ByService<S> {
    /// From policies whose sources select the proxy with these ranks.
    pub(super) fn new<'a>(from_here: impl IntoIterator<Item = (Rank, &'a Arc<Decoded<S>>)>) -> Self
    where
        S: 'a,
    {
        let mut found = Self::default();
        for (source, policy) in from_here {
            for selector in policy.spec.destinations() {
                let tags = &selector.r#match;
                let service = tags.get(SERVICE_TAG);
                if tags.len() > usize::from(service.is_some()) {
                    continue;
                }
                let candidate = (source + Rank::of(tags), policy.clone());
                match service.filter(|service| *service != ANY) {
                    Some(service) => match found.one.get_mut(service) {
                        Some(known) => keep_stronger(known, candidate),
                        None => {
                            found.one.insert(service.clone(), candidate);
                        }
                    },
                    None => match &mut found.any {
                        Some(known) => keep_stronger(known, candidate),
                        None => found.any = Some(candidate),
                    },
                }
            }
        }
        found
    }

    /// The policy for connections to a service.
    pub fn of(&self, service: &str) -> Option<&Arc<Decoded<S>>> {
        let order = |one: &&Candidate<S>, other: &&Candidate<S>| {
            compare((one.0, &one.1.resource), (other.0, &other.1.resource))
        };
        self.one.get(service).into_iter().chain(&self.any).max_by(order).map(|(_, policy)| policy)
    }

    /// True when no policy selects the proxy.
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.one.is_empty()
    }
}

fn keep_stronger<S>(known: &mut Candidate<S>, candidate: Candidate<S>) {
    if compare((candidate.0, &candidate.1.resource), (known.0, &known.1.resource)).is_gt() {
        *known = candidate;
    }
}

/// Two are equal when they hold the same policies in memory.
impl PartialEq for InboundPolicies {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl InboundPolicies {
    fn key(&self) -> InboundKey {
        fn address<S>(policy: &Arc<Decoded<S>>) -> usize {
            Arc::as_ptr(policy).addr()
        }
        InboundKey {
            permission: self.traffic_permission.as_ref().map(address),
            faults: self.fault_injections.iter().map(address).collect(),
            limits: self.rate_limits.iter().map(address).collect(),
        }
    }
}

/// The same policies, with nothing computed yet.
impl Clone for Compiled {
    fn clone(&self) -> Self {
        Self { policies: self.policies.clone(), memo: Mutex::default() }
    }
}

impl Compiled {
    /// The policies.
    pub fn policies(&self) -> &LegacyPolicies {
        &self.policies
    }

    /// The policies, to be changed; forgets what has been computed.
    pub fn policies_mut(&mut self) -> &mut LegacyPolicies {
        *self.memo.get_mut() = Memo::default();
        &mut self.policies
    }

    /// What the policies amount to for a proxy.
    pub fn for_proxy(&self, dataplane: &Dataplane) -> ProxyPolicies {
        ProxyPolicies {
            outbound: self.outbound(dataplane),
            inbounds: dataplane.inbounds().iter().map(|inbound| self.inbound(&inbound.tags)).collect(),
            traffic_trace: best_for_dataplane(&self.policies.traffic_traces, dataplane).cloned(),
            proxy_template: best_for_dataplane(&self.policies.proxy_templates, dataplane).cloned(),
        }
    }

    /// What holds for an inbound with these tags: one of the Dataplane or, with the tags of the mesh's metrics backend, the one at
    /// which metrics are fetched.
    pub fn inbound(&self, tags: &Tags) -> Arc<InboundPolicies> {
        let policies = InboundPolicies {
            traffic_permission: best_for_tags(&self.policies.traffic_permissions, tags).cloned(),
            fault_injections: all_for_tags(&self.policies.fault_injections, tags),
            rate_limits: all_for_tags(&self.policies.rate_limits, tags),
        };
        self.memo.lock().inbounds.entry(policies.key()).or_insert_with(|| Arc::new(policies)).clone()
    }

    fn outbound(&self, dataplane: &Dataplane) -> Arc<OutboundPolicies> {
        fn sources<S: ConnectionPolicy>(policies: &[Arc<Decoded<S>>], dataplane: &Dataplane) -> Vec<(usize, Rank)> {
            let rank = |policy: &Decoded<S>| best_rank(policy.spec.sources(), |tags| dataplane.is_selected_by(tags));
            policies.iter().enumerate().filter_map(|(index, policy)| Some((index, rank(policy)?))).collect()
        }
        fn chosen<S: ConnectionPolicy>(policies: &[Arc<Decoded<S>>], sources: &[(usize, Rank)]) -> ByService<S> {
            ByService::new(sources.iter().map(|(index, rank)| (*rank, &policies[*index])))
        }
        let all = &self.policies;
        let selected: Sources = [
            sources(&all.timeouts, dataplane),
            sources(&all.rate_limits, dataplane),
            sources(&all.traffic_routes, dataplane),
            sources(&all.traffic_logs, dataplane),
            sources(&all.health_checks, dataplane),
            sources(&all.circuit_breakers, dataplane),
            sources(&all.retries, dataplane),
        ];
        let build = |[timeouts, limits, routes, logs, checks, breakers, retries]: &Sources| {
            Arc::new(OutboundPolicies {
                timeouts: chosen(&all.timeouts, timeouts),
                rate_limits: chosen(&all.rate_limits, limits),
                traffic_routes: chosen(&all.traffic_routes, routes),
                traffic_logs: chosen(&all.traffic_logs, logs),
                health_checks: chosen(&all.health_checks, checks),
                circuit_breakers: chosen(&all.circuit_breakers, breakers),
                retries: chosen(&all.retries, retries),
            })
        };
        self.memo.lock().outbounds.entry(selected).or_insert_with_key(build).clone()
    }
}

impl LegacyPolicies {
    /// True when a policy may concern a proxy, looked at alone: when it selects the proxy itself, as the origin of connections, or
    /// one of its inbounds. `additional_inbounds` are those that the mesh adds to every proxy.
    pub fn concerns(&self, key: &ResourceKey, dataplane: &Dataplane, additional_inbounds: &[Inbound]) -> bool {
        let connects = |policy: &dyn ConnectionPolicy| {
            let inbounds = || dataplane.inbounds().iter().chain(additional_inbounds);
            let to = |tags: &Tags| inbounds().any(|inbound| selects(tags, &inbound.tags));
            policy.sources().iter().any(|selector| dataplane.is_selected_by(&selector.r#match))
                || policy.destinations().iter().any(|selector| to(&selector.r#match))
        };
        match key.kind {
            Kind::CircuitBreaker => find(&self.circuit_breakers, key).is_some_and(|policy| connects(policy)),
            Kind::FaultInjection => find(&self.fault_injections, key).is_some_and(|policy| connects(policy)),
            Kind::HealthCheck => find(&self.health_checks, key).is_some_and(|policy| connects(policy)),
            Kind::RateLimit => find(&self.rate_limits, key).is_some_and(|policy| connects(policy)),
            Kind::Retry => find(&self.retries, key).is_some_and(|policy| connects(policy)),
            Kind::Timeout => find(&self.timeouts, key).is_some_and(|policy| connects(policy)),
            Kind::TrafficLog => find(&self.traffic_logs, key).is_some_and(|policy| connects(policy)),
            Kind::TrafficPermission => find(&self.traffic_permissions, key).is_some_and(|policy| connects(policy)),
            Kind::TrafficRoute => find(&self.traffic_routes, key).is_some_and(|policy| connects(policy)),
            Kind::MeshGatewayRoute => {
                find(&self.gateway_routes, key).is_some_and(|policy| selects_dataplane(policy, dataplane))
            }
            Kind::ProxyTemplate => {
                find(&self.proxy_templates, key).is_some_and(|policy| selects_dataplane(policy, dataplane))
            }
            Kind::TrafficTrace => {
                find(&self.traffic_traces, key).is_some_and(|policy| selects_dataplane(policy, dataplane))
            }
            _ => false,
        }
    }
}

impl LegacyPolicies {
    /// True when a TrafficPermission is about connections to an ExternalService with these tags.
    pub fn permits_use_of(&self, key: &ResourceKey, tags: &Tags) -> bool {
        let policy = find(&self.traffic_permissions, key);
        policy.is_some_and(|policy| policy.destinations.iter().any(|selector| selects(&selector.r#match, tags)))
    }
}

fn find<'a, S>(list: &'a [Arc<Decoded<S>>], key: &ResourceKey) -> Option<&'a S> {
    super::policies::position(list, key).ok().map(|known| &list[known].spec)
}
