//! Clusters between which requests or connections are split.

use tandem_policy::envoy::pb::{UInt32Value, route, tcp};
use tandem_policy::envoy::sanitize_stat_prefix;

use super::shape::tcp_proxy;

/// Clusters that requests or connections go to, with their weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Shares {
    /// Names of the clusters with their weights.
    pub clusters: Vec<(String, u32)>,
    /// Some of them stand for something outside the mesh, which wants its own name as host.
    pub outside: bool,
}

impl Shares {
    /// True when there is nowhere to go.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Adds a cluster.
    pub fn add(&mut self, cluster: String, weight: u32, outside: bool) {
        self.clusters.push((cluster, weight));
        self.outside |= outside;
    }

    /// Where the requests of a route go.
    pub fn of_requests(&self) -> route::route_action::ClusterSpecifier {
        use route::route_action::ClusterSpecifier;
        use route::weighted_cluster::ClusterWeight;
        if let [(cluster, _)] = self.clusters.as_slice() {
            return ClusterSpecifier::Cluster(cluster.clone());
        }
        let weight = |(name, weight): &(String, u32)| ClusterWeight {
            name: name.clone(),
            weight: Some(UInt32Value { value: *weight }),
            ..Default::default()
        };
        let clusters = self.clusters.iter().map(weight).collect();
        ClusterSpecifier::WeightedClusters(route::WeightedCluster { clusters, ..Default::default() })
    }

    /// Forwards connections; `None` when there is nowhere to go.
    pub fn of_connections(&self, stat_name: &str) -> Option<tcp::TcpProxy> {
        use tcp::tcp_proxy::weighted_cluster::ClusterWeight;
        use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster};
        match self.clusters.as_slice() {
            [] => None,
            [(cluster, _)] => Some(tcp_proxy(cluster, stat_name)),
            clusters => {
                let weight = |(name, weight): &(String, u32)| ClusterWeight {
                    name: name.clone(),
                    weight: *weight,
                    ..Default::default()
                };
                let clusters = WeightedCluster { clusters: clusters.iter().map(weight).collect() };
                Some(tcp::TcpProxy {
                    stat_prefix: sanitize_stat_prefix(stat_name),
                    cluster_specifier: Some(ClusterSpecifier::WeightedClusters(clusters)),
                    ..Default::default()
                })
            }
        }
    }
}
