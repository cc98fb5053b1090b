//! Which policies apply to connections.
//!
//! Source: Kuma `pkg/core/policy/connection_matcher.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::tags::{Rank, Tags, selects};
use tandem_proto::mesh::v1alpha1::Dataplane;

use super::selector::{best_rank, compare, strongest};
use super::{ByService, ConnectionPolicy, Decoded};

/// For each of these services the policy for connections from the proxy to it. Of the destination only the service is known, so
/// destinations that ask for other tags match nothing.
pub(super) fn best_for_services<'a, S: ConnectionPolicy>(
    policies: &[Arc<Decoded<S>>],
    dataplane: &Dataplane,
    services: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<String, Arc<Decoded<S>>> {
    let from_here = policies
        .iter()
        .filter_map(|policy| Some((best_rank(policy.spec.sources(), |tags| dataplane.is_selected_by(tags))?, policy)));
    let by_service = ByService::new(from_here);
    let found = services.into_iter().filter_map(|service| Some((service.to_owned(), by_service.of(service)?.clone())));
    found.collect()
}

/// The policy for connections to an inbound, or an ExternalService, with these tags. Its sources are not looked at: they tell
/// which connections it is about.
pub fn best_for_tags<'a, S: ConnectionPolicy>(
    policies: &'a [Arc<Decoded<S>>],
    tags: &Tags,
) -> Option<&'a Arc<Decoded<S>>> {
    let rank = |policy: &Decoded<S>| best_rank(policy.spec.destinations(), |selector| selects(selector, tags));
    strongest(policies.iter().filter_map(|policy| Some((rank(policy)?, policy))))
}

/// All policies for connections to an inbound with these tags, strongest first: by the rank of the first source, then newest first,
/// then by name. Each is there once, however many of its destinations match.
pub(super) fn all_for_tags<S: ConnectionPolicy>(policies: &[Arc<Decoded<S>>], tags: &Tags) -> Vec<Arc<Decoded<S>>> {
    let matches =
        |policy: &&Arc<Decoded<S>>| policy.spec.destinations().iter().any(|selector| selects(&selector.r#match, tags));
    let mut matched: Vec<_> = policies.iter().filter(matches).cloned().collect();
    let first_source = |policy: &Decoded<S>| {
        policy.spec.sources().first().map_or_else(Rank::default, |selector| Rank::of(&selector.r#match))
    };
    matched.sort_by(|a, b| compare((first_source(b), &b.resource), (first_source(a), &a.resource)));
    matched
}
