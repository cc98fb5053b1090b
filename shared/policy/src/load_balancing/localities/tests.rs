use super::*;
use serde_json::{Value, json};

fn endpoint(address: &str, tags: &[(&str, &str)]) -> EndpointDraft {
    let tags: BTreeMap<_, _> = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    EndpointDraft {
        address: EndpointAddress::Socket(address.to_owned(), 80),
        weight: 1,
        tags: (!tags.is_empty()).then(|| Arc::new(tags)),
    }
}

/// Endpoints of zones, each named like its zone and beginning with an address.
fn assignment(zones: &[&str]) -> AssignmentDraft {
    let group = |zone: &&str| LocalityDraft {
        zone: (*zone).to_owned(),
        endpoints: vec![endpoint(zone, &[(ZONE, zone)])],
        ..Default::default()
    };
    AssignmentDraft { localities: zones.iter().map(group).collect(), ..Default::default() }
}

fn localities(conf: Value, through_egress: bool) -> Localities {
    let conf: LocalityAwareness = serde_json::from_value(conf).expect("a configuration");
    let tags: TagMultimap =
        [("rack", "r1"), ("node", "n1")].map(|(key, value)| (key.to_owned(), [value.to_owned()].into())).into();
    Localities::new(Some(&conf), Standpoint { zone: "east", tags: &tags, through_egress })
}

/// Groups as `zone/sub-zone priority weight: addresses`.
fn show(assignment: &AssignmentDraft) -> Vec<String> {
    let group = |group: &LocalityDraft| {
        let addresses: Vec<_> = group.endpoints.iter().map(|endpoint| address(endpoint).0).collect();
        let LocalityDraft { zone, sub_zone, priority, weight, .. } = group;
        format!("{zone}/{sub_zone} {priority} {weight}: {}", addresses.join(" "))
    };
    assignment.localities.iter().map(group).collect()
}

fn set(conf: Value, through_egress: bool, mut assignment: AssignmentDraft) -> Vec<String> {
    localities(conf, through_egress).set(&mut assignment);
    show(&assignment)
}

#[test]
fn without_groups_only_priorities_change() {
    let zones = ["", "east", "west"];
    assert_eq!(set(json!({}), false, assignment(&zones)), ["/ 0 0: ", "east/ 0 0: east", "west/ 1 0: west"]);
    let mut known = assignment(&["west"]);
    known.localities[0].priority = 1;
    assert_eq!(set(json!({"disabled": true}), false, known), ["west/ 0 0: west"]);
    assert!(localities(json!({}), true).is_default());
    assert!(!localities(json!({"disabled": true}), true).is_default());
    assert!(!localities(json!({"localZone": {}}), true).is_default());
}

#[test]
fn the_first_shared_tag_counts() {
    let endpoints = vec![
        endpoint("4", &[(ZONE, "east")]),
        endpoint("3", &[(ZONE, "east"), ("rack", "r1")]),
        endpoint("2", &[(ZONE, "east"), ("rack", "r1"), ("node", "n1")]),
        endpoint("1", &[(ZONE, "east"), ("node", "n2")]),
        endpoint("0", &[(ZONE, "east"), ("rack", "r1")]),
        endpoint("5", &[(ZONE, "west"), ("rack", "r1")]),
        endpoint("6", &[]),
    ];
    let all =
        AssignmentDraft { localities: vec![LocalityDraft { endpoints, ..Default::default() }], ..Default::default() };
    let conf = json!({"localZone": {"affinityTags": [{"key": "node"}, {"key": "absent"}, {"key": "rack"}]}});
    let expected = ["east/ 0 1: 1 4 6", "east/node=n1 0 900: 2", "east/rack=r1 0 9: 0 3"];
    assert_eq!(set(conf, false, all.clone()), expected);
    let weights = json!({"localZone": {"affinityTags": [{"key": "node", "weight": 5}, {"key": "rack", "weight": 2}]}});
    assert_eq!(set(weights, false, all), ["east/ 0 1: 1 4 6", "east/node=n1 0 5: 2", "east/rack=r1 0 2: 0 3"]);
}

