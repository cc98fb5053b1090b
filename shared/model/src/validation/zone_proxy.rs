//! Rules for ZoneIngress and ZoneEgress.

use tandem_proto::mesh::v1alpha1::{ZoneEgress, ZoneIngress};

use super::dataplane::covers_loopback;
use super::field;
use super::tags::{Rules, tags};
use crate::violation::{Path, Violations};

pub(super) fn validate_ingress(ingress: &ZoneIngress) -> Violations {
    let path = Path::new("networking");
    let networking = ingress.networking.clone().unwrap_or_default();
    let mut violations = Violations::none();
    if let Some(admin) = &networking.admin {
        let in_way = |port, address: &str| port == admin.port && covers_loopback(address);
        if in_way(networking.port, &networking.address)
            || in_way(networking.advertised_port, &networking.advertised_address)
        {
            violations.add(&path.field("admin").field("port"), "must differ from port");
        }
    }
    let (at_address, at_port) = (path.field("advertisedAddress"), path.field("advertisedPort"));
    match (networking.advertised_address.is_empty(), networking.advertised_port == 0) {
        (true, false) => violations.add(&at_address, "has to be defined with advertisedPort"),
        (false, true) => violations.add(&at_port, "has to be defined with advertisedAddress"),
        _ => {}
    }
    violations.extend(address_if_set(&path.field("address"), &networking.address));
    violations.extend(address_if_set(&at_address, &networking.advertised_address));
    violations.extend(field::port(&path.field("port"), networking.port));
    if networking.advertised_port != 0 {
        violations.extend(field::port(&at_port, networking.advertised_port));
    }
    for (index, service) in ingress.available_services.iter().enumerate() {
        let path = Path::new("availableService").index(index).field("tags");
        violations.extend(tags(&path, &service.tags, Rules { service: true, ..Rules::default() }));
    }
    violations
}

pub(super) fn validate_egress(egress: &ZoneEgress) -> Violations {
    let path = Path::new("networking");
    let networking = egress.networking.clone().unwrap_or_default();
    let mut violations = Violations::none();
    if let Some(admin) = &networking.admin
        && admin.port == networking.port
        && covers_loopback(&networking.address)
    {
        violations.add(&path.field("admin").field("port"), "must differ from port");
    }
    violations.extend(address_if_set(&path.field("address"), &networking.address));
    violations.extend(field::port(&path.field("port"), networking.port));
    violations
}

/// Reports at `<path>.address`, so that `address` stands twice: clients know the field that way.
fn address_if_set(path: &Path, address: &str) -> Violations {
    if address.is_empty() { Violations::none() } else { field::address(path, address) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::violations;
    use serde_json::{Value, json};

    fn ingress(networking: Value) -> Vec<String> {
        violations(json!({"type": "ZoneIngress", "name": "zi", "networking": networking}))
    }

    #[test]
    fn ingresses() {
        assert_eq!(ingress(json!({"port": 10001})), [""; 0]);
        assert_eq!(
            ingress(json!({"address": "a b", "advertisedAddress": "0.0.0.0", "port": 0, "advertisedPort": 65536})),
            [
                "networking.address.address: address has to be valid IP address or domain name",
                "networking.advertisedAddress.address: must not be 0.0.0.0 or ::",
                "networking.port: port must be in the range [1, 65535]",
                "networking.advertisedPort: port must be in the range [1, 65535]",
            ]
        );
        assert_eq!(
            ingress(json!({"port": 1, "advertisedPort": 1})),
            ["networking.advertisedAddress: has to be defined with advertisedPort"]
        );
        assert_eq!(
            ingress(json!({"port": 1, "advertisedAddress": "a"})),
            ["networking.advertisedPort: has to be defined with advertisedAddress"]
        );
        assert_eq!(
            ingress(json!({"address": "127.0.0.1", "port": 9901, "admin": {"port": 9901}})),
            ["networking.admin.port: must differ from port"]
        );
        assert_eq!(
            violations(
                json!({"type": "ZoneIngress", "name": "zi", "networking": {"port": 1}, "availableServices": [{"tags": {"a": "b"}}]})
            ),
            ["availableService[0].tags: mandatory tag \"kuma.io/service\" is missing"]
        );
    }

    #[test]
    fn egresses() {
        let egress =
            |networking: Value| violations(json!({"type": "ZoneEgress", "name": "ze", "networking": networking}));
        assert_eq!(egress(json!({"address": "10.0.0.1", "port": 10002, "admin": {"port": 10002}})), [""; 0]);
        assert_eq!(
            egress(json!({"address": "::", "admin": {"port": 0}})),
            [
                "networking.admin.port: must differ from port",
                "networking.address.address: must not be 0.0.0.0 or ::",
                "networking.port: port must be in the range [1, 65535]",
            ]
        );
    }
}
