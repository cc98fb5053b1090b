//! Rules of a proxy in the form in which they take effect, shared between proxies.
//!
//! Most proxies of a mesh are selected by the same policies. What these amount to is computed once per combination of
//! policies, not per proxy: [`MeshPolicies::for_proxy`] returns the same [`Arc`] for all proxies that the same policies
//! select, so that callers can also share what they derive from it, comparing pointers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::kri::Kri;
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::Tags;

use crate::circuit_breaker::{self, Breakers};
use crate::destinations::Destinations;
use crate::egress::selects_service;
use crate::matching::{Choice, Selection, select};
use crate::policy::Policy;
use crate::retry::{self, Retries};
use crate::rules::{ROUTE_TAG, ToRules, fallbacks, inbound_rules, merged_inbound, resource_rules, to_rules};
use crate::subject::Subject;
use crate::subset::Subset;
use crate::target_ref::TargetKind;
use crate::timeout;
use crate::tls;
use crate::traffic_permission::Permission;

/// Configuration by destination, decoded and translated.
#[derive(Debug, Clone, PartialEq)]
pub struct ByDestination<C> {
    by_tags: Vec<(Subset, C)>,
    by_kri: BTreeMap<Kri, C>,
}

impl<C> Default for ByDestination<C> {
    fn default() -> Self {
        Self { by_tags: Vec::new(), by_kri: BTreeMap::new() }
    }
}

impl<C> ByDestination<C> {
    fn new<S: DeserializeOwned>(rules: &ToRules, translate: impl Fn(S) -> C) -> Self {
        // Confs are merges of what the schema encoded, so they decode.
        let conf = |conf: &Value| serde_json::from_value(conf.clone()).ok().map(&translate);
        let by_tags = rules.rules.iter().filter_map(|rule| Some((rule.subset.clone(), conf(&rule.conf)?)));
        let by_kri =
            rules.resource_rules.0.iter().filter_map(|(kri, rule)| Some((kri.clone(), conf(rule.confs.first()?)?)));
        Self { by_tags: by_tags.collect(), by_kri: by_kri.collect() }
    }

    fn of_tags(&self, tags: &BTreeMap<&str, &str>) -> Option<&C> {
        self.by_tags.iter().find(|(subset, _)| subset.contains(tags)).map(|(_, conf)| conf)
    }

    /// What holds for a destination by tags.
    pub fn of_service(&self, service: &str) -> Option<&C> {
        self.of_tags(&[(SERVICE_TAG, service)].into())
    }

    /// What holds for one route, named by the hash of its matches, to a destination by tags.
    pub fn of_route(&self, service: &str, hash: &str) -> Option<&C> {
        self.of_tags(&[(SERVICE_TAG, service), (ROUTE_TAG, hash)].into())
    }

    /// What holds for a destination that is a resource, or for a route to one: its own, else that of the whole
    /// resource, else that of the mesh.
    pub fn of_resource(&self, kri: &Kri) -> Option<&C> {
        fallbacks(kri).find_map(|kri| self.by_kri.get(&kri))
    }

    /// What holds for one route, a resource itself, to a destination that is a resource: what is said about the route,
    /// else what holds for the destination.
    pub fn of_resource_route(&self, route: &Kri, destination: &Kri) -> Option<&C> {
        self.by_kri
            .get(route)
            .or_else(|| self.by_kri.get(&route.clone().without_section()))
            .or_else(|| self.of_resource(destination))
    }
}

/// What holds for outgoing traffic of a proxy.
#[derive(Debug, Default, PartialEq)]
pub struct OutboundPolicies {
    /// MeshTimeout.
    pub timeouts: ByDestination<timeout::Conf>,
    /// MeshRetry.
    pub retries: ByDestination<Retries>,
    /// MeshCircuitBreaker.
    pub breakers: ByDestination<Breakers>,
    /// MeshTLS: versions and ciphers of connections to proxies of the mesh.
    pub tls: tls::Conf,
}

