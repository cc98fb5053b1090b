//! What MeshLoadBalancingStrategy does to clusters and routes; [`Localities`] is what it does to endpoints.
//!
//! Source: Kuma `pkg/plugins/policies/meshloadbalancingstrategy/plugin/v1alpha1/plugin.go`.

use envoy_types::pb::google::protobuf::UInt64Value;

use super::localities::{Localities, Standpoint};
use super::schema::{self, Conf, HashPolicyType, LoadBalancer, LoadBalancerType, LocalityAwareness};
use crate::envoy::ClusterDraft;
use crate::envoy::pb::UInt32Value;
use crate::envoy::pb::cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
use crate::envoy::pb::cluster::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, ring_hash_lb_config::HashFunction,
};
use crate::envoy::pb::core::RuntimeDouble;
use crate::envoy::pb::route::route::Action;
use crate::envoy::pb::route::route_action::HashPolicy;
use crate::envoy::pb::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, FilterState, Header, PolicySpecifier, QueryParameter,
};
use crate::envoy::pb::route::{Route, RouteAction};
use crate::schema::GoDuration;

/// A configuration in the form in which Envoy takes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strategy {
    balancer: Option<(LbPolicy, Option<LbConfig>)>,
    hash_policies: Vec<HashPolicy>,
    locality: Option<LocalityAwareness>,
}

impl Strategy {
    /// Translates a configuration.
    pub fn new(conf: &Conf) -> Self {
        Self {
            balancer: conf.load_balancer.as_ref().map(balancer),
            hash_policies: hash_policies(conf).iter().filter_map(hash_policy).collect(),
            locality: conf.locality_awareness.clone(),
        }
    }

    /// The tags of a proxy by which near endpoints are recognized.
    pub fn affinity_tags(&self) -> impl Iterator<Item = &str> {
        let local = self.locality.as_ref().and_then(|locality| locality.local_zone.as_ref());
        local.and_then(|local| local.affinity_tags.as_ref()).into_iter().flatten().map(|tag| tag.key.as_str())
    }

    /// What becomes of the endpoints of a destination.
    pub fn localities(&self, standpoint: Standpoint<'_>) -> Localities {
        Localities::new(self.locality.as_ref(), standpoint)
    }

    /// Sets how the endpoints of a cluster are chosen.
    pub(crate) fn set_cluster(&self, cluster: &mut ClusterDraft) {
        if self.affinity_tags().next().is_some() {
            let weighted = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig::default());
            cluster.common_lb_mut().locality_config_specifier = Some(weighted);
        }
        if let Some((policy, config)) = &self.balancer {
            cluster.message.lb_policy = (*policy).into();
            if let Some(config) = config {
                cluster.message.lb_config = Some(config.clone());
            }
        }
    }

    /// Adds what is hashed of the requests of a route, if it forwards.
    pub(crate) fn set_route(&self, route: &mut Route) {
        if let Some(Action::Route(RouteAction { hash_policy, .. })) = route.action.as_mut() {
            hash_policy.extend(self.hash_policies.iter().cloned());
        }
    }
}

/// Envoy's lower limit of the size of a ring, where none is set.
const MIN_RING_SIZE: u32 = 1024;

/// The greatest size of a table that Envoy takes.
const MAX_TABLE_SIZE: u32 = 5_000_011;

/// The first prime number that is not smaller: Envoy takes no other number as the size of a table.
fn prime(size: u32) -> u32 {
    let is_prime =
        |number: &u32| *number > 1 && (2..).take_while(|by| by * by <= *number).all(|by| !number.is_multiple_of(by));
    // The greatest one is a prime number, too.
    (size..MAX_TABLE_SIZE).find(is_prime).unwrap_or(MAX_TABLE_SIZE)
}

fn number32(value: u32) -> UInt32Value {
    UInt32Value { value }
}

fn number64(value: u32) -> UInt64Value {
    UInt64Value { value: value.into() }
}

