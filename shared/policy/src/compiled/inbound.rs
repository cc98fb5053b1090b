//! What policies amount to for incoming traffic.

use std::sync::Arc;

use serde_json::Value;
use tandem_model::ResourceKey;
use tandem_model::kind::Kind;

use super::chosen::Chosen;
use crate::circuit_breaker::{self, Breakers};
use crate::fault_injection::Faults;
use crate::policy::Policy;
use crate::rate_limit::Limits;
use crate::traffic_permission::Permission;
use crate::{access_log, timeout, tls};

/// Kinds that configure incoming traffic.
pub(super) const KINDS: [Kind; 7] = [
    Kind::MeshTLS,
    Kind::MeshAccessLog,
    Kind::MeshFaultInjection,
    Kind::MeshRateLimit,
    Kind::MeshTimeout,
    Kind::MeshTrafficPermission,
    Kind::MeshCircuitBreaker,
];

/// What holds for incoming traffic of an inbound.
#[derive(Debug, PartialEq)]
pub struct InboundPolicies {
    /// MeshTLS; `None` when no policy selects the inbound.
    pub tls: Option<tls::Conf>,
    /// MeshAccessLog; `None` when no policy selects the inbound.
    pub access_log: Option<access_log::Conf>,
    /// MeshFaultInjection.
    pub faults: Faults,
    /// MeshRateLimit.
    pub limits: Limits,
    /// MeshTimeout.
    pub timeouts: timeout::Conf,
    /// MeshTrafficPermission; `None` when no policy selects the inbound.
    pub permission: Option<Permission>,
    /// MeshCircuitBreaker.
    pub breakers: Breakers,
}

impl InboundPolicies {
    pub(super) fn new(chosen: &Chosen<'_>) -> Self {
        let permissions = chosen.policies(Kind::MeshTrafficPermission);
        let breakers: circuit_breaker::Conf = chosen.inbound(Kind::MeshCircuitBreaker).unwrap_or_default();
        Self {
            tls: chosen.inbound(Kind::MeshTLS),
            access_log: chosen.inbound(Kind::MeshAccessLog),
            faults: Faults::new(&chosen.policies(Kind::MeshFaultInjection)),
            limits: limits(chosen),
            timeouts: chosen.inbound(Kind::MeshTimeout).unwrap_or_default(),
            permission: (!permissions.is_empty())
                .then(|| Permission::new(&permissions, &chosen.mesh.mesh, chosen.mesh.settings())),
            breakers: Breakers::new(&breakers),
        }
    }

    /// What of which policies cannot take effect.
    pub fn problems(&self) -> impl Iterator<Item = &(ResourceKey, String)> {
        self.faults.problems().iter().chain(self.limits.problems())
    }
}

fn limits(chosen: &Chosen<'_>) -> Limits {
    let rules = chosen.inbound_rules(Kind::MeshRateLimit);
    let written: Vec<(&Arc<Policy>, &Value)> = rules.iter().map(|rule| (&rule.origin.policy, rule.conf())).collect();
    Limits::new(&chosen.inbound(Kind::MeshRateLimit).unwrap_or_default(), &written)
}
