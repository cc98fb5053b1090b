//! Reasons, for a person.

use std::sync::Arc;

use tandem_model::label;
use tandem_model::tags::Tags;

use super::answer::{PolicyName, Reason};
use crate::matching::{Mismatch, SelectError, examine, route_of};
use crate::policy::Policy;
use crate::precedence::Criterion;
use crate::role::{PolicyOrigin, Role};
use crate::subject::{Subject, SubjectKind};
use crate::target_ref::TargetKind;

/// Most inbounds of which a text tells what they lack.
const MOST_INBOUNDS: usize = 5;

/// A policy as explanations name it.
pub(super) fn name(policy: &Policy) -> PolicyName {
    let (stored, shown) = (&policy.resource.key.name, policy.resource.display_name());
    PolicyName {
        name: stored.clone(),
        display_name: (shown != stored).then(|| shown.to_owned()),
        kri: policy.kri.to_string(),
        target_ref: policy.target.clone(),
        origin: origin(policy.origin).to_owned(),
        role: role(policy.role).to_owned(),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Producer => "producer",
        Role::Consumer => "consumer",
        Role::WorkloadOwner => "workload-owner",
    }
}

fn origin(origin: PolicyOrigin) -> &'static str {
    match origin {
        PolicyOrigin::Global => "global",
        PolicyOrigin::Unknown => "unknown",
        PolicyOrigin::Zone => "zone",
    }
}

/// Why `stronger` comes after `weaker`.
pub(super) fn stronger_by(weaker: &Policy, stronger: &Policy) -> Option<String> {
    Some(match weaker.weaker_by(stronger)? {
        Criterion::TargetKind => {
            format!("targetRef {} is narrower than {}", stronger.target.kind.name(), weaker.target.kind.name())
        }
        Criterion::TargetName => "targetRef names one Dataplane".to_owned(),
        Criterion::TargetSection => format!("targetRef names the section {:?}", stronger.target.section_name()),
        Criterion::Origin => {
            format!("origin {} is stronger than {}", origin(stronger.origin), origin(weaker.origin))
        }
        Criterion::ListenerTags => "targetRef asks for more tags of the listener".to_owned(),
        Criterion::Role => format!("role {} is stronger than {}", role(stronger.role), role(weaker.role)),
        Criterion::DisplayName => {
            let name = |policy: &Policy| policy.resource.display_name().to_owned();
            format!("all else being equal, the name {:?} sorts before {:?}", name(stronger), name(weaker))
        }
        Criterion::StoredName => {
            let name = |policy: &Policy| policy.resource.key.name.clone();
            format!("all else being equal, {:?} is stored after {:?}", name(stronger), name(weaker))
        }
    })
}

/// Why a policy selects nothing of a proxy; `None` when it selects something.
pub(super) fn left_out(policy: &Policy, subject: &Subject<'_>, routes: &[Arc<Policy>]) -> Option<(Reason, String)> {
    match examine(policy, subject, routes) {
        Ok(Ok(_)) => None,
        Ok(Err(mismatch)) => Some(explained(mismatch, policy, subject, routes)),
        Err(error) => {
            let reason = match error {
                SelectError::UnknownRoute(_) => Reason::RouteMissing,
                SelectError::Unsupported(_) => Reason::Unsupported,
            };
            Some((reason, error.to_string()))
        }
    }
}

