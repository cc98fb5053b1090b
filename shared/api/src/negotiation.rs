//! Which content a route takes and gives.
//!
//! Answers and conditions are those of Kuma's framework (go-restful, routes that consume and produce JSON only),
//! with one addition: a body may also be YAML.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};

use crate::{json, query};

/// How the body of a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`, `application/x-yaml` or `text/yaml`; not known to Kuma.
    Yaml,
}

/// The format that the content type names; `None` when it is neither JSON nor YAML, or is missing.
pub fn format(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "*/*" => Some(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Format::Yaml),
        _ => None,
    }
}

/// Whether a request asks for a stream of events.
fn wants_events(request: &Request) -> bool {
    *request.method() == Method::GET && query::flag(request.uri().query(), "watch").unwrap_or_default()
}

fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        any = true;
        let Ok(value) = value.to_str() else { continue };
        for entry in value.split(',') {
            let essence = entry.split(';').next().unwrap_or_default().trim();
            if essence.is_empty() || essence == "*/*" || essence.eq_ignore_ascii_case(media) {
                return true;
            }
        }
    }
    !any
}

/// Refuses what no handler could read (415) or whose answer the client would not read (406).
pub async fn negotiate(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let carries_body = matches!(*request.method(), Method::PUT | Method::POST);
    let unsupported = match headers.get(header::CONTENT_TYPE) {
        None => carries_body,
        Some(_) => format(headers).is_none(),
    };
    if unsupported {
        return json::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type");
    }
    if !(accepts(headers, "application/json") || wants_events(&request) && accepts(headers, "text/event-stream")) {
        return json::text(
            StatusCode::NOT_ACCEPTABLE,
            "406: Not Acceptable\n\nAvailable representations: application/json",
        );
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accept(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        accepts(&headers, "application/json")
    }

    #[test]
    fn content_that_clients_read() {
        assert!(accepts(&HeaderMap::new(), "application/json"));
        assert!(accept("*/*"));
        assert!(accept("text/html, application/json;q=0.1"));
        assert!(!accept("text/plain"));
        assert!(!accept("application/*"));
    }

    #[test]
    fn formats() {
        for (value, expected) in [
            ("application/json; charset=utf-8", Some(Format::Json)),
            ("Application/JSON", Some(Format::Json)),
            ("application/yaml", Some(Format::Yaml)),
            ("text/yaml", Some(Format::Yaml)),
            ("text/plain", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(format(&headers), expected, "{value}");
        }
        assert_eq!(format(&HeaderMap::new()), None);
    }
}
