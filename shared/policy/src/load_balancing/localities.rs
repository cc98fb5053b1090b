//! Which endpoints are preferred over which: by zone, and by tags that they share with the proxy.
//!
//! Source: Kuma `pkg/plugins/policies/meshloadbalancingstrategy/plugin/v1alpha1/{locality_aware,priority}.go`,
//! `pkg/envoy/builders/endpoint`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tandem_model::label::ZONE;
use tandem_model::tags::TagMultimap;

use super::schema::{AffinityTag, CrossZone, Failover, FailoverThreshold, LocalityAwareness, ToZoneType};
use crate::envoy::{AssignmentDraft, EndpointAddress, EndpointDraft, LocalityDraft};

/// Overprovisioning factor in percent, where no threshold is set.
const OVERPROVISIONING: u32 = 200;
/// Weight of endpoints of the zone that share no tag with the proxy.
const OTHERS_WEIGHT: u32 = 1;
/// Greatest power of ten by which weights are made: the sum of all has to fit into 32 bits.
const MAX_POWER: u32 = 8;

/// From where endpoints are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Standpoint<'a> {
    /// Zone of the proxy.
    pub zone: &'a str,
    /// Tags of the proxy.
    pub tags: &'a TagMultimap,
    /// Endpoints in other zones are reached through the ZoneEgress of this one, which chooses among them.
    pub through_egress: bool,
}

/// What becomes of the endpoints of a destination, as a proxy sees it. The same for proxies that see it alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Localities {
    zone: Arc<str>,
    /// Priority of other zones, where there are no groups.
    remote_priority: u32,
    groups: Option<Groups>,
}

/// Groups that endpoints are put into instead of those of their zones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Groups {
    /// In the order in which endpoints are compared with them.
    near: Vec<Near>,
    remote: Remote,
    overprovisioning_factor: u32,
}

/// Endpoints of the zone with the same value of a tag as the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Near {
    key: String,
    value: String,
    weight: u32,
}

/// What becomes of endpoints in other zones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Remote {
    /// All are one group with this name, as the ZoneEgress chooses.
    Together(String),
    /// The first that has the zone decides; those that none has are not used.
    ByZone(Vec<Rule>),
}

/// Zones that traffic goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rule {
    zones: Zones,
    priority: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Zones {
    All,
    AllBut(BTreeSet<String>),
    These(BTreeSet<String>),
}

impl Zones {
    fn has(&self, zone: &str) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(zones) => !zones.contains(zone),
            Self::These(zones) => zones.contains(zone),
        }
    }
}

impl Localities {
    /// What a configuration makes of endpoints; `None` stands for one that says nothing about localities.
    pub(crate) fn new(conf: Option<&LocalityAwareness>, standpoint: Standpoint<'_>) -> Self {
        let disabled = conf.is_some_and(|conf| conf.disabled == Some(true));
        let grouping = conf.filter(|conf| conf.local_zone.is_some() || conf.cross_zone.is_some());
        Self {
            zone: standpoint.zone.into(),
            remote_priority: u32::from(!disabled),
            groups: grouping.map(|conf| Groups::new(conf, standpoint)),
        }
    }

    /// True when the own zone is preferred, and nothing else is said.
    pub fn is_default(&self) -> bool {
        self.remote_priority == 1 && self.groups.is_none()
    }

    /// Puts endpoints into groups.
    pub fn set(&self, assignment: &mut AssignmentDraft) {
        match &self.groups {
            Some(groups) => groups.set(&self.zone, assignment),
            None => {
                let remote = |group: &&mut LocalityDraft| {
                    group.zone != *self.zone && !(group.zone.is_empty() && group.sub_zone.is_empty())
                };
                assignment.localities.iter_mut().filter(remote).for_each(|group| group.priority = self.remote_priority);
            }
        }
    }
}

impl Groups {
    fn new(conf: &LocalityAwareness, standpoint: Standpoint<'_>) -> Self {
        let tags = conf.local_zone.as_ref().and_then(|local| local.affinity_tags.as_deref()).unwrap_or_default();
        let rules = rules(conf.cross_zone.as_ref(), standpoint.zone);
        let remote = match standpoint.through_egress {
            true => Remote::Together(egress_group(&rules)),
            false => Remote::ByZone(rules),
        };
        let threshold = conf.cross_zone.as_ref().and_then(|cross| cross.failover_threshold.as_ref());
        Self { near: near(tags, standpoint.tags), remote, overprovisioning_factor: overprovisioning(threshold) }
    }

    fn set(&self, zone: &str, assignment: &mut AssignmentDraft) {
        let mut groups: BTreeMap<(String, String), LocalityDraft> = BTreeMap::new();
        for endpoint in assignment.localities.drain(..).flat_map(|group| group.endpoints) {
            if let Some(group) = self.group_of(&endpoint, zone) {
                // By the text of both, as Kuma orders groups.
                let key = (format!("{}{}", group.zone, group.sub_zone), group.zone.clone());
                groups.entry(key).or_insert(group).endpoints.push(endpoint);
            }
        }
        assignment.localities = groups.into_values().collect();
        for group in &mut assignment.localities {
            group.endpoints.sort_by(|a, b| address(a).cmp(&address(b)));
        }
        assignment.overprovisioning_factor = Some(self.overprovisioning_factor);
    }

