//! Rules: what the matched policies of one kind amount to.
//!
//! Three families exist side by side. [`Rule`]s describe clients or destinations by tags, [`ResourceRules`] describe
//! destinations that are resources, and [`InboundRule`]s describe incoming traffic.

mod clique;
mod inbound;
mod legacy;
mod limits;
mod resource;
mod to;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::policy::{Item, Policy};
use crate::subset::Subset;
use crate::target_ref::{TargetKind, TargetRef};

pub use inbound::{InboundRule, inbound_rules, merged_inbound};
pub(crate) use legacy::build as build_by_tags;
pub use legacy::{from_rules, single_item_rules};
pub use limits::{Unusable, usable_from_rules, usable_to_rules};
pub(crate) use resource::fallbacks;
pub use resource::{ResourceRule, ResourceRules, resource_rules, sorted_to_entries};
pub use to::{ToRules, to_resource_rules, to_rules};

/// Tag that stands for one route in [`Rule`]s about routes; its value is the hash of the route's matches.
pub const ROUTE_TAG: &str = "__rule-matches-hash__";

/// Upper limit of groups of overlapping sets, and of combinations of tags within a group. Both can grow exponentially
/// with the number of entries; what people write stays far below.
pub const MAX_COMBINATIONS: usize = 1 << 16;

/// Configuration of the clients or destinations in a set described by tags.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The set.
    pub subset: Subset,
    /// The configuration, merged over all policies concerned.
    pub conf: Value,
    /// The policies concerned, weakest first.
    pub origins: Vec<Arc<Policy>>,
    /// Their entries concerned, weakest first.
    pub entries: Vec<RuleOrigin>,
    /// For routes: hash of matches → the policy that contributed the rule.
    pub origin_by_matches: BTreeMap<String, Arc<Policy>>,
}

/// A policy and the index of one of its entries.
#[derive(Debug, Clone)]
pub struct RuleOrigin {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Index of the entry.
    pub index: usize,
}

/// The first rule whose set has something with these tags.
pub fn first_match<'a>(rules: &'a [Rule], tags: &BTreeMap<&str, &str>) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.subset.contains(tags))
}

/// The rules cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A kind that has no form in tags.
    #[error("can't represent {} as tags", .0.name())]
    NoTags(TargetKind),
    /// The tags can be combined in too many ways; see [`MAX_COMBINATIONS`].
    #[error(
        "the tags of 'from' and 'to' can be combined in more than {MAX_COMBINATIONS} ways: use fewer different tags"
    )]
    TooManyCombinations,
    /// The route that the policy is about does not exist.
    #[error("can't resolve MeshHTTPRoute policy")]
    UnknownRoute,
}

/// An entry of a policy on its way into a rule.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// The set it is about; differs from the item's own for entries made up for routes.
    pub target: TargetRef,
    /// Its configuration.
    pub conf: &'a Value,
    /// Where it comes from.
    pub origin: RuleOrigin,
}

/// The entries of one list of a policy.
pub(crate) fn entries<'a>(policy: &'a Arc<Policy>, items: &'a [Item]) -> impl Iterator<Item = Entry<'a>> {
    items.iter().enumerate().map(|(index, item)| Entry {
        target: item.target.clone(),
        conf: &item.conf,
        origin: RuleOrigin { policy: Arc::clone(policy), index },
    })
}

/// Each origin once, in order of first appearance.
fn distinct_origins<'a>(origins: impl Iterator<Item = &'a RuleOrigin>) -> Vec<RuleOrigin> {
    let mut seen = HashSet::new();
    origins.filter(|origin| seen.insert((origin.index, &origin.policy.resource.key))).cloned().collect()
}

/// Hash of matches → the last entry that contributed a rule with them.
fn origins_by_matches(relevant: &[&Entry<'_>]) -> BTreeMap<String, RuleOrigin> {
    let mut by_matches = BTreeMap::new();
    for entry in relevant.iter().filter(|entry| entry.origin.policy.kind() == tandem_model::Kind::MeshHTTPRoute) {
        for rule in entry.conf["rules"].as_array().into_iter().flatten() {
            by_matches.insert(crate::http_route::hash_of_json(&rule["matches"]), entry.origin.clone());
        }
    }
    by_matches
}
