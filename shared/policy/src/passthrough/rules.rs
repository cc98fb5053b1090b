//! What MeshPassthrough amounts to for a proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::ResourceKey;

use super::matcher::{Host, Matcher, MatcherKind, Range};
use super::schema::{Conf, Match, MatchProtocol, PassthroughMode};
use crate::policy::Policy;

/// Most matchers that those for all ports may be multiplied to; far more than anybody writes, and what Envoy still takes.
const MAX_MATCHERS: usize = 1 << 14;

/// What traffic may leave the mesh from a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How much of it.
    pub mode: PassthroughMode,
    /// What matches, in the order in which it is compared; empty unless the mode asks for it.
    pub matchers: Vec<Matcher>,
    /// The policies that say so.
    pub policies: Vec<ResourceKey>,
    /// What of policies is without effect, and why.
    pub left_out: Vec<(ResourceKey, String)>,
}

/// What matchers are told apart by.
type Key = (MatchProtocol, Option<u32>, MatcherKind, String);

/// What makes connections look alike to Envoy, which takes no two matchers for the same ones.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    port: Option<u32>,
    transport: Transport,
    range: Option<Range>,
    server_name: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Raw,
    Tls,
    Http,
}

impl Rules {
    /// What policies with the merged configuration `conf` amount to.
    ///
    /// On a port only one of http, http2 and grpc can be told from other traffic, and only one matcher can be for the same
    /// connections. Where there are more, the last match stays, which is of the strongest policy; a match for the port itself
    /// stays before one for all ports.
    pub fn new(conf: &Conf, policies: &[Arc<Policy>]) -> Self {
        let mut rules = Self {
            mode: conf.passthrough_mode.unwrap_or(PassthroughMode::Matched),
            matchers: Vec::new(),
            policies: policies.iter().map(|policy| policy.resource.key.clone()).collect(),
            left_out: Vec::new(),
        };
        if rules.mode == PassthroughMode::Matched {
            let owners = Owners::new(policies);
            let matches = rules.sorted_out(conf.append_match.as_deref().unwrap_or_default(), &owners);
            rules.add(&matches, &owners);
        }
        rules
    }

    /// The matches that can be told from each other.
    fn sorted_out<'a>(&mut self, all: &'a [Match], owners: &Owners) -> Vec<&'a Match> {
        let exclusive = all.iter().filter(|item| item.protocol.is_exclusive());
        let spoken: BTreeMap<Option<u32>, MatchProtocol> = exclusive.map(|item| (item.port, item.protocol)).collect();
        let mut kept = Vec::new();
        for item in all {
            let stays = spoken.get(&item.port).filter(|_| item.protocol.is_exclusive());
            if let Some(stays) = stays.filter(|stays| **stays != item.protocol) {
                let port = item.port.map_or("without a port".to_owned(), |port| format!("on the same port {port}"));
                let reason = format!(
                    "you cannot configure http, http2, grpc {port}: the matches that say {} are left out, because another \
                     one says {}",
                    item.protocol.name(),
                    stays.name()
                );
                self.leave_out(owners.of(item), &reason);
            } else if !MatcherKind::of(item).is_domain() && Range::parse(&item.value).is_none() {
                self.leave_out(owners.of(item), &format!("{:?} is left out: it is no address", item.value));
            } else {
                kept.push(item);
            }
        }
        kept
    }

    /// Adds the matchers. As Envoy looks at the port first, those for all ports are also there for every port that something is
    /// said about.
    fn add(&mut self, matches: &[&Match], owners: &Owners) {
        let mut specific: BTreeMap<Key, BTreeSet<Host>> = BTreeMap::new();
        for item in matches {
            let (key, host) = place(item);
            specific.entry(key).or_default().extend(host);
        }
        let ports: BTreeSet<u32> = matches.iter().filter_map(|item| item.port).collect();
        let general: Vec<_> = specific.iter().filter(|((_, port, ..), _)| port.is_none()).collect();
        let mut copies: BTreeMap<Key, BTreeSet<Host>> = BTreeMap::new();
        if general.len() * ports.len() > MAX_MATCHERS {
            let concerned = matches.iter().filter(|item| item.port.is_none()).flat_map(|item| owners.of(item));
            let reason = format!(
                "matches without a port are left out on the {} ports that other matches name: together they are more than \
                 {MAX_MATCHERS}",
                ports.len()
            );
            self.leave_out(concerned, &reason);
        } else {
            for ((protocol, _, kind, value), hosts) in general {
                let of_port = |port: &u32| ((*protocol, Some(*port), *kind, value.clone()), hosts.clone());
                copies.extend(ports.iter().map(of_port));
            }
        }
        // Names for all ports join those for a port.
        for (key, hosts) in &mut specific {
            hosts.extend(copies.remove(key).unwrap_or_default());
        }
        let mut taken: BTreeMap<Place, MatchProtocol> = BTreeMap::new();
        for (all, is_copy) in [(specific, false), (copies, true)] {
            let mut matchers: Vec<_> = all.into_iter().map(Matcher::new).collect();
            matchers.sort_by(Matcher::cmp_precedence);
            for matcher in matchers {
                match taken.get(&matcher.place()) {
                    None => {
                        taken.insert(matcher.place(), matcher.protocol);
                        self.matchers.push(matcher);
                    }
                    Some(stays) if *stays != matcher.protocol && matcher.protocol.is_exclusive() => {
                        let concerned = matches.iter().filter(|item| matcher.is_of(item, is_copy));
                        let reason = format!(
                            "matches that say {} are left out on port {}, where another one says {}",
                            matcher.protocol.name(),
                            matcher.port.map_or_else(|| "*".to_owned(), |port| port.to_string()),
                            stays.name()
                        );
                        self.leave_out(concerned.flat_map(|item| owners.of(item)), &reason);
                    }
                    // The same connections go the same way.
                    Some(_) => {}
                }
            }
        }
        self.matchers.sort_by(Matcher::cmp_precedence);
    }

    fn leave_out<'a>(&mut self, policies: impl IntoIterator<Item = &'a ResourceKey>, reason: &str) {
        for policy in policies {
            let entry = (policy.clone(), reason.to_owned());
            if !self.left_out.contains(&entry) {
                self.left_out.push(entry);
            }
        }
    }
}

