//! What ZoneIngress and ZoneEgress have in common: connections are handed on by the name they ask for, without ending TLS.
//!
//! Source: Kuma `pkg/xds/generator/zoneproxy`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tandem_model::Kind;
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::Tags;
use tandem_model::virtual_outbound::matching;
use tandem_policy::envoy::pb::{cluster, listener, tcp};
use tandem_policy::envoy::{ChainDraft, ClusterDraft, NetworkFilter, names, pack};
use tandem_policy::legacy::gateway::destinations;
use tandem_policy::legacy::traffic_route;

use tandem_policy::target_ref::TargetRef;

use super::names::{service_sni, zone_cluster};
use super::shape::{Discovery, cluster as new_cluster, tcp_proxy};
use crate::index::{Endpoint, MeshState};

/// One way through a zone proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// Name that connections ask for.
    pub sni: String,
    /// Cluster they go to.
    pub cluster: String,
    /// Tags that endpoints must have; empty for any endpoint.
    pub tags: BTreeMap<String, String>,
}

/// What clients of a mesh may ask for: sets of tags, by the service they are about, or by [`ALL`] for those about every service.
/// The empty set stands for a whole service.
#[derive(Debug, Default)]
pub(crate) struct Splits(BTreeMap<String, Vec<Tags>>);

/// Stands for all services.
const ALL: &str = "*";

impl Splits {
    /// The sets of tags in the routes of a mesh. Every service can be reached as a whole, except where TrafficRoutes decide.
    pub fn of(mesh: &MeshState) -> Self {
        let mut splits = Self::default();
        let (policies, older) = (&mesh.compiled, mesh.legacy.policies());
        let routes = older.traffic_routes.iter().filter_map(|route| route.spec.conf.as_ref());
        routes.flat_map(traffic_route::all_destinations).for_each(|tags| splits.add_tags(tags));
        if older.traffic_routes.is_empty() {
            splits.0.entry(ALL.to_owned()).or_default().push(Tags::new());
        }
        for policy in policies.of_kind(Kind::MeshHTTPRoute) {
            for item in &policy.to {
                let rules = item.conf["rules"].as_array().into_iter().flatten().rev();
                rules.for_each(|rule| splits.add(&item.target, &rule["default"]["backendRefs"]));
            }
        }
        for item in policies.of_kind(Kind::MeshTCPRoute).iter().flat_map(|policy| &policy.to) {
            splits.add(&item.target, &item.conf["default"]["backendRefs"]);
        }
        for route in &older.gateway_routes {
            destinations(&route.spec).into_iter().for_each(|tags| splits.add_tags(tags));
        }
        splits.add_virtual_outbounds(mesh);
        splits
    }

    /// Adds what sidecars ask for at the names that VirtualOutbounds make.
    fn add_virtual_outbounds(&mut self, mesh: &MeshState) {
        if mesh.virtual_outbounds.is_empty() {
            return;
        }
        let local = mesh.services.values().flat_map(|service| service.local.values()).map(|endpoint| &*endpoint.tags);
        let remote = mesh.services.values().flat_map(|service| service.remote.values());
        let remote = remote.flat_map(|services| services.iter()).map(|service| &*service.tags);
        // Most proxies have the tags of another one.
        let tag_sets: BTreeSet<&Tags> = local.chain(remote).collect();
        for tags in tag_sets {
            for outbound in matching(mesh.virtual_outbounds.values().map(|outbound| &**outbound), tags) {
                self.add_tags(&outbound.tags(tags));
            }
        }
    }

    /// Adds a destination by tags; what may have any value does not choose anything.
    fn add_tags(&mut self, tags: &Tags) {
        let Some(service) = tags.get(SERVICE_TAG) else { return };
        let chosen = tags.iter().filter(|(tag, value)| *tag != SERVICE_TAG && *value != ALL);
        let chosen = chosen.map(|(tag, value)| (tag.clone(), value.clone())).collect();
        self.0.entry(service.clone()).or_default().push(chosen);
    }

