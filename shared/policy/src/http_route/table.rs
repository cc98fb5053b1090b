//! The routes to one destination, translated.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/plugin/v1alpha1/listeners.go`, `pkg/plugins/policies/meshhttproute/xds`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tandem_model::kri::Kri;
use tandem_model::resource::ResourceKey;

use super::filters;
use super::hash::hash_of_json;
use super::matches;
use super::order::cmp_precedence;
use super::schema::{Filter, FilterType, Match, PathMatch, PathMatchType, Rule, RuleConf};
use crate::backend::{Backend, check_weights};
use crate::destinations::Destinations;
use crate::envoy::duration;
use crate::envoy::pb::core::RuntimeFractionalPercent;
use crate::envoy::pb::route;
use crate::rules::RuleOrigin;
use crate::schema::BackendRef;

/// Hash of the matches of the route that takes every path.
const CATCH_ALL: &str = "9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo=";

/// The routes to a destination, in order of precedence. The last one takes what no other does.
#[derive(Debug, PartialEq)]
pub struct RouteTable {
    /// The routes.
    pub routes: Vec<Route>,
    /// False when the policies have no rules, so that there is only the route that takes everything.
    pub has_rules: bool,
    /// What is left out of which policy, and why.
    pub problems: Vec<(ResourceKey, String)>,
}

/// A route: what a policy says about requests that fulfil a condition.
#[derive(Debug, PartialEq)]
pub struct Route {
    /// Hash of the matches of its rule.
    hash: Arc<str>,
    /// The policy that has the rule; `None` for the route that no policy has.
    pub origin: Option<RouteOrigin>,
    /// Envoy's routes without names, clusters and copies: two for prefixes. Redirections are complete.
    pub templates: Vec<route::Route>,
    /// Where requests go; none for the destination of the outbound.
    pub backends: Vec<Backend>,
    /// Where copies of requests go.
    pub mirrors: Vec<Mirror>,
}

/// Where a route comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOrigin {
    /// The policy.
    pub key: ResourceKey,
    /// Its identifier.
    pub kri: Kri,
    /// Index of its entry.
    pub index: usize,
}

/// A copy of requests.
#[derive(Debug, PartialEq)]
pub struct Mirror {
    /// Where it goes.
    pub backend: Backend,
    /// The share of the requests; `None` for all.
    pub fraction: Option<RuntimeFractionalPercent>,
}

impl RouteOrigin {
    pub(crate) fn new(origin: &RuleOrigin) -> Self {
        let policy = &origin.policy;
        Self { key: policy.resource.key.clone(), kri: policy.kri.clone(), index: origin.index }
    }
}

impl Route {
    /// Name of the route to a destination by tags.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Name of the route to a destination that is a resource: after its policy. `with_rule` names the entry of the policy, too.
    pub fn name(&self, with_rule: bool) -> String {
        match &self.origin {
            Some(RouteOrigin { kri, index, .. }) if with_rule => {
                kri.clone().with_section(format!("rule_{index}")).to_string()
            }
            Some(RouteOrigin { kri, .. }) => kri.to_string(),
            None => self.hash.to_string(),
        }
    }

    /// True when requests go anywhere, and are not answered by a redirection.
    pub fn is_forwarding(&self) -> bool {
        self.templates.iter().any(|template| matches!(template.action, Some(route::route::Action::Route(_))))
    }
}

/// The merged configuration of policies about one destination.
#[derive(Deserialize)]
struct Conf {
    #[serde(default)]
    rules: Vec<Value>,
}

