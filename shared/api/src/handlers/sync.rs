//! How far synchronization is: `/_sync` and `/zones/{name}/_sync`; and the release of deletions that it holds back.
//!
//! Kuma has no such thing.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tandem_auth::access::User;
use tandem_kds::status::{Left, PeerReport, ReceivedReport, SentReport};
use tandem_model::Kind;

use crate::context::{ApiContext, SharedContext};
use crate::problem::Problem;
use crate::{access, json};

const TITLE: &str = "Could not retrieve the state of synchronization";
const NOT_RELEASED: &str = "Could not release held deletions";

/// What a request is about.
#[derive(Debug, Deserialize)]
pub struct Question {
    /// Name of a zone; none for global.
    name: Option<String>,
    /// Name of a type.
    r#type: Option<String>,
}

/// Answer to a release.
#[derive(Debug, Serialize)]
struct Released {
    /// How many deletions were held back.
    released: usize,
}

/// `GET /_sync`.
pub async fn overview(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
) -> Result<Response, Problem> {
    let mut overview = context.sync.overview().await.map_err(|error| Problem::store(TITLE, &error))?;
    for report in &mut overview.items {
        withhold(&context, &user, report);
    }
    Ok(json::ok(&overview))
}

/// `GET /zones/{name}/_sync`.
pub async fn zone(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(question): Path<Question>,
) -> Result<Response, Problem> {
    let name = question.name.unwrap_or_default();
    let report = context.sync.zone(&name).await.map_err(|error| Problem::store(TITLE, &error))?;
    let mut report = report.ok_or_else(|| Problem::not_found(TITLE))?;
    withhold(&context, &user, &mut report);
    Ok(json::ok(&report))
}

/// `POST /zones/{name}/_sync/{type}/_release` on global, `POST /_sync/{type}/_release` on a zone.
pub async fn release(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(question): Path<Question>,
) -> Result<Response, Problem> {
    let kind = question.r#type.unwrap_or_default();
    access::synchronization(&context, &user)?;
    let kind: Kind = kind.parse().map_err(|_| Problem::not_found(NOT_RELEASED))?;
    if context.settings.read_only {
        let detail = "Deletions are not released while the HTTP API is read-only (apiServer.readOnly).";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail));
    }
    if let Some(name) = &question.name {
        let zone = context.sync.zone(name).await.map_err(|error| Problem::store(NOT_RELEASED, &error))?;
        zone.ok_or_else(|| Problem::not_found(NOT_RELEASED))?;
    }
    let released = context.sync.release(question.name.as_deref(), kind);
    let released = released.map_err(|error| Problem::new(StatusCode::CONFLICT, NOT_RELEASED, error.to_string()))?;
    Ok(json::answer(StatusCode::ACCEPTED, &Released { released }))
}

/// Names of resources that only administrators may read, and texts that quote them, are for administrators only.
fn withhold(context: &ApiContext, user: &User, report: &mut PeerReport) {
    let is_hidden = |name: &str| name.parse::<Kind>().is_ok_and(|kind| access::resource(context, user, kind).is_err());
    let hidden = "for administrators only";
    for SentReport { error, left_out: Left { items, .. }, .. } in
        report.sent.iter_mut().flatten().filter(|report| is_hidden(&report.r#type))
    {
        items.clear();
        error.iter_mut().for_each(|error| hidden.clone_into(&mut error.text));
    }
    for ReceivedReport { error, left_out: Left { items, .. }, held_deletions, .. } in
        report.received.iter_mut().flatten().filter(|report| is_hidden(&report.r#type))
    {
        items.clear();
        held_deletions.iter_mut().for_each(|held| held.items.clear());
        error.iter_mut().for_each(|error| hidden.clone_into(&mut error.text));
    }
    // The text about a type begins with its name.
    if let Some(error) = &mut report.error
        && error.text.split_once(':').is_some_and(|(kind, _)| is_hidden(kind))
    {
        hidden.clone_into(&mut error.text);
    }
}
