//! Rules for a MeshGateway.

use std::collections::BTreeMap;

use tandem_proto::mesh::v1alpha1::MeshGateway;
use tandem_proto::mesh::v1alpha1::mesh_gateway::Listener;
use tandem_proto::mesh::v1alpha1::mesh_gateway::listener::Protocol;
use tandem_proto::mesh::v1alpha1::mesh_gateway::tls::{Conf as Tls, Mode};

use super::field;
use super::tags::{PROXY_TAGS, Rules, selector, selectors};
use crate::violation::{Path, Violations};

const GATEWAY_TAGS: Rules =
    Rules { not_empty: false, service: false, only_service: false, forbidden: &PROXY_TAGS, whole: None };

pub(super) fn validate(gateway: &MeshGateway) -> Violations {
    let path = Path::new("selectors");
    let mut violations = selectors(&path, &gateway.selectors, Rules::WITH_SERVICE);
    let listeners = gateway.conf.as_ref().map_or(&[][..], |conf| &conf.listeners);
    if listeners.iter().any(|listener| listener.cross_mesh) {
        for index in 1..gateway.selectors.len() {
            violations.add(&path.index(index), "there can be at most one selector");
        }
    }
    violations.extend(selector(&Path::new("tags"), &gateway.tags, GATEWAY_TAGS));
    let path = Path::new("conf");
    if gateway.conf.is_none() {
        violations.add(&path, "cannot be empty");
        return violations;
    }
    let path = path.field("listeners");
    if listeners.is_empty() {
        violations.add(&path, "cannot be empty");
    }
    for (index, listener) in listeners.iter().enumerate() {
        violations.extend(validate_listener(&path.index(index), listener));
    }
    violations.extend(validate_ports(&path, listeners));
    violations
}

fn validate_listener(path: &Path, listener: &Listener) -> Violations {
    let mut violations = Violations::none();
    if !listener.hostname.is_empty() {
        violations.extend(field::gateway_hostname(&path.field("hostname"), &listener.hostname));
    }
    violations.extend(field::port(&path.field("port"), listener.port));
    let at_tls = path.field("tls");
    match listener.protocol() {
        Protocol::None => violations.add(&path.field("protocol"), "cannot be empty"),
        Protocol::Https if listener.cross_mesh => {
            violations.add(&path.field("protocol"), "protocol is not supported with crossMesh");
        }
        Protocol::Https => match &listener.tls {
            None => violations.add(&at_tls, "cannot be empty"),
            Some(tls) if tls.mode() == Mode::Passthrough => {
                violations.add(&at_tls.field("mode"), "mode is not supported on HTTPS listeners");
            }
            Some(_) => {}
        },
        _ => {}
    }
    match &listener.tls {
        Some(tls) if !listener.cross_mesh => violations.extend(validate_tls(&at_tls, tls)),
        Some(tls) if tls.mode() != Mode::None || !tls.certificates.is_empty() => {
            violations.add(&at_tls, "must be empty with crossMesh");
        }
        _ => {}
    }
    violations.extend(selector(&path.field("tags"), &listener.tags, GATEWAY_TAGS));
    violations
}

fn validate_tls(path: &Path, tls: &Tls) -> Violations {
    match (tls.mode(), tls.certificates.len()) {
        (Mode::None, _) => Violations::one(&path.field("mode"), "cannot be empty"),
        (Mode::Terminate, 0) => Violations::one(&path.field("certificates"), "cannot be empty in TLS termination mode"),
        // One with an RSA and one with an ECDSA key.
        (Mode::Terminate, 3..) => Violations::one(&path.field("certificates"), "cannot have more than 2 certificates"),
        _ => Violations::none(),
    }
}

