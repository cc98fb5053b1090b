//! Issuing tokens: `/tokens/dataplane`, `/tokens/zone`, `/tokens/user`.
//!
//! Requests, checks and texts: Kuma `pkg/tokens/builtin/server` and `pkg/plugins/authn/api-server/tokens/ws`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tandem_auth::access::User;
use tandem_auth::token::{DataplaneClaims, IssueError, UserClaims, ZoneClaims};
use tandem_model::{Path, Violations};

use crate::context::{ApiContext, SharedContext};
use crate::problem::Problem;
use crate::{access, body};

/// Title of what goes wrong with issuing a token.
const TITLE: &str = "Could not issue a token";
/// How long a token is valid when the request does not say.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Asks for a token of a proxy.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DataplaneRequest {
    /// Name of the Dataplane; empty for any.
    name: String,
    /// Its mesh.
    mesh: String,
    /// Values that the tags of the Dataplane may have; tags not named may have any.
    tags: Option<BTreeMap<String, Vec<String>>>,
    /// `dataplane`, `ingress` or `egress`; empty for `dataplane`.
    r#type: String,
    /// Name of the Workload; empty for any.
    workload: String,
    /// How long the token is valid, such as `24h`; empty for ten years.
    valid_for: String,
}

/// Asks for a token of a zone.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneRequest {
    /// Name of the zone.
    zone: String,
    /// What the token is for: `cp`, `ingress`, `egress`. Required.
    scope: Option<Vec<String>>,
    /// How long the token is valid, such as `24h`; empty for ten years.
    valid_for: String,
}

/// Asks for a token of a user.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct UserRequest {
    /// Name of the user. Required.
    name: String,
    /// Groups the user belongs to.
    groups: Option<Vec<String>>,
    /// How long the token is valid, such as `24h`. Required.
    valid_for: String,
}

/// `POST /tokens/dataplane`.
pub async fn dataplane(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request: DataplaneRequest = read(&context, &headers, body).await?;
    access::dataplane_token(&context, &user)?;
    let mut violations = Violations::none();
    if request.mesh.is_empty() {
        violations.add(&Path::new("mesh"), "cannot be empty");
    }
    if !["", "dataplane", "ingress", "egress"].contains(&request.r#type.as_str()) {
        violations.add(&Path::new("type"), format!("{} is not a valid proxy type", request.r#type));
    }
    let valid_for = validity(&request.valid_for, &mut violations);
    refuse(violations)?;
    let claims = DataplaneClaims {
        name: request.name,
        mesh: request.mesh,
        tags: request.tags.unwrap_or_default(),
        r#type: request.r#type,
        workload: request.workload,
    };
    issued(context.tokens.issue_dataplane(&claims, valid_for))
}

/// `POST /tokens/zone`.
pub async fn zone(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request: ZoneRequest = read(&context, &headers, body).await?;
    access::zone_token(&context, &user, &request.zone)?;
    let mut violations = Violations::none();
    let Some(scope) = request.scope else {
        violations.add(&Path::new("scope"), "cannot be empty");
        validity(&request.valid_for, &mut violations);
        return Err(invalid(&violations));
    };
    let valid_for = validity(&request.valid_for, &mut violations);
    refuse(violations)?;
    issued(context.tokens.issue_zone(&ZoneClaims { zone: request.zone, scope }, valid_for))
}

/// `POST /tokens/user`.
pub async fn user(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request: UserRequest = read(&context, &headers, body).await?;
    access::user_token(&context, &user)?;
    let mut violations = Violations::none();
    if request.name.is_empty() {
        violations.add(&Path::new("name"), "cannot be empty");
    }
    let at = Path::new("validFor");
    let valid_for = if request.valid_for.is_empty() {
        violations.add(&at, "cannot be empty");
        Duration::ZERO
    } else {
        let before = violations.is_empty();
        let valid_for = validity(&request.valid_for, &mut violations);
        if valid_for.is_zero() && violations.is_empty() == before {
            violations.add(&at, "cannot be empty or nil");
        }
        valid_for
    };
    refuse(violations)?;
    let claims = UserClaims { name: request.name, groups: request.groups.unwrap_or_default() };
    issued(context.tokens.issue_user(&claims, valid_for))
}

/// Reads the request. Upstream answers one that does not decode with an empty body; here the reason is told.
async fn read<T: DeserializeOwned>(context: &ApiContext, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    const WHAT: &str = "token request";
    let bytes = body::read(body, context.settings.body_limit).await?;
    let value = body::parse(&bytes, headers, WHAT)?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let problem = Problem::bad_request(format!("invalid {WHAT}: {error}"));
        problem.with_parameter(error.path().to_string(), error.inner().to_string())
    })
}

/// The answer that carries a token.
fn issued(token: Result<String, IssueError>) -> Result<Response, Problem> {
    match token {
        Ok(token) => Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/plain")], token).into_response()),
        Err(IssueError::Disabled) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, TITLE, IssueError::Disabled.to_string()))
        }
        Err(IssueError::NoKey(missing)) => {
            Err(Problem::new(StatusCode::NOT_FOUND, "Signing Key not found", missing.to_string()))
        }
        Err(error @ IssueError::Key(_)) => Err(Problem::internal(TITLE, &error)),
    }
}

/// A Go duration; empty is ten years.
fn validity(text: &str, violations: &mut Violations) -> Duration {
    if text.is_empty() {
        return TEN_YEARS;
    }
    match tandem_proto::duration::parse(text) {
        Ok(nanoseconds) => match u64::try_from(nanoseconds) {
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
            Err(_) => {
                violations.add(&Path::new("validFor"), "is invalid: must not be negative");
                Duration::ZERO
            }
        },
        Err(error) => {
            violations.add(&Path::new("validFor"), format!("is invalid: {error}"));
            Duration::ZERO
        }
    }
}

fn invalid(violations: &Violations) -> Problem {
    Problem::invalid("Invalid request", violations)
}

fn refuse(violations: Violations) -> Result<(), Problem> {
    violations.into_result().map_err(|violations| invalid(&violations))
}
