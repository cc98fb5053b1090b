//! Rules for a Timeout.

use prost_types::Duration;
use tandem_proto::mesh::v1alpha1::Timeout;

use super::service_sides;
use crate::validation::field::{above_zero_if_set, is_zero};
use crate::violation::{Path, Violations};

pub(in crate::validation) fn validate(policy: &Timeout) -> Violations {
    let mut violations = service_sides(&policy.sources, &policy.destinations);
    let path = Path::new("conf");
    let Some(conf) = &policy.conf else {
        violations.add(&path, "has to be defined");
        return violations;
    };
    if let Some(tcp) = &conf.tcp {
        let path = path.field("tcp");
        match &tcp.idle_timeout {
            None => violations.add(&path, NOTHING_SET),
            Some(idle) if is_zero(idle) => violations.add(&path.field("idleTimeout"), "has to be greater than 0"),
            Some(_) => {}
        }
    }
    if let Some(http) = &conf.http {
        let timeouts = [("requestTimeout", &http.request_timeout), ("idleTimeout", &http.idle_timeout)];
        violations.extend(section(&path.field("http"), timeouts));
    }
    if let Some(grpc) = &conf.grpc {
        let timeouts =
            [("streamIdleTimeout", &grpc.stream_idle_timeout), ("maxStreamDuration", &grpc.max_stream_duration)];
        violations.extend(section(&path.field("grpc"), timeouts));
    }
    violations
}

const NOTHING_SET: &str = "at least one timeout in section has to be defined";

fn section(path: &Path, timeouts: [(&str, &Option<Duration>); 2]) -> Violations {
    if timeouts.iter().all(|(_, timeout)| timeout.is_none()) {
        return Violations::one(path, NOTHING_SET);
    }
    let mut violations = Violations::none();
    for (name, timeout) in timeouts {
        violations.extend(above_zero_if_set(&path.field(name), timeout.as_ref()));
    }
    violations
}
