//! What policies amount to for outgoing traffic.

use std::sync::Arc;

use serde_json::Value;
use tandem_model::kind::Kind;
use tandem_model::tags::TagMultimap;

use super::PolicyWarning;
use super::by_destination::ByDestination;
use super::chosen::Chosen;
use super::own_tags::{OwnTags, WantedTags};
use crate::circuit_breaker::{self, Breakers};
use crate::health_check::{self, Checks};
use crate::http_route::{RouteOrigin, RouteTable};
use crate::load_balancing::{self, Strategy};
use crate::policy::Policy;
use crate::retry::{self, Retries};
use crate::rules::RuleOrigin;
use crate::tcp_route::Split;
use crate::{access_log, timeout, tls};

/// Kinds that configure outgoing traffic.
pub(super) const KINDS: [Kind; 9] = [
    Kind::MeshHTTPRoute,
    Kind::MeshTCPRoute,
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
    /// MeshHTTPRoute.
    pub http_routes: ByDestination<RouteTable>,
    /// MeshTCPRoute.
    pub tcp_routes: ByDestination<Split>,
    /// MeshTLS: versions and ciphers of connections to proxies of the mesh.
    pub tls: tls::Conf,
    /// MeshLoadBalancingStrategy.
    pub load_balancing: ByDestination<Strategy>,
    /// MeshAccessLog.
    pub access_logs: ByDestination<access_log::Conf>,
    /// MeshTimeout.
    pub timeouts: ByDestination<timeout::Conf>,
    /// MeshHealthCheck.
    pub health_checks: ByDestination<Checks>,
    /// MeshCircuitBreaker.
    pub breakers: ByDestination<Breakers>,
    /// MeshRetry.
    pub retries: ByDestination<Retries>,
    wanted_tags: WantedTags,
}

impl OutboundPolicies {
    pub(super) fn new(chosen: &Chosen<'_>) -> Self {
        let rules = |kind| chosen.to_rules(kind);
        for policy in chosen.policies(Kind::MeshAccessLog) {
            let warning = |reason| PolicyWarning { policy: policy.resource.key.clone(), reason };
            chosen.warnings.borrow_mut().extend(access_log::unusable(&policy).into_iter().map(warning));
        }
        let load_balancing =
            ByDestination::new(&rules(Kind::MeshLoadBalancingStrategy), |conf: load_balancing::Conf| {
                Strategy::new(&conf)
            });
        let health_checks =
            ByDestination::new(&rules(Kind::MeshHealthCheck), |conf: health_check::Conf| Checks::new(&conf));
        Self {
            http_routes: http_routes(chosen),
            tcp_routes: tcp_routes(chosen),
            wanted_tags: WantedTags::new(&load_balancing, &health_checks),
            // Versions and ciphers can only be set for the whole mesh, so they are the same for all inbounds.
            tls: chosen.inbound(Kind::MeshTLS).unwrap_or_default(),
            load_balancing,
            access_logs: ByDestination::new(&rules(Kind::MeshAccessLog), |conf| conf),
            timeouts: ByDestination::new(&rules(Kind::MeshTimeout), |conf| conf),
            health_checks,
            breakers: ByDestination::new(&rules(Kind::MeshCircuitBreaker), |conf: circuit_breaker::Conf| {
                Breakers::new(&conf)
            }),
            retries: ByDestination::new(&rules(Kind::MeshRetry), |conf: retry::Conf| Retries::new(&conf)),
        }
    }

    /// What of a proxy's own tags decides how its destinations are reached. `tags` are all of them; they are not asked for when
    /// nothing does.
    pub fn own_tags(&self, tags: impl FnOnce() -> TagMultimap) -> OwnTags {
        self.wanted_tags.of(tags)
    }
}

fn http_routes(chosen: &Chosen<'_>) -> ByDestination<RouteTable> {
    let table = |conf: &Value, origin: &dyn Fn(&str) -> Option<RouteOrigin>| {
        RouteTable::new(conf, origin, chosen.mesh.destinations())
    };
    ByDestination::of_rules(
        &chosen.to_rules(Kind::MeshHTTPRoute),
        |rule| {
            // Which entry of the policy it is, is not told for destinations by tags.
            let origin = |policy: &Arc<Policy>| RouteOrigin::new(&RuleOrigin { policy: policy.clone(), index: 0 });
            Some(table(&rule.conf, &|hash| rule.origin_by_matches.get(hash).map(origin)))
        },
        |rule| Some(table(rule.confs.first()?, &|hash| rule.origin_by_matches.get(hash).map(RouteOrigin::new))),
    )
}

fn tcp_routes(chosen: &Chosen<'_>) -> ByDestination<Split> {
    let destinations = chosen.mesh.destinations();
    ByDestination::of_rules(
        &chosen.to_rules(Kind::MeshTCPRoute),
        |rule| Split::new(&rule.conf, rule.origins.last()?, destinations),
        |rule| Split::new(rule.confs.first()?, &rule.origins.last()?.policy, destinations),
    )
}
