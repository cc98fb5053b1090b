//! Which proxies a policy selects, and which of their inbounds and listeners.
//!
//! Source: Kuma `pkg/plugins/policies/core/matchers/dataplane.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::label;
use tandem_model::tags::{Tags, selects};

use crate::policy::Policy;
use crate::role::Role;
use crate::subject::{InboundKey, Subject, SubjectKind, is_of_zone, selects_gateway};
use crate::target_ref::{ProxyType, TargetKind, TargetRef};

/// A listener of a builtin gateway together with the host name it serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey {
    /// Where it listens.
    pub inbound: InboundKey,
    /// Host name it serves; `*` for all.
    pub hostname: String,
}

impl std::fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.inbound, self.hostname)
    }
}

/// Some of the elements of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Choice {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// Those with these indexes, ascending; neither none nor, except by accident, all.
    Some(Vec<usize>),
}

impl Choice {
    fn of(count: usize, chosen: impl Fn(usize) -> bool) -> Self {
        let indexes: Vec<usize> = (0..count).filter(|index| chosen(*index)).collect();
        match indexes.len() {
            0 => Self::None,
            chosen if chosen == count => Self::All,
            _ => Self::Some(indexes),
        }
    }

    /// True when the element at `index` is chosen.
    pub fn contains(&self, index: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(indexes) => indexes.binary_search(&index).is_ok(),
        }
    }

    /// True when something is chosen from a list of this length.
    fn is_any(&self, count: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => count > 0,
            Self::Some(_) => true,
        }
    }
}

/// What of a proxy a policy selects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    /// Inbounds, by index.
    pub inbounds: Choice,
    /// Listeners of the gateway, by index.
    pub listeners: Choice,
    /// Whether the proxy itself is selected because it is a delegated gateway.
    pub delegated: bool,
}

impl Selection {
    /// True when the policy applies to the proxy at all.
    pub fn applies(&self, subject: &Subject<'_>) -> bool {
        self.delegated || self.inbounds.is_any(subject.inbounds.len()) || self.listeners.is_any(subject.listeners.len())
    }
}

/// The route that a policy is about does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No MeshHTTPRoute has this name.
    #[error("couldn't resolve MeshHTTPRoute targetRef with name '{0}'")]
    UnknownRoute(String),
    /// The kind selects no proxies.
    #[error("unsupported targetRef kind '{}'", .0.name())]
    Unsupported(TargetKind),
}

/// Why a policy selects nothing of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mismatch {
    /// It is of another zone.
    Zone,
    /// Policies of its role stay within their namespace, and the proxy is in another one.
    Namespace,
    /// `proxyTypes` names other types.
    ProxyType,
    /// No inbound, no listener and no gateway has all the tags.
    Tags,
    /// It names another Dataplane.
    Name,
    /// The Dataplane lacks one of the labels.
    Labels,
    /// No inbound has the section.
    Section,
    /// It is about Dataplanes that are no builtin gateways.
    BuiltinGateway,
    /// It is about another MeshGateway, or the proxy is no builtin gateway.
    Gateway,
    /// The proxy has nothing to be selected: neither inbounds nor a gateway.
    Empty,
}

/// What a policy selects of a proxy. `routes` are the MeshHTTPRoutes of the mesh.
///
/// # Errors
/// When the policy is about a route that does not exist, or about a kind that has no proxies.
pub fn select(policy: &Policy, subject: &Subject<'_>, routes: &[Arc<Policy>]) -> Result<Selection, SelectError> {
    Ok(examine(policy, subject, routes)?.unwrap_or_default())
}

