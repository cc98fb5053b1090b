//! Reading request bodies: bounded, whole, and as the value they hold.

pub mod documents;
pub mod strict;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::negotiation::{Format, format};
use crate::problem::Problem;

/// How much aliases may add to a body in YAML, in bytes; counted as [`strict::read`] does.
const EXPANSION: usize = 1 << 20;

/// Reads the whole body.
///
/// # Errors
/// 413 when it is longer than `limit` bytes; 400 when the client stopped before its end.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() || is_limit(error.as_ref()) => {
            Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request body too large",
                format!("the body is longer than the limit of {limit} bytes"),
            ))
        }
        Err(error) => Err(Problem::bad_request(format!("could not read the request body to its end: {error}"))),
    }
}

fn is_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Parses a body that describes a resource of type `kind`.
///
/// # Errors
/// 400 with the parser's reason, worded as `invalid <Type> object: "<reason>"`.
pub fn parse(bytes: &[u8], headers: &HeaderMap, kind: &str) -> Result<Value, Problem> {
    let invalid = |reason: String| Problem::bad_request(format!("invalid {kind} object: {reason:?}"));
    match format(headers) {
        Some(Format::Yaml) => strict::yaml(bytes, bytes.len() + EXPANSION).map_err(invalid),
        _ => {
            let mut document = serde_json::Deserializer::from_slice(bytes);
            let value = strict::read(&mut document, bytes.len() + EXPANSION);
            let value = value.and_then(|value| document.end().map(|()| value));
            value.map_err(|error| invalid(json_reason(bytes, &error)))
        }
    }
}

/// Words a JSON error as clients of Kuma know it where the position tells enough, else as the parser does.
fn json_reason(bytes: &[u8], error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    if error.classify() == Category::Eof {
        return "unexpected end of JSON input".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let found = text
        .lines()
        .nth(error.line().saturating_sub(1))
        .and_then(|line| line.as_bytes().get(error.column().saturating_sub(1)).copied());
    match found {
        Some(byte) if error.to_string().starts_with("key must be a string") => {
            format!("invalid character {:?} looking for beginning of object key string", char::from(byte))
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> String {
        parse(body.as_bytes(), &HeaderMap::new(), "Mesh").expect_err(body).detail
    }

    #[test]
    fn reasons() {
        assert_eq!(
            reason("{,\n}"),
            r#"invalid Mesh object: "invalid character ',' looking for beginning of object key string""#
        );
        assert_eq!(reason(r#"{"type":"Mesh","#), r#"invalid Mesh object: "unexpected end of JSON input""#);
        assert!(reason("{} x").contains("trailing characters"));
    }

    #[tokio::test]
    async fn limit_is_named() {
        let problem = read(Body::from("0123456789"), 9).await.expect_err("too long");
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(problem.detail.contains("9 bytes"), "{}", problem.detail);
        assert_eq!(read(Body::from("0123456789"), 10).await.expect("fits").len(), 10);
    }
}
