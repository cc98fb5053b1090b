//! Rules of a proxy in the form in which they take effect, shared between proxies.
//!
//! Most proxies of a mesh are selected by the same policies. What these amount to is computed once per combination of
//! policies, not per proxy: the parts of what [`MeshPolicies::for_proxy`] returns are the same [`Arc`]s for all proxies that
//! the same policies select, so that callers can also share what they derive from them, comparing pointers.

mod by_destination;
mod chosen;
mod egress;
mod inbound;
mod memo;
mod outbound;
mod outside;
mod own;
mod own_tags;
mod settings;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tandem_model::kind::Kind;
use tandem_model::resource::ResourceKey;
use tandem_model::tags::Tags;

use crate::by_address::ByAddress;
use crate::candidates::Candidates;
use crate::destinations::Destinations;
use crate::matching::{Choice, Selection, select};
use crate::policy::Policy;
use crate::subject::Subject;
use chosen::Chosen;
use memo::{Key, Table};

pub use by_destination::ByDestination;
pub use egress::{ByService, EgressPolicies};
pub use inbound::InboundPolicies;
pub use outbound::OutboundPolicies;
pub use outside::OutsidePolicies;
pub use own::OwnPolicies;
pub use own_tags::OwnTags;
pub use settings::PolicySettings;

/// What holds for a proxy.
#[derive(Debug)]
pub struct ProxyPolicies {
    /// For its outgoing traffic.
    pub outbound: Arc<OutboundPolicies>,
    /// For the proxy itself.
    pub own: Arc<OwnPolicies>,
    inbounds: Inbounds,
    /// Policies that have no effect, wholly or in part. All others have theirs.
    pub warnings: Arc<[PolicyWarning]>,
}

/// A policy that has no effect, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWarning {
    /// The policy.
    pub policy: ResourceKey,
    /// What has no effect and why, for a person.
    pub reason: String,
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

#[derive(Debug, Default)]
struct Memo {
    outbounds: Table<(Arc<OutboundPolicies>, Arc<[PolicyWarning]>)>,
    own: Table<Arc<OwnPolicies>>,
    inbounds: Table<Arc<InboundPolicies>>,
}

/// The policies of one mesh at one moment. A copy shares what both have in common, and what was computed: a change of one policy
/// costs what it changes.
#[derive(Debug, Clone)]
pub struct MeshPolicies {
    mesh: String,
    settings: Arc<PolicySettings>,
    /// By kind; in order of precedence.
    policies: HashMap<Kind, Arc<Vec<Arc<Policy>>>>,
    candidates: Candidates,
    destinations: Arc<Destinations>,
    memo: Arc<Mutex<Memo>>,
    egress: OnceLock<Arc<EgressPolicies>>,
}

impl MeshPolicies {
    /// The policies of a mesh that have an effect, and the destinations that they may refer to.
    pub fn new(
        mesh: impl Into<String>,
        policies: impl IntoIterator<Item = Arc<Policy>>,
        destinations: Arc<Destinations>,
    ) -> Self {
        let mut all = Self::empty(mesh, Arc::default());
        all.set_destinations(destinations);
        policies.into_iter().for_each(|policy| all.insert(policy));
        all
    }

    /// A mesh without policies and destinations.
    pub fn empty(mesh: impl Into<String>, settings: Arc<PolicySettings>) -> Self {
        Self {
            mesh: mesh.into(),
            settings,
            policies: HashMap::new(),
            candidates: Candidates::default(),
            destinations: Arc::default(),
            memo: Arc::default(),
            egress: OnceLock::new(),
        }
    }

    /// Adds a policy that is not there yet, unless policies of its kind have no effect.
    pub fn insert(&mut self, policy: Arc<Policy>) {
        if !self.settings.is_enabled(policy.kind()) {
            return;
        }
        self.candidates.insert(&policy);
        self.egress = OnceLock::new();
        let of_kind = Arc::make_mut(self.policies.entry(policy.kind()).or_default());
        let index = of_kind.partition_point(|known| known.cmp_precedence(&policy).is_lt());
        of_kind.insert(index, policy);
    }

    /// Takes out a policy, the very one that was added.
    pub fn remove(&mut self, policy: &Arc<Policy>) {
        if let Some(index) = self.position(policy) {
            self.candidates.remove(policy);
            self.egress = OnceLock::new();
            Arc::make_mut(self.policies.entry(policy.kind()).or_default()).remove(index);
        }
    }

    /// Replaces the destinations that the policies may refer to.
    pub fn set_destinations(&mut self, destinations: Arc<Destinations>) {
        self.destinations = destinations;
        self.egress = OnceLock::new();
    }

    /// Where a policy is among those of its kind; `None` when this very one is not there.
    fn position(&self, policy: &Arc<Policy>) -> Option<usize> {
        let of_kind = self.of_kind(policy.kind());
        let index = of_kind.binary_search_by(|known| known.cmp_precedence(policy)).ok()?;
        Arc::ptr_eq(&of_kind[index], policy).then_some(index)
    }