/// As [`select`], with the reason when that is nothing. Where several apply, it is that of the first condition checked.
///
/// # Errors
/// Those of [`select`].
pub fn examine(
    policy: &Policy,
    subject: &Subject<'_>,
    routes: &[Arc<Policy>],
) -> Result<Result<Selection, Mismatch>, SelectError> {
    if !reaches_zone(policy, subject) {
        return Ok(Err(Mismatch::Zone));
    }
    if !reaches_namespace(policy, subject) {
        return Ok(Err(Mismatch::Namespace));
    }
    let target = &policy.target;
    let or_none = |selection: Selection, reason| if selection.applies(subject) { Ok(selection) } else { Err(reason) };
    Ok(match target.kind {
        TargetKind::Mesh | TargetKind::MeshSubset if !reaches_proxy_type(target, subject) => Err(Mismatch::ProxyType),
        TargetKind::Mesh => {
            let delegated = subject.kind == SubjectKind::DelegatedGateway;
            or_none(Selection { inbounds: Choice::All, listeners: Choice::All, delegated }, Mismatch::Empty)
        }
        TargetKind::MeshSubset | TargetKind::MeshService | TargetKind::MeshServiceSubset => {
            or_none(by_tags(&target.as_tags().unwrap_or_default(), subject), Mismatch::Tags)
        }
        TargetKind::Dataplane => by_dataplane(policy, subject),
        TargetKind::MeshGateway => by_gateway(policy, subject).and_then(|found| or_none(found, Mismatch::Tags)),
        TargetKind::MeshHTTPRoute => {
            let route = route_of(policy, routes).ok_or_else(|| SelectError::UnknownRoute(target.name().to_owned()))?;
            if route.target.kind == TargetKind::MeshHTTPRoute {
                return Err(SelectError::Unsupported(route.target.kind));
            }
            examine(route, subject, routes)?
        }
        TargetKind::MeshExternalService | TargetKind::MeshMultiZoneService => {
            return Err(SelectError::Unsupported(target.kind));
        }
    })
}

/// Why a policy selects nothing, whatever proxies there are; `None` when it may select some.
pub fn unresolved(policy: &Policy, routes: &[Arc<Policy>]) -> Option<SelectError> {
    match policy.target.kind {
        TargetKind::MeshHTTPRoute => match route_of(policy, routes) {
            None => Some(SelectError::UnknownRoute(policy.target.name().to_owned())),
            Some(route) if route.target.kind == TargetKind::MeshHTTPRoute => {
                Some(SelectError::Unsupported(route.target.kind))
            }
            Some(_) => None,
        },
        kind @ (TargetKind::MeshExternalService | TargetKind::MeshMultiZoneService) => {
            Some(SelectError::Unsupported(kind))
        }
        _ => None,
    }
}

/// The MeshHTTPRoute that a policy is about.
pub(crate) fn route_of<'a>(policy: &Policy, routes: &'a [Arc<Policy>]) -> Option<&'a Arc<Policy>> {
    let is_named = |route: &&Arc<Policy>| {
        route.resource.key.mesh == policy.resource.key.mesh && route.resource.display_name() == policy.target.name()
    };
    routes.iter().find(is_named)
}

/// Except for producers, policies of one zone do not reach proxies of another.
fn reaches_zone(policy: &Policy, subject: &Subject<'_>) -> bool {
    if policy.role == Role::Producer {
        return true;
    }
    let labels = subject.gateway.map_or(subject.labels, |gateway| &gateway.resource.labels);
    if labels.get(label::ORIGIN).is_none_or(|origin| origin == label::ORIGIN_GLOBAL) {
        return true;
    }
    let of_zone = policy.resource.label(label::ORIGIN) == Some(label::ORIGIN_ZONE);
    match policy.resource.label(label::ZONE) {
        Some(zone) if of_zone => is_of_zone(labels, zone),
        _ => true,
    }
}

/// Policies of consumers and workload owners stay within their namespace.
fn reaches_namespace(policy: &Policy, subject: &Subject<'_>) -> bool {
    if !matches!(policy.role, Role::Consumer | Role::WorkloadOwner) {
        return true;
    }
    let own = subject.labels.get(label::K8S_NAMESPACE).map(String::as_str).unwrap_or_default();
    policy.resource.label(label::K8S_NAMESPACE) == Some(own)
}

fn reaches_proxy_type(target: &TargetRef, subject: &Subject<'_>) -> bool {
    let types = target.proxy_types.as_deref().unwrap_or_default();
    let own = match subject.kind {
        SubjectKind::Sidecar => ProxyType::Sidecar,
        SubjectKind::DelegatedGateway | SubjectKind::BuiltinGateway => ProxyType::Gateway,
    };
    types.is_empty() || types.contains(&own)
}

fn by_tags(tags: &Tags, subject: &Subject<'_>) -> Selection {
    Selection {
        inbounds: Choice::of(subject.inbounds.len(), |index| selects(tags, subject.inbounds[index].tags)),
        listeners: Choice::of(subject.listeners.len(), |index| selects(tags, &subject.listeners[index].tags)),
        delegated: subject.kind == SubjectKind::DelegatedGateway && selects_gateway(tags, subject),
    }
}

