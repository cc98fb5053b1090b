//! Limits as Envoy gets them.

use prost::Message;
use serde_json::{Value, json};
use tandem_model::kind::Kind::MeshRateLimit;

use super::*;
use crate::rules::{inbound_rules, merged_inbound};
use crate::testing::policy;

/// The limits of policies with these confs, weakest first.
fn limits(confs: &[Value]) -> Limits {
    let named = |(index, conf): (usize, &Value)| {
        let spec = json!({"targetRef": {"kind": "Dataplane"}, "rules": [{"default": {"local": conf}}]});
        Arc::new(policy(MeshRateLimit, &format!("p{}", confs.len() - index), spec))
    };
    let policies: Vec<Arc<Policy>> = confs.iter().enumerate().map(named).collect();
    let rules = inbound_rules(&policies);
    let written: Vec<_> = rules.iter().map(|rule| (&rule.origin.policy, rule.conf())).collect();
    Limits::new(&serde_json::from_value(merged_inbound(&rules)).expect("merged confs decode"), &written)
}

fn of_requests(limits: &Limits) -> LocalRateLimit {
    let packed = limits.requests.as_ref().expect("requests are limited");
    LocalRateLimit::decode(packed.value.as_slice()).expect("a LocalRateLimit")
}

const RATE: &str = "requestRate";

#[test]
fn what_is_disabled_or_has_no_rate_is_not_limited() {
    let rate = json!({"num": 5, "interval": "10s"});
    for conf in [
        json!({"http": {"disabled": true, RATE: rate}, "tcp": {"disabled": true, "connectionRate": rate}}),
        json!({"http": {"onRateLimit": {"status": 503}}, "tcp": {"disabled": false}}),
    ] {
        assert_eq!(limits(std::slice::from_ref(&conf)), Limits::default(), "{conf}");
    }
    assert_eq!(limits(&[]), Limits::default());
}

#[test]
fn later_policies_change_members_of_earlier_ones() {
    let weak = json!({"http": {RATE: {"num": 5, "interval": "10s"}, "onRateLimit": {"status": 503}}});
    let strong = json!({"http": {RATE: {"num": 7, "interval": "1s"}}});
    let limits = of_requests(&limits(&[weak, strong]));
    let bucket = limits.token_bucket.expect("a bucket");
    assert_eq!((bucket.max_tokens, bucket.fill_interval.map(|interval| interval.seconds)), (7, Some(1)));
    assert_eq!(limits.status.map(|status| status.code), Some(503));
}

#[test]
fn headers_that_are_set_have_one_entry_for_each_value() {
    let headers = json!({"set": [{"name": "s", "value": "1,2"}], "add": [{"name": "a", "value": "1,2"}]});
    let conf = json!({"http": {RATE: {"num": 5, "interval": "10s"}, "onRateLimit": {"headers": headers}}});
    let headers = of_requests(&limits(&[conf])).response_headers_to_add;
    let shown: Vec<_> = headers
        .iter()
        .map(|option| {
            let header = option.header.as_ref().expect("a header");
            (header.key.as_str(), header.value.as_str(), option.append_action)
        })
        .collect();
    assert_eq!(shown, [("a", "1,2", 0), ("s", "1", 2), ("s", "2", 2)]);
}

#[test]
fn what_envoy_does_not_take_is_left_out_and_told_at_the_policy_that_says_it() {
    let headers: Vec<Value> = (0..11).map(|n| json!({"name": format!("h{n}"), "value": "x"})).collect();
    let weak = json!({"http": {RATE: {"num": 5, "interval": "10s"}, "onRateLimit": {"status": 444}}});
    let strong = json!({"http": {"onRateLimit": {"headers": {"add": headers}}}});
    let limits = limits(&[weak, strong]);
    let told: Vec<_> = limits.problems().iter().map(|(key, reason)| (key.name.as_str(), reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                "p2",
                "requests beyond the limit are answered with 429: onRateLimit.status is 444, which Envoy does not know"
            ),
            ("p1", "onRateLimit.headers has 11 headers, of which the last ones are left out: Envoy adds 10 at most"),
        ]
    );
    let limits = of_requests(&limits);
    assert_eq!((limits.status, limits.response_headers_to_add.len()), (None, 10));
}
