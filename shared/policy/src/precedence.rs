//! Which of two policies is stronger, and by what.

use std::cmp::Ordering;

use crate::policy::Policy;
use crate::target_ref::{TargetKind, TargetRef};

/// Something by which policies are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// Kind of the proxies selected.
    TargetKind,
    /// Whether one Dataplane is selected by name.
    TargetName,
    /// Whether one inbound of Dataplanes is selected.
    TargetSection,
    /// Where it was written.
    Origin,
    /// How many tags of a listener of a gateway are asked for.
    ListenerTags,
    /// Its role.
    Role,
    /// The name that people gave it: the one that sorts first is stronger.
    DisplayName,
    /// The name under which it is stored.
    StoredName,
}

/// What decides between entries of policies, but for the destinations that the entries are about and names.
///
/// Source: Kuma `pkg/plugins/policies/core/rules/sort`.
const ATTRIBUTES: [Criterion; 5] =
    [Criterion::TargetKind, Criterion::TargetName, Criterion::TargetSection, Criterion::Origin, Criterion::Role];

/// What decides between policies. Source: Kuma `pkg/plugins/policies/core/matchers/dataplane.go`, `SortByTargetRef`, which leaves
/// policies that tie where it finds them; here the stored name decides, so that the order is total.
const PRECEDENCE: [Criterion; 8] = [
    Criterion::TargetKind,
    Criterion::TargetName,
    Criterion::TargetSection,
    Criterion::Origin,
    Criterion::ListenerTags,
    Criterion::Role,
    Criterion::DisplayName,
    Criterion::StoredName,
];

impl Policy {
    /// Precedence among the policies of one kind: later is stronger.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        self.cmp_by_first(other, &PRECEDENCE)
    }

    /// The criterion by which this policy is weaker than `other`; `None` when it is not.
    pub fn weaker_by(&self, other: &Self) -> Option<Criterion> {
        let mut decisive = PRECEDENCE.into_iter().map(|criterion| (criterion, self.cmp_by(other, criterion)));
        decisive.find(|(_, order)| order.is_ne()).filter(|(_, order)| order.is_lt()).map(|(criterion, _)| criterion)
    }

    /// Later is stronger; equal display names tie.
    pub(crate) fn cmp_attributes(&self, other: &Self) -> Ordering {
        self.cmp_by_first(other, &ATTRIBUTES)
    }

    /// Of two policies equal in everything else, the one whose name sorts first is stronger.
    pub(crate) fn cmp_name(&self, other: &Self) -> Ordering {
        self.cmp_by(other, Criterion::DisplayName)
    }

    fn cmp_by_first(&self, other: &Self, criteria: &[Criterion]) -> Ordering {
        let orders = criteria.iter().map(|criterion| self.cmp_by(other, *criterion));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// How narrowly Dataplanes are selected: by name before anything else, then by section.
    ///
    /// Kuma lets names win over labels only, and decides names against neither by section. That is no order (a name beats labels,
    /// which may beat a reference to all by their policy's name, which may beat the name again), so a name wins over both here.
    fn cmp_by(&self, other: &Self, criterion: Criterion) -> Ordering {
        let (one, two) = (&self.target, &other.target);
        let are_dataplanes = one.kind == TargetKind::Dataplane && two.kind == TargetKind::Dataplane;
        let dataplanes = |narrow: fn(&TargetRef) -> bool| match are_dataplanes {
            true => narrow(one).cmp(&narrow(two)),
            false => Ordering::Equal,
        };
        match criterion {
            Criterion::TargetKind => one.kind.cmp(&two.kind),
            Criterion::TargetName => dataplanes(|target| !target.name().is_empty()),
            Criterion::TargetSection => dataplanes(|target| !target.section_name().is_empty()),
            Criterion::Origin => self.origin.cmp(&other.origin),
            Criterion::ListenerTags => listener_tags(one).cmp(&listener_tags(two)),
            Criterion::Role => self.role.cmp(&other.role),
            Criterion::DisplayName => other.resource.display_name().cmp(self.resource.display_name()),
            Criterion::StoredName => self.resource.key.name.cmp(&other.resource.key.name),
        }
    }
}

