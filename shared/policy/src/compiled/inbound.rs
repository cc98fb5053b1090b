//! What policies amount to for incoming traffic.

use tandem_model::kind::Kind;

use super::chosen::Chosen;
use crate::circuit_breaker::{self, Breakers};
use crate::traffic_permission::Permission;
use crate::{access_log, rate_limit, timeout, tls};

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
    /// MeshRateLimit; `None` when no policy selects the inbound.
    pub rate_limit: Option<rate_limit::Conf>,
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
            rate_limit: chosen.inbound(Kind::MeshRateLimit),
            timeouts: chosen.inbound(Kind::MeshTimeout).unwrap_or_default(),
            permission: (!permissions.is_empty()).then(|| Permission::new(&permissions, &chosen.mesh.mesh)),
            breakers: Breakers::new(&breakers),
        }
    }
}
