//! Why policies have the effect on a proxy that they have: which of them were considered, which were left out and why, in what
//! order the others were merged, and which of them each field of the result is from.
//!
//! Nothing is matched or merged here: [`crate::matching`] tells why it leaves a policy out, [`crate::rules`] which entries a rule
//! was merged from, and the rest is read off these.

mod answer;
mod changes;
mod fields;
mod inbound;
mod outbound;
mod own;
mod reasons;
mod references;
mod report;

use std::sync::Arc;

use serde_json::Value;
use tandem_model::Kri;
use tandem_model::kind::Kind;

use crate::destinations::Destinations;
use crate::matching::{Matched, match_policies, select};
use crate::policy::Policy;
use crate::rules::{RuleOrigin, Unusable};
use crate::subject::Subject;

pub use answer::{
    ClientTag, Configuration, Contribution, Destination, Effect, EnvoyResource, Field, Inbound, InboundRule,
    KindExplanation, LeftOutPolicy, OutboundRule, Outcome, Overridden, PolicyName, PolicyProblem, ProxyRule, Reason,
    SelectedPolicy,
};
pub use changes::changed_rules;
pub use references::references_to_nothing;
pub use report::{DryRun, EnvoyKnowledge, Explanation, ProxyChange, ProxyName, RuleChange};

/// Most policies without part in the result that are listed.
pub const MOST_LEFT_OUT: usize = 1000;

/// Policies of one kind, and what they are explained for.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The kind.
    pub kind: Kind,
    /// All policies of the kind in the mesh in stored order, those on trial included.
    pub policies: &'a [Arc<Policy>],
    /// The MeshHTTPRoutes of the mesh.
    pub routes: &'a [Arc<Policy>],
    /// What policies may refer to.
    pub destinations: &'a Destinations,
    /// Whether a service has this value of the tag `kuma.io/service`.
    pub is_service: &'a dyn Fn(&str) -> bool,
    /// The proxy.
    pub subject: &'a Subject<'a>,
    /// Where the proxy sends traffic.
    pub outbounds: &'a [Outbound],
    /// False where the kind is switched off.
    pub enabled: bool,
}

/// Where a proxy sends traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outbound {
    /// To what has a value of the tag `kuma.io/service`.
    Service(String),
    /// To a port of a resource.
    Port(Kri),
}

/// Explains the policies of a kind; `None` when there are none.
pub fn explain(scene: &Scene<'_>) -> Option<KindExplanation> {
    if scene.policies.is_empty() {
        return None;
    }
    let (mut explanation, matched, unusable) = evaluate(scene);
    for policy in scene.policies {
        let Some((reason, message)) = left_out(scene, policy) else { continue };
        if matches!(reason, Reason::RouteMissing | Reason::Unsupported) {
            problem(&mut explanation, policy, message.clone());
        }
        explanation.left_out_total += 1;
        if explanation.left_out.len() < MOST_LEFT_OUT {
            explanation.left_out.push(LeftOutPolicy { policy: reasons::name(policy), reason, message });
        }
    }
    for (policy, error) in &unusable {
        problem(&mut explanation, policy, error.to_string());
    }
    let mut before: Option<&Arc<Policy>> = None;
    for policy in &matched.policies {
        let dangling = references_to_nothing(policy, scene.destinations, scene.is_service);
        for message in &dangling {
            problem(&mut explanation, policy, message.clone());
        }
        let key = &policy.resource.key;
        let mut notes = dangling;
        notes.extend(without_effect(policy, &matched.policies));
        notes.extend(unusable.iter().find(|(own, _)| own.resource.key == *key).map(|(_, error)| error.to_string()));
        let selected = SelectedPolicy {
            policy: reasons::name(policy),
            selects: selects(scene, policy),
            stronger_by: before.and_then(|before| reasons::stronger_by(before, policy)),
            effect: effect(&explanation, &key.name),
            notes,
        };
        explanation.selected.push(selected);
        before = Some(policy);
    }
    Some(explanation)
}

/// What the policies of a kind amount to, without the reasons.
pub fn amount_to(scene: &Scene<'_>) -> KindExplanation {
    evaluate(scene).0
}

fn evaluate(scene: &Scene<'_>) -> (KindExplanation, Matched, Unusable) {
    let mut explanation = KindExplanation {
        kind: scene.kind.name().to_owned(),
        selected: Vec::new(),
        left_out: Vec::new(),
        left_out_total: 0,
        outbound: Vec::new(),
        inbound: Vec::new(),
        proxy: None,
        problems: Vec::new(),
    };
    if !scene.enabled {
        return (explanation, Matched::default(), Unusable::new());
    }
    let matched = match_policies(scene.policies, scene.subject, scene.routes, false);
    let mut unusable = Unusable::new();
    explanation.outbound = outbound::rules(scene, &matched.policies, &mut unusable);
    explanation.inbound = inbound::rules(scene, &matched, &mut unusable);
    explanation.proxy = own::rule(&matched.policies);
    (explanation, matched, unusable)
}

impl KindExplanation {
    /// True when policies of the kind have a part in what holds for the proxy, or something is wrong with them.
    pub fn says_something(&self) -> bool {
        !self.selected.is_empty() || !self.problems.is_empty()
    }

    /// Everything that holds for the proxy.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        let outbound = self.outbound.iter().map(|rule| &rule.outcome);
        let inbound = self.inbound.iter().map(|rule| &rule.outcome);
        outbound.chain(inbound).chain(self.proxy.iter().map(|rule| &rule.outcome))
    }
}

fn problem(explanation: &mut KindExplanation, policy: &Policy, message: String) {
    let problem = PolicyProblem { policy: policy.resource.key.name.clone(), message };
    if !explanation.problems.contains(&problem) {
        explanation.problems.push(problem);
    }
}

