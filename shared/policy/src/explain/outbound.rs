//! Rules about outgoing traffic.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::label::SERVICE_TAG;

use super::answer::{Destination, OutboundRule};
use super::{List, Outbound, Scene, outcome};
use crate::policy::Policy;
use crate::rules::{ROUTE_TAG, Rule, RuleOrigin, ToRules, Unusable, first_match, usable_to_rules};
use crate::target_ref::mesh_kri;

/// A rule as it was found: what it was merged from, and what came out.
struct Found<'a> {
    entries: &'a [RuleOrigin],
    confs: Vec<Value>,
}

/// What policies, weakest first, amount to for each destination of the proxy.
pub(super) fn rules(scene: &Scene<'_>, policies: &[Arc<Policy>], unusable: &mut Unusable) -> Vec<OutboundRule> {
    if policies.first().is_none_or(|policy| !policy.traits.to) {
        return Vec::new();
    }
    let (rules, more) = usable_to_rules(policies, scene.routes, scene.destinations);
    unusable.extend(more);
    let mut all: Vec<(Option<Found<'_>>, Destination)> = Vec::new();
    for outbound in scene.outbounds {
        all.push((found(&rules, outbound), destination(outbound)));
    }
    for kri in rules.resource_rules.0.keys().filter(|kri| kri.kind == Kind::MeshHTTPRoute) {
        let rule =
            rules.resource_rules.get(kri).map(|rule| Found { entries: &rule.origins, confs: rule.confs.clone() });
        all.push((rule, named(Kind::MeshHTTPRoute.name(), kri.to_string())));
    }
    for rule in &rules.rules {
        let route = rule.subset.conditions().iter().find(|tag| tag.key == ROUTE_TAG && !tag.not);
        if let Some(route) = route {
            let service = rule.subset.conditions().iter().find(|tag| tag.key == SERVICE_TAG && !tag.not);
            let name = service.map_or("*", |tag| tag.value.as_str()).to_owned();
            let found = Found { entries: &rule.entries, confs: vec![rule.conf.clone()] };
            all.push((Some(found), Destination { route: Some(route.value.clone()), ..named(SERVICE_TAG, name) }));
        }
    }
    let mesh = &scene.subject.kri.mesh;
    let others = rules.resource_rules.get(&mesh_kri(mesh));
    let others = others.map(|rule| Found { entries: &rule.origins, confs: rule.confs.clone() });
    let others = others.or_else(|| by_tags(&rules.rules, &BTreeMap::new()));
    all.push((others, named(Kind::Mesh.name(), mesh.clone())));
    let mut grouped: Vec<(Found<'_>, Vec<Destination>)> = Vec::new();
    for (found, destination) in all {
        let Some(found) = found else { continue };
        match grouped.iter_mut().find(|(known, _)| is_same(known, &found)) {
            Some((_, destinations)) => destinations.push(destination),
            None => grouped.push((found, vec![destination])),
        }
    }
    let rule = |(found, destinations): (Found<'_>, Vec<Destination>)| OutboundRule {
        destinations,
        outcome: outcome(scene.kind, found.entries.iter().map(|entry| (List::To, entry)), &found.confs),
    };
    grouped.into_iter().map(rule).collect()
}

fn destination(outbound: &Outbound) -> Destination {
    match outbound {
        Outbound::Service(service) => named(SERVICE_TAG, service.clone()),
        Outbound::Port(kri) => named(kri.kind.name(), kri.to_string()),
    }
}

fn named(kind: &str, name: String) -> Destination {
    Destination { kind: kind.to_owned(), name, route: None, resources: Vec::new() }
}

fn found<'a>(rules: &'a ToRules, outbound: &Outbound) -> Option<Found<'a>> {
    match outbound {
        Outbound::Service(service) => by_tags(&rules.rules, &[(SERVICE_TAG, service.as_str())].into()),
        Outbound::Port(kri) => {
            let rule = rules.resource_rules.compute(kri)?;
            Some(Found { entries: &rule.origins, confs: rule.confs.clone() })
        }
    }
}

/// The first rule about something with these tags; of routes there is one for each host name.
fn by_tags<'a>(rules: &'a [Rule], tags: &BTreeMap<&str, &str>) -> Option<Found<'a>> {
    let first = first_match(rules, tags)?;
    let same = rules.iter().filter(|rule| rule.subset == first.subset);
    Some(Found { entries: &first.entries, confs: same.map(|rule| rule.conf.clone()).collect() })
}

/// Equal entries give equal results.
fn is_same(one: &Found<'_>, other: &Found<'_>) -> bool {
    let same =
        |(a, b): (&RuleOrigin, &RuleOrigin)| a.index == b.index && a.policy.resource.key == b.policy.resource.key;
    one.entries.len() == other.entries.len()
        && one.entries.iter().zip(other.entries).all(same)
        && one.confs == other.confs
}
