//! Who may connect according to a TrafficPermission.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/network_rbac_configurer.go`.

use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::{ANY, Tags};
use tandem_proto::mesh::v1alpha1::{Dataplane, TrafficPermission};

use super::Decoded;
use crate::envoy::pb::rbac::principal::{Authenticated, Identifier, Set};
use crate::envoy::pb::rbac::{Permission, Policy, Principal, Rbac, permission};
use crate::envoy::{ChainDraft, NetworkFilter, names, sanitize_stat_prefix};

/// Puts the permission in front of a filter chain that ends TLS, in place of one that is there: nobody may connect without one.
/// `listener` is the name under which the filter's statistics are kept.
pub fn set_chain(permission: Option<&Decoded<TrafficPermission>>, listener: &str, chain: &mut ChainDraft) {
    chain.filters.retain(|filter| filter.name() != names::NETWORK_RBAC);
    let stat_prefix = format!("{}.", sanitize_stat_prefix(listener));
    chain.filters.insert(0, NetworkFilter::rbac(stat_prefix, rules(permission)));
}

/// True when a permission lets a proxy connect.
pub fn allows(permission: &Decoded<TrafficPermission>, dataplane: &Dataplane) -> bool {
    permission.spec.sources.iter().any(|selector| dataplane.is_selected_by(&selector.r#match))
}

fn rules(permission: Option<&Decoded<TrafficPermission>>) -> Rbac {
    let mut rules = Rbac::default();
    if let Some(permission) = permission {
        let mesh = &permission.resource.key.mesh;
        let sources = permission.spec.sources.iter();
        let policy = Policy {
            permissions: vec![Permission { rule: Some(permission::Rule::Any(true)) }],
            principals: sources.map(|selector| principal(&selector.r#match, mesh)).collect(),
            ..Policy::default()
        };
        rules.policies.insert(permission.resource.key.name.clone(), policy);
    }
    rules
}

/// Clients whose certificate has all tags of a selector.
fn principal(selector: &Tags, mesh: &str) -> Principal {
    let exact = |tag: &String| selector.get(tag).is_some_and(|value| value != ANY && !value.is_empty());
    let (service, others): (Vec<_>, Vec<_>) =
        selector.iter().filter(|(tag, _)| exact(tag)).partition(|(tag, _)| *tag == SERVICE_TAG);
    let others = others.into_iter().map(|(tag, value)| format!("kuma://{tag}/{value}"));
    let service = service.into_iter().map(|(_, service)| format!("spiffe://{mesh}/{service}"));
    let mut ids: Vec<Principal> = others.chain(service).map(certified).collect();
    match ids.len() {
        0 => Principal { identifier: Some(Identifier::Any(true)) },
        1 => ids.remove(0),
        _ => Principal { identifier: Some(Identifier::AndIds(Set { ids })) },
    }
}

/// Clients whose certificate names this URI.
fn certified(uri: String) -> Principal {
    let name = StringMatcher { match_pattern: Some(MatchPattern::Exact(uri)), ..StringMatcher::default() };
    Principal { identifier: Some(Identifier::Authenticated(Authenticated { principal_name: Some(name) })) }
}
