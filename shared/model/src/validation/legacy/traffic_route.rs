//! Rules for a TrafficRoute.

use tandem_proto::mesh::v1alpha1::TrafficRoute;
use tandem_proto::mesh::v1alpha1::traffic_route::http::r#match::StringMatcher;
use tandem_proto::mesh::v1alpha1::traffic_route::http::r#match::string_matcher::MatcherType;
use tandem_proto::mesh::v1alpha1::traffic_route::http::modify::host::Type as HostChange;
use tandem_proto::mesh::v1alpha1::traffic_route::http::modify::path::Type as PathChange;
use tandem_proto::mesh::v1alpha1::traffic_route::http::modify::{Headers, RegexReplace};
use tandem_proto::mesh::v1alpha1::traffic_route::http::{Match, Modify};
use tandem_proto::mesh::v1alpha1::traffic_route::load_balancer::LbType;
use tandem_proto::mesh::v1alpha1::traffic_route::{LoadBalancer, Split};

use super::service_sides;
use crate::tags::Tags;
use crate::validation::tags::{Rules, selector};
use crate::violation::{Path, Violations};

const EMPTY: &str = "cannot be empty";

pub(in crate::validation) fn validate(policy: &TrafficRoute) -> Violations {
    let mut violations = service_sides(&policy.sources, &policy.destinations);
    let path = Path::new("conf");
    let Some(conf) = &policy.conf else {
        violations.add(&path, EMPTY);
        return violations;
    };
    violations.extend(validate_target(&path, &conf.split, &conf.destination));
    for (index, http) in conf.http.iter().enumerate() {
        let path = path.field("http").index(index);
        violations.extend(validate_match(&path.field("match"), http.r#match.as_ref()));
        if let Some(modify) = &http.modify {
            violations.extend(validate_modify(&path.field("modify"), modify, http.r#match.as_ref()));
        }
        violations.extend(validate_target(&path, &http.split, &http.destination));
    }
    if let Some(balancer) = &conf.load_balancer {
        violations.extend(validate_balancer(&path.field("loadBalancer"), balancer));
    }
    violations
}

fn validate_target(path: &Path, split: &[Split], destination: &Tags) -> Violations {
    let mut violations = Violations::none();
    match (split.is_empty(), destination.is_empty()) {
        (true, true) => violations.add(path, r#"requires either "destination" or "split""#),
        (false, false) => violations.add(path, r#""split" cannot be defined at the same time as "destination""#),
        _ => {}
    }
    let at_split = path.field("split");
    for (index, part) in split.iter().enumerate() {
        let path = at_split.index(index);
        if part.weight.is_none() {
            violations.add(&path.field("weight"), "needs to be defined");
        }
        violations.extend(selector(&path.field("destination"), &part.destination, Rules::WITH_SERVICE));
    }
    if !split.is_empty() && split.iter().all(|part| part.weight.unwrap_or_default() == 0) {
        violations.add(&at_split, "there must be at least one split entry with weight above 0");
    }
    if !destination.is_empty() {
        violations.extend(selector(&path.field("destination"), destination, Rules::WITH_SERVICE));
    }
    violations
}

fn validate_match(path: &Path, matching: Option<&Match>) -> Violations {
    let Some(matching) = matching.filter(|matching| **matching != Match::default()) else {
        let text = r#"must be present and contain at least one of the elements: "method", "path" or "headers""#;
        return Violations::one(path, text);
    };
    let mut violations = Violations::none();
    for (name, matcher) in [("method", &matching.method), ("path", &matching.path)] {
        if let Some(matcher) = matcher {
            violations.extend(validate_matcher(&path.field(name), matcher));
        }
    }
    for (name, matcher) in &matching.headers {
        let path = path.field("headers").key(name);
        if name.is_empty() {
            violations.add(&path, EMPTY);
        }
        violations.extend(validate_matcher(&path, matcher));
    }
    violations
}

fn validate_matcher(path: &Path, matcher: &StringMatcher) -> Violations {
    match &matcher.matcher_type {
        None => Violations::one(path, r#"cannot be empty. Available options: "exact", "split" or "regex""#),
        Some(MatcherType::Prefix(text)) if text.is_empty() => Violations::one(&path.field("prefix"), EMPTY),
        Some(MatcherType::Regex(text)) if text.is_empty() => Violations::one(&path.field("regex"), EMPTY),
        Some(_) => Violations::none(),
    }
}

fn validate_modify(path: &Path, modify: &Modify, matching: Option<&Match>) -> Violations {
    let mut violations = Violations::none();
    if let Some(change) = &modify.path {
        let path = path.field("path");
        match &change.r#type {
            None => violations.add(&path, r#"either "rewritePrefix" or "regex" has to be set"#),
            Some(PathChange::Regex(replace)) => violations.extend(validate_replace(&path.field("regex"), replace)),
            Some(PathChange::RewritePrefix(prefix)) => {
                let path = path.field("rewritePrefix");
                let matcher = matching.and_then(|matching| matching.path.as_ref()?.matcher_type.as_ref());
                let by_prefix = matches!(matcher, Some(MatcherType::Prefix(prefix)) if !prefix.is_empty());
                if prefix.is_empty() {
                    violations.add(&path, EMPTY);
                } else if !by_prefix {
                    violations.add(&path, "can only be set when .http.match.path.prefix is not empty");
                }
            }
        }
    }
    if let Some(change) = &modify.host {
        let path = path.field("host");
        match &change.r#type {
            None => violations.add(&path, r#"either "value" or "fromPath" has to be set"#),
            Some(HostChange::FromPath(replace)) => {
                violations.extend(validate_replace(&path.field("fromPath"), replace))
            }
            Some(HostChange::Value(value)) if value.is_empty() => violations.add(&path.field("value"), EMPTY),
            Some(HostChange::Value(_)) => {}
        }
    }
    for (name, headers) in [("requestHeaders", &modify.request_headers), ("responseHeaders", &modify.response_headers)]
    {
        if let Some(headers) = headers {
            violations.extend(validate_headers(&path.field(name), headers));
        }
    }
    violations
}

fn validate_replace(path: &Path, replace: &RegexReplace) -> Violations {
    let mut violations = Violations::none();
    for (name, text) in [("pattern", &replace.pattern), ("substitution", &replace.substitution)] {
        if text.is_empty() {
            violations.add(&path.field(name), EMPTY);
        }
    }
    violations
}

fn validate_headers(path: &Path, headers: &Headers) -> Violations {
    let mut violations = Violations::none();
    for (index, header) in headers.add.iter().enumerate() {
        let path = path.field("add").index(index);
        violations.extend(validate_header_name(&path.field("name"), &header.name));
        if header.value.is_empty() {
            violations.add(&path.field("value"), EMPTY);
        }
    }
    for (index, header) in headers.remove.iter().enumerate() {
        violations.extend(validate_header_name(&path.field("remove").index(index).field("name"), &header.name));
    }
    violations
}

fn validate_header_name(path: &Path, name: &str) -> Violations {
    if name.is_empty() {
        Violations::one(path, EMPTY)
    } else if name.starts_with(':') || name == "host" || name == "Host" {
        Violations::one(path, "host header and HTTP/2 pseudo-headers are not allowed to be modified")
    } else {
        Violations::none()
    }
}

fn validate_balancer(path: &Path, balancer: &LoadBalancer) -> Violations {
    match &balancer.lb_type {
        Some(LbType::LeastRequest(least)) if least.choice_count == 1 => Violations::one(
            &path.field("leastRequest").field("choiceCount"),
            "value must be greater than or equal to 2",
        ),
        Some(LbType::RingHash(ring)) if !matches!(ring.hash_function.as_str(), "XX_HASH" | "MURMUR_HASH_2") => {
            Violations::one(&path.field("ringHash").field("hashFunction"), "must have a valid hash function")
        }
        _ => Violations::none(),
    }
}
