//! Syntax of host names and labels as defined by RFC 1035 and RFC 1123, with the error texts of Kubernetes
//! (`k8s.io/apimachinery/pkg/util/validation`) that clients of Kuma see.

use std::net::IpAddr;

/// True for a DNS-1035 label: a lower-case letter, then lower-case letters, digits and inner dashes, at most 63.
pub fn is_dns1035_label(text: &str) -> bool {
    text.len() <= 63 && matches_dns1035(text)
}

/// What keeps `text` from being a DNS-1035 label; empty when it is one.
pub fn dns1035_errors(text: &str) -> Vec<&'static str> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push("must be no more than 63 characters");
    }
    if !matches_dns1035(text) {
        errors.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        );
    }
    errors
}

fn matches_dns1035(text: &str) -> bool {
    text.bytes().next().is_some_and(|first| first.is_ascii_lowercase()) && is_label(text)
}

/// What keeps `text` from being an RFC 1123 subdomain of at most 253 bytes; empty when it is one.
pub fn dns1123_subdomain_errors(text: &str) -> Vec<&'static str> {
    let mut errors = Vec::new();
    if text.len() > 253 {
        errors.push("must be no more than 253 bytes");
    }
    if !is_dns1123_subdomain(text) {
        errors.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        );
    }
    errors
}

/// True for dot-separated labels of lower-case letters, digits and inner dashes; the length is not limited.
pub(crate) fn is_dns1123_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// Lower-case letters, digits and dashes; neither empty nor bordered by dashes.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

/// True for an IPv4 or IPv6 address in text form.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// True for a host name in the wide sense used for addresses and zone names: letters of any case, digits,
/// underscores and dashes in dot-separated labels of at most 63 bytes that do not start with a dash; one trailing
/// dot or underscore is allowed. An IP address is no host name.
///
/// Source of the syntax: `github.com/asaskevich/govalidator` `IsDNSName`.
pub fn is_dns_name(text: &str) -> bool {
    if text.is_empty() || text.len() - text.matches('.').count() > 255 || is_ip(text) {
        return false;
    }
    let labels = |text: &str| text.split('.').all(is_wide_label);
    labels(text) || text.strip_suffix(['.', '_']).is_some_and(labels)
}

fn is_wide_label(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=63).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_rfc_1035() {
        for good in ["a", "a-b", "a1", &"a".repeat(63)] {
            assert!(is_dns1035_label(good), "{good}");
            assert!(dns1035_errors(good).is_empty(), "{good}");
        }
        for bad in ["", "1a", "a-", "-a", "a.b", "A", "a_b"] {
            assert!(!is_dns1035_label(bad), "{bad}");
            assert_eq!(dns1035_errors(bad).len(), 1, "{bad}");
        }
        assert_eq!(dns1035_errors(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(dns1035_errors(&"A".repeat(64)).len(), 2);
    }

    #[test]
    fn subdomains_of_rfc_1123() {
        assert!(dns1123_subdomain_errors("example.com").is_empty());
        assert_eq!(dns1123_subdomain_errors("Example.com").len(), 1);
        assert_eq!(dns1123_subdomain_errors(&"a".repeat(254)), ["must be no more than 253 bytes"]);
    }

    #[test]
    fn host_names_in_the_wide_sense() {
        for good in ["localhost", "a.b", "A_b.c-d", "example.com.", "_x", "1.2", "a_"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", "10.0.0.1", "::1", "a b", "-a", "a..b", ".", "a.-b", "exa$mple", &"a".repeat(64)] {
            assert!(!is_dns_name(bad), "{bad}");
        }
        assert!(!is_dns_name(&vec!["a".repeat(60); 5].join(".")));
    }
}