fn balancer(conf: &LoadBalancer) -> (LbPolicy, Option<LbConfig>) {
    match conf.kind {
        LoadBalancerType::RoundRobin => (LbPolicy::RoundRobin, None),
        LoadBalancerType::Random => (LbPolicy::Random, None),
        LoadBalancerType::LeastRequest => {
            let config = conf.least_request.as_ref().map(|conf| {
                let bias = conf.active_request_bias.as_ref().and_then(|bias| bias.decimal());
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    choice_count: conf.choice_count.map(number32),
                    active_request_bias: bias
                        .map(|bias| RuntimeDouble { default_value: bias.to_f64(), ..Default::default() }),
                    ..Default::default()
                })
            });
            (LbPolicy::LeastRequest, config)
        }
        LoadBalancerType::RingHash => {
            let config = conf.ring_hash.as_ref().map(|conf| {
                let hash_function = match conf.hash_function {
                    Some(schema::HashFunction::MurmurHash2) => HashFunction::MurmurHash2,
                    Some(schema::HashFunction::XXHash) | None => HashFunction::XxHash,
                };
                // Envoy refuses a ring that is smaller than it has to be, also than it has to be if nobody says so.
                let too_small = conf.max_ring_size.filter(|max| *max < conf.min_ring_size.unwrap_or(MIN_RING_SIZE));
                LbConfig::RingHashLbConfig(RingHashLbConfig {
                    hash_function: hash_function.into(),
                    minimum_ring_size: too_small.or(conf.min_ring_size).map(number64),
                    maximum_ring_size: conf.max_ring_size.map(number64),
                })
            });
            (LbPolicy::RingHash, config)
        }
        LoadBalancerType::Maglev => {
            let config = conf.maglev.as_ref().map(|conf| {
                LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: conf.table_size.map(prime).map(number64) })
            });
            (LbPolicy::Maglev, config)
        }
    }
}

/// What is hashed: what the configuration says, else what it says in the older place, beside the algorithm.
fn hash_policies(conf: &Conf) -> &[schema::HashPolicy] {
    let older = || {
        let balancer = conf.load_balancer.as_ref()?;
        match balancer.kind {
            LoadBalancerType::RingHash => balancer.ring_hash.as_ref()?.hash_policies.as_deref(),
            LoadBalancerType::Maglev => balancer.maglev.as_ref()?.hash_policies.as_deref(),
            _ => None,
        }
    };
    conf.hash_policies.as_deref().or_else(older).unwrap_or_default()
}

