//! Selectors, how specific they are, and which policy wins.

use std::cmp::Ordering;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::resource::Resource;
use tandem_model::tags::{Rank, Tags};
use tandem_proto::mesh::v1alpha1::{
    CircuitBreaker, Dataplane, FaultInjection, HealthCheck, MeshGateway, MeshGatewayRoute, ProxyTemplate, RateLimit,
    Retry, Selector, Timeout, TrafficLog, TrafficPermission, TrafficRoute, TrafficTrace,
};

use super::Decoded;

/// A policy about connections between proxies.
pub trait ConnectionPolicy {
    /// Where connections come from; one of them has to match.
    fn sources(&self) -> &[Selector];
    /// Where connections go to; one of them has to match.
    fn destinations(&self) -> &[Selector];
}

/// A policy about proxies themselves.
pub trait DataplanePolicy {
    /// The proxies; one of them has to match. No selector at all selects every proxy.
    fn selectors(&self) -> &[Selector];
}

macro_rules! connection_policies {
    ($($kind:ty),* $(,)?) => {$(
        impl ConnectionPolicy for $kind {
            fn sources(&self) -> &[Selector] {
                &self.sources
            }

            fn destinations(&self) -> &[Selector] {
                &self.destinations
            }
        }
    )*};
}

macro_rules! dataplane_policies {
    ($($kind:ty),* $(,)?) => {$(
        impl DataplanePolicy for $kind {
            fn selectors(&self) -> &[Selector] {
                &self.selectors
            }
        }
    )*};
}

connection_policies!(
    CircuitBreaker,
    FaultInjection,
    HealthCheck,
    RateLimit,
    Retry,
    Timeout,
    TrafficLog,
    TrafficPermission,
    TrafficRoute,
);
dataplane_policies!(MeshGateway, MeshGatewayRoute, ProxyTemplate, TrafficTrace);

/// Rank of the most specific of those selectors that match; `None` when none does.
pub(super) fn best_rank(selectors: &[Selector], matches: impl Fn(&Tags) -> bool) -> Option<Rank> {
    selectors.iter().map(|selector| &selector.r#match).filter(|tags| matches(tags)).map(Rank::of).max()
}

/// Rank of the first selector that matches; `None` when none does.
pub(super) fn first_rank(selectors: &[Selector], matches: impl Fn(&Tags) -> bool) -> Option<Rank> {
    selectors.iter().map(|selector| &selector.r#match).find(|tags| matches(tags)).map(Rank::of)
}

/// A policy together with the rank of the selectors by which it matches.
pub(crate) type Ranked<'a> = (Rank, &'a Resource);

/// Precedence: greater is stronger.
pub(crate) fn compare((rank, policy): Ranked<'_>, (other_rank, other): Ranked<'_>) -> Ordering {
    rank.cmp(&other_rank)
        .then_with(|| policy.created.cmp(&other.created))
        .then_with(|| other.key.name.cmp(&policy.key.name))
}

/// The strongest of policies that match.
pub(super) fn strongest<'a, S: 'a>(
    ranked: impl Iterator<Item = (Rank, &'a Arc<Decoded<S>>)>,
) -> Option<&'a Arc<Decoded<S>>> {
    let order = |one: &(Rank, &Arc<Decoded<S>>), other: &(Rank, &Arc<Decoded<S>>)| {
        compare((one.0, &one.1.resource), (other.0, &other.1.resource))
    };
    ranked.max_by(order).map(|(_, policy)| policy)
}

/// How specifically a policy selects a proxy; `None` when it does not.
pub(crate) fn rank_of_dataplane(policy: &impl DataplanePolicy, dataplane: &Dataplane) -> Option<Rank> {
    let selectors = policy.selectors();
    if selectors.is_empty() {
        return Some(Rank::default());
    }
    best_rank(selectors, |tags| dataplane.is_selected_by(tags))
}

/// True when a policy, looked at alone, selects a proxy.
pub fn selects_dataplane(policy: &impl DataplanePolicy, dataplane: &Dataplane) -> bool {
    rank_of_dataplane(policy, dataplane).is_some()
}

/// The policy that applies to a proxy.
pub fn best_for_dataplane<'a, S: DataplanePolicy>(
    policies: &'a [Arc<Decoded<S>>],
    dataplane: &Dataplane,
) -> Option<&'a Arc<Decoded<S>>> {
    strongest(policies.iter().filter_map(|policy| Some((rank_of_dataplane(&policy.spec, dataplane)?, policy))))
}
