//! Validation of MeshPassthrough.
//!
//! Source: Kuma `pkg/plugins/policies/meshpassthrough/api/v1alpha1/validator.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tandem_model::violation::{Path, Violations};

use super::schema::{Match, MatchProtocol, MatchType, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{TargetRules, Validate, is_dns_name, list, spec, target_ref};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, Dataplane];

impl MatchProtocol {
    /// True for protocols of which only one can be spoken on a port.
    pub(super) fn is_exclusive(self) -> bool {
        matches!(self, Self::Grpc | Self::Http | Self::Http2)
    }
}

/// What earlier matches said.
#[derive(Default)]
struct Seen<'a> {
    protocols: BTreeMap<u32, MatchProtocol>,
    values: BTreeSet<(u32, MatchProtocol, &'a str)>,
}

impl Validate for Spec {
    fn validate(&self, _role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            target_ref(target, &path.field("targetRef"), &TargetRules::kinds(TOP), violations);
        }
        let mut seen = Seen::default();
        for (index, item) in list(&self.default.append_match).iter().enumerate() {
            let path = path.field("default").field("appendMatch").index(index);
            port(item, &mut seen, &path, violations);
            value(item, &path, violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

fn port<'a>(item: &'a Match, seen: &mut Seen<'a>, path: &Path, violations: &mut Violations) {
    let port_path = path.field("port");
    let Some(port) = item.port else {
        if item.protocol == MatchProtocol::Mysql {
            violations.add(&port_path, "port must be defined for Mysql protocol");
        }
        return;
    };
    if !(1..=65535).contains(&port) {
        violations.add(&port_path, "port must be a valid (1-65535)");
    }
    match seen.protocols.get(&port) {
        Some(other) if *other != item.protocol && item.protocol.is_exclusive() => violations.add(
            &port_path,
            "using the same port in multiple matches requires the same protocol for the following protocols: \
             [grpc http http2]",
        ),
        _ => {
            seen.protocols.insert(port, item.protocol);
        }
    }
    if !seen.values.insert((port, item.protocol, &item.value)) {
        let text = format!("value {} is already defiend for this port and protocol", item.value);
        violations.add(&path.field("value"), text);
    }
}

fn value(item: &Match, path: &Path, violations: &mut Violations) {
    let value = item.value.as_str();
    let value_path = path.field("value");
    match item.kind {
        MatchType::Cidr if !is_cidr(value) => violations.add(&value_path, "provided CIDR has incorrect value"),
        MatchType::Ip if value.parse::<IpAddr>().is_err() => {
            violations.add(&value_path, "provided IP has incorrect value");
        }
        MatchType::Domain => {
            let unsupported = match item.protocol {
                MatchProtocol::Tcp => Some("tcp"),
                MatchProtocol::Mysql => Some("mysql"),
                _ => None,
            };
            if let Some(name) = unsupported {
                let text = format!("protocol {name} is not supported for a domain");
                violations.add(&path.field("protocol"), text);
            }
            match value.strip_prefix('*') {
                None if !is_dns_name(value) => violations.add(&value_path, "provided DNS has incorrect value"),
                None => {}
                Some(rest) => {
                    if !rest.is_empty() && !rest.starts_with('.') {
                        let text = "provided DNS has incorrect value, partial wildcard is currently not supported";
                        violations.add(&value_path, text);
                    }
                    if item.port.is_none() && item.protocol.is_exclusive() {
                        let text = "wildcard domains doesn't work for all ports and layer 7 protocol";
                        violations.add(&path.field("port"), text);
                    }
                }
            }
        }
        _ => {}
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.bytes().all(|c| c.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|length| length <= longest)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshPassthrough;

    #[test]
    fn defaults_are_applied() {
        let mut spec = json!({"default": {"appendMatch": [{"type": "CIDR", "value": "10.0.0.0/8"}]}});
        assert_eq!(check(MeshPassthrough, &mut spec), "");
        assert_eq!(spec["default"]["appendMatch"][0]["protocol"], "tcp");
    }

    #[test]
    fn violations() {
        refused(
            MeshPassthrough,
            json!({"default": {"appendMatch": [
                {"type": "IP", "value": "1.2.3", "port": 0},
                {"type": "CIDR", "value": "10.0.0.0/33", "protocol": "mysql"},
                {"type": "Domain", "value": "a.com", "protocol": "tcp", "port": 80},
                {"type": "Domain", "value": "*a.com", "protocol": "http", "port": 80},
                {"type": "Domain", "value": "*.a.com", "protocol": "http"},
                {"type": "Domain", "value": "b.com", "protocol": "tls", "port": 443},
                {"type": "Domain", "value": "b.com", "protocol": "tls", "port": 443}
            ]}}),
            &[
                "spec.default.appendMatch[0].port: port must be a valid (1-65535)",
                "spec.default.appendMatch[0].value: provided IP has incorrect value",
                "spec.default.appendMatch[1].port: port must be defined for Mysql protocol",
                "spec.default.appendMatch[1].value: provided CIDR has incorrect value",
                "spec.default.appendMatch[2].protocol: protocol tcp is not supported for a domain",
                "spec.default.appendMatch[3].port: using the same port in multiple matches requires the same protocol \
                 for the following protocols: [grpc http http2]",
                "spec.default.appendMatch[3].value: provided DNS has incorrect value, partial wildcard is currently \
                 not supported",
                "spec.default.appendMatch[4].port: wildcard domains doesn't work for all ports and layer 7 protocol",
                "spec.default.appendMatch[6].value: value b.com is already defiend for this port and protocol",
            ],
        );
    }
}