    /// Adds what a rule for `target` sends requests to: its backends, or the target itself when it names none.
    fn add(&mut self, target: &TargetRef, backends: &serde_json::Value) {
        let Some(backends) = backends.as_array() else { return self.add_target(target) };
        for backend in backends {
            if let Ok(target) = serde_json::from_value(backend.clone()) {
                self.add_target(&target);
            }
        }
    }

    fn add_target(&mut self, target: &TargetRef) {
        let Some(mut tags) = target.as_tags() else { return };
        tags.entry(SERVICE_TAG.to_owned()).or_insert_with(|| ALL.to_owned());
        self.add_tags(&tags);
    }

    fn about(&self, service: &str) -> impl Iterator<Item = &Tags> {
        self.0.get(service).into_iter().flatten()
    }

    /// The ways to a service of a mesh, none for one that no route leads to, and the sets of tags by which its cluster must be able to choose endpoints.
    /// `endpoints` is asked for the endpoints when they matter.
    pub fn routes(
        &self,
        mesh: &str,
        service: &str,
        endpoints: impl FnOnce() -> Vec<Endpoint>,
    ) -> (Vec<Route>, BTreeSet<Vec<String>>) {
        let route = |tags: &Tags, relevant: Tags| Route {
            sni: service_sni(service, mesh, tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str()))),
            cluster: zone_cluster(mesh, service),
            tags: relevant,
        };
        let (own, all) = (|| self.about(service), || self.about(ALL));
        if own().chain(all()).all(Tags::is_empty) {
            let whole = own().chain(all()).next();
            return (whole.map(|whole| route(whole, Tags::new())).into_iter().collect(), BTreeSet::new());
        }
        let endpoints = endpoints();
        let mut routes: Vec<Route> = Vec::new();
        for tags in own().chain(all()) {
            let next = route(tags, relevant(tags, &endpoints));
            if !routes.iter().any(|known| known.sni == next.sni) {
                routes.push(next);
            }
        }
        let keys = routes.iter().map(|route| &route.tags).chain(all()).map(|tags| tags.keys().cloned().collect());
        let subsets = keys.filter(|keys: &Vec<String>| !keys.is_empty()).collect();
        (routes, subsets)
    }
}

/// Those tags that some address of the service does not have. The others do not choose anything; and where several groups of
/// proxies are behind one address, choosing by them would lose some.
fn relevant(tags: &Tags, endpoints: &[Endpoint]) -> Tags {
    let addresses = |wanted: &dyn Fn(&Endpoint) -> bool| -> usize {
        let matching = endpoints.iter().filter(|endpoint| wanted(endpoint));
        matching.map(|endpoint| (&endpoint.address, endpoint.port)).collect::<BTreeSet<_>>().len()
    };
    let all = addresses(&|_| true);
    let chooses = |tag: &String, value: &String| {
        value != ALL && addresses(&|endpoint| endpoint.tags.get(tag) == Some(value)) < all
    };
    tags.iter().filter(|(tag, value)| chooses(tag, value)).map(|(tag, value)| (tag.clone(), value.clone())).collect()
}

/// The chain that takes the connections of one route.
pub(crate) fn chain(route: &Route) -> ChainDraft {
    let proxy = tcp_proxy(&route.cluster, &route.cluster);
    let filter = match route.tags.is_empty() {
        true => NetworkFilter::Tcp(Box::new(proxy)),
        false => NetworkFilter::Packed(choosing(&proxy, &route.tags)),
    };
    ChainDraft {
        matches: Some(listener::FilterChainMatch {
            transport_protocol: "tls".to_owned(),
            server_names: vec![route.sni.clone()],
            ..Default::default()
        }),
        filters: vec![filter],
        ..Default::default()
    }
}