fn listener_tags(target: &TargetRef) -> usize {
    match target.kind {
        TargetKind::MeshGateway => target.tags.as_ref().map_or(0, |tags| tags.len()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_model::kind::Kind;

    use super::*;
    use crate::testing::{labelled, policy};

    fn named(name: &str, spec: Value) -> Policy {
        policy(Kind::MeshTimeout, name, spec)
    }

    fn dataplane(extra: Value) -> Value {
        let mut target = json!({"kind": "Dataplane"});
        for (key, value) in extra.as_object().into_iter().flatten() {
            target[key] = value.clone();
        }
        json!({"targetRef": target})
    }

    #[test]
    fn precedence() {
        let weakest_first = [
            (labelled(named("b", json!({})), "kuma.io/origin", "global"), Criterion::Origin),
            (named("b", json!({})), Criterion::DisplayName),
            (named("a", json!({})), Criterion::Origin),
            (labelled(named("b", json!({})), "kuma.io/origin", "zone"), Criterion::Role),
            (
                labelled(labelled(named("z", json!({})), "kuma.io/origin", "zone"), "kuma.io/policy-role", "producer"),
                Criterion::TargetKind,
            ),
            (named("a", dataplane(json!({"labels": {"a": "b"}}))), Criterion::TargetSection),
            (named("a", dataplane(json!({"labels": {"a": "b"}, "sectionName": "x"}))), Criterion::TargetName),
            (named("z", dataplane(json!({"name": "dp"}))), Criterion::TargetKind),
            (named("z", json!({"targetRef": {"kind": "MeshService", "name": "s"}})), Criterion::TargetKind),
        ];
        for pair in weakest_first.windows(2) {
            let ((weaker, by), (stronger, _)) = (&pair[0], &pair[1]);
            assert_eq!(weaker.cmp_precedence(stronger), Ordering::Less, "{} {:?}", weaker.kri, weaker.target);
            assert_eq!(weaker.weaker_by(stronger), Some(*by), "{} {:?}", weaker.kri, weaker.target);
            assert_eq!(stronger.weaker_by(weaker), None);
        }
    }

    #[test]
    fn policies_that_tie_keep_their_stored_order() {
        let same_name = |stored: &str| labelled(named(stored, json!({})), "kuma.io/display-name", "p");
        assert_eq!(same_name("p").weaker_by(&same_name("p-of-a-zone")), Some(Criterion::StoredName));
    }

    #[test]
    fn precedence_is_a_total_order() {
        let selections = [json!({}), json!({"labels": {"a": "b"}}), json!({"name": "dp"})];
        let sections = [json!({}), json!({"sectionName": "x"})];
        let mut policies = Vec::new();
        for (selection, section, name) in combinations(&selections, &sections, &["a", "m", "z"]) {
            let mut extra = selection.clone();
            extra.as_object_mut().expect("an object").extend(section.as_object().cloned().unwrap_or_default());
            policies.push(named(name, dataplane(extra)));
        }
        for (a, b, c) in combinations(&policies, &policies, &policies) {
            assert_eq!(a.cmp_precedence(b), b.cmp_precedence(a).reverse());
            if a.cmp_precedence(b).is_le() && b.cmp_precedence(c).is_le() {
                let order = a.cmp_precedence(c);
                assert!(order.is_le(), "{:?} {:?} {:?}", a.target, b.target, c.target);
            }
        }
    }

    /// All combinations of one element of each.
    fn combinations<'a, A, B, C>(a: &'a [A], b: &'a [B], c: &'a [C]) -> Vec<(&'a A, &'a B, &'a C)> {
        let pairs = || a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
        pairs().flat_map(|(a, b)| c.iter().map(move |c| (a, b, c))).collect()
    }
}