#[test]
fn weights_stay_within_what_envoy_takes() {
    let tag = |key: &str, weight: Option<u32>| AffinityTag { key: key.to_owned(), weight };
    let tags: TagMultimap = ["a", "b"].map(|key| (key.to_owned(), ["x".to_owned()].into())).into();
    let weights = |conf: &[AffinityTag]| near(conf, &tags).iter().map(|near| near.weight).collect::<Vec<_>>();
    assert_eq!(weights(&[tag("a", Some(u32::MAX)), tag("b", Some(u32::MAX))]), [u32::MAX / 3, u32::MAX / 3]);
    let many: Vec<_> = (0..30).map(|index| tag(if index == 0 { "a" } else { "c" }, None)).collect();
    assert_eq!(weights(&many), [900_000_000]);
}

#[test]
fn other_zones_are_used_as_the_first_rule_about_them_says() {
    let conf = json!({"crossZone": {"failover": [
        {"from": {"zones": ["south"]}, "to": {"type": "Any"}},
        {"to": {"type": "None"}},
        {"from": {"zones": ["east"]}, "to": {"type": "Only", "zones": ["west"]}},
        {"to": {"type": "AnyExcept", "zones": ["west", "north"]}},
    ]}});
    let zones = ["east", "north", "south", "west"];
    let expected = ["east/ 0 1: east", "south/ 4 0: south", "west/ 3 0: west"];
    assert_eq!(set(conf, false, assignment(&zones)), expected);
    let any = json!({"crossZone": {"failover": [{"to": {"type": "Any"}}]}});
    let expected = ["east/ 0 1: east", "north/ 1 0: north", "south/ 1 0: south", "west/ 1 0: west"];
    assert_eq!(set(any, false, assignment(&zones)), expected);
    assert_eq!(set(json!({"localZone": {}}), false, assignment(&zones)), ["east/ 0 1: east"]);
}

#[test]
fn what_the_egress_leads_to_is_one_group_named_after_the_rules() {
    let group = |failover: Value| {
        let conf = json!({"crossZone": {"failover": failover}});
        let groups = set(conf, true, assignment(&["east", "north", "west"]));
        assert_eq!(groups.len(), 2, "{groups:?}");
        groups[1].clone()
    };
    let any = group(json!([{"to": {"type": "Any"}}]));
    assert!(any.starts_with("egress_") && any.ends_with("/ 1 0: north west"), "{any}");
    assert_eq!(group(json!([{"to": {"type": "Any"}}, {"to": {"type": "None"}}])), any);
    let only = group(json!([{"to": {"type": "Only", "zones": ["b", "a"]}}]));
    assert_eq!(only, group(json!([{"to": {"type": "Only", "zones": ["a", "b"]}}])));
    let except = group(json!([{"to": {"type": "AnyExcept", "zones": ["a", "b"]}}]));
    assert!(any != only && only != except && any != except);
}

#[test]
fn thresholds_become_factors() {
    let factor = |percentage: Value| {
        let conf = json!({"crossZone": {"failoverThreshold": {"percentage": percentage}}});
        let mut assignment = AssignmentDraft::default();
        localities(conf, false).set(&mut assignment);
        assignment.overprovisioning_factor
    };
    for (percentage, expected) in [
        (json!(70), 100),
        (json!(50), 200),
        (json!("30"), 300),
        (json!(100), 100),
        (json!(0), 200),
        (json!("x"), 200),
        (json!("0.000001"), u32::MAX),
    ] {
        assert_eq!(factor(percentage.clone()), Some(expected), "{percentage}");
    }
    assert_eq!(set(json!({"localZone": {}}), false, AssignmentDraft::default()), Vec::<String>::new());
}
