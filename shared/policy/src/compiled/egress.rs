//! What policies amount to at a ZoneEgress.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use tandem_model::kind::Kind;

use super::MeshPolicies;
use super::by_destination::ByDestination;
use crate::circuit_breaker::{self, Breakers};
use crate::health_check::{self, Checks};
use crate::load_balancing::{self, Strategy};
use crate::merge::merge;
use crate::policy::Item;
use crate::rules::{ToRules, resource_rules};
use crate::target_ref::{TargetKind, TargetRef};

/// Kinds that configure traffic to destinations.
pub(super) const KINDS: [Kind; 3] = [Kind::MeshLoadBalancingStrategy, Kind::MeshHealthCheck, Kind::MeshCircuitBreaker];

/// What holds for traffic of a mesh at a ZoneEgress, by destinations that are resources.
#[derive(Debug, Default)]
pub struct EgressPolicies {
    /// MeshLoadBalancingStrategy.
    pub load_balancing: ByDestination<Strategy>,
    /// The same for services by tags.
    pub load_balancing_of_services: ByService<Strategy>,
    /// MeshHealthCheck.
    pub health_checks: ByDestination<Checks>,
    /// MeshCircuitBreaker.
    pub breakers: ByDestination<Breakers>,
}

/// Configuration by service, of all clients of a mesh together: what policies say that select all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ByService<C> {
    named: BTreeMap<String, C>,
    others: Option<C>,
}

impl<C> Default for ByService<C> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), others: None }
    }
}

impl<C> ByService<C> {
    /// Of policies of a kind with `to`. As an egress cannot tell its clients apart, policies that select some of them have no effect.
    fn new<S: DeserializeOwned>(mesh: &MeshPolicies, kind: Kind, translate: impl Fn(S) -> C) -> Self {
        let for_all = mesh.of_kind(kind).iter().filter(|policy| selects_all(&policy.target));
        let items: Vec<&Item> = for_all.flat_map(|policy| &policy.to).collect();
        // Positions among the items of those about a service, and of those about all.
        let mut about: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut about_all = Vec::new();
        for (position, item) in items.iter().enumerate() {
            match item.target.kind {
                TargetKind::Mesh => about_all.push(position),
                TargetKind::MeshService => about.entry(item.target.name()).or_default().push(position),
                _ => {}
            }
        }
        let merged = |positions: &[usize]| {
            let confs: Vec<_> = positions.iter().map(|position| &items[*position].conf).collect();
            // Confs are merges of what the schema encoded, so they decode.
            merge(kind, &confs).into_iter().next().and_then(|conf| serde_json::from_value(conf).ok()).map(&translate)
        };
        let named = about.into_iter().filter_map(|(service, mut positions)| {
            positions.extend(&about_all);
            positions.sort_unstable();
            Some((service.to_owned(), merged(&positions)?))
        });
        Self { named: named.collect(), others: (!about_all.is_empty()).then(|| merged(&about_all)).flatten() }
    }

    /// What holds for a service.
    pub fn of(&self, service: &str) -> Option<&C> {
        self.named.get(service).or(self.others.as_ref())
    }
}

fn selects_all(target: &TargetRef) -> bool {
    match target.kind {
        TargetKind::Mesh => true,
        TargetKind::MeshSubset => target.tags.as_ref().is_none_or(BTreeMap::is_empty),
        _ => false,
    }
}

impl EgressPolicies {
    pub(super) fn new(mesh: &MeshPolicies) -> Self {
        Self {
            load_balancing: by_destination(mesh, Kind::MeshLoadBalancingStrategy, |conf: load_balancing::Conf| {
                Strategy::new(&conf)
            }),
            load_balancing_of_services: ByService::new(
                mesh,
                Kind::MeshLoadBalancingStrategy,
                |conf: load_balancing::Conf| Strategy::new(&conf),
            ),
            health_checks: by_destination(mesh, Kind::MeshHealthCheck, |conf: health_check::Conf| Checks::new(&conf)),
            breakers: by_destination(mesh, Kind::MeshCircuitBreaker, |conf: circuit_breaker::Conf| {
                Breakers::new(&conf)
            }),
        }
    }
}

fn by_destination<S: DeserializeOwned, C>(
    mesh: &MeshPolicies,
    kind: Kind,
    translate: impl Fn(S) -> C,
) -> ByDestination<C> {
    let resource_rules = resource_rules(mesh.of_kind(kind), mesh.destinations());
    ByDestination::new(&ToRules { rules: Vec::new(), resource_rules }, translate)
}