impl RouteTable {
    /// Translates the merged configuration of policies. `origin` tells which policy has the rule with matches of a hash.
    pub(crate) fn new(conf: &Value, origin: impl Fn(&str) -> Option<RouteOrigin>, destinations: &Destinations) -> Self {
        // Merged from what the schema encoded, so it decodes.
        let rules = Conf::deserialize(conf).map(|conf| conf.rules).unwrap_or_default();
        let mut table = Self { routes: Vec::new(), has_rules: !rules.is_empty(), problems: Vec::new() };
        let mut sorted: Vec<(Match, Route)> = Vec::new();
        for rule in &rules {
            let hash = hash_of_json(&rule["matches"]);
            let (Ok(rule), Some(origin)) = (Rule::deserialize(rule), origin(&hash)) else { continue };
            sorted.extend(table.routes_of(rule, hash.into(), origin, destinations));
        }
        sorted.sort_by(|(one, _), (other, _)| cmp_precedence(one, other));
        let everything = Match {
            path: Some(PathMatch { value: "/".to_owned(), kind: PathMatchType::PathPrefix }),
            ..Match::default()
        };
        let takes_everything = sorted.iter().any(|(condition, _)| *condition == everything);
        table.routes = sorted.into_iter().map(|(_, route)| route).collect();
        if !takes_everything {
            let templates = templates(&everything, &[]);
            let (backends, mirrors) = Default::default();
            table.routes.push(Route { hash: CATCH_ALL.into(), origin: None, templates, backends, mirrors });
        }
        table
    }

    fn routes_of(
        &mut self,
        rule: Rule,
        hash: Arc<str>,
        origin: RouteOrigin,
        destinations: &Destinations,
    ) -> Vec<(Match, Route)> {
        let RuleConf { filters, backend_refs } = rule.default;
        let filters = self.usable(filters.unwrap_or_default(), &origin);
        let mut resolve = |reference: &BackendRef| {
            let found = Backend::resolve(reference, &origin.kri, destinations);
            if found.is_none() {
                let kind = reference.kind.name();
                self.problems.push((origin.key.clone(), format!("a backendRef is left out: no {kind} has its labels")));
            }
            found
        };
        let backends: Vec<Backend> = backend_refs.iter().flatten().filter_map(&mut resolve).collect();
        let mirror = |filter: &Filter| {
            let conf = filter.request_mirror.as_ref()?;
            let fraction = filters::mirrored(conf.percentage.as_ref());
            Some((resolve(&conf.backend_ref)?, fraction))
        };
        let copies = filters.iter().filter(|filter| filter.kind == FilterType::RequestMirror);
        let mirrors: Vec<_> = copies.filter_map(mirror).collect();
        if let Err(reason) = check_weights(&backends) {
            self.problems.push((origin.key.clone(), format!("a rule is left out: {reason}")));
            return Vec::new();
        }
        let mut routes = Vec::new();
        for condition in rule.matches {
            if let Err(reason) = matches::check(&condition) {
                self.problems.push((origin.key.clone(), format!("a match is left out: {reason}")));
                continue;
            }
            let route = Route {
                hash: hash.clone(),
                origin: Some(origin.clone()),
                templates: templates(&condition, &filters),
                backends: backends.clone(),
                mirrors: mirrors
                    .iter()
                    .map(|(backend, fraction)| Mirror { backend: backend.clone(), fraction: fraction.clone() })
                    .collect(),
            };
            routes.push((condition, route));
        }
        routes
    }

    /// The filters that Envoy can be given.
    fn usable(&mut self, filters: Vec<Filter>, origin: &RouteOrigin) -> Vec<Filter> {
        let mut redirects = false;
        let mut usable = Vec::new();
        for filter in filters {
            let reason = match filter.kind {
                FilterType::UrlRewrite | FilterType::RequestMirror if redirects => {
                    Err("a request that RequestRedirect has answered is neither rewritten nor copied".to_owned())
                }
                _ => filters::check(&filter),
            };
            match reason {
                Ok(()) => {
                    redirects |= filter.kind == FilterType::RequestRedirect && filter.request_redirect.is_some();
                    usable.push(filter);
                }
                Err(reason) => self.problems.push((origin.key.clone(), format!("a filter is left out: {reason}"))),
            }
        }
        usable
    }
}

/// Envoy's routes for requests that fulfil a condition, without limit of time.
fn templates(condition: &Match, filters: &[Filter]) -> Vec<route::Route> {
    let translated = matches::translate(condition).into_iter().map(|(matched, condition)| {
        let action = route::RouteAction { timeout: Some(duration(std::time::Duration::ZERO)), ..Default::default() };
        let mut template = route::Route {
            r#match: Some(condition),
            action: Some(route::route::Action::Route(action)),
            ..Default::default()
        };
        for filter in filters {
            filters::apply(filter, matched, &mut template);
        }
        template
    });
    translated.collect()
}
