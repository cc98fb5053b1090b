//! Rules for a Retry.

use std::collections::BTreeMap;

use prost_types::Duration;
use tandem_proto::mesh::v1alpha1::retry::conf::grpc::RetryOn;
use tandem_proto::mesh::v1alpha1::retry::conf::{BackOff, Grpc, Http};
use tandem_proto::mesh::v1alpha1::{HttpMethod, HttpRetryOn, Retry};

use super::service_sides;
use crate::validation::field::{above_zero_if_set, is_zero};
use crate::violation::{Path, Violations};

const EMPTY: &str = "field cannot be empty";
const ABOVE_ZERO: &str = "has to be greater than 0";

pub(in crate::validation) fn validate(policy: &Retry) -> Violations {
    let mut violations = service_sides(&policy.sources, &policy.destinations);
    let path = Path::new("conf");
    let Some(conf) = &policy.conf else {
        violations.add(&path, "has to be defined");
        return violations;
    };
    if conf.http.is_none() && conf.grpc.is_none() && conf.tcp.is_none() {
        violations.add(&path, "missing protocol [grpc|http|tcp] configuration");
    }
    if let Some(http) = &conf.http {
        violations.extend(validate_http(&path.field("http"), http));
    }
    if let Some(grpc) = &conf.grpc {
        violations.extend(validate_grpc(&path.field("grpc"), grpc));
    }
    if conf.tcp.as_ref().is_some_and(|tcp| tcp.max_connect_attempts == 0) {
        violations.add(&path.field("tcp").field("maxConnectAttempts"), ABOVE_ZERO);
    }
    violations
}

fn validate_http(path: &Path, http: &Http) -> Violations {
    let mut violations = Violations::none();
    if *http == Http::default() {
        violations.add(path, EMPTY);
    }
    violations.extend(common(path, http.num_retries, http.per_try_timeout.as_ref(), http.back_off.as_ref()));
    for (index, method) in http.retriable_methods().enumerate() {
        if method == HttpMethod::None {
            violations.add(&path.field("retriableMethods").index(index), EMPTY);
        }
    }
    for (index, reason) in http.retry_on().enumerate() {
        if reason == HttpRetryOn::RetriableStatusCodes && http.retriable_status_codes.is_empty() {
            let text = "retriableStatusCodes cannot be empty when this option is specified";
            violations.add(&path.field("retryOn").index(index), text);
        }
    }
    violations
}

fn validate_grpc(path: &Path, grpc: &Grpc) -> Violations {
    let mut violations = Violations::none();
    if *grpc == Grpc::default() {
        violations.add(path, EMPTY);
    }
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (index, reason) in grpc.retry_on.iter().enumerate() {
        let name = RetryOn::try_from(*reason).map_or("", |reason| reason.as_str_name());
        places.entry(name).or_default().push(index.to_string());
    }
    for (name, indexes) in places.into_iter().filter(|(_, indexes)| indexes.len() > 1) {
        let text = format!("repeated value {name:?} at indexes [{}]", indexes.join(", "));
        violations.add(&path.field("retryOn"), text);
    }
    violations.extend(common(path, grpc.num_retries, grpc.per_try_timeout.as_ref(), grpc.back_off.as_ref()));
    violations
}

fn common(path: &Path, retries: Option<u32>, per_try: Option<&Duration>, back_off: Option<&BackOff>) -> Violations {
    let mut violations = Violations::none();
    if retries == Some(0) {
        violations.add(&path.field("numRetries"), "has to be greater than 0 when defined");
    }
    violations.extend(above_zero_if_set(&path.field("perTryTimeout"), per_try));
    if let Some(back_off) = back_off {
        let path = path.field("backOff");
        match &back_off.base_interval {
            None => violations.add(&path.field("baseInterval"), "has to be defined"),
            Some(base) if is_zero(base) => violations.add(&path.field("baseInterval"), ABOVE_ZERO),
            Some(_) => {
                violations.extend(above_zero_if_set(&path.field("maxInterval"), back_off.max_interval.as_ref()));
            }
        }
    }
    violations
}
