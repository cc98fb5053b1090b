//! Rules of a proxy in the form in which they take effect, shared between proxies.
//!
//! Most proxies of a mesh are selected by the same policies. What these amount to is computed once per combination of
//! policies, not per proxy: [`MeshPolicies::for_proxy`] returns the same [`Arc`] for all proxies that the same policies
//! select, so that callers can also share what they derive from it, comparing pointers.

mod by_destination;
mod chosen;
mod egress;
mod inbound;
mod outbound;
mod own;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tandem_model::kind::Kind;
use tandem_model::tags::Tags;

use crate::destinations::Destinations;
use crate::egress::selects_service;
use crate::matching::{Choice, Selection, select};
use crate::policy::Policy;
use crate::rules::to_rules;
use crate::subject::Subject;
use crate::target_ref::TargetKind;
use crate::traffic_permission::Permission;
use chosen::{Chosen, Key};

pub use by_destination::ByDestination;
pub use egress::EgressPolicies;
pub use inbound::InboundPolicies;
pub use outbound::OutboundPolicies;
pub use own::OwnPolicies;

/// What holds for a proxy.
#[derive(Debug)]
pub struct ProxyPolicies {
    /// For its outgoing traffic.
    pub outbound: Arc<OutboundPolicies>,
    /// For the proxy itself.
    pub own: Arc<OwnPolicies>,
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
    inbounds: HashMap<Key, Arc<InboundPolicies>>,
    outbounds: HashMap<Key, (Arc<OutboundPolicies>, Vec<String>)>,
    own: HashMap<Key, Arc<OwnPolicies>>,
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
        for kind in Kind::all().filter(|kind| has_effect(*kind)) {
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
        let (outbound, more) =
            memo.outbounds.entry(of_kinds(&selected, &outbound::KINDS, |_| true)).or_insert_with_key(|key| {
                let chosen = Chosen::new(self, key);
                let policies = Arc::new(OutboundPolicies::new(&chosen));
                (policies, chosen.warnings.into_inner())
            });
        warnings.extend(more.iter().cloned());
        let outbound = Arc::clone(outbound);
        let own = memo.own.entry(of_kinds(&selected, &own::KINDS, |_| true));
        let own = Arc::clone(own.or_insert_with_key(|key| Arc::new(OwnPolicies::new(&Chosen::new(self, key)))));
        let mut inbound = |index: usize| {
            let key = of_kinds(&selected, &inbound::KINDS, |choice| choice.contains(index));
            let build = |key: &Key| Arc::new(InboundPolicies::new(&Chosen::new(self, key)));
            Arc::clone(memo.inbounds.entry(key).or_insert_with_key(build))
        };
        let inbounds = match all_alike {
            true => Inbounds::Same(inbound(0)),
            false => Inbounds::Each((0..subject.inbounds.len()).map(inbound).collect()),
        };
        let policies = Arc::new(ProxyPolicies { outbound, own, inbounds, warnings });
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
        EgressPolicies::new(self)
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
}

/// True for kinds that configure proxies.
fn has_effect(kind: Kind) -> bool {
    [&outbound::KINDS[..], &inbound::KINDS, &own::KINDS].iter().any(|kinds| kinds.contains(&kind))
}

fn of_kinds(selected: &[(Kind, usize, Selection)], kinds: &[Kind], chosen: impl Fn(&Choice) -> bool) -> Key {
    let mut key = Key::new();
    for (kind, index, selection) in selected {
        if kinds.contains(kind) && chosen(&selection.inbounds) {
            key.entry(*kind).or_default().push(*index);
        }
    }
    key
}
