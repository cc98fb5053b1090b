//! Rules for single values.

use prost::{Message, Name};
use prost_types::{Duration, Struct};
use tandem_proto::json::{Unknown, from_json, struct_to_json};
use tandem_proto::system::v1alpha1::DataSource;
use tandem_proto::system::v1alpha1::data_source::Type as DataSourceType;

use crate::name::{is_dns_name, is_dns1123_subdomain, is_ip};
use crate::violation::{Path, Violations};

/// A port from 1 to 65535.
pub(super) fn port(path: &Path, port: u32) -> Violations {
    if (1..=65535).contains(&port) {
        Violations::none()
    } else {
        Violations::one(path, "port must be in the range [1, 65535]")
    }
}

/// An IP address or host name under member `address` of `path`.
pub(super) fn address(path: &Path, address: &str) -> Violations {
    let path = path.field("address");
    if address.is_empty() {
        return Violations::one(&path, "address can't be empty");
    }
    let mut violations = Violations::none();
    if address == "0.0.0.0" || address == "::" {
        violations.add(&path, "must not be 0.0.0.0 or ::");
    }
    if !is_ip(address) && !is_dns_name(address) {
        violations.add(&path, "address has to be valid IP address or domain name");
    }
    violations
}

/// A duration that is set and not zero.
pub(super) fn positive_duration(path: &Path, duration: Option<&Duration>) -> Violations {
    match duration {
        Some(duration) if !is_valid(duration) => Violations::one(path, "must have a valid value"),
        Some(duration) if !is_zero(duration) => Violations::none(),
        _ => Violations::one(path, "must have a positive value"),
    }
}

/// A duration that, when set, satisfies [`positive_duration`].
pub(super) fn positive_duration_if_set(path: &Path, duration: Option<&Duration>) -> Violations {
    if duration.is_some() { positive_duration(path, duration) } else { Violations::none() }
}

/// A number that is not zero.
pub(super) fn positive(path: &Path, number: u32) -> Violations {
    if number == 0 { Violations::one(path, "must have a positive value") } else { Violations::none() }
}

/// A duration that, when set, is not zero; with the text of timeouts and retries.
pub(super) fn above_zero_if_set(path: &Path, duration: Option<&Duration>) -> Violations {
    if duration.is_some_and(is_zero) {
        Violations::one(path, "has to be greater than 0 when defined")
    } else {
        Violations::none()
    }
}

/// The range of `google.protobuf.Duration`, and both parts of one sign.
fn is_valid(duration: &Duration) -> bool {
    const MAX_SECONDS: u64 = 315_576_000_000;
    duration.seconds.unsigned_abs() <= MAX_SECONDS
        && duration.nanos.unsigned_abs() < 1_000_000_000
        && !(duration.seconds > 0 && duration.nanos < 0)
        && !(duration.seconds < 0 && duration.nanos > 0)
}

pub(super) fn is_zero(duration: &Duration) -> bool {
    duration.seconds == 0 && duration.nanos == 0
}

/// A number of percent, with the text that the kind uses.
pub(super) fn percent(path: &Path, value: f64, text: &str) -> Violations {
    if (0.0..=100.0).contains(&value) { Violations::none() } else { Violations::one(path, text) }
}

/// Text of most violations of [`percent`].
pub(super) const PERCENT: &str = "has to be in [0.0 - 100.0] range";

/// A host name of a gateway listener: `*`, `*.domain` or a domain.
pub(super) fn gateway_hostname(path: &Path, hostname: &str) -> Violations {
    let mut violations = Violations::none();
    if hostname == "*" {
        return violations;
    }
    if hostname.len() > 253 {
        violations.add(path, "must be at most 253 characters");
    }
    match hostname.strip_prefix("*.") {
        Some(domain) if !is_dns1123_subdomain(domain) => violations.add(path, "invalid wildcard domain"),
        None if !is_dns1123_subdomain(hostname) => violations.add(path, "invalid hostname"),
        _ => {}
    }
    violations
}

