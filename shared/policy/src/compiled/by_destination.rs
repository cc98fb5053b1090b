//! Configuration of outgoing traffic, by where it goes.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::kri::Kri;
use tandem_model::label::SERVICE_TAG;

use crate::rules::{ROUTE_TAG, ToRules, fallbacks};
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
        let by_tags = rules.rules.iter().filter_map(|rule| Some((rule.subset.clone(), conf(&rule.conf)?)));
        let by_kri =
            rules.resource_rules.0.iter().filter_map(|(kri, rule)| Some((kri.clone(), conf(rule.confs.first()?)?)));
        Self { by_tags: by_tags.collect(), by_kri: by_kri.collect() }
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
