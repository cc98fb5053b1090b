//! What upstream's tests of MeshLoadBalancingStrategy set up.

use serde_json::{Value, json};

/// The zone of the proxy, in all cases.
pub(super) const ZONE: &str = "zone-1";

/// An endpoint: zone, address, and a tag that it has.
pub(super) type Place = (&'static str, &'static str, Option<(&'static str, &'static str)>);

/// Endpoints of a service in the zone of the proxy.
pub(super) const NEAR: [Place; 4] = [
    (ZONE, "192.168.1.1", Some(("k8s.io/node", "node1"))),
    (ZONE, "192.168.1.2", Some(("k8s.io/node", "node2"))),
    (ZONE, "192.168.1.3", Some(("k8s.io/az", "test"))),
    (ZONE, "192.168.1.4", Some(("k8s.io/region", "test"))),
];

/// Endpoints of a service in other zones.
pub(super) const FAR: [Place; 4] = [
    ("zone-2", "192.168.1.5", None),
    ("zone-3", "192.168.1.6", None),
    ("zone-4", "192.168.1.7", None),
    ("zone-5", "192.168.1.8", None),
];

/// A cluster, and its endpoints.
pub(super) struct Cluster {
    pub(super) name: &'static str,
    pub(super) service: &'static str,
    /// Its endpoints are part of it.
    pub(super) is_static: bool,
    pub(super) places: Vec<Place>,
}

pub(super) fn cluster(name: &'static str, places: &[Place]) -> Cluster {
    let service = name.split_once('-').map_or(name, |(service, _)| service);
    Cluster { name, service, is_static: false, places: places.to_vec() }
}

pub(super) fn with_endpoints(name: &'static str, places: &[Place]) -> Cluster {
    Cluster { is_static: true, ..cluster(name, places) }
}

/// What upstream's test of some files sets up.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What the policy says about services.
    pub(super) confs: Vec<(&'static str, Value)>,
    pub(super) clusters: Vec<Cluster>,
    /// Services reached over HTTP, in the order of their listeners.
    pub(super) listeners: &'static [&'static str],
    pub(super) through_egress: bool,
}

pub(super) fn queries_on_a_ring() -> Value {
    json!({
        "hashPolicies": [
            {"type": "QueryParameter", "queryParameter": {"name": "queryparam"}, "terminal": true},
            {"type": "Connection", "connection": {"sourceIP": true}, "terminal": false},
        ],
        "loadBalancer": {
            "type": "RingHash",
            "ringHash": {"minRingSize": 100, "maxRingSize": 1000, "hashFunction": "MurmurHash2"},
        },
    })
}

/// Tags by which near endpoints are recognized.
pub(super) fn tags(weights: Option<[u32; 3]>) -> Value {
    let keys = ["k8s.io/node", "k8s.io/az", "k8s.io/region"];
    let tag = |(index, key)| match weights {
        Some(weights) => json!({"key": key, "weight": weights[index]}),
        None => json!({"key": key}),
    };
    json!({"affinityTags": keys.into_iter().enumerate().map(tag).collect::<Vec<_>>()})
}

pub(super) fn only(zone: &str) -> Value {
    json!({"type": "Only", "zones": [zone]})
}

pub(super) fn failover() -> Value {
    json!([
        {"to": {"type": "AnyExcept", "zones": ["zone-3", "zone-4", "zone-5"]}},
        {"from": {"zones": [ZONE]}, "to": only("zone-3")},
        {"to": only("zone-4")},
    ])
}

pub(super) fn at_random(locality: Value) -> Value {
    json!({"loadBalancer": {"type": "Random"}, "localityAwareness": locality})
}

pub(super) fn cases() -> Vec<Case> {
    let weights = || tags(Some([9000, 900, 90]));
    let mut ring_with_tags = queries_on_a_ring();
    ring_with_tags["localityAwareness"] =
        json!({"localZone": weights(), "crossZone": {"failover": [{"to": only("zone-2")}]}});
    let two = |first, second| [(ZONE, first, None), ("zone-2", second, None)];
    let everywhere: Vec<Place> = NEAR.into_iter().chain(FAR).collect();
    let payment = || with_endpoints("payment", &two("192.168.0.1", "192.168.0.2"));
    let nodes = |last: &'static str| {
        [
            (ZONE, "192.168.0.1", Some(("k8s.io/node", "node1"))),
            (ZONE, "192.168.0.2", Some(("k8s.io/node", "node2"))),
            ("zone-2", last, None),
        ]
    };
    let both: &[&str] = &["backend", "payment"];
    let threshold = json!({"failover": failover(), "failoverThreshold": {"percentage": "99"}});
    vec![
        Case {
            name: "basic",
            confs: vec![
                ("backend", json!({"loadBalancer": {"type": "Random"}})),
                (
                    "frontend",
                    json!({"loadBalancer": {"type": "LeastRequest", "leastRequest": {"activeRequestBias": "10.1"}}}),
                ),
                ("payment", queries_on_a_ring()),
            ],
            clusters: vec![
                cluster("backend", &two("192.168.1.1", "192.168.1.2")),
                payment(),
                with_endpoints("frontend", &two("192.168.2.1", "192.168.2.2")),
            ],
            listeners: both,
            through_egress: false,
        },
        Case {
            name: "locality_aware_basic",
            confs: vec![
                ("backend", at_random(json!({"localZone": weights(), "crossZone": threshold}))),
                ("payment", ring_with_tags.clone()),
            ],
            clusters: vec![cluster("backend", &everywhere), with_endpoints("payment", &nodes("192.168.0.3"))],
            listeners: both,
            through_egress: false,
        },
        Case {
            name: "locality_aware_basic_egress_enabled",
            confs: vec![
                ("backend", at_random(json!({"localZone": weights(), "crossZone": {"failover": failover()}}))),
                ("payment", ring_with_tags),
            ],
            clusters: vec![cluster("backend", &everywhere[..5]), with_endpoints("payment", &nodes("192.168.0.5"))],
            listeners: both,
            through_egress: true,
        },
        Case {
            name: "locality_aware_no_cross_zone",
            confs: vec![("backend", at_random(json!({"localZone": weights()}))), ("payment", queries_on_a_ring())],
            clusters: vec![cluster("backend", &everywhere), payment()],
            listeners: both,
            through_egress: false,
        },
        Case {
            name: "locality_aware_cross_zone",
            confs: vec![
                ("backend", at_random(json!({"crossZone": {"failover": failover()}}))),
                ("payment", queries_on_a_ring()),
            ],
            clusters: vec![cluster("backend", &everywhere), payment()],
            listeners: both,
            through_egress: false,
        },
        Case {
            name: "locality_aware_split",
            confs: vec![
                ("backend", at_random(json!({"localZone": tags(None), "crossZone": {"failover": failover()}}))),
                ("payment", queries_on_a_ring()),
            ],
            clusters: vec![
                cluster("backend-bb38a94289f18fb9", &everywhere),
                cluster("backend-c72efb5be46fae6b", &[&NEAR[..2], &FAR[1..]].concat()),
                payment(),
            ],
            listeners: both,
            through_egress: false,
        },
    ]
}
