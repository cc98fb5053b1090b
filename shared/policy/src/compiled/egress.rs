//! What policies amount to at a ZoneEgress.

use serde::de::DeserializeOwned;
use tandem_model::kind::Kind;

use super::MeshPolicies;
use super::by_destination::ByDestination;
use crate::circuit_breaker::{self, Breakers};
use crate::rules::{ToRules, resource_rules};
use crate::{health_check, load_balancing};

/// What holds for traffic of a mesh at a ZoneEgress, by destinations that are resources.
#[derive(Debug, Default)]
pub struct EgressPolicies {
    /// MeshLoadBalancingStrategy.
    pub load_balancing: ByDestination<load_balancing::Conf>,
    /// MeshHealthCheck.
    pub health_checks: ByDestination<health_check::Conf>,
    /// MeshCircuitBreaker.
    pub breakers: ByDestination<Breakers>,
}

impl EgressPolicies {
    pub(super) fn new(mesh: &MeshPolicies) -> Self {
        Self {
            load_balancing: by_destination(mesh, Kind::MeshLoadBalancingStrategy, |conf| conf),
            health_checks: by_destination(mesh, Kind::MeshHealthCheck, |conf| conf),
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
