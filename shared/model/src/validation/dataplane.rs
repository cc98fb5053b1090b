//! Rules for a Dataplane.

use std::net::{IpAddr, Ipv4Addr};

use tandem_proto::json::Unknown;
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::ServiceProbe;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Gateway, Inbound, Outbound, TransparentProxying};
use tandem_proto::mesh::v1alpha1::dataplane::{Networking, Probes};

use super::field::{self, is_request_uri};
use super::observability::metrics_backend;
use super::tags::{Rules, known_protocol, tags};
use crate::dataplane::{DataplaneExt, OutboundExt};
use crate::label::{PROTOCOL_TAG, SERVICE_TAG};
use crate::name::{is_ip, validate_reference};
use crate::protocol::Protocol;
use crate::tags::Tags;
use crate::violation::{Path, Violations};

/// Kinds that an outbound or reachable backend refers to, as in messages.
const BACKEND_KINDS: [&str; 3] = ["MeshExternalService", "MeshMultiZoneService", "MeshService"];

pub(super) fn validate(dataplane: &Dataplane) -> Violations {
    let path = Path::new("networking");
    let Some(networking) = &dataplane.networking else { return Violations::one(&path, "must be defined") };
    let mut violations = Violations::none();
    if let Some(admin) = &networking.admin {
        violations.extend(admin_port(&path.field("admin").field("port"), dataplane, admin.port));
    }
    if let Some(gateway) = &networking.gateway {
        let builtin = dataplane.is_builtin_gateway();
        let text = |part: &str| {
            format!("{part} cannot be defined for {} gateways", if builtin { "builtin" } else { "delegated" })
        };
        if !networking.inbound.is_empty() {
            violations.add(&path.field("inbound"), text("inbound"));
        }
        if builtin && !networking.outbound.is_empty() {
            violations.add(&path.field("outbound"), text("outbound"));
        }
        if builtin && dataplane.probes.is_some() {
            violations.add(&path.field("probes"), text("probes"));
        }
        violations.extend(validate_gateway(&path.field("gateway"), gateway));
    } else if networking.inbound.is_empty() {
        violations.add(&path, "has to contain at least one inbound interface or gateway");
    }
    violations.extend(validate_networking(&path, networking));
    if let Some(probes) = dataplane.probes.as_ref().filter(|_| !dataplane.is_builtin_gateway()) {
        violations.extend(validate_probes(probes));
    }
    if let Some(metrics) = dataplane.metrics.as_ref().filter(|_| networking.gateway.is_none()) {
        // Proxies send their own Dataplane, and may know settings that are newer than this control plane.
        let path = Path::new("metrics");
        violations.extend(metrics_backend(&path, &metrics.r#type, metrics.conf.as_ref(), Unknown::Ignore));
    }
    violations
}

/// The administration interface listens on the loopback address, beside inbounds and outbounds.
fn admin_port(path: &Path, dataplane: &Dataplane, port: u32) -> Violations {
    let mut violations = Violations::none();
    let inbound_in_way = dataplane.inbounds().iter().any(|inbound| {
        let inbound = dataplane.inbound_interface(inbound);
        (port == inbound.port && covers_loopback(&inbound.address))
            || (port == inbound.workload_port && covers_loopback(&inbound.workload_address))
    });
    if inbound_in_way {
        violations.add(path, "must differ from inbound");
    }
    let outbound_in_way = dataplane.outbounds().iter().any(|outbound| {
        let outbound = outbound.interface();
        port == outbound.port && covers_loopback(&outbound.address)
    });
    if outbound_in_way {
        violations.add(path, "must differ from outbound");
    }
    violations
}

/// True for 127.0.0.1 and the addresses that stand for all.
pub(super) fn covers_loopback(address: &str) -> bool {
    address
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified() || ip.to_canonical() == IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn validate_gateway(path: &Path, gateway: &Gateway) -> Violations {
    fn tcp_only(path: &Path, tags: &Tags) -> Violations {
        match tags.get(PROTOCOL_TAG) {
            Some(name) if Protocol::parse(name) != Protocol::Tcp => {
                let text = format!("other values than tcp are not allowed, provided value {name:?}");
                Violations::one(&path.key(PROTOCOL_TAG), text)
            }
            _ => Violations::none(),
        }
    }
    let rules = Rules { service: true, whole: Some(tcp_only), ..Rules::default() };
    tags(&path.field("tags"), &gateway.tags, rules)
}

fn validate_networking(path: &Path, networking: &Networking) -> Violations {
    let mut violations = field::address(path, &networking.address);
    for (index, inbound) in networking.inbound.iter().enumerate() {
        let path = path.field("inbound").index(index);
        violations.extend(validate_inbound(&path, inbound, &networking.address));
        if !inbound.tags.contains_key(SERVICE_TAG) {
            violations.add(&path.field("tags").key(SERVICE_TAG), "tag has to exist");
        }
    }
    for (index, outbound) in networking.outbound.iter().enumerate() {
        violations.extend(validate_outbound(&path.field("outbound").index(index), outbound));
    }
    if let Some(transparent) = &networking.transparent_proxying {
        violations.extend(validate_reachable_backends(&path.field("transparentProxing"), transparent));
    }
    violations
}

fn validate_inbound(path: &Path, inbound: &Inbound, proxy_address: &str) -> Violations {
    let mut violations = field::port(&path.field("port"), inbound.port);
    if inbound.service_port != 0 {
        violations.extend(field::port(&path.field("servicePort"), inbound.service_port));
    }
    let service_address = path.field("serviceAddress");
    let same_port = inbound.service_port == 0 || inbound.service_port == inbound.port;
    let loops = "serviceAddress and servicePort has to differ from address and port";
    if !inbound.service_address.is_empty() {
        if !is_ip(&inbound.service_address) {
            violations.add(&service_address, "serviceAddress has to be valid IP address");
        }
        if inbound.service_address == proxy_address && same_port {
            violations.add(&service_address, loops);
        }
    }
    if !inbound.address.is_empty() {
        if !is_ip(&inbound.address) {
            violations.add(&path.field("address"), "address has to be valid IP address");
        }
        if inbound.address == inbound.service_address && same_port {
            violations.add(&service_address, loops);
        }
    }
    let rules = Rules { whole: Some(known_protocol), ..Rules::default() };
    violations.extend(tags(&path.field("tags"), &inbound.tags, rules));
    if let Some(probe) = &inbound.service_probe {
        violations.extend(validate_service_probe(&path.field("serviceProbe"), probe));
    }
    violations
}

fn validate_service_probe(path: &Path, probe: &ServiceProbe) -> Violations {
    let mut violations = field::positive_duration_if_set(&path.field("interval"), probe.interval.as_ref());
    violations.extend(field::positive_duration_if_set(&path.field("timeout"), probe.timeout.as_ref()));
    for (name, threshold) in
        [("unhealthyThreshold", probe.unhealthy_threshold), ("healthyThreshold", probe.healthy_threshold)]
    {
        violations.extend(threshold.map_or_else(Violations::none, |number| field::positive(&path.field(name), number)));
    }
    violations
}

fn validate_outbound(path: &Path, outbound: &Outbound) -> Violations {
    let mut violations = field::port(&path.field("port"), outbound.port);
    if !outbound.address.is_empty() && !is_ip(&outbound.address) {
        violations.add(&path.field("address"), "address has to be valid IP address");
    }
    let Some(backend) = &outbound.backend_ref else {
        let at_tags = path.field("tags");
        violations.extend(tags(&at_tags, &outbound.tags, Rules { service: true, ..Rules::default() }));
        return violations;
    };
    let path = path.field("backendRef");
    if !BACKEND_KINDS.contains(&backend.kind.as_str()) {
        violations.add(&path.field("kind"), unknown_backend_kind());
    }
    if backend.name.is_empty() && backend.labels.is_empty() {
        violations.add(&path, "either 'name' or 'labels' should be specified");
    }
    // The port of a MeshExternalService is that of its endpoints.
    if backend.kind != "MeshExternalService" {
        violations.extend(field::port(&path.field("port"), backend.port));
    }
    if !outbound.tags.is_empty() {
        violations.add(&path, "both backendRef and tags/service cannot be defined");
    }
    violations
}

fn unknown_backend_kind() -> String {
    format!("invalid value. Available values are: {}", BACKEND_KINDS.join(","))
}

fn validate_reachable_backends(path: &Path, transparent: &TransparentProxying) -> Violations {
    let mut violations = Violations::none();
    let refs = transparent.reachable_backends.iter().flat_map(|backends| &backends.refs);
    for (index, backend) in refs.enumerate() {
        let path = path.field("reachableBackends").field("refs").index(index);
        let at_name = path.field("name");
        if !BACKEND_KINDS.contains(&backend.kind.as_str()) {
            violations.add(&path.field("kind"), unknown_backend_kind());
        }
        if !backend.name.is_empty() {
            violations.extend(validate_reference(&at_name, &backend.name));
        } else if !backend.namespace.is_empty() {
            violations.add(&at_name, "name is required, when namespace is defined");
        } else if backend.labels.is_empty() {
            violations.add(&at_name, "name or labels are required");
        }
        let named = !backend.name.is_empty() || !backend.namespace.is_empty();
        if named && !backend.labels.is_empty() {
            violations.add(&path.field("labels"), "labels cannot be defined when name is specified");
        }
    }
    violations
}

fn validate_probes(probes: &Probes) -> Violations {
    let path = Path::new("probes");
    let mut violations = field::port(&path.field("port"), probes.port);
    for (index, endpoint) in probes.endpoints.iter().enumerate() {
        let path = path.field("endpoints").index(index);
        violations.extend(field::port(&path.field("inboundPort"), endpoint.inbound_port));
        for (name, text) in [("inboundPath", &endpoint.inbound_path), ("path", &endpoint.path)] {
            if !is_request_uri(text) {
                violations.add(&path.field(name), "should be a valid URL Path");
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests;
