//! Rules about destinations that are resources.
//!
//! Source: Kuma `pkg/plugins/policies/core/rules/outbound`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::kri::Kri;
use tandem_model::resource::Resource;

use super::{Entry, RuleOrigin, distinct_origins, entries, origins_by_matches};
use crate::destinations::{Destinations, Section};
use crate::merge::merge;
use crate::policy::Policy;
use crate::target_ref::{TargetKind, mesh_kri};

/// Configuration of one destination, or of one of its sections.
#[derive(Debug, Clone)]
pub struct ResourceRule {
    /// The destination.
    pub resource: Arc<Resource>,
    /// Its section; empty for all of it.
    pub section: String,
    /// The configuration, merged over everything concerned: one, or for routes one per host name.
    pub confs: Vec<Value>,
    /// The entries concerned, weakest first.
    pub origins: Vec<RuleOrigin>,
    /// For routes: hash of matches → the entry that contributed the rule.
    pub origin_by_matches: BTreeMap<String, RuleOrigin>,
}

/// Rules by destination. Only destinations that some entry names have one of their own; [`ResourceRules::compute`]
/// finds the one that holds for others.
#[derive(Debug, Clone, Default)]
pub struct ResourceRules(pub BTreeMap<Kri, ResourceRule>);

impl ResourceRules {
    /// The rule of exactly this destination or section.
    pub fn get(&self, destination: &Kri) -> Option<&ResourceRule> {
        self.0.get(destination)
    }

    /// The rule that holds for a destination: its own, that of the whole destination, that of the mesh.
    pub fn compute(&self, destination: &Kri) -> Option<&ResourceRule> {
        fallbacks(destination).find_map(|kri| self.0.get(&kri))
    }
}

/// Under which identifiers the rule of a destination is looked up, in order.
pub(crate) fn fallbacks(destination: &Kri) -> impl Iterator<Item = Kri> {
    let falls_back = matches!(
        destination.kind,
        Kind::MeshService | Kind::MeshExternalService | Kind::MeshMultiZoneService | Kind::MeshHTTPRoute
    );
    let whole = (falls_back && !destination.section.is_empty()).then(|| destination.clone().without_section());
    let mesh = falls_back.then(|| mesh_kri(&destination.mesh));
    std::iter::once(destination.clone()).chain(whole).chain(mesh)
}

/// The `to` entries of policies, weakest first.
fn sorted_entries(policies: &[Arc<Policy>]) -> Vec<Entry<'_>> {
    let mut all: Vec<Entry<'_>> = policies.iter().flat_map(|policy| entries(policy, &policy.to)).collect();
    all.sort_by(|a, b| {
        let (one, other) = (&a.origin.policy, &b.origin.policy);
        one.cmp_attributes(other).then_with(|| cmp_destination(a, b)).then_with(|| one.cmp_name(other))
    });
    all
}

/// The `to` entries of policies in the order in which they are merged, weakest first.
pub fn sorted_to_entries(policies: &[Arc<Policy>]) -> Vec<RuleOrigin> {
    sorted_entries(policies).into_iter().map(|entry| entry.origin).collect()
}

fn cmp_destination(one: &Entry<'_>, other: &Entry<'_>) -> Ordering {
    let by_kind = one.target.kind.cmp(&other.target.kind);
    if one.target.kind != TargetKind::MeshService {
        return by_kind;
    }
    by_kind.then_with(|| one.target.section_name().is_empty().cmp(&other.target.section_name().is_empty()).reverse())
}

/// Builds the rules from `to` of policies in order of precedence.
pub fn resource_rules(policies: &[Arc<Policy>], destinations: &Destinations) -> ResourceRules {
    let entries = sorted_entries(policies);
    let resolved: Vec<(&Entry<'_>, Section)> = entries
        .iter()
        .flat_map(|entry| {
            let sections = destinations.resolve(&entry.target, &entry.origin.policy.kri);
            sections.into_iter().map(move |section| (entry, section))
        })
        .collect();
    let by_destination = Positions::new(&resolved);
    let mut seen = BTreeSet::new();
    let mut rules = BTreeMap::new();
    for (_, section) in &resolved {
        let kri = section.kri();
        if !seen.insert(kri.clone()) {
            continue;
        }
        let candidates = by_destination.of(section).into_iter().map(|position| &resolved[position]);
        let relevant: Vec<&Entry<'_>> =
            candidates.filter(|(_, item)| is_relevant(item, section)).map(|(entry, _)| *entry).collect();
        let Some(first) = relevant.first() else { continue };
        let confs: Vec<&Value> = relevant.iter().map(|entry| entry.conf).collect();
        rules.insert(
            kri,
            ResourceRule {
                resource: Arc::clone(&section.destination.resource),
                section: section.name.clone(),
                confs: merge(first.origin.policy.kind(), &confs),
                origins: distinct_origins(relevant.iter().map(|entry| &entry.origin)),
                origin_by_matches: origins_by_matches(&relevant),
            },
        );
    }
    ResourceRules(rules)
}

/// Where things are said about destinations.
struct Positions<'a> {
    of_meshes: Vec<usize>,
    of_others: HashMap<&'a Kri, Vec<usize>>,
}

impl<'a> Positions<'a> {
    fn new(resolved: &'a [(&Entry<'_>, Section)]) -> Self {
        let mut positions = Self { of_meshes: Vec::new(), of_others: HashMap::new() };
        for (position, (_, section)) in resolved.iter().enumerate() {
            let kri = &section.destination.kri;
            match kri.kind {
                Kind::Mesh => positions.of_meshes.push(position),
                _ => positions.of_others.entry(kri).or_default().push(position),
            }
        }
        positions
    }

    /// Where something may be said about a section, ascending.
    fn of(&self, section: &Section) -> Vec<usize> {
        let own = self.of_others.get(&section.destination.kri).into_iter().flatten();
        let mut positions: Vec<usize> = self.of_meshes.iter().chain(own).copied().collect();
        positions.sort_unstable();
        positions
    }
}

/// True when what is said about `item` holds for `other`, too.
fn is_relevant(item: &Section, other: &Section) -> bool {
    let (own, others) = (&item.destination.kri, &other.destination.kri);
    match own.kind {
        Kind::Mesh => own.name == if others.kind == Kind::Mesh { &others.name } else { &others.mesh }.as_str(),
        Kind::MeshService | Kind::MeshMultiZoneService => {
            own == others && (item.name == other.name || item.name.is_empty())
        }
        Kind::MeshExternalService | Kind::MeshHTTPRoute => own == others,
        _ => false,
    }
}
