//! Error answers of the HTTP API.
//!
//! Every refusal is one JSON object. Shape, titles and texts are those clients of Kuma know
//! (`pkg/core/rest/errors/error_handler.go`, `types/error.go`): `type`, `status`, `title`, `detail`,
//! `invalid_parameters`, and the older mirrors `details` and `causes`.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};
use tandem_admission::{AdmissionError, Reason, Stage};
use tandem_model::{ResourceKey, Violation, Violations};
use tandem_store::StoreError;

use crate::json;

/// Detail of every answer that carries violations of fields of a resource.
const NOT_VALID: &str = "Resource is not valid";

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
}

impl Problem {
    /// A problem without parameters.
    pub fn new(status: StatusCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, title: title.into(), detail: detail.into(), parameters: Vec::new() }
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
            StoreError::OwnerNotFound { owner, .. } if owner.kind == tandem_model::Kind::Mesh => {
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
            Reason::BadRequest(message) => Self::bad_request(format!("bad request: {message}")),
            Reason::MeshNotFound(mesh) => Self::mesh_missing(title, &mesh),
            Reason::NotAMember(text) => Self::new(StatusCode::BAD_REQUEST, title, text),
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
        body.insert("detail".to_owned(), json!(self.detail));
        let listed = |text: &str| -> Vec<Value> {
            self.parameters.iter().map(|p| json!({ "field": p.field, text: p.reason })).collect()
        };
        if !self.parameters.is_empty() {
            body.insert("invalid_parameters".to_owned(), Value::Array(listed("reason")));
        }
        body.insert("details".to_owned(), json!(self.detail));
        if !self.parameters.is_empty() {
            body.insert("causes".to_owned(), Value::Array(listed("message")));
        }
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json::answer(self.status, &self.body())
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
    fn lists_are_left_out_when_empty() {
        let body = Problem::not_found("Could not retrieve a resource").body();
        assert_eq!(
            body,
            json!({"type": "/std-errors", "status": 404, "title": "Could not retrieve a resource",
                   "detail": "Not found", "details": "Not found"})
        );
    }
}
