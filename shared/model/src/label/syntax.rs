//! Syntax of label keys and values, with the error texts of Kubernetes
//! (`k8s.io/apimachinery/pkg/util/validation`) that clients of Kuma see.

use crate::name::dns1123_subdomain_errors;

const MAX_PART_LENGTH: usize = 63;
const TOO_LONG: &str = "must be no more than 63 bytes";
const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// What keeps `key` from being a label key: an optional subdomain and `/`, then a name of at most 63 bytes.
pub fn label_key_errors(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match key.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns1123_subdomain_errors(prefix).into_iter().map(|error| format!("prefix part {error}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > MAX_PART_LENGTH {
        errors.push(format!("name part {TOO_LONG}"));
    }
    if !is_word(name) {
        errors.push(format!("name part {NAME_RULE}"));
    }
    errors
}

/// What keeps `value` from being a label value: empty, or a name of at most 63 bytes.
pub fn label_value_errors(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > MAX_PART_LENGTH {
        errors.push(TOO_LONG.to_owned());
    }
    if !value.is_empty() && !is_word(value) {
        errors.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    errors
}

/// Letters, digits, dashes, underscores and dots, bordered by letters or digits; not empty.
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for good in ["a", "kuma.io/mesh", "My.Name_1", &format!("a.b/{}", "c".repeat(63))] {
            assert_eq!(label_key_errors(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(label_key_errors(""), ["name part must be non-empty".to_owned(), format!("name part {NAME_RULE}")]);
        assert_eq!(
            label_key_errors("a/b/c"),
            [format!(
                "a valid label key {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )]
        );
        assert_eq!(label_key_errors("/a"), ["prefix part must be non-empty"]);
        assert_eq!(label_key_errors(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
        assert!(label_key_errors("A.b/c")[0].starts_with("prefix part a lowercase RFC 1123 subdomain"));
        assert_eq!(label_key_errors("-a"), [format!("name part {NAME_RULE}")]);
    }

    #[test]
    fn values() {
        for good in ["", "a", "MyValue", "my_value", "12345", &"a".repeat(63)] {
            assert_eq!(label_value_errors(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(label_value_errors(&"a".repeat(64)), [TOO_LONG]);
        assert!(label_value_errors("^*bar")[0].starts_with("a valid label must be an empty string or consist"));
        assert_eq!(label_value_errors("a/b").len(), 1);
    }
}
