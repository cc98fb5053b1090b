//! What MeshFaultInjection does to Envoy, and the parts that FaultInjection has in common with it.
//!
//! Source: Kuma `pkg/plugins/policies/meshfaultinjection/plugin`, `pkg/xds/envoy/listeners/v3/fault_injection_configurer.go`.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::common::matching::v3::ExtensionWithMatcher;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, FaultRateLimit, fault_rate_limit};
use envoy_types::pb::envoy::extensions::filters::common::matcher::action::v3::SkipFilter;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::MatchType;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherType, OnMatch, on_match};
use tandem_model::ResourceKey;
use tandem_model::tags::Tags;

use super::schema::{Abort, Conf, Delay, Fault, ResponseBandwidth};
use crate::envoy::pb::Duration;
use crate::envoy::pb::http::{HttpFilter, http_filter};
use crate::envoy::{ChainDraft, any_client, extension, insert_before_router, pack, percent};
use crate::legacy::source_tags;
use crate::policy::Policy;
use crate::rules::{InboundRule, inbound_rules};
use crate::schema::{IntOrString, SpiffeMatch};
use crate::subset::Subset;

const FILTER: &str = "envoy.filters.http.fault";

/// Faults that requests meet, in the form in which Envoy takes them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// In the order in which requests pass them.
    filters: Vec<HttpFilter>,
    problems: Vec<(ResourceKey, String)>,
}

impl Faults {
    /// What policies that select an inbound say; `policies` must be in order of precedence. As soon as one of them has `rules`,
    /// all `from` are ignored.
    pub(crate) fn new(policies: &[Arc<Policy>]) -> Self {
        let by_identity = inbound_rules(policies);
        if by_identity.is_empty() {
            return Self::by_tags(policies);
        }
        let mut faults = Self::default();
        by_identity.iter().for_each(|rule| faults.add_rule(rule));
        faults
    }

    /// What the `from` entries of policies say; `policies` must be in order of precedence. The strongest entry about a client
    /// decides. Kuma renders the sets of its rules one by one, and where these overlap a client meets the faults of several.
    pub(crate) fn by_tags(policies: &[Arc<Policy>]) -> Self {
        let entries = policies.iter().flat_map(|policy| policy.from.iter().map(move |item| (policy, item)));
        let entries: Vec<Entry<'_>> = entries
            .filter_map(|(policy, item)| {
                let tags = item.target.as_tags()?;
                Some(Entry { policy, clients: Subset::of(&tags), tags, faults: faults_of(&item.conf)? })
            })
            .collect();
        let mut faults = Self::default();
        let mut filters: Vec<(usize, HttpFilter)> = Vec::new();
        for (index, entry) in entries.iter().enumerate().rev() {
            let stronger = &entries[index + 1..];
            if stronger.iter().any(|other| other.clients.is_superset_of(&entry.clients)) {
                continue; // nobody is left for this entry
            }
            let mut headers: Vec<_> =
                (!entry.tags.is_empty()).then(|| source_tags::caller(&entry.tags)).into_iter().collect();
            for other in stronger.iter().filter(|other| other.clients.intersects(&entry.clients)) {
                let others = source_tags::other_callers(&other.tags);
                if !headers.contains(&others) {
                    headers.push(others);
                }
            }
            for fault in &entry.faults {
                let fault = HttpFault { headers: headers.clone(), ..faults.fault(entry.policy, fault) };
                filters.push((entry.tags.len(), filter(&fault)));
            }
        }
        filters.sort_by_key(|(tags, _)| std::cmp::Reverse(*tags));
        faults.filters = filters.into_iter().map(|(_, filter)| filter).collect();
        faults
    }

    /// What of which policies cannot take effect.
    pub fn problems(&self) -> &[(ResourceKey, String)] {
        &self.problems
    }

    /// Lets the requests of a filter chain meet the faults.
    pub(crate) fn set_chain(&self, chain: &mut ChainDraft) {
        for manager in chain.http_mut() {
            insert_before_router(manager, self.filters.iter().cloned());
        }
    }

    fn add_rule(&mut self, rule: &InboundRule) {
        let policy = &rule.origin.policy;
        let matches: Vec<SpiffeMatch> = rule
            .item()
            .matches
            .as_ref()
            .and_then(|matches| serde_json::from_value(matches.clone()).ok())
            .unwrap_or_default();
        let clients = any_client(&matches);
        if clients.is_none() && !matches.is_empty() {
            return; // it is about clients, but about none that can be told
        }
        for fault in faults_of(rule.conf()).unwrap_or_default() {
            let fault = self.fault(policy, &fault);
            let with_matcher = ExtensionWithMatcher {
                xds_matcher: Some(skipped_unless(clients.clone())),
                extension_config: Some(TypedExtensionConfig {
                    name: FILTER.to_owned(),
                    typed_config: Some(pack(&fault)),
                }),
                ..ExtensionWithMatcher::default()
            };
            self.filters.push(HttpFilter {
                name: policy.kri.to_string(),
                config_type: Some(http_filter::ConfigType::TypedConfig(pack(&with_matcher))),
                ..HttpFilter::default()
            });
        }
    }

