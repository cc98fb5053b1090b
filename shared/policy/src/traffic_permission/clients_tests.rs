use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_model::kind::Kind;

use super::*;
use crate::rules::{first_match, inbound_rules};
use crate::testing::policy;

/// What the certificate of a client tells: tags, one perhaps with several values.
type Client<'a> = Vec<(&'a str, &'a str)>;

fn uris(client: &Client<'_>) -> Vec<String> {
    let uri = |(key, value): &(&str, &str)| match *key {
        SERVICE_TAG => format!("spiffe://m/{value}"),
        "id" => (*value).to_owned(),
        key => format!("kuma://{key}/{value}"),
    };
    client.iter().map(uri).collect()
}

fn holds(principal: &Principal, uris: &[String]) -> bool {
    match principal.identifier.as_ref().expect("every principal says something") {
        Identifier::Any(any) => *any,
        Identifier::NotId(other) => !holds(other, uris),
        Identifier::AndIds(set) => set.ids.iter().all(|principal| holds(principal, uris)),
        Identifier::OrIds(set) => set.ids.iter().any(|principal| holds(principal, uris)),
        Identifier::Authenticated(authenticated) => {
            match authenticated.principal_name.as_ref().and_then(|name| name.match_pattern.as_ref()) {
                Some(MatchPattern::Exact(uri)) => uris.contains(uri),
                Some(MatchPattern::Prefix(prefix)) => uris.iter().any(|uri| uri.starts_with(prefix.as_str())),
                other => panic!("unexpected {other:?}"),
            }
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn matches(rules: &Rbac, uris: &[String]) -> bool {
    rules.policies.values().flat_map(|policy| &policy.principals).any(|principal| holds(principal, uris))
}

/// Tags of the clients of an entry.
type Tags<'a> = &'a [(&'a str, &'a str)];

fn clients(tags: Tags<'_>) -> Value {
    let tags: BTreeMap<&str, &str> = tags.iter().copied().collect();
    match tags.len() {
        0 => json!({"kind": "Mesh"}),
        _ => json!({"kind": "MeshSubset", "tags": tags}),
    }
}

fn permission(target: Value, from: &[(Tags<'_>, &str)]) -> Arc<Policy> {
    let from: Vec<Value> =
        from.iter().map(|(tags, action)| json!({"targetRef": clients(tags), "default": {"action": action}})).collect();
    Arc::new(policy(Kind::MeshTrafficPermission, "p", json!({"targetRef": target, "from": from})))
}

const ALL: Tags<'static> = &[];
const A: Tags<'static> = &[(SERVICE_TAG, "a")];
const B: Tags<'static> = &[(SERVICE_TAG, "b")];
const EAST: Tags<'static> = &[("zone", "east")];
const A_EAST: Tags<'static> = &[(SERVICE_TAG, "a"), ("zone", "east")];

fn some_clients() -> Vec<Client<'static>> {
    let services: [Client<'_>; 4] =
        [vec![(SERVICE_TAG, "a")], vec![(SERVICE_TAG, "b")], vec![(SERVICE_TAG, "c")], [A, B].concat()];
    let in_zones = |service: &Client<'static>| ["east", "west"].map(|zone| [&service[..], &[("zone", zone)]].concat());
    services.iter().flat_map(in_zones).collect()
}

/// One entry of a policy of its own.
#[derive(Debug, Clone, Copy)]
struct One {
    /// Whether the policy is for one workload instead of the mesh.
    workload: bool,
    tags: Tags<'static>,
    action: &'static str,
}

impl One {
    fn is_about(&self, client: &Client<'_>) -> bool {
        self.tags.iter().all(|tag| client.contains(tag))
    }

    /// The rule, in the words of the documentation: about a part of the proxies or clients of the other one and nothing else.
    fn is_part_of(&self, deny: &Self) -> bool {
        let clients = deny.tags.iter().all(|tag| self.tags.contains(tag));
        let proxies = self.workload || !deny.workload;
        clients && proxies && (self.tags.len() > deny.tags.len() || self.workload != deny.workload)
    }
}

/// What becomes of a client of an inbound with these entries, weakest first: the strongest entry that allows, unless a Deny holds.
fn expected<'a>(entries: &'a [One], client: &Client<'_>) -> Option<&'a str> {
    let about: Vec<(usize, &One)> = entries.iter().enumerate().filter(|(_, entry)| entry.is_about(client)).collect();
    let (denies, allows): (Vec<_>, Vec<_>) = about.into_iter().partition(|(_, entry)| entry.action == "Deny");
    let is_lifted = |(at, deny): &(usize, &One)| allows.iter().any(|(i, allow)| i > at && allow.is_part_of(deny));
    if !denies.iter().all(is_lifted) {
        return None;
    }
    allows.last().map(|(_, allow)| allow.action)
}

/// All ways to fill `length` places with `choices`.
fn sequences(choices: &[One], length: usize) -> Vec<Vec<One>> {
    (0..length).fold(vec![Vec::new()], |begun, _| {
        let more =
            |begin: &Vec<One>| choices.iter().map(|choice| [&begin[..], &[*choice]].concat()).collect::<Vec<_>>();
        begun.iter().flat_map(more).collect()
    })
}

fn some_entries(actions: &[&'static str], tags: &[Tags<'static>]) -> Vec<One> {
    let mut entries = Vec::new();
    for action in actions {
        for tags in tags {
            entries.extend([false, true].map(|workload| One { workload, tags, action }));
        }
    }
    entries
}

fn policies(entries: &[One]) -> Vec<Arc<Policy>> {
    let target = |one: &One| match one.workload {
        true => json!({"kind": "Dataplane", "labels": {"app": "web"}}),
        false => json!({"kind": "Dataplane"}),
    };
    entries.iter().map(|one| permission(target(one), &[(one.tags, one.action)])).collect()
}

#[test]
fn envoy_denies_what_is_denied() {
    let all = some_entries(&["Allow", "Deny"], &[ALL, A, B, EAST, A_EAST]);
    let all_actions = some_entries(&["Allow", "Deny", "AllowWithShadowDeny"], &[ALL, A, A_EAST]);
    let cases = [sequences(&all, 1), sequences(&all, 2), sequences(&all, 3), sequences(&all_actions, 2)].concat();
    assert!(cases.len() > 8000);
    for case in cases {
        let (rules, shadow) = rules(&policies(&case), "m");
        for client in some_clients() {
            let (uris, expected) = (uris(&client), expected(&case, &client));
            assert_eq!(matches(&rules, &uris), expected.is_some(), "{case:?} {client:?}");
            let logged = shadow.as_ref().is_some_and(|shadow| matches(shadow, &uris));
            assert_eq!(logged, expected == Some("AllowWithShadowDeny"), "{case:?} {client:?}");
        }
    }
}

/// Where nothing is denied but by one entry about everyone, exceptions are rendered as Kuma does it.
#[test]
fn exceptions_to_nobody_are_just_allowed() {
    let policies = [permission(json!({"kind": "Mesh"}), &[(ALL, "Deny"), (A, "Allow"), (B, "Allow")])];
    assert_eq!(rules(&policies, "m"), rules_set_by_set(&policies, "m"));
    let principals = &rules(&policies, "m").0.policies[POLICY].principals;
    assert_eq!(principals.len(), 2);
}

/// As in Kuma: every set of clients that some rule allows is allowed, also where another one is denied.
#[test]
fn set_by_set_everything_is_allowed_that_is_in_an_allowed_set() {
    let case = [(ALL, "AllowWithShadowDeny"), (A, "Deny"), (B, "Deny")];
    let policies = [permission(json!({"kind": "Mesh"}), &case)];
    let a = uris(&vec![(SERVICE_TAG, "a")]);
    assert!(matches(&rules_set_by_set(&policies, "m").0, &a), "{{not b}} contains a");
    assert!(!matches(&rules(&policies, "m").0, &a));
    let by_tags = from_rules(&policies).expect("all kinds have tags");
    let rule = first_match(&by_tags, &BTreeMap::from([(SERVICE_TAG, "a")])).expect("a rule about a");
    assert_eq!(rule.conf["action"], "Deny", "what Kuma says about it");
}

/// Whether a client with an identity passes what `from` denies, when `rules` allow it.
#[track_caller]
fn passes(from: &[One], rules_for_workload: bool, from_is_stronger: bool, expected: &[(&[(&str, &str)], bool)]) {
    let target = match rules_for_workload {
        true => json!({"kind": "Dataplane", "labels": {"app": "web"}}),
        false => json!({"kind": "Dataplane"}),
    };
    let id = json!({"spiffeID": {"type": "Prefix", "value": "spiffe://td/ns/"}});
    let spec = json!({"targetRef": target, "rules": [{"default": {"allow": [id]}}]});
    let by_id = Arc::new(policy(Kind::MeshTrafficPermission, "r", spec));
    let mut all = policies(from);
    all.insert(if from_is_stronger { 0 } else { all.len() }, by_id);
    let denials = denials(&all, &inbound_rules(&all), "m");
    for (client, passes) in expected {
        let uris = uris(&client.to_vec());
        let denied = denials.as_ref().is_some_and(|denials| matches(denials, &uris));
        assert_eq!(!denied, *passes, "{from:?} {client:?}");
    }
}

#[test]
fn what_from_denies_stays_denied_beside_rules() {
    let deny = |workload, tags| One { workload, tags, action: "Deny" };
    let (allowed, other): (&[_], &[_]) = (&[("id", "spiffe://td/ns/a")], &[("id", "spiffe://td/other")]);
    let a: &[_] = &[(SERVICE_TAG, "a"), ("id", "spiffe://td/ns/a")];
    let b: &[_] = &[(SERVICE_TAG, "b"), ("id", "spiffe://td/ns/b")];
    // `rules` for the workload are an exception to what holds for all, and nobody else is allowed anyway.
    passes(&[deny(false, ALL)], true, false, &[(allowed, true), (a, true), (other, true)]);
    passes(&[deny(false, ALL)], false, false, &[(allowed, true)]);
    passes(&[deny(false, ALL)], true, true, &[(allowed, false), (other, false)]);
    passes(&[deny(true, ALL)], false, false, &[(allowed, false)]);
    // What is denied by tags is denied to whoever has them.
    passes(&[deny(false, A)], true, false, &[(a, false), (b, true), (allowed, true)]);
    let allow_east = One { workload: false, tags: A_EAST, action: "Allow" };
    let a_east: &[_] = &[(SERVICE_TAG, "a"), ("zone", "east")];
    passes(&[deny(false, A), allow_east], true, true, &[(a, false), (a_east, true)]);
    // A Deny by tags beside one for all that is lifted.
    passes(&[deny(false, ALL), deny(false, B)], true, false, &[(a, true), (b, false)]);
}