/// The member of `TcpProxy` that chooses endpoints, with sorted maps: equal tags have equal encodings.
#[derive(Clone, PartialEq, prost::Message)]
struct Choice {
    #[prost(message, optional, tag = "9")]
    metadata_match: Option<SortedMetadata>,
}

/// `envoy.config.core.v3.Metadata` with sorted maps.
#[derive(Clone, PartialEq, prost::Message)]
struct SortedMetadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, prost_types::Struct>,
}

/// A TCP proxy that only takes endpoints with these tags.
fn choosing(proxy: &tcp::TcpProxy, tags: &Tags) -> listener::Filter {
    let text = |text: &String| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.clone())) };
    let fields = tags.iter().map(|(tag, value)| (tag.clone(), text(value))).collect();
    let metadata =
        SortedMetadata { filter_metadata: [(names::LB_METADATA.to_owned(), prost_types::Struct { fields })].into() };
    let mut packed = pack(proxy);
    packed.value.extend(Choice { metadata_match: Some(metadata) }.encode_to_vec());
    listener::Filter {
        name: names::TCP_PROXY.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(packed)),
    }
}

/// The cluster of a service; `subsets` are the sets of tags by which routes choose among its endpoints.
pub(crate) fn cluster(name: &str, subsets: &BTreeSet<Vec<String>>) -> ClusterDraft {
    use cluster::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
    use cluster::cluster::lb_subset_config::{LbSubsetFallbackPolicy, LbSubsetSelector};
    let mut draft = new_cluster(name, Discovery::Eds);
    if !subsets.is_empty() {
        let selector = |keys: &Vec<String>| LbSubsetSelector {
            keys: keys.clone(),
            fallback_policy: LbSubsetSelectorFallbackPolicy::NoFallback.into(),
            ..Default::default()
        };
        draft.message.lb_subset_config = Some(cluster::cluster::LbSubsetConfig {
            fallback_policy: LbSubsetFallbackPolicy::AnyEndpoint.into(),
            subset_selectors: subsets.iter().map(selector).collect(),
            ..Default::default()
        });
    }
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags<const N: usize>(pairs: [(&str, &str); N]) -> Tags {
        pairs.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into()
    }

    fn endpoint(address: &str, version: &str) -> Endpoint {
        let tags = tags([("version", version), ("region", "eu")]);
        Endpoint {
            address: address.into(),
            port: 80,
            tags: std::sync::Arc::new(tags),
            weight: 1,
            locality: None,
            external: false,
        }
    }

    #[test]
    fn only_tags_that_choose_are_matched() {
        let of_web = vec![tags([("version", "v1"), ("region", "eu")])];
        let splits = Splits([("web".to_owned(), of_web), (ALL.to_owned(), vec![Tags::new()])].into());
        let endpoints = || vec![endpoint("10.0.0.1", "v1"), endpoint("10.0.0.2", "v2")];
        let (routes, subsets) = splits.routes("default", "web", endpoints);
        let names: Vec<_> = routes.iter().map(|route| route.sni.as_str()).collect();
        assert_eq!(names, ["web{mesh=default,region=eu,version=v1}", "web{mesh=default}"]);
        assert_eq!(routes[0].tags, tags([("version", "v1")]), "all endpoints are in that region");
        assert_eq!(subsets, BTreeSet::from([vec!["version".to_owned()]]));
        let (routes, subsets) = splits.routes("default", "other", Vec::new);
        assert_eq!((routes.len(), subsets.len()), (1, 0));
    }

    #[test]
    fn equal_tags_have_equal_encodings() {
        let many: Tags = (0..20).map(|number| (format!("tag-{number}"), "value".to_owned())).collect();
        let route = Route { sni: "web".into(), cluster: "web".into(), tags: many };
        let encoded = || match &chain(&route).filters[0] {
            NetworkFilter::Packed(filter) => filter.encode_to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(encoded(), encoded());
    }
}
