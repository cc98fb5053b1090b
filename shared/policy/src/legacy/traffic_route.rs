//! Where the connections of an outbound go according to a TrafficRoute.
//!
//! Source: Kuma `pkg/xds/topology/router.go`, `api/mesh/v1alpha1/traffic_route_helpers.go`.

use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::{ANY, Tags};
use tandem_proto::mesh::v1alpha1::traffic_route::Conf;

/// A destination of a route for an outbound with these tags: `*` stands for the value of the outbound, and tags that the
/// destination lacks are those of the outbound.
pub fn with_outbound_tags(destination: &Tags, outbound: &Tags) -> Tags {
    let mut tags = outbound.clone();
    let exact = destination.iter().filter(|(_, value)| *value != ANY);
    tags.extend(exact.map(|(tag, value)| (tag.clone(), value.clone())));
    tags
}

/// Destinations of what none of the `http` rules takes, as written.
pub fn default_destinations(conf: &Conf) -> impl Iterator<Item = &Tags> {
    let single = (!conf.destination.is_empty()).then_some(&conf.destination);
    let split = if single.is_some() { &[][..] } else { &conf.split };
    single.into_iter().chain(split.iter().map(|split| &split.destination))
}

/// The services that an outbound with these tags reaches through the default destinations of a route. Destinations of its `http`
/// rules do not count, and those without a service lead nowhere.
pub fn services(conf: &Conf, outbound: &Tags) -> Vec<String> {
    default_destinations(conf)
        .filter_map(|destination| with_outbound_tags(destination, outbound).remove(SERVICE_TAG))
        .collect()
}
