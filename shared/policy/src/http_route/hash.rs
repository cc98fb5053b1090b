//! The hash by which routes to destinations without a resource are named.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/api/v1alpha1/meshhttproute.go`, `HashMatches`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Hash of `matches` as the schema encodes it: standard base64 of the SHA-256 of its JSON, in which Go escapes the characters that are
/// special in HTML and JavaScript.
pub fn hash_of_json(matches: &Value) -> String {
    let mut escaped = String::new();
    for c in matches.to_string().chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    STANDARD.encode(Sha256::digest(escaped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_are_those_of_kuma() {
        let path = |value: &str, kind: &str| json!({"path": {"value": value, "type": kind}});
        for (matches, hash) in [
            (json!([path("/", "PathPrefix")]), "9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo="),
            (json!([path("/v1", "PathPrefix")]), "bzv64o+joRk33jfDADgGv5ar4QyONO0NEVKnoBfJW/E="),
            (json!([path("/", "Exact")]), "JNNc6//C3P17nUsOJm5f4kqG+U3v8pXhS0od9C3+oss="),
            (json!([path("/v1", "PathPrefix"), {"method": "POST"}]), "OTqJZOueoDIMeYnpSETLYoaD2htefPQ7CcHHRBgrODk="),
        ] {
            assert_eq!(hash_of_json(&matches), hash, "{matches}");
        }
    }

    #[test]
    fn html_characters_are_escaped() {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        assert_eq!(hash_of_json(&json!(["<&>"])), hash(r#"["\u003c\u0026\u003e"]"#));
    }
}