/// What holds for incoming traffic of an inbound.
#[derive(Debug, PartialEq)]
pub struct InboundPolicies {
    /// MeshTrafficPermission; `None` when no policy selects the inbound.
    pub permission: Option<Permission>,
    /// MeshTimeout.
    pub timeouts: timeout::Conf,
    /// MeshCircuitBreaker.
    pub breakers: Breakers,
    /// MeshTLS; `None` when no policy selects the inbound.
    pub tls: Option<tls::Conf>,
}

/// What holds for a proxy.
#[derive(Debug)]
pub struct ProxyPolicies {
    /// For its outgoing traffic.
    pub outbound: Arc<OutboundPolicies>,
    inbounds: Inbounds,
    /// What went wrong, for a person.
    pub warnings: Vec<String>,
}

#[derive(Debug)]
enum Inbounds {
    /// The same for all, however many there are.
    Same(Arc<InboundPolicies>),
    /// By index.
    Each(Vec<Arc<InboundPolicies>>),
}

impl ProxyPolicies {
    /// What holds for the incoming traffic of the inbound at `index` of the Dataplane.
    ///
    /// # Panics
    /// When the proxy that the policies were computed for has no inbound at `index`.
    pub fn inbound(&self, index: usize) -> &Arc<InboundPolicies> {
        match &self.inbounds {
            Inbounds::Same(policies) => policies,
            Inbounds::Each(policies) => &policies[index],
        }
    }
}

/// What holds for traffic of a mesh at a ZoneEgress.
#[derive(Debug, Default)]
pub struct EgressPolicies {
    /// MeshCircuitBreaker, for destinations that are resources.
    pub breakers: ByDestination<Breakers>,
}

/// Identifies policies of one kind within [`MeshPolicies`]: indexes in order of precedence.
type PolicyList = Vec<usize>;

/// Policies that select an inbound, by kind in the order of [`INBOUND_KINDS`].
type InboundKey = [PolicyList; INBOUND_KINDS.len()];
/// Policies that select a proxy, by kind in the order of [`OUTBOUND_KINDS`].
type OutboundKey = [PolicyList; OUTBOUND_KINDS.len()];

const INBOUND_KINDS: [Kind; 4] =
    [Kind::MeshTrafficPermission, Kind::MeshTimeout, Kind::MeshCircuitBreaker, Kind::MeshTLS];
const OUTBOUND_KINDS: [Kind; 4] = [Kind::MeshTimeout, Kind::MeshRetry, Kind::MeshCircuitBreaker, Kind::MeshTLS];

/// What of a proxy is selected by which policies: the same for proxies that share their policies.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signature {
    selected: Vec<(Kind, usize, Choice)>,
    /// How many inbounds there are, where they differ in what selects them.
    inbounds: Option<usize>,
}

#[derive(Debug, Default)]
struct Memo {
    proxies: HashMap<Signature, Arc<ProxyPolicies>>,
    inbounds: HashMap<InboundKey, Arc<InboundPolicies>>,
    outbounds: HashMap<OutboundKey, (Arc<OutboundPolicies>, Vec<String>)>,
}

/// The policies of one mesh at one moment, and what has been computed from them so far.
#[derive(Debug)]
pub struct MeshPolicies {
    mesh: String,
    /// By kind; in order of precedence.
    policies: HashMap<Kind, Vec<Arc<Policy>>>,
    destinations: Arc<Destinations>,
    memo: Mutex<Memo>,
}

impl MeshPolicies {
    /// The policies of a mesh that have an effect, and the destinations that they may refer to.
    pub fn new(
        mesh: impl Into<String>,
        policies: impl IntoIterator<Item = Arc<Policy>>,
        destinations: Arc<Destinations>,
    ) -> Self {
        let mut by_kind: HashMap<Kind, Vec<Arc<Policy>>> = HashMap::new();
        for policy in policies {
            by_kind.entry(policy.kind()).or_default().push(policy);
        }
        for policies in by_kind.values_mut() {
            policies.sort_by(|a, b| a.cmp_precedence(b));
        }
        Self { mesh: mesh.into(), policies: by_kind, destinations, memo: Mutex::default() }
    }