/// Where a match belongs; names that are compared in requests over HTTP share a matcher.
fn place(item: &Match) -> (Key, Option<Host>) {
    let kind = MatcherKind::of(item);
    if kind.is_domain() && item.protocol.is_exclusive() {
        let host = Host { kind, value: item.value.clone() };
        return ((item.protocol, item.port, MatcherKind::Domain, String::new()), Some(host));
    }
    ((item.protocol, item.port, kind, item.value.clone()), None)
}

impl Matcher {
    fn new(((protocol, port, kind, value), hosts): (Key, BTreeSet<Host>)) -> Self {
        let mut hosts: Vec<_> = hosts.into_iter().collect();
        hosts.sort_by(Host::cmp_precedence);
        // Envoy compares names without regard to case.
        let mut seen = BTreeSet::new();
        hosts.retain(|host| seen.insert(host.value.to_ascii_lowercase()));
        let range = if kind.is_domain() { None } else { Range::parse(&value) };
        Self { protocol, port, kind, value, range, hosts }
    }

    fn place(&self) -> Place {
        Place {
            port: self.port,
            transport: match self.protocol {
                MatchProtocol::Tcp | MatchProtocol::Mysql => Transport::Raw,
                MatchProtocol::Tls => Transport::Tls,
                MatchProtocol::Grpc | MatchProtocol::Http | MatchProtocol::Http2 => Transport::Http,
            },
            range: self.range,
            server_name: self.server_name().unwrap_or_default(),
        }
    }

    /// True when the matcher is made of a match; `is_copy` for one that stands for all ports.
    fn is_of(&self, item: &Match, is_copy: bool) -> bool {
        let ((protocol, port, kind, value), _) = place(item);
        let same_port = if is_copy { port.is_none() } else { port == self.port };
        (protocol, kind, value.as_str()) == (self.protocol, self.kind, self.value.as_str()) && same_port
    }
}

/// Which policies say what.
struct Owners(Vec<(ResourceKey, Vec<Match>)>);

impl Owners {
    fn new(policies: &[Arc<Policy>]) -> Self {
        let of = |policy: &Arc<Policy>| {
            let conf: Option<Conf> = policy.default.clone().and_then(|conf| serde_json::from_value(conf).ok());
            (policy.resource.key.clone(), conf.and_then(|conf| conf.append_match).unwrap_or_default())
        };
        Self(policies.iter().map(of).collect())
    }