/// Why a policy has no part; `None` when it has.
fn left_out(scene: &Scene<'_>, policy: &Policy) -> Option<(Reason, String)> {
    let mismatch = reasons::left_out(policy, scene.subject, scene.routes);
    if mismatch.is_some() {
        return mismatch;
    }
    if !scene.enabled {
        let text = format!("{} is not among `policies.pluginPoliciesEnabled`", scene.kind);
        return Some((Reason::KindDisabled, text));
    }
    let shadow =
        || "it is on trial (label kuma.io/effect: shadow): only `_config?shadow=true` shows its effect".to_owned();
    policy.is_shadow().then(|| (Reason::Shadow, shadow()))
}

/// What of the proxy a policy selects.
fn selects(scene: &Scene<'_>, policy: &Policy) -> Vec<String> {
    let selection = select(policy, scene.subject, scene.routes).unwrap_or_default();
    let subject = scene.subject;
    let inbounds = subject.inbounds.iter().enumerate().filter(|(index, _)| selection.inbounds.contains(*index));
    let listeners = subject.listeners.iter().enumerate().filter(|(index, _)| selection.listeners.contains(*index));
    let parts: Vec<String> = inbounds
        .map(|(_, inbound)| inbound.section.clone())
        .chain(listeners.map(|(_, listener)| format!("{}:{}", listener.key.port, listener.hostname)))
        .collect();
    let is_all = parts.len() == subject.inbounds.len() + subject.listeners.len();
    if is_all { vec!["all".to_owned()] } else { parts }
}

/// Entries of a policy that are passed over whatever they say.
fn without_effect(policy: &Policy, selected: &[Arc<Policy>]) -> Vec<String> {
    let mut notes = Vec::new();
    if !policy.rules.is_empty() && !policy.from.is_empty() {
        notes.push("`from` is ignored, because the policy has `rules`".to_owned());
    } else if !policy.from.is_empty() && !policy.from_as_rules {
        let other = selected.iter().find(|other| !other.rules.is_empty());
        notes.extend(other.map(|other| {
            format!(
                "`from` is ignored at inbounds that {:?} selects, because that has `rules`",
                other.resource.key.name
            )
        }));
    }
    notes
}

fn effect(explanation: &KindExplanation, policy: &str) -> Effect {
    let is_merged = |outcome: &Outcome| outcome.merged.iter().any(|entry| entry.policy == policy);
    let contributes = |outcome: &Outcome| {
        let mut fields = outcome.configurations.iter().flat_map(|configuration| &configuration.fields);
        fields.any(|field| field.policy == policy)
    };
    if explanation.outcomes().any(contributes) {
        Effect::Contributes
    } else if explanation.outcomes().any(is_merged) {
        Effect::Overridden
    } else {
        Effect::Nothing
    }
}

/// Which list of a policy entries are in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    To,
    From,
    Rules,
    Default,
}

impl List {
    /// The name of an entry, and what it says.
    fn entry(self, origin: &RuleOrigin) -> Option<(String, &Value)> {
        let policy = &origin.policy;
        let (name, items) = match self {
            Self::To => ("to", &policy.to),
            Self::From => ("from", &policy.from),
            Self::Rules => ("rules", &policy.rules),
            Self::Default => return Some(("default".to_owned(), policy.default.as_ref()?)),
        };
        // Policies about a route have their entries once for each rule of the route.
        let index = origin.index % items.len().max(1);
        Some((format!("{name}[{index}]"), &items.get(index)?.conf))
    }
}

/// What came out of entries, weakest first, that were merged to `confs`.
fn outcome<'a>(kind: Kind, entries: impl IntoIterator<Item = (List, &'a RuleOrigin)>, confs: &[Value]) -> Outcome {
    let mut merged: Vec<(Contribution, &Value)> = Vec::new();
    let mut before: Option<(List, &RuleOrigin)> = None;
    for (list, origin) in entries {
        let Some((entry, conf)) = list.entry(origin) else { continue };
        let policy = origin.policy.resource.key.name.clone();
        if merged.iter().any(|(known, _)| known.policy == policy && known.entry == entry) {
            continue;
        }
        let stronger_by = before.and_then(|before| entry_stronger_by(before, (list, origin)));
        merged.push((Contribution { policy, entry, stronger_by }, conf));
        before = Some((list, origin));
    }
    let configurations = confs.iter().map(|conf| fields::attributed(kind, conf, &merged)).collect();
    Outcome { merged: merged.into_iter().map(|(entry, _)| entry).collect(), configurations }
}

/// Why an entry comes after another one.
fn entry_stronger_by((list, weaker): (List, &RuleOrigin), (_, stronger): (List, &RuleOrigin)) -> Option<String> {
    let target = |origin: &'_ RuleOrigin| origin.policy.to.get(origin.index).map(|item| item.target.clone());
    if let (List::To, Some(one), Some(other)) = (list, target(weaker), target(stronger)) {
        let same_attributes = weaker.policy.cmp_attributes(&stronger.policy).is_eq();
        if same_attributes && one.kind < other.kind {
            return Some(format!("it is about a {}, which is narrower than {}", other.kind.name(), one.kind.name()));
        }
        let narrower_section = one.section_name().is_empty() && !other.section_name().is_empty();
        if same_attributes && one.kind == other.kind && narrower_section {
            return Some(format!("it is about the section {:?}", other.section_name()));
        }
    }
    if weaker.policy.resource.key == stronger.policy.resource.key {
        return Some("it comes later in the policy".to_owned());
    }
    reasons::stronger_by(&weaker.policy, &stronger.policy)
}

#[cfg(test)]
mod tests;
