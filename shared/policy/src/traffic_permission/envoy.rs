//! What MeshTrafficPermission does to Envoy.
//!
//! Source: Kuma `pkg/plugins/policies/meshtrafficpermission/{plugin,xds}`.

use std::sync::{Arc, LazyLock};

use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;

use super::clients;
use super::identities;
use crate::compiled::PolicySettings;
use crate::envoy::pb::http::{HttpFilter, http_filter};
use crate::envoy::pb::rbac::Rbac;
use crate::envoy::{ChainDraft, NetworkFilter, names, pack, sanitize_stat_prefix};
use crate::policy::Policy;
use crate::rules::inbound_rules;

/// Who may use an inbound, in the form in which Envoy takes it. Built once and shared by all inbounds with the same policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Permission {
    /// What a client has to pass, one after the other.
    stages: Vec<Stage>,
}

/// A filter, as it is for requests and for connections.
#[derive(Debug, Clone, PartialEq)]
struct Stage {
    http: HttpFilter,
    network: NetworkRbac,
}

static DENY_ALL: LazyLock<Permission> = LazyLock::new(|| Permission::by_rules(clients::rules_for_all(false), None));
static ALLOW_ALL: LazyLock<Permission> = LazyLock::new(|| Permission::by_rules(clients::rules_for_all(true), None));

impl Permission {
    /// What policies that select an inbound allow; `policies` must be in order of precedence. As soon as one of them has `rules`,
    /// these alone allow; what `from` of others denies stays denied.
    pub(crate) fn new(policies: &[Arc<Policy>], mesh: &str, settings: &PolicySettings) -> Self {
        let by_identity = inbound_rules(policies);
        if by_identity.is_empty() {
            return Self::by_tags(policies, mesh, settings);
        }
        let denials = || clients::denials(policies, &by_identity, mesh);
        let denials = settings.deny_overrides_allow.then(denials).flatten();
        let denials = denials.map(|rules| Stage::of(NetworkRbac { rules: Some(rules), ..NetworkRbac::default() }));
        let (matcher, shadow) = identities::matchers(&by_identity, settings.deny_overrides_allow);
        let decision = NetworkRbac { matcher: Some(matcher), shadow_matcher: shadow, ..NetworkRbac::default() };
        Self { stages: denials.into_iter().chain([Stage::of(decision)]).collect() }
    }

    /// What the `from` entries of policies allow; `policies` must be in order of precedence.
    pub(crate) fn by_tags(policies: &[Arc<Policy>], mesh: &str, settings: &PolicySettings) -> Self {
        let rules = if settings.deny_overrides_allow { clients::rules } else { clients::rules_set_by_set };
        let (rules, shadow) = rules(policies, mesh);
        Self::by_rules(rules, shadow)
    }

    /// Nobody.
    pub(crate) fn deny_all() -> &'static Self {
        &DENY_ALL
    }

    /// Everybody.
    pub(crate) fn allow_all() -> &'static Self {
        &ALLOW_ALL
    }

    fn by_rules(rules: Rbac, shadow: Option<Rbac>) -> Self {
        let rules = NetworkRbac { rules: Some(rules), shadow_rules: shadow, ..NetworkRbac::default() };
        Self { stages: vec![Stage::of(rules)] }
    }

    /// Puts the permission in front of a filter chain, in place of what older policies left there. `listener` is the
    /// name under which the listener's statistics are kept.
    pub(crate) fn set_chain(&self, chain: &mut ChainDraft, listener: &str) {
        if let Some(index) = chain.filters.iter().position(|filter| filter.name() == names::NETWORK_RBAC) {
            chain.filters.remove(index);
        }
        let mut is_http = false;
        for manager in chain.http_mut() {
            manager.http_filters.splice(0..0, self.stages.iter().map(|stage| stage.http.clone()));
            is_http = true;
        }
        if !is_http {
            let stat_prefix = format!("{}.", sanitize_stat_prefix(listener));
            let filter = |stage: &Stage| {
                let filter = NetworkRbac { stat_prefix: stat_prefix.clone(), ..stage.network.clone() };
                NetworkFilter::Rbac(Box::new(filter))
            };
            chain.filters.splice(0..0, self.stages.iter().map(filter));
        }
    }
}

impl Stage {
    fn of(network: NetworkRbac) -> Self {
        let http = HttpRbac {
            rules: network.rules.clone(),
            shadow_rules: network.shadow_rules.clone(),
            matcher: network.matcher.clone(),
            shadow_matcher: network.shadow_matcher.clone(),
            ..HttpRbac::default()
        };
        let http = HttpFilter {
            name: names::HTTP_RBAC.to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(pack(&http))),
            ..HttpFilter::default()
        };
        Self { http, network }
    }
}
