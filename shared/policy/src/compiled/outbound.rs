//! What policies amount to for outgoing traffic.

use tandem_model::kind::Kind;

use super::by_destination::ByDestination;
use super::chosen::Chosen;
use crate::circuit_breaker::{self, Breakers};
use crate::retry::{self, Retries};
use crate::{access_log, health_check, load_balancing, timeout, tls};

/// Kinds that configure outgoing traffic.
pub(super) const KINDS: [Kind; 7] = [
    Kind::MeshTLS,
    Kind::MeshLoadBalancingStrategy,
    Kind::MeshAccessLog,
    Kind::MeshTimeout,
    Kind::MeshHealthCheck,
    Kind::MeshCircuitBreaker,
    Kind::MeshRetry,
];

/// What holds for outgoing traffic of a proxy.
#[derive(Debug, Default, PartialEq)]
pub struct OutboundPolicies {
    /// MeshTLS: versions and ciphers of connections to proxies of the mesh.
    pub tls: tls::Conf,
    /// MeshLoadBalancingStrategy.
    pub load_balancing: ByDestination<load_balancing::Conf>,
    /// MeshAccessLog.
    pub access_logs: ByDestination<access_log::Conf>,
    /// MeshTimeout.
    pub timeouts: ByDestination<timeout::Conf>,
    /// MeshHealthCheck.
    pub health_checks: ByDestination<health_check::Conf>,
    /// MeshCircuitBreaker.
    pub breakers: ByDestination<Breakers>,
    /// MeshRetry.
    pub retries: ByDestination<Retries>,
}

impl OutboundPolicies {
    pub(super) fn new(chosen: &Chosen<'_>) -> Self {
        let rules = |kind| chosen.to_rules(kind);
        Self {
            // Versions and ciphers can only be set for the whole mesh, so they are the same for all inbounds.
            tls: chosen.inbound(Kind::MeshTLS).unwrap_or_default(),
            load_balancing: ByDestination::new(&rules(Kind::MeshLoadBalancingStrategy), |conf| conf),
            access_logs: ByDestination::new(&rules(Kind::MeshAccessLog), |conf| conf),
            timeouts: ByDestination::new(&rules(Kind::MeshTimeout), |conf| conf),
            health_checks: ByDestination::new(&rules(Kind::MeshHealthCheck), |conf| conf),
            breakers: ByDestination::new(&rules(Kind::MeshCircuitBreaker), |conf: circuit_breaker::Conf| {
                Breakers::new(&conf)
            }),
            retries: ByDestination::new(&rules(Kind::MeshRetry), |conf: retry::Conf| Retries::new(&conf)),
        }
    }
}
