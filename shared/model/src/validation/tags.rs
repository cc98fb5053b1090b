//! Rules for tag sets and selectors.

use tandem_proto::mesh::v1alpha1::Selector;

use crate::label::{PROTOCOL_TAG, SERVICE_TAG, ZONE};
use crate::protocol::Protocol;
use crate::tags::{ANY, Tags};
use crate::violation::{Path, Violations};

/// Tags that describe a proxy and not a gateway or listener.
pub(super) const PROXY_TAGS: [&str; 4] = ["kuma.io/external-service-name", PROTOCOL_TAG, SERVICE_TAG, ZONE];

/// What a tag set or selector has to have.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules {
    /// At least one tag.
    pub not_empty: bool,
    /// The tag `kuma.io/service`.
    pub service: bool,
    /// No other tag than `kuma.io/service`.
    pub only_service: bool,
    /// None of these tags.
    pub forbidden: &'static [&'static str],
    /// A rule for the whole set.
    pub whole: Option<fn(&Path, &Tags) -> Violations>,
}

impl Rules {
    /// Any tags, but at least one.
    pub const ANY_TAGS: Self = Self { not_empty: true, ..Self::NONE };
    /// At least one tag, among them the service.
    pub const WITH_SERVICE: Self = Self { service: true, ..Self::ANY_TAGS };
    /// The service and nothing else.
    pub const ONLY_SERVICE: Self = Self { service: true, only_service: true, ..Self::NONE };
    const NONE: Self = Self { not_empty: false, service: false, only_service: false, forbidden: &[], whole: None };
}

/// Checks the tags of a proxy or service.
pub(super) fn tags(path: &Path, tags: &Tags, rules: Rules) -> Violations {
    let text = "tag value must consist of alphanumeric characters, dots, dashes and underscores";
    check(path, tags, rules, |value| (!is_tag_value(value)).then_some(text))
}

/// Checks a selector, whose values may hold slashes or be `*`.
pub(super) fn selector(path: &Path, selector: &Tags, rules: Rules) -> Violations {
    let text = "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"";
    check(path, selector, rules, |value| (value != ANY && !is_tag_name(value)).then_some(text))
}

/// Checks a list of selectors that has at least one.
pub(super) fn selectors(path: &Path, list: &[Selector], rules: Rules) -> Violations {
    let mut violations = Violations::none();
    if list.is_empty() {
        violations.add(path, "must have at least one element");
    }
    for (index, item) in list.iter().enumerate() {
        violations.extend(selector(&path.index(index).field("match"), &item.r#match, rules));
    }
    violations
}

fn check(path: &Path, tags: &Tags, rules: Rules, value_error: impl Fn(&str) -> Option<&'static str>) -> Violations {
    let mut violations = Violations::none();
    if rules.not_empty && tags.is_empty() {
        violations.add(path, "must have at least one tag");
    }
    if rules.only_service && (tags.len() != 1 || !tags.contains_key(SERVICE_TAG)) {
        violations.add(path, format!("must consist of exactly one tag {SERVICE_TAG:?}"));
    }
    if let Some(whole) = rules.whole {
        violations.extend(whole(path, tags));
    }
    for (tag, value) in tags {
        let path_of_tag = path.key(tag);
        if tag.is_empty() {
            violations.add(path, "tag name must be non-empty");
        }
        if !is_tag_name(tag) {
            violations.add(
                &path_of_tag,
                "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
            );
        }
        if rules.only_service && tag != SERVICE_TAG {
            violations.add(&path_of_tag, format!("tag {tag:?} is not allowed"));
        }
        if rules.forbidden.contains(&tag.as_str()) {
            violations.add(&path_of_tag, format!("tag name must not be {tag:?}"));
        }
        if value.is_empty() {
            violations.add(&path_of_tag, "tag value must be non-empty");
        }
        if let Some(error) = value_error(value) {
            violations.add(&path_of_tag, error);
        }
    }
    if rules.service && !tags.contains_key(SERVICE_TAG) {
        violations.add(path, format!("mandatory tag {SERVICE_TAG:?} is missing"));
    }
    violations
}

/// Characters of a tag's name; the empty text passes.
pub(super) fn is_tag_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'/'))
}

fn is_tag_value(text: &str) -> bool {
    is_tag_name(text) && !text.contains('/')
}

/// A protocol tag, when present, names a known protocol.
pub(super) fn known_protocol(path: &Path, tags: &Tags) -> Violations {
    match tags.get(PROTOCOL_TAG) {
        Some(name) if Protocol::parse(name) == Protocol::Unknown => Violations::one(
            &path.key(PROTOCOL_TAG),
            format!("tag {PROTOCOL_TAG:?} has an invalid value {name:?}. Allowed values: {}", Protocol::OFFERED),
        ),
        _ => Violations::none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn reasons(violations: &Violations) -> Vec<String> {
        violations.iter().map(|v| format!("{}: {}", v.field, v.reason)).collect()
    }

    #[test]
    fn names_and_values() {
        let path = Path::new("t");
        assert!(tags(&path, &set(&[("kuma.io/service", "web:80_a.b-c")]), Rules::WITH_SERVICE).is_empty());
        assert_eq!(
            reasons(&tags(&path, &set(&[("", "x"), ("a b", ""), ("c", "x/y")]), Rules::default())),
            [
                "t: tag name must be non-empty",
                "t[\"a b\"]: tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
                "t[\"a b\"]: tag value must be non-empty",
                "t[\"c\"]: tag value must consist of alphanumeric characters, dots, dashes and underscores",
            ]
        );
        assert!(selector(&path, &set(&[("c", "x/y"), ("d", "*")]), Rules::ANY_TAGS).is_empty());
        assert_eq!(
            reasons(&selector(&path, &set(&[("c", "x*")]), Rules::default())),
            [
                "t[\"c\"]: tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\""
            ]
        );
    }

    #[test]
    fn required_and_forbidden_tags() {
        let path = Path::new("t");
        assert_eq!(
            reasons(&tags(&path, &set(&[]), Rules::WITH_SERVICE)),
            ["t: must have at least one tag", "t: mandatory tag \"kuma.io/service\" is missing"]
        );
        assert_eq!(
            reasons(&selector(&path, &set(&[("a", "b")]), Rules::ONLY_SERVICE)),
            [
                "t: must consist of exactly one tag \"kuma.io/service\"",
                "t[\"a\"]: tag \"a\" is not allowed",
                "t: mandatory tag \"kuma.io/service\" is missing"
            ]
        );
        let rules = Rules { forbidden: &PROXY_TAGS, ..Rules::default() };
        assert_eq!(
            reasons(&selector(&path, &set(&[("kuma.io/zone", "b")]), rules)),
            ["t[\"kuma.io/zone\"]: tag name must not be \"kuma.io/zone\""]
        );
    }

    #[test]
    fn lists_of_selectors() {
        let path = Path::new("sources");
        assert_eq!(reasons(&selectors(&path, &[], Rules::ANY_TAGS)), ["sources: must have at least one element"]);
        assert_eq!(
            reasons(&selectors(&path, &[Selector::default()], Rules::ANY_TAGS)),
            ["sources[0].match: must have at least one tag"]
        );
    }
}
