//! Which policies may select a proxy, found without looking at all of them.
//!
//! Most policies ask for something that few proxies have: a name, a label, a tag. Each is filed under one such condition, and a
//! proxy looks only where something it has is filed. What is found this way still has to be asked ([`select`](crate::matching::select)):
//! it may ask for more.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use rpds::HashTrieMapSync;
use tandem_model::kind::Kind;
use tandem_model::tags::ANY;

use crate::policy::Policy;
use crate::subject::Subject;
use crate::target_ref::{TargetKind, TargetRef};

/// Something that a proxy has and that a policy may ask for, as a digest: two that are the same by accident cost a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Mark(u64);

impl Mark {
    fn of(what: Feature<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[derive(Hash)]
enum Feature<'a> {
    /// Name of the Dataplane.
    Name(&'a str),
    /// Label of the Dataplane.
    Label(&'a str, &'a str),
    /// Tag of an inbound, a gateway or a listener.
    Tag(&'a str, &'a str),
    /// Name of the MeshGateway.
    Gateway(&'a str),
    /// Name of a MeshHTTPRoute that selects it.
    Route(&'a str),
}

/// Everything that a proxy has and that a policy may ask for, except for routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks(Box<[Mark]>);

impl Marks {
    /// Those of a proxy.
    pub fn of(subject: &Subject<'_>) -> Self {
        let labels = subject.labels.iter().map(|(label, value)| Feature::Label(label, value));
        let tags = subject.inbounds.iter().map(|inbound| inbound.tags).chain(subject.gateway_tags);
        let tags = tags.chain(subject.listeners.iter().map(|listener| &listener.tags)).flatten();
        let tags = tags.map(|(tag, value)| Feature::Tag(tag, value));
        let gateway = subject.gateway.map(|gateway| Feature::Gateway(gateway.resource.display_name()));
        let all = labels.chain(tags).chain(gateway).chain([Feature::Name(&subject.kri.name)]);
        // Inbounds share most of their tags.
        let all: BTreeSet<Mark> = all.map(Mark::of).collect();
        Self(all.into_iter().collect())
    }

    /// False when a policy certainly selects nothing of the proxy.
    pub fn may_suit(&self, policy: &Policy) -> bool {
        let has = |mark: &Mark| self.0.binary_search(mark).is_ok();
        match Filing::of(&policy.target) {
            _ if policy.target.kind == TargetKind::MeshHTTPRoute => true,
            Filing::Everyone => true,
            Filing::Those(alternatives) => alternatives.iter().any(|conditions| conditions.iter().all(has)),
        }
    }
}

/// Under what a policy can be filed.
enum Filing {
    /// It may select any proxy.
    Everyone,
    /// A proxy must fulfil all conditions of one of the alternatives. Without alternatives nothing is selected.
    Those(Vec<Vec<Mark>>),
}

impl Filing {
    fn of(target: &TargetRef) -> Self {
        let alternatives = match target.kind {
            TargetKind::Mesh => return Self::Everyone,
            TargetKind::MeshSubset | TargetKind::MeshService | TargetKind::MeshServiceSubset => {
                let tags = target.as_tags().unwrap_or_default();
                let exact = tags.iter().filter(|(_, value)| *value != ANY);
                vec![exact.map(|(tag, value)| Mark::of(Feature::Tag(tag, value))).collect()]
            }
            TargetKind::Dataplane => dataplanes(target),
            TargetKind::MeshGateway => vec![vec![Mark::of(Feature::Gateway(target.name()))]],
            TargetKind::MeshHTTPRoute => vec![vec![Mark::of(Feature::Route(target.name()))]],
            TargetKind::MeshExternalService | TargetKind::MeshMultiZoneService => Vec::new(),
        };
        match alternatives.iter().any(Vec::is_empty) {
            true => Self::Everyone,
            false => Self::Those(alternatives),
        }
    }
}

fn dataplanes(target: &TargetRef) -> Vec<Vec<Mark>> {
    let mut alternatives = Vec::new();
    if !target.name().is_empty() {
        alternatives.push(vec![Mark::of(Feature::Name(target.name()))]);
    }
    if let Some(labels) = &target.labels {
        // An empty value also asks for the absence of the label.
        let present = labels.iter().filter(|(_, value)| !value.is_empty());
        alternatives.push(present.map(|(label, value)| Mark::of(Feature::Label(label, value))).collect());
    } else if target.name().is_empty() && target.namespace().is_empty() {
        alternatives.push(Vec::new());
    }
    alternatives
}

/// By kind, and weakest first.
fn order(one: &Policy, other: &Policy) -> Ordering {
    one.kind().cmp(&other.kind()).then_with(|| one.cmp_precedence(other))
}

/// The policies of a mesh, filed. A copy is cheap: copies share what is the same in them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates {
    /// Those that may select any proxy, in order.
    everyone: Arc<Vec<Arc<Policy>>>,
    /// The others, by one of the conditions of each alternative; in no order.
    filed: HashTrieMapSync<Mark, Arc<[Arc<Policy>]>>,
}

impl Candidates {
    /// Files a policy that is not filed yet.
    pub(crate) fn insert(&mut self, policy: &Arc<Policy>) {
        let Filing::Those(alternatives) = Filing::of(&policy.target) else {
            let index = self.everyone.partition_point(|known| order(known, policy).is_lt());
            Arc::make_mut(&mut self.everyone).insert(index, policy.clone());
            return;
        };
        for conditions in alternatives {
            // Under the condition that fewest others are filed under, so that no proxy finds many that are not for it.
            let Some(mark) = conditions.into_iter().min_by_key(|mark| self.under(*mark).len()) else { continue };
            let more: Arc<[_]> = self.under(mark).iter().chain([policy]).cloned().collect();
            self.filed.insert_mut(mark, more);
        }
    }

    /// Takes out a policy, as it was filed.
    pub(crate) fn remove(&mut self, policy: &Arc<Policy>) {
        let is_other = |known: &&Arc<Policy>| !Arc::ptr_eq(known, policy);
        let Filing::Those(alternatives) = Filing::of(&policy.target) else {
            Arc::make_mut(&mut self.everyone).retain(|known| is_other(&known));
            return;
        };
        for mark in alternatives.into_iter().flatten() {
            let before = self.under(mark);
            let rest: Arc<[_]> = before.iter().filter(is_other).cloned().collect();
            if rest.is_empty() {
                self.filed.remove_mut(&mark);
            } else if rest.len() < before.len() {
                self.filed.insert_mut(mark, rest);
            }
        }
    }

    fn under(&self, mark: Mark) -> &[Arc<Policy>] {
        self.filed.get(&mark).map_or(&[], |policies| policies)
    }

    /// The policies that may select a proxy, each once, by kind and weakest first.
    pub(crate) fn of(&self, subject: &Subject<'_>) -> Vec<&Arc<Policy>> {
        let mut found: Vec<&Arc<Policy>> = Marks::of(subject).0.iter().flat_map(|mark| self.under(*mark)).collect();
        // What is said about a route holds for the proxies that the route is for.
        let is_route = |policy: &&&Arc<Policy>| policy.kind() == Kind::MeshHTTPRoute;
        let routes: BTreeSet<&str> = self
            .everyone
            .iter()
            .chain(found.iter().copied())
            .filter(|policy| is_route(&policy))
            .map(|route| route.resource.display_name())
            .collect();
        found.extend(routes.into_iter().flat_map(|name| self.under(Mark::of(Feature::Route(name)))));
        found.sort_by(|one, other| order(one, other));
        found.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let mut all = Vec::with_capacity(self.everyone.len() + found.len());
        let mut rest = &self.everyone[..];
        for policy in found {
            let (weaker, others) = rest.split_at(rest.partition_point(|known| order(known, policy).is_lt()));
            all.extend(weaker);
            all.push(policy);
            rest = others;
        }
        all.extend(rest);
        all
    }
}
