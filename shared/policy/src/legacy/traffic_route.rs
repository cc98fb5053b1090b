//! Where the connections of an outbound go according to a TrafficRoute.
//!
//! Source: Kuma `pkg/xds/topology/router.go`, `api/mesh/v1alpha1/traffic_route_helpers.go`.

mod http;
mod load_balancer;

use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::{ANY, Tags};
use tandem_proto::mesh::v1alpha1::traffic_route::{Conf, Http, Split};

pub use http::{matches, modify};
pub use load_balancer::set_cluster;

/// A destination of requests or connections, as written, and its share of them.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    /// Tags; the value `*` stands for that of the outbound.
    pub destination: &'a Tags,
    /// Weight in relation to the other destinations; never 0.
    pub weight: u32,
}

/// Destinations of what none of the `http` rules takes, without those of weight 0.
pub fn default_shares(conf: &Conf) -> Vec<Share<'_>> {
    shares(&conf.destination, &conf.split)
}

/// Destinations of the requests that a rule takes, without those of weight 0.
pub fn shares_of_rule(rule: &Http) -> Vec<Share<'_>> {
    shares(&rule.destination, &rule.split)
}

fn shares<'a>(destination: &'a Tags, split: &'a [Split]) -> Vec<Share<'a>> {
    if !destination.is_empty() {
        return vec![Share { destination, weight: 1 }];
    }
    let shares = split.iter().map(|split| Share { destination: &split.destination, weight: split.weight.unwrap_or(0) });
    shares.filter(|share| share.weight > 0).collect()
}

/// All destinations of a route, as written, also those of `http` rules and of weight 0.
pub fn all_destinations(conf: &Conf) -> impl Iterator<Item = &Tags> {
    let of_rules = conf.http.iter().flat_map(|rule| destinations(&rule.destination, &rule.split));
    default_destinations(conf).chain(of_rules)
}

fn destinations<'a>(destination: &'a Tags, split: &'a [Split]) -> impl Iterator<Item = &'a Tags> {
    let single = (!destination.is_empty()).then_some(destination);
    let split = if single.is_some() { &[][..] } else { split };
    single.into_iter().chain(split.iter().map(|split| &split.destination))
}

/// A destination of a route for an outbound with these tags: `*` stands for the value of the outbound, and tags that the
/// destination lacks are those of the outbound.
pub fn with_outbound_tags(destination: &Tags, outbound: &Tags) -> Tags {
    let mut tags = outbound.clone();
    let exact = destination.iter().filter(|(_, value)| *value != ANY);
    tags.extend(exact.map(|(tag, value)| (tag.clone(), value.clone())));
    tags
}

/// Destinations of what none of the `http` rules takes, as written, also those of weight 0.
pub fn default_destinations(conf: &Conf) -> impl Iterator<Item = &Tags> {
    destinations(&conf.destination, &conf.split)
}

/// The services that an outbound with these tags reaches through the default destinations of a route. Destinations of its `http`
/// rules do not count, and those without a service lead nowhere.
pub fn services(conf: &Conf, outbound: &Tags) -> Vec<String> {
    default_destinations(conf)
        .filter_map(|destination| with_outbound_tags(destination, outbound).remove(SERVICE_TAG))
        .collect()
}
