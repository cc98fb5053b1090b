//! When an Allow is an exception to a Deny, and when it is just another opinion.
//!
//! A Deny holds for its clients whatever else is said about them, unless somebody who may do so says more precisely that some of
//! them are allowed: "nobody, but the user interface". So an Allow is an exception to a Deny if it stands above it in the order of
//! precedence and is about a part of what the Deny is about: of its clients, of the proxies, or of both, and about nothing else. An
//! Allow for the whole mesh is no exception to what the owner of a workload denies, and of two policies that say the opposite about
//! the same the one that denies holds.

use tandem_model::label;
use tandem_model::tags::{ANY, Tags};

use crate::policy::Policy;
use crate::role::Role;
use crate::target_ref::{ProxyType, TargetKind, TargetRef};

/// How much of something one of two is about, as far as the policies themselves tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Of something else, too.
    None,
    /// Of the same.
    All,
    /// Of less.
    Some,
}

impl Part {
    fn of_subset(within: bool, contains: bool) -> Self {
        match (within, contains) {
            (false, _) => Self::None,
            (true, true) => Self::All,
            (true, false) => Self::Some,
        }
    }

    /// How much it is about, being about so much of one thing and so much of another.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, Self::All) => Self::All,
            _ => Self::Some,
        }
    }
}

/// How much of the proxies of `deny` those of `allow` are. Both select the same proxy.
pub(super) fn proxies(allow: &Policy, deny: &Policy) -> Part {
    if names_one(&allow.target) {
        let part = Part::of_subset(true, names_one(&deny.target));
        return part.and(section(&allow.target, &deny.target));
    }
    // What the zone or the namespace of a policy keeps out is not for it to decide, so a narrower scope makes no exception.
    if !is_within_scope(allow, deny) {
        return Part::None;
    }
    all_proxies(&allow.target, &deny.target).and(section(&allow.target, &deny.target))
}

fn names_one(target: &TargetRef) -> bool {
    target.kind == TargetKind::Dataplane && !target.name().is_empty() && target.labels().is_none()
}

fn is_within_scope(allow: &Policy, deny: &Policy) -> bool {
    let namespace = |policy: &Policy| match policy.role {
        Role::Consumer | Role::WorkloadOwner => policy.resource.label(label::K8S_NAMESPACE).map(str::to_owned),
        Role::System | Role::Producer => None,
    };
    let zone = |policy: &Policy| {
        let of_zone = policy.resource.label(label::ORIGIN) == Some(label::ORIGIN_ZONE) && policy.role != Role::Producer;
        policy.resource.label(label::ZONE).filter(|_| of_zone).map(str::to_owned)
    };
    let is_within = |allow: Option<String>, deny: Option<String>| deny.is_none() || allow == deny;
    is_within(namespace(allow), namespace(deny)) && is_within(zone(allow), zone(deny))
}

fn section(allow: &TargetRef, deny: &TargetRef) -> Part {
    let within = deny.section_name().is_empty() || deny.section_name() == allow.section_name();
    Part::of_subset(within, deny.section_name() == allow.section_name())
}