/// `None` for one that does not say what it hashes, which Envoy would refuse.
fn hash_policy(conf: &schema::HashPolicy) -> Option<HashPolicy> {
    let specifier = match conf.kind {
        HashPolicyType::Header => {
            let header_name = conf.header.as_ref()?.name.clone();
            PolicySpecifier::Header(Header { header_name, ..Default::default() })
        }
        HashPolicyType::Cookie => {
            let cookie = conf.cookie.as_ref()?;
            PolicySpecifier::Cookie(Cookie {
                name: cookie.name.clone(),
                ttl: cookie.ttl.map(GoDuration::to_proto),
                path: cookie.path.clone().unwrap_or_default(),
                ..Default::default()
            })
        }
        HashPolicyType::Connection => {
            let source_ip = conf.connection.as_ref()?.source_ip.unwrap_or_default();
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip })
        }
        // Kuma writes an entry that Envoy refuses.
        HashPolicyType::SourceIP => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        HashPolicyType::QueryParameter => {
            PolicySpecifier::QueryParameter(QueryParameter { name: conf.query_parameter.as_ref()?.name.clone() })
        }
        HashPolicyType::FilterState => {
            PolicySpecifier::FilterState(FilterState { key: conf.filter_state.as_ref()?.key.clone() })
        }
    };
    Some(HashPolicy { terminal: conf.terminal.unwrap_or_default(), policy_specifier: Some(specifier) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn strategy(conf: Value) -> Strategy {
        Strategy::new(&serde_json::from_value(conf).expect("a configuration"))
    }

    fn cluster(conf: Value) -> ClusterDraft {
        let mut cluster = ClusterDraft::default();
        strategy(conf).set_cluster(&mut cluster);
        cluster
    }

    fn hashed(conf: Value) -> Vec<HashPolicy> {
        let mut route = Route { action: Some(Action::Route(RouteAction::default())), ..Default::default() };
        strategy(conf).set_route(&mut route);
        match route.action {
            Some(Action::Route(action)) => action.hash_policy,
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_type_decides_which_object_counts() {
        let objects = |kind: &str| {
            json!({"loadBalancer": {
                "type": kind,
                "leastRequest": {"choiceCount": 4, "activeRequestBias": "1.5"},
                "ringHash": {"hashFunction": "MurmurHash2", "minRingSize": 1, "maxRingSize": 2},
                "maglev": {"tableSize": 7},
            }})
        };
        let set = |kind: &str| {
            let message = cluster(objects(kind)).message;
            (message.lb_policy(), message.lb_config)
        };
        assert_eq!(set("RoundRobin"), (LbPolicy::RoundRobin, None));
        assert_eq!(set("Random"), (LbPolicy::Random, None));
        let least = LeastRequestLbConfig {
            choice_count: Some(number32(4)),
            active_request_bias: Some(RuntimeDouble { default_value: 1.5, ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(set("LeastRequest"), (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(least))));
        let ring = RingHashLbConfig {
            hash_function: HashFunction::MurmurHash2.into(),
            minimum_ring_size: Some(number64(1)),
            maximum_ring_size: Some(number64(2)),
        };
        assert_eq!(set("RingHash"), (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(ring))));
        let maglev = MaglevLbConfig { table_size: Some(number64(7)) };
        assert_eq!(set("Maglev"), (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(maglev))));
        assert_eq!(cluster(json!({"loadBalancer": {"type": "RingHash"}})).message.lb_config, None);
        assert_eq!(cluster(json!({})), ClusterDraft::default());
    }

    #[test]
    fn sizes_are_such_that_envoy_takes_them() {
        let ring = |conf: Value| match cluster(json!({"loadBalancer": {"type": "RingHash", "ringHash": conf}}))
            .message
            .lb_config
        {
            Some(LbConfig::RingHashLbConfig(ring)) => {
                let size = |size: Option<UInt64Value>| size.map(|size| size.value);
                (size(ring.minimum_ring_size), size(ring.maximum_ring_size))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ring(json!({"minRingSize": 10})), (Some(10), None));
        assert_eq!(ring(json!({"maxRingSize": 2000})), (None, Some(2000)));
        assert_eq!(ring(json!({"maxRingSize": 100})), (Some(100), Some(100)));
        assert_eq!(ring(json!({"minRingSize": 200, "maxRingSize": 100})), (Some(100), Some(100)));
        let primes = [
            (1, 2),
            (2, 2),
            (4, 5),
            (65_537, 65_537),
            (100_000, 100_003),
            (5_000_011, 5_000_011),
            (u32::MAX, 5_000_011),
        ];
        for (size, expected) in primes {
            assert_eq!(prime(size), expected, "{size}");
        }
    }

    #[test]
    fn localities_are_weighed_where_tags_are_preferred() {
        let conf = json!({"localityAwareness": {"localZone": {"affinityTags": [{"key": "rack"}]}}});
        assert!(cluster(conf.clone()).message.common_lb_config.is_some());
        assert_eq!(strategy(conf).affinity_tags().collect::<Vec<_>>(), ["rack"]);
        let none = json!({"localityAwareness": {"localZone": {"affinityTags": []}}});
        assert_eq!(cluster(none).message.common_lb_config, None);
    }

    #[test]
    fn what_is_hashed_stands_at_the_top_or_beside_the_algorithm() {
        let header = |name: &str| json!([{"type": "Header", "terminal": true, "header": {"name": name}}]);
        let names = |conf: Value| -> Vec<String> {
            let name = |policy: HashPolicy| match policy.policy_specifier {
                Some(PolicySpecifier::Header(header)) => header.header_name,
                other => panic!("{other:?}"),
            };
            hashed(conf).into_iter().map(name).collect()
        };
        let ring = |kind: &str| json!({"type": kind, "ringHash": {"hashPolicies": header("older")}});
        assert_eq!(names(json!({"loadBalancer": ring("RingHash")})), ["older"]);
        assert_eq!(names(json!({"loadBalancer": ring("Maglev")})), Vec::<String>::new());
        assert_eq!(names(json!({"hashPolicies": header("newer"), "loadBalancer": ring("RingHash")})), ["newer"]);
        assert_eq!(names(json!({"hashPolicies": [], "loadBalancer": ring("RingHash")})), Vec::<String>::new());
    }

    #[test]
    fn everything_that_can_be_hashed() {
        let conf = json!({"hashPolicies": [
            {"type": "Cookie", "cookie": {"name": "c", "ttl": "10s", "path": "/p"}},
            {"type": "Connection", "connection": {"sourceIP": true}},
            {"type": "SourceIP", "connection": {}},
            {"type": "QueryParameter", "queryParameter": {"name": "q"}},
            {"type": "FilterState", "filterState": {"key": "k"}},
            {"type": "Header"},
        ]});
        let found: Vec<_> = hashed(conf).into_iter().filter_map(|policy| policy.policy_specifier).collect();
        let connection = || PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true });
        let expected = [
            PolicySpecifier::Cookie(Cookie {
                name: "c".to_owned(),
                ttl: Some(GoDuration::from_secs(10).to_proto()),
                path: "/p".to_owned(),
                ..Default::default()
            }),
            connection(),
            connection(),
            PolicySpecifier::QueryParameter(QueryParameter { name: "q".to_owned() }),
            PolicySpecifier::FilterState(FilterState { key: "k".to_owned() }),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn routes_that_do_not_forward_are_left_alone() {
        let conf = json!({"hashPolicies": [{"type": "Header", "header": {"name": "x"}}]});
        let mut route = Route { action: Some(Action::Redirect(Default::default())), ..Default::default() };
        let before = route.clone();
        strategy(conf).set_route(&mut route);
        assert_eq!(route, before);
    }
}
