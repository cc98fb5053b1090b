//! What ZoneIngress and ZoneEgress have in common: connections are handed on by the name they ask for, without ending TLS.
//!
//! Source: Kuma `pkg/xds/generator/zoneproxy`.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::google::protobuf::{Struct, Value, value};
use tandem_policy::envoy::pb::{cluster, core, listener};
use tandem_policy::envoy::{ChainDraft, ClusterDraft, NetworkFilter};

use super::shape::{Discovery, cluster as new_cluster, tcp_proxy};

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

/// The chain that takes the connections of one route.
pub(crate) fn chain(route: &Route) -> ChainDraft {
    let mut proxy = tcp_proxy(&route.cluster, &route.cluster);
    if !route.tags.is_empty() {
        proxy.metadata_match = Some(lb_metadata(&route.tags));
    }
    ChainDraft {
        matches: Some(listener::FilterChainMatch {
            transport_protocol: "tls".to_owned(),
            server_names: vec![route.sni.clone()],
            ..Default::default()
        }),
        filters: vec![NetworkFilter::Tcp(Box::new(proxy))],
        ..Default::default()
    }
}

fn lb_metadata(tags: &BTreeMap<String, String>) -> core::Metadata {
    let text = |text: &String| Value { kind: Some(value::Kind::StringValue(text.clone())) };
    let fields = tags.iter().map(|(tag, value)| (tag.clone(), text(value))).collect();
    core::Metadata {
        filter_metadata: [("envoy.lb".to_owned(), Struct { fields })].into_iter().collect(),
        ..Default::default()
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
