//! JSON answers: one space of indentation, a newline at the end, `application/json`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::problem::Problem;

/// Content type of every JSON answer; without a charset, as clients of Kuma know it.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// The answer whose body is `value` as indented JSON.
pub fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    match written(value) {
        Ok(body) => verbatim(status, body),
        // Only maps with keys that are not strings fail; a problem has none, so this does not recurse.
        Err(error) => Problem::internal("Could not process a resource", &error).into_response(),
    }
}

/// A value as indented JSON with a newline at the end.
pub fn text_of(value: &Value) -> Vec<u8> {
    written(value).expect("writing a JSON value to memory cannot fail")
}

/// As [`text_of`], for what may have no JSON form.
///
/// # Errors
/// When a value refuses to be serialized, or a map has keys that are no text.
pub fn written(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(b" ")))?;
    body.push(b'\n');
    Ok(body)
}

/// 200 with `value` as body.
pub fn ok(value: &impl Serialize) -> Response {
    answer(StatusCode::OK, value)
}

/// The answer whose body is JSON text as it stands.
pub fn verbatim(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body.into()).into_response()
}

/// An answer of plain text, as the framework in front of Kuma's handlers gives for unroutable requests.
pub fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], body.into())
        .into_response()
}
