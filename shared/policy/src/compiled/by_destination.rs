//! Configuration of outgoing traffic, by where it goes.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::kri::Kri;
use tandem_model::label::SERVICE_TAG;

use crate::envoy::Draft;
use crate::rules::{ROUTE_TAG, ResourceRule, Rule, ToRules, fallbacks};
use crate::subset::Subset;

/// Configuration by destination, decoded and translated.
#[derive(Debug, Clone, PartialEq)]
pub struct ByDestination<C> {
    by_tags: Vec<(Subset, C)>,
    by_kri: BTreeMap<Kri, C>,
}

impl<C> Default for ByDestination<C> {
    fn default() -> Self {
        Self { by_tags: Vec::new(), by_kri: BTreeMap::new() }
    }
}

impl<C> ByDestination<C> {
    pub(super) fn new<S: DeserializeOwned>(rules: &ToRules, translate: impl Fn(S) -> C) -> Self {
        // Confs are merges of what the schema encoded, so they decode.
        let conf = |conf: &Value| serde_json::from_value(conf.clone()).ok().map(&translate);
        Self::of_rules(rules, |rule| conf(&rule.conf), |rule| conf(rule.confs.first()?))
    }

    /// As [`ByDestination::new`], for what follows from more of a rule than its configuration.
    pub(super) fn of_rules(
        rules: &ToRules,
        by_tags: impl Fn(&Rule) -> Option<C>,
        by_resource: impl Fn(&ResourceRule) -> Option<C>,
    ) -> Self {
        let of_tags = rules.rules.iter().filter_map(|rule| Some((rule.subset.clone(), by_tags(rule)?)));
        let of_kris = rules.resource_rules.0.iter().filter_map(|(kri, rule)| Some((kri.clone(), by_resource(rule)?)));
        Self { by_tags: of_tags.collect(), by_kri: of_kris.collect() }
    }

    /// True when nothing is said about any destination.
    pub fn is_empty(&self) -> bool {
        self.by_tags.is_empty() && self.by_kri.is_empty()
    }

    /// True when something is said about destinations by tags.
    pub fn has_tags(&self) -> bool {
        !self.by_tags.is_empty()
    }

    fn of_tags(&self, tags: &BTreeMap<&str, &str>) -> Option<&C> {
        self.by_tags.iter().find(|(subset, _)| subset.contains(tags)).map(|(_, conf)| conf)
    }

    /// What holds for a destination by tags.
    pub fn of_service(&self, service: &str) -> Option<&C> {
        self.of_tags(&[(SERVICE_TAG, service)].into())
    }

    /// What holds for one route, named by the hash of its matches, to a destination by tags.
    pub fn of_route(&self, service: &str, hash: &str) -> Option<&C> {
        self.of_tags(&[(SERVICE_TAG, service), (ROUTE_TAG, hash)].into())
    }

    /// What holds for a destination that is a resource, or for a route to one: its own, else that of the whole
    /// resource, else that of the mesh.
    pub fn of_resource(&self, kri: &Kri) -> Option<&C> {
        fallbacks(kri).find_map(|kri| self.by_kri.get(&kri))
    }

    /// What holds for the destination that a resource of Envoy serves.
    pub(crate) fn of_draft<T>(&self, draft: &Draft<T>) -> Option<&C> {
        match (&draft.destination, &draft.service) {
            (Some(destination), _) => self.of_resource(destination),
            (None, Some(service)) => self.of_service(service),
            (None, None) => None,
        }
    }

    /// All configurations.
    pub fn values(&self) -> impl Iterator<Item = &C> + Clone {
        self.by_tags.iter().map(|(_, conf)| conf).chain(self.by_kri.values())
    }

    /// What is said about one route, a resource itself.
    pub fn of_exact_route(&self, route: &Kri) -> Option<&C> {
        self.by_kri.get(route).or_else(|| self.by_kri.get(&route.clone().without_section()))
    }

    /// What holds for one route, a resource itself, to a destination that is a resource: what is said about the route,
    /// else what holds for the destination.
    pub fn of_resource_route(&self, route: &Kri, destination: &Kri) -> Option<&C> {
        self.of_exact_route(route).or_else(|| self.of_resource(destination))
    }
}
