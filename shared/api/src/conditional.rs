//! Conditional requests: entity tags, and who writes under which condition.
//!
//! The tag of an item is its version in quotes. It changes with every write and never comes twice, also not after a
//! restart or a deletion. Rules: RFC 9110, section 13.

use axum::response::{IntoResponse, Response};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tandem_admission::{Condition, Versions, WriteOptions};
use tandem_auth::access::User;
use tandem_store::Author;

use crate::problem::Problem;
use crate::query;

/// The tag of a version.
pub fn tag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The answer with the tag of what it shows or stored.
pub fn tagged(mut response: Response, version: u64) -> Response {
    if let Ok(value) = HeaderValue::try_from(tag(version)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// How a request wants to write: in whose name, under which condition, and whether in earnest (`dry-run`).
///
/// # Errors
/// 400 for a `dry-run` that is neither `true` nor `false`.
pub fn options(user: &User, headers: &HeaderMap, query: Option<&str>) -> Result<WriteOptions, Problem> {
    let condition = Condition {
        matches: versions(headers, &header::IF_MATCH, Comparison::Strong),
        matches_none: versions(headers, &header::IF_NONE_MATCH, Comparison::Weak),
    };
    Ok(WriteOptions { author: Author::User(user.name.clone()), condition, dry_run: query::flag(query, "dry-run")? })
}

/// Whether the client of a `GET` has this version already.
pub fn is_known(headers: &HeaderMap, version: u64) -> bool {
    versions(headers, &header::IF_NONE_MATCH, Comparison::Weak).is_some_and(|known| known.contain(Some(version)))
}

/// 304: the client has it.
pub fn not_modified(version: u64) -> Response {
    tagged(StatusCode::NOT_MODIFIED.into_response(), version)
}

/// 412, with the tag of what is stored, if anything is.
pub fn failed(current: Option<u64>) -> Problem {
    let detail = match current {
        Some(version) => format!("the stored resource has the entity tag {}", tag(version)),
        None => "the resource does not exist".to_owned(),
    };
    let mut problem = Problem::new(StatusCode::PRECONDITION_FAILED, "Precondition failed", detail);
    if let Some(version) = current {
        problem.more.insert("etag".to_owned(), json!(tag(version)));
    }
    problem
}

/// Whether tags that are marked as weak count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// The versions that a header names; `None` without the header. Tags that are none of this server fit nothing.
fn versions(headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> Option<Versions> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let mut versions = Vec::new();
    for tag in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim) {
        if tag == "*" {
            return Some(Versions::Any);
        }
        let strong = match (comparison, tag.strip_prefix("W/")) {
            (Comparison::Strong, Some(_)) => continue,
            (Comparison::Weak, Some(tag)) => tag,
            (_, None) => tag,
        };
        let digits = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        versions.extend(
            digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|version| self::tag(*version) == strong),
        );
    }
    Some(Versions::OneOf(versions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str], comparison: Comparison) -> Option<Versions> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        versions(&headers, &header::IF_MATCH, comparison)
    }

    #[test]
    fn tags() {
        use Comparison::{Strong, Weak};
        for (values, comparison, expected) in [
            (&[][..], Strong, None),
            (&["*"], Strong, Some(Versions::Any)),
            (&["\"1\", \"22\""], Strong, Some(Versions::OneOf(vec![1, 22]))),
            (&["\"1\"", "\"2\""], Strong, Some(Versions::OneOf(vec![1, 2]))),
            (&["W/\"1\", \"2\""], Strong, Some(Versions::OneOf(vec![2]))),
            (&["W/\"1\", \"2\""], Weak, Some(Versions::OneOf(vec![1, 2]))),
            (&["5, \"05\", \"+5\", \"x\", \""], Strong, Some(Versions::OneOf(Vec::new()))),
            (&[""], Strong, Some(Versions::OneOf(Vec::new()))),
        ] {
            assert_eq!(read(values, comparison), expected, "{values:?}");
        }
    }
}