/// By what a reference selects proxies, but for their sections.
#[derive(PartialEq)]
enum Selector<'a> {
    /// All of these types.
    Types(&'a [ProxyType]),
    /// All with these tags.
    Tags(Tags),
    /// All with these labels.
    Labels(&'a Tags),
    /// Something else.
    Other,
}

impl<'a> Selector<'a> {
    fn of(target: &'a TargetRef) -> Self {
        let types = target.proxy_types.as_deref().unwrap_or_default();
        match target.kind {
            TargetKind::Mesh => Self::Types(types),
            TargetKind::MeshSubset | TargetKind::MeshService | TargetKind::MeshServiceSubset => {
                match target.as_tags().unwrap_or_default() {
                    tags if tags.is_empty() => Self::Types(types),
                    tags => Self::Tags(tags),
                }
            }
            TargetKind::Dataplane if target.name().is_empty() => match target.labels() {
                None => Self::Types(&[]),
                Some(labels) => Self::Labels(labels),
            },
            _ => Self::Other,
        }
    }
}

fn all_proxies(allow: &TargetRef, deny: &TargetRef) -> Part {
    let (allow, deny) = (Selector::of(allow), Selector::of(deny));
    let within = match (&allow, &deny) {
        (_, Selector::Types([])) => true,
        (Selector::Types(allow), Selector::Types(deny)) => {
            !allow.is_empty() && allow.iter().all(|kind| deny.contains(kind))
        }
        (Selector::Tags(allow), Selector::Tags(deny)) => {
            deny.iter().all(|(tag, value)| allow.get(tag).is_some_and(|own| value == ANY || own == value))
        }
        (Selector::Labels(allow), Selector::Labels(deny)) => {
            deny.iter().all(|(label, value)| allow.get(label) == Some(value))
        }
        _ => false,
    };
    Part::of_subset(within, allow == deny)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_model::kind::Kind;

    use super::*;
    use crate::testing::{labelled, policy};

    fn for_proxies(target: &Value) -> Policy {
        let from = json!([{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]);
        policy(Kind::MeshTrafficPermission, "p", json!({"targetRef": target, "from": from}))
    }

    #[test]
    fn references_are_compared_by_what_they_ask_for() {
        let mesh = json!({"kind": "Mesh"});
        let all = json!({"kind": "Dataplane"});
        let web = json!({"kind": "Dataplane", "labels": {"app": "web"}});
        let web_v1 = json!({"kind": "Dataplane", "labels": {"app": "web", "version": "v1"}});
        let web_main = json!({"kind": "Dataplane", "labels": {"app": "web"}, "sectionName": "main"});
        let one = json!({"kind": "Dataplane", "name": "dp"});
        let sidecars = json!({"kind": "Mesh", "proxyTypes": ["Sidecar"]});
        let tagged = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}});
        let service = json!({"kind": "MeshService", "name": "web"});
        let subset = json!({"kind": "MeshServiceSubset", "name": "web", "tags": {"version": "v1"}});
        for (allow, deny, expected) in [
            (&mesh, &mesh, Part::All),
            (&all, &mesh, Part::All),
            (&mesh, &all, Part::All),
            (&sidecars, &mesh, Part::Some),
            (&mesh, &sidecars, Part::None),
            (&web, &mesh, Part::Some),
            (&mesh, &web, Part::None),
            (&all, &web, Part::None),
            (&web_v1, &web, Part::Some),
            (&web, &web_v1, Part::None),
            (&web_main, &web, Part::Some),
            (&web, &web_main, Part::None),
            (&web_main, &web_main, Part::All),
            (&one, &web, Part::Some),
            (&one, &one, Part::All),
            (&web, &one, Part::None),
            (&one, &web_main, Part::None),
            (&service, &tagged, Part::All),
            (&subset, &service, Part::Some),
            (&service, &subset, Part::None),
            (&service, &web, Part::None),
            (&service, &mesh, Part::Some),
        ] {
            assert_eq!(proxies(&for_proxies(allow), &for_proxies(deny)), expected, "{allow} {deny}");
        }
    }

    #[test]
    fn zones_and_namespaces_keep_exceptions_to_themselves() {
        let mesh = || for_proxies(&json!({"kind": "Mesh"}));
        let web = || for_proxies(&json!({"kind": "Dataplane", "labels": {"app": "web"}}));
        let of_zone = |policy, zone| labelled(labelled(policy, "kuma.io/origin", "zone"), "kuma.io/zone", zone);
        let owner =
            |policy| labelled(labelled(policy, "kuma.io/policy-role", "workload-owner"), "k8s.kuma.io/namespace", "ns");
        assert_eq!(proxies(&of_zone(mesh(), "east"), &mesh()), Part::All);
        assert_eq!(proxies(&of_zone(web(), "east"), &mesh()), Part::Some);
        assert_eq!(proxies(&web(), &of_zone(mesh(), "east")), Part::None);
        assert_eq!(proxies(&of_zone(web(), "east"), &of_zone(mesh(), "east")), Part::Some);
        assert_eq!(proxies(&web(), &owner(mesh())), Part::None);
        assert_eq!(proxies(&owner(web()), &owner(mesh())), Part::Some);
    }
}
