//! Rules in spite of policies from which none can be made: these are left out, and told.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Rule, RuleError, ToRules, from_rules, to_resource_rules, to_rules};
use crate::destinations::Destinations;
use crate::policy::{Item, Policy};

/// Policies that are left out, with the reasons.
pub type Unusable = Vec<(Arc<Policy>, RuleError)>;

/// As [`to_rules`], without the policies that make it fail. What they say about destinations that are resources stays.
pub fn usable_to_rules(
    policies: &[Arc<Policy>],
    routes: &[Arc<Policy>],
    destinations: &Destinations,
) -> (ToRules, Unusable) {
    let (mut rules, unusable) =
        usable(policies, |policy| &policy.to, |policies| to_rules(policies, routes, destinations));
    if !unusable.is_empty() {
        rules.resource_rules = to_resource_rules(policies, destinations);
    }
    (rules, unusable)
}

/// As [`from_rules`], without the policies that make it fail.
pub fn usable_from_rules(policies: &[Arc<Policy>]) -> (Vec<Rule>, Unusable) {
    usable(policies, |policy| &policy.from, from_rules)
}

/// Leaves out policies that fail by themselves, then, until the rest does not fail, the one with the most different tags; among
/// equals the weakest.
fn usable<R: Default>(
    policies: &[Arc<Policy>],
    items: impl Fn(&Policy) -> &[Item],
    build: impl Fn(&[Arc<Policy>]) -> Result<R, RuleError>,
) -> (R, Unusable) {
    let mut unusable = Unusable::new();
    let mut error = match build(policies) {
        Ok(rules) => return (rules, unusable),
        Err(error) => error,
    };
    let mut rest = Vec::new();
    for policy in policies {
        match build(std::slice::from_ref(policy)) {
            Ok(_) => rest.push(Arc::clone(policy)),
            Err(error) => unusable.push((Arc::clone(policy), error)),
        }
    }
    let tags = |policy: &Policy| -> usize {
        let tags = items(policy).iter().filter_map(|item| item.target.as_tags());
        tags.flatten().collect::<BTreeSet<(String, String)>>().len()
    };
    loop {
        match build(&rest) {
            Ok(rules) => return (rules, unusable),
            Err(other) => error = if unusable.is_empty() { error } else { other },
        }
        // The last one of several maxima is found, so the weakest has to come last.
        let worst = rest.iter().enumerate().rev().max_by_key(|(_, policy)| tags(policy)).map(|(index, _)| index);
        let Some(worst) = worst else { return (R::default(), unusable) };
        unusable.push((rest.remove(worst), error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_model::kind::Kind;

    use super::*;
    use crate::testing::policy;

    fn permission(name: &str, tags: std::ops::Range<usize>) -> Arc<Policy> {
        let from: Vec<Value> = tags
            .map(|key| {
                let target = json!({"kind": "MeshSubset", "tags": {format!("key-{key}"): "x"}});
                json!({"targetRef": target, "default": {"action": "Allow"}})
            })
            .collect();
        Arc::new(policy(Kind::MeshTrafficPermission, name, json!({"from": from})))
    }

    fn names(unusable: &Unusable) -> Vec<&str> {
        unusable.iter().map(|(policy, _)| policy.resource.key.name.as_str()).collect()
    }

    #[test]
    fn a_policy_with_too_many_combinations_takes_no_other_one_down() {
        let (rules, unusable) = usable_from_rules(&[permission("few", 0..2), permission("many", 0..40)]);
        assert_eq!(names(&unusable), ["many"]);
        assert_eq!(unusable[0].1, RuleError::TooManyCombinations);
        assert_eq!(rules.len(), 3);
    }

    #[test]
    fn of_policies_that_fail_together_the_one_with_the_most_tags_goes() {
        let policies = [permission("a", 0..10), permission("b", 10..21), permission("c", 0..1)];
        let (rules, unusable) = usable_from_rules(&policies);
        assert_eq!(names(&unusable), ["b"]);
        assert!(!rules.is_empty());
        let (_, unusable) = usable_from_rules(&[permission("weak", 0..10), permission("strong", 10..20)]);
        assert_eq!(names(&unusable), ["weak"], "among equals the weakest");
    }

    #[test]
    fn a_policy_about_a_route_that_does_not_exist_is_left_out() {
        let to = json!([{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}]);
        let about = |name: &str, target: Value| {
            Arc::new(policy(Kind::MeshTimeout, name, json!({"targetRef": target, "to": to})))
        };
        let policies =
            [about("all", json!({"kind": "Mesh"})), about("none", json!({"kind": "MeshHTTPRoute", "name": "gone"}))];
        let (rules, unusable) = usable_to_rules(&policies, &[], &Destinations::default());
        assert_eq!(names(&unusable), ["none"]);
        assert_eq!(rules.rules.len(), 1);
    }
}