/// Listeners on one port become one listener of the proxy, so they have to go together.
fn validate_ports(path: &Path, listeners: &[Listener]) -> Violations {
    let mut violations = Violations::none();
    let mut ports: BTreeMap<u32, Vec<(usize, &Listener)>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        ports.entry(listener.port).or_default().push((index, listener));
    }
    for group in ports.values() {
        if group.iter().any(|(_, listener)| listener.protocol != group[0].1.protocol) {
            for (index, _) in group {
                violations.add(&path.index(*index), "protocol conflicts with other listeners on this port");
            }
        }
    }
    for group in ports.values() {
        let hostname = |listener: &Listener| match listener.hostname.as_str() {
            "" => "*".to_owned(),
            hostname => hostname.to_owned(),
        };
        for (index, listener) in group {
            if group.iter().any(|(other, o)| other != index && hostname(o) == hostname(listener)) {
                violations.add(&path.index(*index), "multiple listeners for hostname on this port");
            }
        }
    }
    for group in ports.values() {
        let limit = |listener: &Listener| listener.resources.as_ref().map_or(0, |resources| resources.connection_limit);
        let limits: Vec<(usize, u32)> =
            group.iter().map(|(index, listener)| (*index, limit(listener))).filter(|(_, limit)| *limit != 0).collect();
        if limits.iter().any(|(_, limit)| *limit != limits[0].1) {
            for (index, _) in limits {
                let path = path.index(index).field("resources").field("connectionLimit");
                violations.add(&path, "conflicting values for this port");
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::testing::violations;
    use serde_json::{Value, json};

    fn listeners(listeners: Value) -> Vec<String> {
        let found = violations(json!({"type": "MeshGateway", "mesh": "default", "name": "gw",
            "selectors": [{"match": {"kuma.io/service": "edge"}}], "conf": {"listeners": listeners}}));
        found.into_iter().map(|text| text.replace("conf.listeners", "")).collect()
    }

    #[test]
    fn gateways() {
        assert_eq!(
            violations(
                json!({"type": "MeshGateway", "mesh": "default", "name": "gw", "tags": {"kuma.io/service": "a"}})
            ),
            [
                "selectors: must have at least one element",
                "tags[\"kuma.io/service\"]: tag name must not be \"kuma.io/service\"",
                "conf: cannot be empty",
            ]
        );
        assert_eq!(listeners(json!([])), [": cannot be empty"]);
        assert_eq!(
            violations(json!({"type": "MeshGateway", "mesh": "default", "name": "gw",
                "selectors": [{"match": {"kuma.io/service": "a"}}, {"match": {"kuma.io/service": "b"}}],
                "conf": {"listeners": [{"port": 80, "protocol": "HTTP", "crossMesh": true, "tls": {"mode": "TERMINATE"}}]}})),
            ["selectors[1]: there can be at most one selector", "conf.listeners[0].tls: must be empty with crossMesh"]
        );
    }

    #[test]
    fn single_listeners() {
        assert_eq!(
            listeners(json!([{"hostname": "foo.*", "tags": {"kuma.io/zone": "a"}}])),
            [
                "[0].hostname: invalid hostname",
                "[0].port: port must be in the range [1, 65535]",
                "[0].protocol: cannot be empty",
                "[0].tags[\"kuma.io/zone\"]: tag name must not be \"kuma.io/zone\"",
            ]
        );
        let https = |tls: Value| listeners(json!([{"port": 443, "protocol": "HTTPS", "tls": tls}]));
        assert_eq!(https(Value::Null), ["[0].tls: cannot be empty"]);
        assert_eq!(https(json!({})), ["[0].tls.mode: cannot be empty"]);
        assert_eq!(https(json!({"mode": "PASSTHROUGH"})), ["[0].tls.mode: mode is not supported on HTTPS listeners"]);
        assert_eq!(
            https(json!({"mode": "TERMINATE"})),
            ["[0].tls.certificates: cannot be empty in TLS termination mode"]
        );
        let secret = json!({"secret": "s"});
        assert_eq!(https(json!({"mode": "TERMINATE", "certificates": [secret]})), [""; 0]);
        assert_eq!(
            https(json!({"mode": "TERMINATE", "certificates": [secret, secret, secret]})),
            ["[0].tls.certificates: cannot have more than 2 certificates"]
        );
    }

    #[test]
    fn listeners_on_one_port() {
        assert_eq!(
            listeners(json!([
                {"port": 80, "protocol": "HTTP", "resources": {"connectionLimit": 1}},
                {"port": 80, "protocol": "TCP", "hostname": "*", "resources": {"connectionLimit": 2}},
                {"port": 81, "protocol": "HTTP"},
            ])),
            [
                "[0]: protocol conflicts with other listeners on this port",
                "[1]: protocol conflicts with other listeners on this port",
                "[0]: multiple listeners for hostname on this port",
                "[1]: multiple listeners for hostname on this port",
                "[0].resources.connectionLimit: conflicting values for this port",
                "[1].resources.connectionLimit: conflicting values for this port",
            ]
        );
    }
}
