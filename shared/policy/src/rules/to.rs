//! Rules about outgoing traffic.

use std::sync::Arc;

use serde_json::Value;

use super::{Entry, ROUTE_TAG, ResourceRules, Rule, RuleError, entries, legacy, resource_rules};
use crate::destinations::Destinations;
use crate::http_route::hash_of_json;
use crate::policy::Policy;
use crate::target_ref::{TargetKind, TargetRef};

/// Rules about outgoing traffic, for both kinds of destinations.
#[derive(Debug, Clone, Default)]
pub struct ToRules {
    /// About destinations described by tags.
    pub rules: Vec<Rule>,
    /// About destinations that are resources.
    pub resource_rules: ResourceRules,
}

/// Builds the rules from `to` of policies in order of precedence. `routes` are the MeshHTTPRoutes of the mesh.
///
/// # Errors
/// When a policy is about a route that does not exist.
pub fn to_rules(
    policies: &[Arc<Policy>],
    routes: &[Arc<Policy>],
    destinations: &Destinations,
) -> Result<ToRules, RuleError> {
    Ok(ToRules { rules: rules_by_tags(policies, routes)?, resource_rules: to_resource_rules(policies, destinations) })
}

/// The part of [`to_rules`] that is about destinations that are resources.
pub fn to_resource_rules(policies: &[Arc<Policy>], destinations: &Destinations) -> ResourceRules {
    // Policies about one route reach resources through `to` entries that name the route instead.
    let others: Vec<Arc<Policy>> =
        policies.iter().filter(|policy| policy.target.kind != TargetKind::MeshHTTPRoute).cloned().collect();
    resource_rules(&others, destinations)
}

fn rules_by_tags(policies: &[Arc<Policy>], routes: &[Arc<Policy>]) -> Result<Vec<Rule>, RuleError> {
    let mut all: Vec<Entry<'_>> = Vec::new();
    for policy in policies {
        if policy.to.iter().any(|item| item.target.kind == TargetKind::MeshHTTPRoute) {
            continue; // routes named in `to` exist only for destinations that are resources
        }
        if policy.target.kind == TargetKind::MeshHTTPRoute {
            all.extend(entries_of_route(policy, routes)?);
        } else {
            all.extend(entries(policy, &policy.to));
        }
    }
    legacy::build(&all, false)
}

/// The entries of a policy about a route, once for each rule of the route.
fn entries_of_route<'a>(policy: &'a Arc<Policy>, routes: &[Arc<Policy>]) -> Result<Vec<Entry<'a>>, RuleError> {
    let is_named = |route: &&Arc<Policy>| {
        route.resource.key.mesh == policy.resource.key.mesh && route.resource.display_name() == policy.target.name()
    };
    let route = routes.iter().rfind(is_named).ok_or(RuleError::UnknownRoute)?;
    let mut all = Vec::new();
    for item in &route.to {
        // The configuration of a route holds its rules in reverse.
        for rule in item.conf["rules"].as_array().into_iter().flatten().rev() {
            let target = target_of_rule(&item.target, &rule["matches"]);
            all.extend(entries(policy, &policy.to).map(|entry| Entry { target: target.clone(), ..entry }));
        }
    }
    for (index, entry) in all.iter_mut().enumerate() {
        entry.origin.index = index;
    }
    Ok(all)
}

fn target_of_rule(route: &TargetRef, matches: &Value) -> TargetRef {
    let tags = Some([(ROUTE_TAG.to_owned(), hash_of_json(matches))].into());
    match route.kind {
        TargetKind::Mesh | TargetKind::MeshSubset => {
            TargetRef { kind: TargetKind::MeshSubset, tags, ..TargetRef::default() }
        }
        _ => TargetRef { kind: TargetKind::MeshServiceSubset, name: route.name.clone(), tags, ..TargetRef::default() },
    }
}
