//! Error answers of the HTTP API.
//!
//! Every refusal is one JSON object. Shape, titles and texts are those clients of Kuma know
//! (`pkg/core/rest/errors/error_handler.go`, `types/error.go`): `type`, `status`, `title`, `detail`,
//! `invalid_parameters`, and the older mirrors `details` and `causes`.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tandem_admission::{AdmissionError, Reason, Stage};
use tandem_model::{Kind, ResourceKey, Violation, Violations};
use tandem_store::StoreError;

use crate::{conditional, json};

/// Detail of every answer that carries violations of fields of a resource.
const NOT_VALID: &str = "Resource is not valid";

/// Most fields at fault that an answer lists.
const MAX_LISTED: usize = 100;
/// Most characters of a text in an answer; what a request holds may be quoted there.
const MAX_TEXT: usize = 4096;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// What could not be done.
    pub title: String,
    /// Why not.
    pub detail: String,
    /// The fields or parameters at fault.
    pub parameters: Vec<Violation>,
    /// Members of the answer that only some problems have. Boxed, so that a refusal stays small to return.
    pub more: Box<Map<String, Value>>,
}

impl Problem {
    /// A problem without parameters.
    pub fn new(status: StatusCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, title: title.into(), detail: detail.into(), parameters: Vec::new(), more: Box::default() }
    }

    /// The same problem, blaming `field`.
    #[must_use]
    pub fn with_parameter(mut self, field: impl Into<String>, reason: impl Into<String>) -> Self {
        self.parameters.push(Violation { field: field.into(), reason: reason.into() });
        self
    }

    /// 400 for a request that cannot be understood; `message` is the whole reason.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", message)
    }

    /// 404 `Not found` of something `title` says could not be done.
    pub fn not_found(title: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, "Not found")
    }

    /// 404 of the mesh in the path.
    pub fn mesh_not_found() -> Self {
        Self::not_found("Failed to retrieve Mesh")
    }

    /// 400 that lists violations.
    pub fn invalid(title: &str, violations: &Violations) -> Self {
        Self {
            parameters: violations.iter().cloned().collect(),
            ..Self::new(StatusCode::BAD_REQUEST, title, NOT_VALID)
        }
    }

    /// 400 for a body that has the right shape and a value that cannot be read.
    fn unreadable(kind: Kind, violations: &Violations) -> Self {
        let reason = violations.iter().map(|violation| violation.reason.as_str()).next().unwrap_or_default();
        Self {
            parameters: violations.iter().cloned().collect(),
            ..Self::bad_request(format!("invalid {kind} object: {reason:?}"))
        }
    }

    /// 403 with the reason of the refusal.
    pub fn access_denied(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Access Denied", reason)
    }

    /// 500; the real error goes to the log, never to the client.
    pub fn internal(title: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%title, %error, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, title, "Internal Server Error")
    }

    /// What the store refused, under the title of the operation.
    pub fn store(title: &str, error: &StoreError) -> Self {
        let conflict = |detail: String| Self::new(StatusCode::CONFLICT, "Conflict", detail);
        match error {
            StoreError::NotFound(_) => Self::not_found(title),
            StoreError::AlreadyExists(_) | StoreError::Conflict(_) => conflict(error.to_string()),
            StoreError::OwnerNotFound { owner, .. } if owner.kind == Kind::Mesh => {
                Self::mesh_missing(title, &owner.name)
            }
            other => Self::internal(title, other),
        }
    }

    /// 400 because the mesh a resource names does not exist.
    fn mesh_missing(title: &str, mesh: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, "Mesh is not found")
            .with_parameter("mesh", format!("mesh of name {mesh} is not found"))
    }

    /// What admission refused.
    pub fn admission(error: AdmissionError) -> Self {
        let title = match error.stage {
            Stage::Check => "Could not process a resource",
            Stage::Labels => "Could not update a resource",
            Stage::Create => "Failed to create a resource",
            Stage::Update => "Failed to update a resource",
            Stage::Delete => "Could not delete a resource",
        };
        match error.reason {
            Reason::ReadOnly(detail) => Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail),
            Reason::Invalid(violations) => Self::invalid(title, &violations),
            Reason::Unreadable { kind, violations } => Self::unreadable(kind, &violations),
            Reason::BadRequest(message) => Self::bad_request(format!("bad request: {message}")),
            Reason::MeshNotFound(mesh) => Self::mesh_missing(title, &mesh),
            Reason::NotAMember(text) => Self::new(StatusCode::BAD_REQUEST, title, text),
            Reason::TakenOver(text) => Self::new(StatusCode::CONFLICT, title, text),
            Reason::Precondition { current } => conditional::failed(current),
            Reason::Store(error) => Self::store(title, &error),
            Reason::Internal(message) => Self::internal(title, &message),
        }
    }

    /// 404 of `key` when reading it.
    pub fn resource_not_found(_key: &ResourceKey) -> Self {
        Self::not_found("Could not retrieve a resource")
    }

    /// The JSON object sent to the client.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!("/std-errors"));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("title".to_owned(), json!(self.title));
        body.insert("detail".to_owned(), json!(shortened(&self.detail)));
        let listed = |text: &str| -> Vec<Value> {
            let entry = |field: &str, reason: &str| json!({ "field": shortened(field), text: shortened(reason) });
            let mut listed: Vec<Value> =
                self.parameters.iter().take(MAX_LISTED).map(|p| entry(&p.field, &p.reason)).collect();
            if let Some(more) = self.parameters.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
                listed.push(entry("", &format!("and {more} more, which are not listed")));
            }
            listed
        };
        if !self.parameters.is_empty() {
            body.insert("invalid_parameters".to_owned(), Value::Array(listed("reason")));
        }
        body.insert("details".to_owned(), json!(shortened(&self.detail)));
        if !self.parameters.is_empty() {
            body.insert("causes".to_owned(), Value::Array(listed("message")));
        }
        body.extend((*self.more).clone());
        Value::Object(body)
    }
}

/// A text from a request, as far as it helps a person.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json::answer(self.status, &self.body());
        let tag = self.more.get("etag").and_then(Value::as_str).and_then(|tag| HeaderValue::try_from(tag).ok());
        if let Some(tag) = tag {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_mirrored_as_causes() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "T", "D").with_parameter("size", "invalid format");
        assert_eq!(
            problem.body(),
            json!({
                "type": "/std-errors", "status": 400, "title": "T", "detail": "D",
                "invalid_parameters": [{"field": "size", "reason": "invalid format"}],
                "details": "D",
                "causes": [{"field": "size", "message": "invalid format"}],
            })
        );
    }

    #[test]
    fn answers_are_bounded() {
        let mut problem = Problem::bad_request("é".repeat(1 << 20));
        for number in 0..1000 {
            problem = problem.with_parameter(format!("field{number}"), "x".repeat(10_000));
        }
        let body = problem.body();
        let listed = body["invalid_parameters"].as_array().expect("a list");
        assert_eq!(listed.len(), MAX_LISTED + 1);
        assert_eq!(listed[MAX_LISTED], json!({ "field": "", "reason": "and 900 more, which are not listed" }));
        assert!(body.to_string().len() < 2 * MAX_LISTED * (MAX_TEXT + 100) + 4 * MAX_TEXT + 1000);
    }

    #[test]
    fn lists_are_left_out_when_empty() {
        let body = Problem::not_found("Could not retrieve a resource").body();
        assert_eq!(
            body,
            json!({"type": "/std-errors", "status": 404, "title": "Could not retrieve a resource",
                   "detail": "Not found", "details": "Not found"})
        );
    }
}