    /// A fault of a policy for all clients. What Envoy does not take is left out: it would refuse the whole listener.
    fn fault(&mut self, policy: &Policy, fault: &Fault) -> HttpFault {
        let Fault { abort: aborted, delay: delayed, response_bandwidth } = fault;
        let mut left_out = |reason: String| self.problems.push((policy.resource.key.clone(), reason));
        HttpFault {
            abort: aborted.as_ref().and_then(|Abort { http_status, percentage }| {
                let abort = u32::try_from(*http_status).ok().and_then(|status| abort(status, share(percentage)));
                if abort.is_none() {
                    left_out(format!(
                        "no request is aborted with the status {http_status}: Envoy takes 200 to 599 for httpStatus"
                    ));
                }
                abort
            }),
            delay: delayed.as_ref().and_then(|Delay { value, percentage }| delay(value.to_proto(), share(percentage))),
            response_rate_limit: response_bandwidth.as_ref().and_then(|ResponseBandwidth { limit, percentage }| {
                let limited = bandwidth(limit, share(percentage));
                if limited.is_none() {
                    left_out(format!(
                        "no response is slowed to {limit:?}: the limit is a whole number from 1 with the unit kbps, Mbps or Gbps"
                    ));
                }
                limited
            }),
            ..HttpFault::default()
        }
    }
}

/// What an entry of `from` says about its clients.
struct Entry<'a> {
    policy: &'a Policy,
    tags: Tags,
    clients: Subset,
    faults: Vec<Fault>,
}

/// The faults of an entry; `None` when it says nothing about them.
fn faults_of(conf: &serde_json::Value) -> Option<Vec<Fault>> {
    serde_json::from_value::<Conf>(conf.clone()).ok()?.http
}

/// Skips the filter for all but these clients; for nobody without any.
fn skipped_unless(clients: Option<Predicate>) -> Matcher {
    let matchers: Vec<FieldMatcher> = clients
        .map(|clients| FieldMatcher {
            predicate: Some(Predicate { match_type: Some(MatchType::NotMatcher(Box::new(clients))) }),
            on_match: Some(OnMatch {
                on_match: Some(on_match::OnMatch::Action(extension("skip", &SkipFilter {}))),
                ..OnMatch::default()
            }),
        })
        .into_iter()
        .collect();
    let matcher_type = (!matchers.is_empty()).then_some(MatcherType::MatcherList(MatcherList { matchers }));
    Matcher { matcher_type, ..Matcher::default() }
}

/// Percent of the requests; validation refuses what is no number.
fn share(percentage: &IntOrString) -> f64 {
    percentage.decimal().map(|decimal| decimal.to_f64()).unwrap_or_default()
}

/// The filter that makes up a fault.
pub(crate) fn filter(fault: &HttpFault) -> HttpFilter {
    HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(fault))),
        ..HttpFilter::default()
    }
}

/// Aborts some percent of the requests; `None` for a status that Envoy does not take.
pub(crate) fn abort(status: u32, share: f64) -> Option<FaultAbort> {
    (200..600).contains(&status).then(|| FaultAbort {
        percentage: Some(percent(share)),
        error_type: Some(fault_abort::ErrorType::HttpStatus(status)),
        ..FaultAbort::default()
    })
}

/// Delays some percent of the requests; `None` when the time is none, which Envoy does not take.
pub(crate) fn delay(time: Duration, share: f64) -> Option<FaultDelay> {
    (time.seconds > 0 || time.nanos > 0).then(|| FaultDelay {
        percentage: Some(percent(share)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(time)),
    })
}

/// Slows some percent of the responses to a bandwidth such as `50 Mbps`; `None` for what is none.
pub(crate) fn bandwidth(limit: &str, share: f64) -> Option<FaultRateLimit> {
    let limit_kbps = kilobits_per_second(limit).filter(|limit| *limit > 0)?;
    Some(FaultRateLimit {
        percentage: Some(percent(share)),
        limit_type: Some(fault_rate_limit::LimitType::FixedLimit(fault_rate_limit::FixedLimit { limit_kbps })),
    })
}

fn kilobits_per_second(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let value: u64 = text[..end].parse().ok()?;
    let factor = match text[end..].trim_start() {
        "kbps" => 1,
        "Mbps" => 1_000,
        "Gbps" => 1_000_000,
        _ => return None,
    };
    value.checked_mul(factor)
}

#[cfg(test)]
#[path = "envoy_tests.rs"]
mod tests;
