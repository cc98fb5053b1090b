//! Rules for a FaultInjection.

use tandem_proto::mesh::v1alpha1::FaultInjection;
use tandem_proto::mesh::v1alpha1::fault_injection::conf::{Abort, Delay, ResponseBandwidth};

use super::sides;
use crate::label::PROTOCOL_TAG;
use crate::protocol::Protocol;
use crate::tags::Tags;
use crate::validation::field::{PERCENT, percent};
use crate::validation::tags::Rules;
use crate::violation::{Path, Violations};

pub(in crate::validation) fn validate(policy: &FaultInjection) -> Violations {
    let of_destinations = Rules { whole: Some(http_protocol), ..Rules::ANY_TAGS };
    let mut violations = sides(&policy.sources, Rules::ANY_TAGS, &policy.destinations, of_destinations);
    let path = Path::new("conf");
    let conf = policy.conf.clone().unwrap_or_default();
    let delay = conf.delay.filter(|delay| *delay != Delay::default());
    let abort = conf.abort.filter(|abort| *abort != Abort::default());
    let bandwidth = conf.response_bandwidth.filter(|bandwidth| *bandwidth != ResponseBandwidth::default());
    if delay.is_none() && abort.is_none() && bandwidth.is_none() {
        violations.add(&path, "must have at least one of the faults configured");
    }
    if let Some(delay) = delay {
        let path = path.field("delay");
        violations.extend(percentage(&path, delay.percentage));
        if delay.value.is_none() {
            violations.add(&path.field("value"), "cannot be empty");
        }
    }
    if let Some(abort) = abort {
        let path = path.field("abort");
        violations.extend(percentage(&path, abort.percentage));
        let status = path.field("httpStatus");
        match abort.http_status {
            None => violations.add(&status, "cannot be empty"),
            Some(code) if !is_named_status(code) => violations.add(&status, "http status code is incorrect"),
            Some(_) => {}
        }
    }
    if let Some(bandwidth) = bandwidth {
        let path = path.field("responseBandwidth");
        violations.extend(percentage(&path, bandwidth.percentage));
        let limit = path.field("limit");
        match &bandwidth.limit {
            None => violations.add(&limit, "cannot be empty"),
            Some(text) if !["kbps", "mbps", "gbps"].iter().any(|unit| text.contains(unit)) => {
                violations.add(&limit, "has to be in kbps/mbps/gbps units");
            }
            Some(_) => {}
        }
    }
    violations
}

fn http_protocol(path: &Path, tags: &Tags) -> Violations {
    match tags.get(PROTOCOL_TAG) {
        None => Violations::one(path, "protocol must be specified"),
        Some(name) if !Protocol::parse(name).is_http_based() => {
            Violations::one(&path.key(PROTOCOL_TAG), "must be one of the [http, http2, grpc]")
        }
        Some(_) => Violations::none(),
    }
}

pub(super) fn percentage(path: &Path, value: Option<f64>) -> Violations {
    let path = path.field("percentage");
    value.map_or_else(|| Violations::one(&path, "cannot be empty"), |value| percent(&path, value, PERCENT))
}

/// Status codes that have a name in the registry of IANA.
fn is_named_status(code: u32) -> bool {
    matches!(
        code,
        100..=103 | 200..=208 | 226 | 300..=305 | 307..=308 | 400..=418 | 421..=426 | 428..=429 | 431 | 451 | 500..=508
            | 510..=511
    )
}