    /// Settings of the control plane.
    pub fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    /// The destinations that the policies may refer to.
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// The policies of one kind, weakest first.
    pub fn of_kind(&self, kind: Kind) -> &[Arc<Policy>] {
        self.policies.get(&kind).map_or(&[], |policies| policies)
    }

    /// True when some inbound of the mesh, in this zone or another, tells its callers apart by the tags that they tell it.
    pub fn tells_callers_apart(&self) -> bool {
        self.of_kind(Kind::MeshFaultInjection).iter().any(|policy| policy.tells_callers_apart())
    }

    /// What the policies amount to for a proxy. Proxies selected by the same policies in the same way share the parts.
    pub fn for_proxy(&self, subject: &Subject<'_>) -> ProxyPolicies {
        let selected: Vec<Selected<'_>> =
            self.selected(subject).filter(|(policy, _)| has_effect(policy.kind())).collect();
        let key = |kinds: &[Kind], chosen: &dyn Fn(&Choice) -> bool| self.key(&selected, kinds, chosen);
        let is_current = |key: &Key| self.is_current(key);
        let mut memo = self.memo.lock();
        let (outbound, warnings) = memo.outbounds.get_or_build(key(&outbound::KINDS, &|_| true), is_current, |key| {
            let chosen = Chosen::new(self, key);
            let policies = Arc::new(OutboundPolicies::new(&chosen));
            (policies, chosen.warnings.into_inner().into())
        });
        let own = memo.own.get_or_build(key(&own::KINDS, &|_| true), is_current, |key| {
            Arc::new(OwnPolicies::new(&Chosen::new(self, key)))
        });
        let mut inbound = |index: usize| {
            memo.inbounds.get_or_build(key(&inbound::KINDS, &|choice| choice.contains(index)), is_current, |key| {
                Arc::new(InboundPolicies::new(&Chosen::new(self, key)))
            })
        };
        let inbounds = match selected.iter().any(|(_, selection)| matches!(selection.inbounds, Choice::Some(_))) {
            false => Inbounds::Same(inbound(0)),
            true => Inbounds::Each((0..subject.inbounds.len()).map(inbound).collect()),
        };
        ProxyPolicies { outbound, own, inbounds, warnings }
    }

    /// The policies that select something of a proxy, by kind and weakest first. Those that are about a route that does not exist select
    /// nothing.
    fn selected<'a>(&'a self, subject: &Subject<'_>) -> impl Iterator<Item = Selected<'a>> {
        let routes = self.of_kind(Kind::MeshHTTPRoute);
        self.candidates.of(subject).into_iter().filter_map(move |policy| {
            let selection = select(policy, subject, routes).ok().filter(|selection| selection.applies(subject))?;
            Some((policy, selection))
        })
    }

    fn key(&self, selected: &[Selected<'_>], kinds: &[Kind], chosen: &dyn Fn(&Choice) -> bool) -> Key {
        let mut policies: BTreeMap<Kind, Vec<ByAddress<Policy>>> = BTreeMap::new();
        let mut refers = self.destinations.of_kind(Kind::Mesh).is_empty();
        for (policy, selection) in selected {
            if kinds.contains(&policy.kind()) && chosen(&selection.inbounds) {
                refers |= policy.refers_to_destinations;
                policies.entry(policy.kind()).or_default().push(ByAddress((*policy).clone()));
            }
        }
        Key { policies, destinations: refers.then(|| ByAddress(self.destinations.clone())) }
    }

    /// True when nothing of a key has been replaced.
    fn is_current(&self, key: &Key) -> bool {
        let destinations = key.destinations.as_ref();
        destinations.is_none_or(|destinations| Arc::ptr_eq(&destinations.0, &self.destinations))
            && key.policies.values().flatten().all(|policy| self.position(&policy.0).is_some())
    }

    /// What the policies amount to at a ZoneEgress; always the same value.
    pub fn for_egress(&self) -> &Arc<EgressPolicies> {
        self.egress.get_or_init(|| Arc::new(EgressPolicies::new(self)))
    }

    /// What the policies amount to for traffic to an ExternalService with these tags at a ZoneEgress.
    pub fn for_outside(&self, service: &Tags) -> OutsidePolicies {
        OutsidePolicies::new(self, service)
    }
}

/// True for kinds that configure proxies.
fn has_effect(kind: Kind) -> bool {
    [&outbound::KINDS[..], &inbound::KINDS, &own::KINDS].iter().any(|kinds| kinds.contains(&kind))
}

/// True for kinds that ZoneIngresses and ZoneEgresses read.
pub fn concerns_zone_proxies(kind: Kind) -> bool {
    let routes = [Kind::MeshHTTPRoute, Kind::MeshTCPRoute];
    [&routes[..], &egress::KINDS, &outside::KINDS].iter().any(|kinds| kinds.contains(&kind))
}

/// A policy and what of a proxy it selects.
type Selected<'a> = (&'a Arc<Policy>, Selection);