    /// The group that an endpoint belongs to, still empty; `None` for one that is not used. What tells no zone is outside of the mesh,
    /// and as near as this zone.
    fn group_of(&self, endpoint: &EndpointDraft, zone: &str) -> Option<LocalityDraft> {
        let tag = |key: &str| endpoint.tags.as_ref().and_then(|tags| tags.get(key)).map(String::as_str);
        let its_zone = tag(ZONE).unwrap_or(zone);
        if its_zone == zone {
            let near = self.near.iter().find(|near| tag(&near.key) == Some(near.value.as_str()));
            return Some(LocalityDraft {
                zone: zone.to_owned(),
                sub_zone: near.map(|near| format!("{}={}", near.key, near.value)).unwrap_or_default(),
                weight: near.map_or(OTHERS_WEIGHT, |near| near.weight),
                ..LocalityDraft::default()
            });
        }
        match &self.remote {
            Remote::Together(name) => Some(LocalityDraft { zone: name.clone(), priority: 1, ..Default::default() }),
            Remote::ByZone(rules) => {
                let priority = rules.iter().find(|rule| rule.zones.has(its_zone))?.priority;
                Some(LocalityDraft { zone: its_zone.to_owned(), priority, ..Default::default() })
            }
        }
    }
}

fn address(endpoint: &EndpointDraft) -> (&str, u32) {
    match &endpoint.address {
        EndpointAddress::Socket(address, port) => (address, *port),
        // No part of the order, as in Kuma.
        EndpointAddress::Pipe(_) => ("", 0),
    }
}

/// The tags that the proxy has, with their weights: those of the configuration, or such that each one gets nine tenths of what the ones
/// before it left.
fn near(conf: &[AffinityTag], tags: &TagMultimap) -> Vec<Near> {
    let power = |index: usize| u32::try_from(conf.len() - index - 1).unwrap_or(MAX_POWER).min(MAX_POWER);
    let weight = |index: usize, tag: &AffinityTag| tag.weight.unwrap_or_else(|| 9 * 10_u32.pow(power(index)));
    let own = |key: &str| tags.get(key).and_then(|values| values.iter().next());
    let mut near: Vec<Near> = conf
        .iter()
        .enumerate()
        .filter_map(|(index, tag)| {
            Some(Near { key: tag.key.clone(), value: own(&tag.key)?.clone(), weight: weight(index, tag) })
        })
        .collect();
    fit(&mut near);
    near
}

/// Makes weights smaller, all alike, until Envoy takes them: their sum has to fit into 32 bits.
fn fit(near: &mut [Near]) {
    let sum: u64 = near.iter().map(|near| u64::from(near.weight)).sum();
    let divisor = sum / u64::from(u32::MAX) + 1;
    if divisor > 1 {
        for near in near {
            near.weight = u32::try_from(u64::from(near.weight) / divisor).unwrap_or(u32::MAX).max(1);
        }
    }
}

/// The rules for traffic that comes from `zone`. Their numbers count all rules, so there may be gaps.
fn rules(conf: Option<&CrossZone>, zone: &str) -> Vec<Rule> {
    let failover = conf.and_then(|cross| cross.failover.as_deref()).unwrap_or_default();
    let applies = |rule: &Failover| rule.from.as_ref().is_none_or(|from| from.zones.iter().any(|from| from == zone));
    let rule = |(index, rule): (usize, &Failover)| {
        let named = || rule.to.zones.iter().flatten().cloned().collect();
        let zones = match rule.to.kind {
            ToZoneType::None => return None,
            ToZoneType::Any => Zones::All,
            ToZoneType::AnyExcept => Zones::AllBut(named()),
            ToZoneType::Only => Zones::These(named()),
        };
        Some(Rule { zones, priority: u32::try_from(index + 1).unwrap_or(u32::MAX) })
    };
    failover.iter().enumerate().filter(|(_, failover)| applies(failover)).filter_map(rule).collect()
}

/// Name of the group of all that the ZoneEgress leads to. It differs when the rules do, so that Envoy notices.
fn egress_group(rules: &[Rule]) -> String {
    let mut text = String::new();
    for Rule { zones, priority } in rules {
        let joined = |zones: &BTreeSet<String>| zones.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        // A String takes everything.
        let _ = match zones {
            Zones::All => write!(text, "{priority}:Any;"),
            Zones::AllBut(zones) => write!(text, "{priority}:AnyExcept:{};", joined(zones)),
            Zones::These(zones) => write!(text, "{priority}:{};", joined(zones)),
        };
    }
    let hash = BASE64.encode(Sha256::digest(text));
    format!("egress_{}", &hash[..8])
}

/// How many endpoints count as enough, in percent, so that traffic goes over below the threshold. The quotient is cut off, as in Kuma.
fn overprovisioning(threshold: Option<&FailoverThreshold>) -> u32 {
    let percentage = threshold.and_then(|threshold| threshold.percentage.decimal()).map(|decimal| decimal.to_f64());
    match percentage {
        // What does not fit into 32 bits is cut off by the conversion.
        Some(percentage) if percentage > 0.0 => ((100.0 / percentage) as u32).saturating_mul(100),
        _ => OVERPROVISIONING,
    }
}

#[cfg(test)]
mod tests;