fn by_dataplane(policy: &Policy, subject: &Subject<'_>) -> Result<Selection, Mismatch> {
    let target = &policy.target;
    let all = target.name().is_empty() && target.namespace().is_empty() && target.labels.is_none();
    let named = || !target.name().is_empty() && target.kri(&policy.kri).as_ref() == Some(&subject.kri);
    let labelled = || {
        target.labels.as_ref().is_some_and(|labels| {
            labels.iter().all(|(label, value)| subject.labels.get(label).map_or(value.is_empty(), |own| own == value))
        })
    };
    if subject.gateway.is_some() {
        return Err(Mismatch::BuiltinGateway);
    }
    if !(all || named() || labelled()) {
        return Err(if target.labels.is_some() { Mismatch::Labels } else { Mismatch::Name });
    }
    let section = target.section_name();
    let (inbounds, reason) = match section {
        "" => (Choice::All, Mismatch::Empty),
        section => {
            (Choice::of(subject.inbounds.len(), |index| subject.inbounds[index].section == section), Mismatch::Section)
        }
    };
    let delegated = subject.kind == SubjectKind::DelegatedGateway;
    let selection = Selection { inbounds, listeners: Choice::None, delegated };
    if selection.applies(subject) { Ok(selection) } else { Err(reason) }
}

fn by_gateway(policy: &Policy, subject: &Subject<'_>) -> Result<Selection, Mismatch> {
    let named = subject.gateway.is_some_and(|gateway| {
        gateway.resource.key.mesh == policy.resource.key.mesh && gateway.resource.display_name() == policy.target.name()
    });
    if !named {
        return Err(Mismatch::Gateway);
    }
    let none = Tags::new();
    let selection = by_tags(policy.target.tags.as_ref().unwrap_or(&none), subject);
    Ok(Selection { delegated: false, ..selection })
}

/// The policies of one kind that apply to a proxy.
#[derive(Debug, Clone, Default)]
pub struct Matched {
    /// All of them, weakest first.
    pub policies: Vec<Arc<Policy>>,
    /// Those that select an inbound or a listener of the gateway by its address, weakest first.
    pub by_inbound: BTreeMap<InboundKey, Vec<Arc<Policy>>>,
    /// Those that select a listener of the gateway, in stored order.
    pub by_listener: BTreeMap<ListenerKey, Vec<Arc<Policy>>>,
    /// What went wrong, for a person.
    pub warnings: Vec<String>,
}

/// Matches policies of one kind, given in stored order, with a proxy. Shadow policies count only if `with_shadow`.
pub fn match_policies(
    policies: &[Arc<Policy>],
    subject: &Subject<'_>,
    routes: &[Arc<Policy>],
    with_shadow: bool,
) -> Matched {
    let mut matched = Matched::default();
    for policy in policies.iter().filter(|policy| with_shadow || !policy.is_shadow()) {
        let selection = select(policy, subject, routes).unwrap_or_else(|error| {
            let key = &policy.resource.key;
            matched.warnings.push(format!(
                "unable to resolve TargetRef on policy: mesh:{} name:{} error:{:?}",
                key.mesh,
                key.name,
                error.to_string()
            ));
            Selection::default()
        });
        if !selection.applies(subject) {
            continue;
        }
        matched.policies.push(Arc::clone(policy));
        let inbounds = subject.inbounds.iter().enumerate().filter(|(index, _)| selection.inbounds.contains(*index));
        let mut entrances: Vec<&InboundKey> = inbounds.map(|(_, inbound)| &inbound.key).collect();
        let of_inbounds = entrances.len();
        for (index, listener) in subject.listeners.iter().enumerate() {
            if !selection.listeners.contains(index) {
                continue;
            }
            if !entrances[of_inbounds..].contains(&&listener.key) {
                entrances.push(&listener.key);
            }
            let key = ListenerKey { inbound: listener.key.clone(), hostname: listener.hostname.clone() };
            matched.by_listener.entry(key).or_default().push(Arc::clone(policy));
        }
        for entrance in entrances {
            matched.by_inbound.entry(entrance.clone()).or_default().push(Arc::clone(policy));
        }
    }
    matched.policies.sort_by(|a, b| a.cmp_precedence(b));
    for policies in matched.by_inbound.values_mut() {
        policies.sort_by(|a, b| a.cmp_precedence(b));
    }
    matched
}