    fn of(&self, item: &Match) -> impl Iterator<Item = &ResourceKey> {
        self.0.iter().filter(move |(_, matches)| matches.contains(item)).map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;
    use serde_json::{Value, json};
    use tandem_model::kind::Kind;

    /// What policies amount to, each with these matches, the strongest last.
    fn rules(all: &[Value]) -> Rules {
        let named = |(index, matches): (usize, &Value)| {
            let spec = json!({"default": {"appendMatch": matches}});
            Arc::new(policy(Kind::MeshPassthrough, &format!("p{index}"), spec))
        };
        let policies: Vec<_> = all.iter().enumerate().map(named).collect();
        let merged: Vec<Value> = all.iter().flat_map(|list| list.as_array().expect("a list").clone()).collect();
        let conf = serde_json::from_value(json!({"appendMatch": merged})).expect("a configuration");
        Rules::new(&conf, &policies)
    }

    fn http(value: &str, protocol: &str, port: Value) -> Value {
        json!({"type": "Domain", "value": value, "protocol": protocol, "port": port})
    }

    fn texts(rules: &Rules) -> Vec<String> {
        let hosts =
            |matcher: &Matcher| matcher.hosts.iter().map(|host| host.value.clone()).collect::<Vec<_>>().join(",");
        let text = |matcher: &Matcher| {
            let port = matcher.port.map_or("*".to_owned(), |port| port.to_string());
            format!("{} {}{} {port}", matcher.protocol.name(), matcher.value, hosts(matcher))
        };
        rules.matchers.iter().map(text).collect()
    }

    fn left_out(rules: &Rules) -> Vec<(&str, &str)> {
        rules.left_out.iter().map(|(key, reason)| (key.name.as_str(), reason.as_str())).collect()
    }

    #[test]
    fn matches_for_all_ports_are_there_for_each_port_too() {
        let rules = rules(&[json!([
            http("a.com", "http", json!(80)),
            http("b.com", "http", json!(null)),
            {"type": "IP", "value": "10.0.0.1", "protocol": "tcp"},
        ])]);
        assert_eq!(texts(&rules), ["tcp 10.0.0.1 80", "tcp 10.0.0.1 *", "http a.com,b.com 80", "http b.com *"]);
        assert_eq!(rules.left_out, []);
    }

    #[test]
    fn of_several_protocols_on_a_port_the_strongest_policy_decides_and_the_other_one_is_named() {
        let one = json!([http("a.com", "http", json!(80)), http("b.com", "http", json!(81))]);
        let rules = rules(&[one, json!([http("c.com", "grpc", json!(80))])]);
        assert_eq!(texts(&rules), ["http b.com 81", "grpc c.com 80"]);
        let reason = "you cannot configure http, http2, grpc on the same port 80: the matches that say http are left out, \
                      because another one says grpc";
        assert_eq!(left_out(&rules), [("p0", reason)]);
    }

    #[test]
    fn a_port_of_its_own_precedes_all_ports() {
        let all = json!([http("a.com", "http", json!(null)), http("b.com", "http2", json!(80))]);
        let rules = rules(&[all]);
        assert_eq!(texts(&rules), ["http a.com *", "http2 b.com 80"]);
        let reason = "matches that say http are left out on port 80, where another one says http2";
        assert_eq!(left_out(&rules), [("p0", reason)]);
    }

    #[test]
    fn nothing_is_matched_twice() {
        let range = |kind: &str, value: &str, protocol: &str| json!({"type": kind, "value": value, "protocol": protocol, "port": 80});
        let same = json!([
            range("CIDR", "10.0.0.1/8", "tcp"),
            range("CIDR", "10.0.0.0/8", "tcp"),
            range("CIDR", "1.1.1.1/32", "tcp"),
            range("IP", "1.1.1.1", "tcp"),
            range("IP", "2.2.2.2", "tcp"),
            range("IP", "2.2.2.2", "mysql"),
            range("Domain", "a.com", "http"),
            range("Domain", "A.com", "http"),
        ]);
        let rules = rules(&[same]);
        assert_eq!(texts(&rules), ["mysql 2.2.2.2 80", "tcp 1.1.1.1 80", "tcp 10.0.0.0/8 80", "http A.com 80"]);
        assert_eq!(rules.left_out, []);
    }

    #[test]
    fn matches_multiply_up_to_a_limit() {
        let port = |port: u32| json!({"type": "IP", "value": "1.1.1.1", "protocol": "tcp", "port": port});
        let name = |number: u32| http(&format!("n{number}.com"), "tls", json!(null));
        let all: Vec<_> = (1..=200).map(port).chain((0..200).map(name)).collect();
        let rules = rules(&[json!(all)]);
        assert_eq!(rules.matchers.len(), 400);
        assert_eq!(left_out(&rules).len(), 1);
        assert!(left_out(&rules)[0].1.contains("on the 200 ports"), "{:?}", rules.left_out);
    }

    #[test]
    fn without_matches_nothing_matches_and_matches_count_only_when_the_mode_says_so() {
        let policy = Arc::new(policy(Kind::MeshPassthrough, "p", json!({})));
        let of = |conf: Value| {
            Rules::new(&serde_json::from_value(conf).expect("a configuration"), std::slice::from_ref(&policy))
        };
        assert_eq!(of(json!({})).mode, PassthroughMode::Matched);
        let matches = json!([http("a.com", "http", json!(80))]);
        assert_eq!(of(json!({"passthroughMode": "All", "appendMatch": matches})).matchers, []);
        assert_eq!(of(json!({"passthroughMode": "None", "appendMatch": matches})).matchers, []);
        assert_eq!(of(json!({"appendMatch": matches})).matchers.len(), 1);
    }
}