    /// The destinations that the policies may refer to.
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// The policies of one kind, weakest first.
    pub fn of_kind(&self, kind: Kind) -> &[Arc<Policy>] {
        self.policies.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// True when some policy refers to destinations other than the mesh, so that a change of destinations can change
    /// what the policies amount to.
    pub fn refers_to_destinations(&self) -> bool {
        let items = self.policies.values().flatten().flat_map(|policy| &policy.to);
        items.map(|item| item.target.kind).any(|kind| kind != TargetKind::Mesh && kind.resource_kind().is_some())
    }

    /// What the policies amount to for a proxy. Proxies selected by the same policies in the same way share the result.
    pub fn for_proxy(&self, subject: &Subject<'_>) -> Arc<ProxyPolicies> {
        let mut warnings = Vec::new();
        let mut selected: Vec<(Kind, usize, Selection)> = Vec::new();
        for kind in
            [Kind::MeshTrafficPermission, Kind::MeshTimeout, Kind::MeshCircuitBreaker, Kind::MeshRetry, Kind::MeshTLS]
        {
            for (index, policy) in self.of_kind(kind).iter().enumerate() {
                match select(policy, subject, self.of_kind(Kind::MeshHTTPRoute)) {
                    Ok(selection) if selection.applies(subject) => selected.push((kind, index, selection)),
                    Ok(_) => {}
                    Err(error) => warnings.push(format!("{}: {error}", policy.resource.key)),
                }
            }
        }
        let all_alike = selected.iter().all(|(_, _, selection)| !matches!(selection.inbounds, Choice::Some(_)));
        let signature = Signature {
            selected: selected
                .iter()
                .map(|(kind, index, selection)| (*kind, *index, selection.inbounds.clone()))
                .collect(),
            inbounds: (!all_alike).then_some(subject.inbounds.len()),
        };
        let mut memo = self.memo.lock();
        if let Some(known) = memo.proxies.get(&signature) {
            return Arc::clone(known);
        }
        let outbound_key = OUTBOUND_KINDS.map(|kind| of_kind(&selected, kind, |_| true));
        let (outbound, more) = memo.outbounds.entry(outbound_key).or_insert_with_key(|key| self.outbound(key));
        warnings.extend(more.iter().cloned());
        let outbound = Arc::clone(outbound);
        let mut inbound = |index: usize| {
            let key = INBOUND_KINDS.map(|kind| of_kind(&selected, kind, |choice| choice.contains(index)));
            Arc::clone(memo.inbounds.entry(key).or_insert_with_key(|key| Arc::new(self.inbound(key))))
        };
        let inbounds = match all_alike {
            true => Inbounds::Same(inbound(0)),
            false => Inbounds::Each((0..subject.inbounds.len()).map(inbound).collect()),
        };
        let policies = Arc::new(ProxyPolicies { outbound, inbounds, warnings });
        memo.proxies.insert(signature, Arc::clone(&policies));
        policies
    }

    /// True when a policy of a kind about routes says something about destinations by tags of a proxy.
    pub fn routes_by_tags(&self, kind: Kind, subject: &Subject<'_>) -> bool {
        let routes = self.of_kind(Kind::MeshHTTPRoute);
        let selects = |policy: &&Arc<Policy>| select(policy, subject, routes).is_ok_and(|found| found.applies(subject));
        let selected: Vec<Arc<Policy>> = self.of_kind(kind).iter().filter(selects).cloned().collect();
        !selected.is_empty()
            && to_rules(&selected, routes, &self.destinations).is_ok_and(|rules| !rules.rules.is_empty())
    }

    /// What the policies amount to at a ZoneEgress, for destinations that are resources.
    pub fn for_egress(&self) -> EgressPolicies {
        let resource_rules = resource_rules(self.of_kind(Kind::MeshCircuitBreaker), &self.destinations);
        let rules = ToRules { rules: Vec::new(), resource_rules };
        EgressPolicies { breakers: ByDestination::new(&rules, |conf: circuit_breaker::Conf| Breakers::new(&conf)) }
    }

    /// Who may use an ExternalService with these tags through a ZoneEgress; `None` when there are no MeshTrafficPermissions
    /// in the mesh.
    pub fn egress_permission(&self, service: &Tags) -> Option<Permission> {
        let all = self.of_kind(Kind::MeshTrafficPermission);
        if all.is_empty() {
            return None;
        }
        let selected: Vec<Arc<Policy>> =
            all.iter().filter(|policy| selects_service(&policy.target, service)).cloned().collect();
        Some(Permission::by_tags(&selected, &self.mesh))
    }

    fn chosen(&self, kind: Kind, indexes: &[usize]) -> Vec<Arc<Policy>> {
        let policies = self.of_kind(kind);
        indexes.iter().map(|index| Arc::clone(&policies[*index])).collect()
    }

    fn inbound(&self, [permissions, timeouts, breakers, tls]: &InboundKey) -> InboundPolicies {
        let permissions = self.chosen(Kind::MeshTrafficPermission, permissions);
        let merged = |kind, indexes: &[usize]| merged_inbound(&inbound_rules(&self.chosen(kind, indexes)));
        let breakers: circuit_breaker::Conf =
            serde_json::from_value(merged(Kind::MeshCircuitBreaker, breakers)).unwrap_or_default();
        InboundPolicies {
            permission: (!permissions.is_empty()).then(|| Permission::new(&permissions, &self.mesh)),
            timeouts: serde_json::from_value(merged(Kind::MeshTimeout, timeouts)).unwrap_or_default(),
            breakers: Breakers::new(&breakers),
            tls: (!tls.is_empty()).then(|| serde_json::from_value(merged(Kind::MeshTLS, tls)).unwrap_or_default()),
        }
    }

    fn outbound(&self, [timeouts, retries, breakers, tls]: &OutboundKey) -> (Arc<OutboundPolicies>, Vec<String>) {
        let mut warnings = Vec::new();
        let mut rules = |kind, indexes: &[usize]| {
            let routes = self.of_kind(Kind::MeshHTTPRoute);
            to_rules(&self.chosen(kind, indexes), routes, &self.destinations).unwrap_or_else(|error| {
                warnings.push(format!("couldn't create To rules: {error}"));
                ToRules::default()
            })
        };
        let policies = OutboundPolicies {
            timeouts: ByDestination::new(&rules(Kind::MeshTimeout, timeouts), |conf: timeout::Conf| conf),
            retries: ByDestination::new(&rules(Kind::MeshRetry, retries), |conf: retry::Conf| Retries::new(&conf)),
            breakers: ByDestination::new(&rules(Kind::MeshCircuitBreaker, breakers), |conf: circuit_breaker::Conf| {
                Breakers::new(&conf)
            }),
            // Versions and ciphers can only be set for the whole mesh, so they are the same for all inbounds.
            tls: serde_json::from_value(merged_inbound(&inbound_rules(&self.chosen(Kind::MeshTLS, tls))))
                .unwrap_or_default(),
        };
        (Arc::new(policies), warnings)
    }
}

fn of_kind(selected: &[(Kind, usize, Selection)], kind: Kind, chosen: impl Fn(&Choice) -> bool) -> PolicyList {
    let of_kind = selected.iter().filter(|(own, _, selection)| *own == kind && chosen(&selection.inbounds));
    of_kind.map(|(_, index, _)| *index).collect()
}