fn explained(mismatch: Mismatch, policy: &Policy, subject: &Subject<'_>, routes: &[Arc<Policy>]) -> (Reason, String) {
    let about_proxy = !matches!(mismatch, Mismatch::Zone | Mismatch::Namespace);
    if about_proxy
        && policy.target.kind == TargetKind::MeshHTTPRoute
        && let Some(route) = route_of(policy, routes)
        && let Some((reason, text)) = left_out(route, subject, routes)
    {
        return (reason, format!("the MeshHTTPRoute {:?} that it is about: {text}", policy.target.name()));
    }
    let own = |label: &str| subject.labels.get(label).map_or("", String::as_str);
    let of_policy = |label| policy.resource.label(label).unwrap_or_default();
    let target = &policy.target;
    match mismatch {
        Mismatch::Zone => {
            let text = format!("it is of zone {:?}, the proxy of {:?}", of_policy(label::ZONE), own(label::ZONE));
            (Reason::Zone, text)
        }
        Mismatch::Namespace => {
            let text = format!(
                "as {} policy it stays in its namespace {:?}; the proxy is in {:?}",
                role(policy.role),
                of_policy(label::K8S_NAMESPACE),
                own(label::K8S_NAMESPACE)
            );
            (Reason::Namespace, text)
        }
        Mismatch::ProxyType => {
            let types: Vec<String> =
                target.proxy_types.iter().flatten().map(|proxy_type| format!("{proxy_type:?}")).collect();
            let kind = match subject.kind {
                SubjectKind::Sidecar => "Sidecar",
                SubjectKind::DelegatedGateway | SubjectKind::BuiltinGateway => "Gateway",
            };
            (Reason::ProxyType, format!("targetRef.proxyTypes is [{}], the proxy is a {kind}", types.join(", ")))
        }
        Mismatch::Tags => (Reason::Tags, tags(policy, subject)),
        Mismatch::Name => {
            let wanted = target.kri(&policy.kri).map(|kri| kri.to_string()).unwrap_or_default();
            let text =
                format!("targetRef names the Dataplane {:?} ({wanted}), the proxy is {}", target.name(), subject.kri);
            (Reason::Name, text)
        }
        Mismatch::Labels => {
            let wanted = target.labels.iter().flatten();
            let differing = wanted.filter_map(|(label, value)| match subject.labels.get(label) {
                Some(own) if own != value => Some(format!("the proxy has {label}={own}, targetRef asks for {value}")),
                None if !value.is_empty() => Some(format!("the proxy lacks the label {label}={value}")),
                _ => None,
            });
            (Reason::Labels, differing.collect::<Vec<_>>().join("; "))
        }
        Mismatch::Section => {
            let sections: Vec<&str> = subject.inbounds.iter().map(|inbound| inbound.section.as_str()).collect();
            let text =
                format!("the proxy has no inbound {:?}, it has [{}]", target.section_name(), sections.join(", "));
            (Reason::Section, text)
        }
        Mismatch::BuiltinGateway => (
            Reason::BuiltinGateway,
            "the proxy is a builtin gateway, which targetRef Dataplane does not select".to_owned(),
        ),
        Mismatch::Gateway => {
            let text = match subject.gateway {
                Some(gateway) => format!(
                    "targetRef names the MeshGateway {:?}, the proxy is one of {:?}",
                    target.name(),
                    gateway.resource.display_name()
                ),
                None => "targetRef selects a MeshGateway, and the proxy is no builtin gateway".to_owned(),
            };
            (Reason::Gateway, text)
        }
        Mismatch::Empty => (Reason::Empty, "the proxy has neither inbounds nor a gateway".to_owned()),
    }
}

/// What each inbound, listener or gateway lacks.
fn tags(policy: &Policy, subject: &Subject<'_>) -> String {
    let none = Tags::new();
    let by_kind = policy.target.as_tags();
    let wanted = by_kind.as_ref().or(policy.target.tags.as_ref()).unwrap_or(&none);
    let inbounds = subject.inbounds.iter().map(|inbound| (format!("inbound {}", inbound.section), inbound.tags));
    let listeners =
        subject.listeners.iter().map(|listener| (format!("listener {}", listener.key.port), &listener.tags));
    let gateway = subject.gateway_tags.filter(|_| subject.kind == SubjectKind::DelegatedGateway);
    let gateway = gateway.map(|tags| ("gateway".to_owned(), tags));
    let all: Vec<(String, &Tags)> = inbounds.chain(listeners).chain(gateway).collect();
    let lacks = |(what, own): &(String, &Tags)| {
        let differing: Vec<String> = wanted
            .iter()
            .filter_map(|(tag, value)| match own.get(tag) {
                Some(own) if own == value || value == tandem_model::tags::ANY => None,
                Some(own) => Some(format!("has {tag}={own}, not {value}")),
                None => Some(format!("lacks {tag}={value}")),
            })
            .collect();
        format!("{what} {}", differing.join(" and "))
    };
    let shown: Vec<String> = all.iter().take(MOST_INBOUNDS).map(lacks).collect();
    let more = all.len().saturating_sub(MOST_INBOUNDS);
    match (shown.is_empty(), more) {
        (true, _) => "the proxy has neither inbounds nor a gateway".to_owned(),
        (false, 0) => shown.join("; "),
        (false, more) => format!("{}; and {more} more", shown.join("; ")),
    }
}
