//! Endpoints of a cluster, grouped as Envoy wants them.
//!
//! Source: Kuma `pkg/xds/envoy/endpoints/v3`.

use std::collections::BTreeMap;

use tandem_model::label::SERVICE_TAG;
use tandem_policy::envoy::{AssignmentDraft, EndpointAddress, EndpointDraft, LocalityDraft};
use tandem_policy::load_balancing::Localities;

use crate::index::Endpoint;

/// The assignment of a cluster: one group for each zone, sorted, with the endpoints sorted by address and port; then what policies
/// make of these.
///
/// What endpoints without a zone form comes first, without locality. Priority is that of the first endpoint of a group.
pub(crate) fn assignment(cluster: &str, endpoints: &[Endpoint], localities: Option<&Localities>) -> AssignmentDraft {
    let mut assignment = by_zone(cluster, endpoints);
    if let Some(localities) = localities {
        localities.set(&mut assignment);
    }
    assignment
}

fn by_zone(cluster: &str, endpoints: &[Endpoint]) -> AssignmentDraft {
    let mut groups: BTreeMap<Option<&str>, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        groups.entry(endpoint.locality.as_ref().map(|locality| locality.zone.as_str())).or_default().push(endpoint);
    }
    let localities = groups.into_iter().map(|(zone, mut endpoints)| {
        let locality = endpoints.first().and_then(|endpoint| endpoint.locality.as_ref());
        let priority = locality.map_or(0, |locality| locality.priority);
        endpoints.sort_by(|a, b| a.address.cmp(&b.address).then(a.port.cmp(&b.port)));
        LocalityDraft {
            zone: zone.unwrap_or_default().to_owned(),
            priority,
            endpoints: endpoints.into_iter().map(draft).collect(),
            ..Default::default()
        }
    });
    AssignmentDraft { cluster: cluster.to_owned(), localities: localities.collect(), overprovisioning_factor: None }
}

fn draft(endpoint: &Endpoint) -> EndpointDraft {
    let published = endpoint.tags.keys().any(|tag| tag != SERVICE_TAG);
    EndpointDraft {
        address: EndpointAddress::Socket(endpoint.address.to_string(), endpoint.port),
        weight: endpoint.weight,
        tags: published.then(|| endpoint.tags.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Locality;
    use std::sync::Arc;

    fn endpoint(address: &str, port: u32, zone: Option<&str>) -> Endpoint {
        let zone_tag = zone.map(|zone| ("kuma.io/zone".to_owned(), zone.to_owned()));
        Endpoint {
            address: address.into(),
            port,
            tags: Arc::new([("kuma.io/service".to_owned(), "web".to_owned())].into_iter().chain(zone_tag).collect()),
            weight: 1,
            locality: zone.map(|zone| Locality { zone: zone.to_owned(), priority: u32::from(zone != "east") }),
            external: false,
        }
    }

    #[test]
    fn endpoints_are_grouped_by_zone_and_sorted() {
        let endpoints = [
            endpoint("10.0.0.2", 80, Some("west")),
            endpoint("10.0.0.1", 90, Some("east")),
            endpoint("10.0.0.1", 80, Some("east")),
            endpoint("10.0.0.9", 80, None),
        ];
        let draft = assignment("web", &endpoints, None);
        let summary: Vec<_> =
            draft.localities.iter().map(|group| (group.zone.as_str(), group.priority, group.endpoints.len())).collect();
        assert_eq!(summary, [("", 0, 1), ("east", 0, 2), ("west", 1, 1)]);
        assert_eq!(draft.localities[1].endpoints[0].address, EndpointAddress::Socket("10.0.0.1".into(), 80));
        assert!(draft.localities[0].endpoints[0].tags.is_none(), "only the service tag: no metadata");
        assert!(draft.localities[1].endpoints[0].tags.is_some());
    }

    #[test]
    fn a_service_without_endpoints_has_an_empty_assignment() {
        assert!(assignment("web", &[], None).localities.is_empty());
    }
}