/// A data source that, when present, names something.
pub(super) fn data_source(path: &Path, source: Option<&DataSource>) -> Violations {
    let empty = match source.map(|source| &source.r#type) {
        None => false,
        Some(None) => true,
        Some(Some(DataSourceType::Inline(bytes))) => bytes.is_empty(),
        Some(Some(DataSourceType::Secret(text) | DataSourceType::File(text) | DataSourceType::InlineString(text))) => {
            text.is_empty()
        }
    };
    if empty { Violations::one(path, "data source cannot be empty") } else { Violations::none() }
}

/// Splits `host:port`; an IPv6 host stands in brackets. `None` when there is no port or more than one colon.
pub(super) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => {
            rest.split_once("]:").filter(|(host, port)| !host.contains('[') && !port.contains([':', '[', ']']))
        }
        None => {
            text.split_once(':').filter(|(host, port)| !host.contains([']', '[']) && !port.contains([':', '[', ']']))
        }
    }
}

/// A path or address as it may stand in the first line of an HTTP request.
pub(super) fn is_request_uri(text: &str) -> bool {
    let absolute = text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme));
    let mut rest = text;
    while let Some((_, escaped)) = rest.split_once('%') {
        if !escaped.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return false;
        }
        rest = escaped;
    }
    (text.starts_with('/') || absolute) && !text.bytes().any(|b| b.is_ascii_control())
}

fn is_scheme(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Port in an address such as `http://host:9411/path`; empty when it has none, `None` when it is no number.
pub(super) fn port_of_uri(text: &str) -> Option<&str> {
    let Some((_, rest)) = text.split_once("://") else { return Some("") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let after_brackets = host.rsplit(']').next().unwrap_or_default();
    let port = after_brackets.split_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|b| b.is_ascii_digit()).then_some(port)
}

/// The settings of a backend as the message of their type.
///
/// # Errors
/// The text of the violation.
pub(super) fn settings<M: Message + Name + Default>(conf: Option<&Struct>, unknown: Unknown) -> Result<M, String> {
    let Some(conf) = conf else { return Ok(M::default()) };
    let failed = |error: &dyn std::fmt::Display| format!("could not parse config: {error}");
    let bytes = from_json(&M::full_name(), &struct_to_json(conf), unknown).map_err(|error| failed(&error))?;
    M::decode(bytes.as_slice()).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_split() {
        assert_eq!(split_host_port("a:1"), Some(("a", "1")));
        assert_eq!(split_host_port("[::1]:80"), Some(("::1", "80")));
        assert_eq!(split_host_port(":80"), Some(("", "80")));
        for bad in ["", "a", "::1:80", "[::1]", "[::1]80", "a]:1", "a:1:2", "[a:1"] {
            assert_eq!(split_host_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn request_uris() {
        for good in ["/", "/a/b?c=%20", "http://x:80/y"] {
            assert!(is_request_uri(good), "{good}");
        }
        for bad in ["", "a", "/%zz", "/a\n", "://x", "/%", "1://x"] {
            assert!(!is_request_uri(bad), "{bad}");
        }
        for (uri, port) in [
            ("http://a:9411/p", Some("9411")),
            ("http://a/p:1", Some("")),
            ("http://[::1]:80", Some("80")),
            ("http://[::1]", Some("")),
            ("http://u:p@a:1?x", Some("1")),
            ("http://a:x", None),
            ("/a", Some("")),
        ] {
            assert_eq!(port_of_uri(uri), port, "{uri}");
        }
    }

    #[test]
    fn durations() {
        let path = Path::new("d");
        let reason = |seconds, nanos| positive_duration(&path, Some(&Duration { seconds, nanos })).to_string();
        assert_eq!(reason(1, 0), "");
        assert_eq!(reason(0, 0), "d: must have a positive value");
        assert_eq!(reason(1, -1), "d: must have a valid value");
        assert_eq!(reason(i64::MAX, 0), "d: must have a valid value");
        assert_eq!(positive_duration(&path, None).to_string(), "d: must have a positive value");
        assert!(positive_duration_if_set(&path, None).is_empty());
    }

    #[test]
    fn host_names_of_gateways() {
        let check = |text: &str| gateway_hostname(&Path::new("h"), text).to_string();
        for good in ["*", "*.example.com", "example.com"] {
            assert_eq!(check(good), "", "{good}");
        }
        assert_eq!(check("*.foo.*"), "h: invalid wildcard domain");
        assert_eq!(check("foo.example$.com"), "h: invalid hostname");
    }
}
