//! Faults as Envoy gets them.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Value, json};
use tandem_model::kind::Kind::MeshFaultInjection;
use tandem_model::label::SERVICE_TAG;

use super::*;
use crate::envoy::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::legacy::source_tags::header_value;
use crate::testing::policy;

#[test]
fn bandwidths_have_units() {
    assert_eq!(kilobits_per_second("50 Mbps"), Some(50_000));
    assert_eq!(kilobits_per_second("7kbps"), Some(7));
    assert_eq!(kilobits_per_second("1Gbps"), Some(1_000_000));
    assert_eq!([kilobits_per_second("50"), kilobits_per_second("fast"), kilobits_per_second("5 bps")], [None; 3]);
}

fn abort_with(status: u16) -> Value {
    json!({"http": [{"abort": {"httpStatus": status, "percentage": 100}}]})
}

/// Tags of clients, and the faults they meet.
type Entry<'a> = (&'a [(&'a str, &'a str)], Value);

fn from(entries: &[Entry<'_>]) -> Arc<Policy> {
    let from: Vec<Value> = entries
        .iter()
        .map(|(tags, conf)| {
            let tags: BTreeMap<&str, &str> = tags.iter().copied().collect();
            let target = match tags.len() {
                0 => json!({"kind": "Mesh"}),
                _ => json!({"kind": "MeshSubset", "tags": tags}),
            };
            json!({"targetRef": target, "default": conf})
        })
        .collect();
    let target = json!({"kind": "Mesh", "proxyTypes": ["Sidecar"]});
    Arc::new(policy(MeshFaultInjection, "p", json!({"targetRef": target, "from": from})))
}

fn config(filter: &HttpFilter) -> &[u8] {
    let Some(http_filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        panic!("a typed configuration")
    };
    &config.value
}

fn faults(filters: &[HttpFilter]) -> Vec<HttpFault> {
    filters.iter().map(|filter| HttpFault::decode(config(filter)).expect("an HTTPFault")).collect()
}

fn status(fault: &HttpFault) -> Option<u32> {
    match fault.abort.as_ref()?.error_type.as_ref()? {
        fault_abort::ErrorType::HttpStatus(status) => Some(*status),
        other => panic!("unexpected {other:?}"),
    }
}

/// The statuses with which requests of a caller with these tags are aborted.
fn met_by(faults: &[HttpFault], tags: &[(&str, &str)]) -> Vec<u32> {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), [(*value).to_owned()].into())).collect();
    let header = header_value(&tags);
    let is_met = |fault: &&HttpFault| {
        fault.headers.iter().all(|matcher| {
            let Some(HeaderMatchSpecifier::StringMatch(text)) = &matcher.header_match_specifier else {
                panic!("matched as text")
            };
            let Some(envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern::SafeRegex(regex)) =
                &text.match_pattern
            else {
                panic!("matched by a regular expression")
            };
            let regex = regex::Regex::new(&format!("^(?:{})$", regex.regex)).expect("a regular expression");
            regex.is_match(&header) != matcher.invert_match
        })
    };
    faults.iter().filter(is_met).filter_map(status).collect()
}

/// Every client meets the faults of the strongest entry about it, and no others.
#[test]
fn the_strongest_entry_about_a_client_decides() {
    let (a, b) = ([(SERVICE_TAG, "a")], [(SERVICE_TAG, "b")]);
    let (east, a_east) = ([("zone", "east")], [(SERVICE_TAG, "a"), ("zone", "east")]);
    let everyone: &[(&str, &str)] = &[];
    let cases: [Vec<Entry<'_>>; 5] = [
        vec![(everyone, abort_with(500))],
        vec![(everyone, abort_with(500)), (&a, abort_with(501)), (&b, abort_with(502))],
        vec![(&a, abort_with(501)), (&east, abort_with(502)), (&a_east, abort_with(503))],
        vec![(&a_east, abort_with(503)), (&east, json!({"http": []})), (&a, json!({}))],
        vec![(&a, abort_with(501)), (everyone, abort_with(500))],
    ];
    for case in cases {
        let faults = faults(&Faults::by_tags(&[from(&case)]).filters);
        for service in ["a", "b", "c"] {
            for zone in ["east", "west"] {
                let client = [(SERVICE_TAG, service), ("zone", zone)];
                let about = case
                    .iter()
                    .rfind(|(tags, conf)| conf.get("http").is_some() && tags.iter().all(|tag| client.contains(tag)));
                let expected = about.and_then(|(_, conf)| conf["http"][0]["abort"]["httpStatus"].as_u64());
                let expected: Vec<u32> = expected.into_iter().map(|status| status as u32).collect();
                assert_eq!(met_by(&faults, &client), expected, "{case:?} {client:?}");
            }
        }
    }
}

#[test]
fn rules_are_kept_apart_and_stand_above_entries_by_tags() {
    let rules = json!([
        {"matches": [{"spiffeID": {"type": "Exact", "value": "spiffe://d/web"}}], "default": abort_with(500)},
        {"default": {"http": [{"delay": {"value": "5s", "percentage": "2.5"}}, {"abort": {"httpStatus": 501, "percentage": 1}}]}},
    ]);
    let by_identity = Arc::new(policy(MeshFaultInjection, "by-identity", json!({"rules": rules})));
    let by_tags = from(&[(&[], abort_with(503))]);
    let faults = Faults::new(&[by_tags, by_identity.clone()]);
    let shown: Vec<(String, bool)> = faults
        .filters
        .iter()
        .map(|filter| {
            let extension = ExtensionWithMatcher::decode(config(filter)).expect("an ExtensionWithMatcher");
            let matcher = extension.xds_matcher.expect("a matcher");
            assert_eq!(extension.extension_config.expect("a filter").name, FILTER);
            (filter.name.clone(), matcher.matcher_type.is_some())
        })
        .collect();
    let name = by_identity.kri.to_string();
    assert_eq!(shown, [(name.clone(), true), (name.clone(), false), (name, false)]);
}

#[test]
fn what_envoy_does_not_take_is_left_out_alone() {
    let conf = json!({"http": [
        {"abort": {"httpStatus": 111, "percentage": 1}, "delay": {"value": "1s", "percentage": 1}},
        {"delay": {"value": "0s", "percentage": 1}, "responseBandwidth": {"limit": "0kbps", "percentage": 1}},
    ]});
    let made = Faults::by_tags(&[from(&[(&[], conf)])]);
    let told: Vec<_> = made.problems().iter().map(|(key, reason)| (key.name.as_str(), reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("p", "no request is aborted with the status 111: Envoy takes 200 to 599 for httpStatus"),
            (
                "p",
                "no response is slowed to \"0kbps\": the limit is a whole number from 1 with the unit kbps, Mbps or Gbps"
            ),
        ]
    );
    let made = faults(&made.filters);
    assert_eq!((made[0].abort.is_none(), made[0].delay.is_some()), (true, true));
    assert_eq!((made[1].delay.is_none(), made[1].response_rate_limit.is_none()), (true, true));
}
