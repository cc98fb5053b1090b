//! Rules for an ExternalService.

use tandem_proto::mesh::v1alpha1::ExternalService;

use super::field::{self, split_host_port};
use super::tags::{Rules, known_protocol, tags};
use crate::label::SERVICE_TAG;
use crate::name::{is_dns_name, is_ip};
use crate::violation::{Path, Violations};

pub(super) fn validate(service: &ExternalService) -> Violations {
    let mut violations = Violations::none();
    let path = Path::new("networking");
    match &service.networking {
        None => violations.add(&path, "should have networking"),
        Some(networking) => {
            violations.extend(validate_address(&path.field("address"), &networking.address));
            if let Some(tls) = &networking.tls {
                let path = path.field("tls");
                if tls.server_name.as_ref().is_some_and(String::is_empty) {
                    violations.add(&path.field("serverName"), "cannot be empty");
                }
                violations.extend(field::data_source(&path.field("caCert"), tls.ca_cert.as_ref()));
                violations.extend(field::data_source(&path.field("clientCert"), tls.client_cert.as_ref()));
                violations.extend(field::data_source(&path.field("clientKey"), tls.client_key.as_ref()));
            }
        }
    }
    let path = Path::new("tags");
    let rules = Rules { service: true, whole: Some(known_protocol), ..Rules::default() };
    violations.extend(tags(&path, &service.tags, rules));
    let address = service.networking.as_ref().map_or("", |networking| &networking.address);
    if let (Some(name), Some((host, _))) = (service.tags.get(SERVICE_TAG), split_host_port(address))
        && !name.is_empty()
        && name == host
    {
        violations.add(&path.key(SERVICE_TAG), "cannot be the same as networking.address");
    }
    violations
}

fn validate_address(path: &Path, address: &str) -> Violations {
    if address.is_empty() {
        return Violations::one(path, "address can't be empty");
    }
    let mut violations = Violations::none();
    let (host, port) = split_host_port(address).unwrap_or_else(|| {
        violations.add(path, "unable to parse address");
        ("", "")
    });
    if !is_ip(host) && !is_dns_name(host) {
        violations.add(path, "address has to be a valid IP address or a domain name");
    }
    let port = port.parse().unwrap_or_else(|_| {
        violations.add(path, "unable to parse port in address");
        0
    });
    violations.extend(field::port(path, port));
    violations
}

#[cfg(test)]
mod tests {
    use super::super::testing::violations;
    use serde_json::{Value, json};

    fn service(networking: Value, tags: Value) -> Vec<String> {
        violations(
            json!({"type": "ExternalService", "mesh": "default", "name": "es", "networking": networking, "tags": tags}),
        )
    }

    #[test]
    fn addresses() {
        let tags = json!({"kuma.io/service": "httpbin", "kuma.io/protocol": "http"});
        let at = |address: &str| service(json!({"address": address}), tags.clone());
        assert_eq!(at("httpbin.org:80"), [""; 0]);
        assert_eq!(at("[::1]:80"), [""; 0]);
        assert_eq!(at(""), ["networking.address: address can't be empty"]);
        assert_eq!(
            at("httpbin.org"),
            [
                "networking.address: unable to parse address",
                "networking.address: address has to be a valid IP address or a domain name",
                "networking.address: unable to parse port in address",
                "networking.address: port must be in the range [1, 65535]",
            ]
        );
        assert_eq!(at("a:65536"), ["networking.address: port must be in the range [1, 65535]"]);
        assert_eq!(at("httpbin:80"), ["tags[\"kuma.io/service\"]: cannot be the same as networking.address"]);
    }

    #[test]
    fn tls_and_tags() {
        assert_eq!(
            service(
                json!({"address": "a:1", "tls": {"serverName": "", "caCert": {"inline": ""}, "clientKey": {"secret": "s"}, "clientCert": {}}}),
                json!({"kuma.io/protocol": "not-yet-supported"})
            ),
            [
                "networking.tls.serverName: cannot be empty",
                "networking.tls.caCert: data source cannot be empty",
                "networking.tls.clientCert: data source cannot be empty",
                "tags[\"kuma.io/protocol\"]: tag \"kuma.io/protocol\" has an invalid value \"not-yet-supported\". Allowed \
                 values: grpc, http, http2, kafka, tcp",
                "tags: mandatory tag \"kuma.io/service\" is missing",
            ]
        );
        assert_eq!(
            violations(
                json!({"type": "ExternalService", "mesh": "default", "name": "es", "tags": {"kuma.io/service": "a"}})
            ),
            ["networking: should have networking"]
        );
    }
}
