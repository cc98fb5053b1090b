//! Answers to writes.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tandem_admission::{DeleteOutcome, Effect, PutOutcome, WriteOptions};
use tandem_model::ResourceKey;

use crate::problem::Problem;
use crate::{conditional, json, representation};

const TITLE: &str = "Could not process a resource";

/// The answer to a `PUT`: Kuma's, with the tag of what was stored; of a dry run what it would do.
///
/// # Errors
/// 500 when what would be stored does not decode.
pub fn put(outcome: &PutOutcome, options: &WriteOptions) -> Result<Response, Problem> {
    let mut answer = Map::new();
    if options.dry_run {
        answer.insert("dryRun".to_owned(), json!(true));
        answer.insert("result".to_owned(), json!(outcome.effect.to_string()));
        answer.insert("resource".to_owned(), representation::of(&outcome.resource, TITLE)?);
        if !outcome.brings.is_empty() {
            answer.insert("also".to_owned(), also(&outcome.brings));
        }
    }
    if !outcome.warnings.is_empty() {
        answer.insert("warnings".to_owned(), json!(outcome.warnings));
    }
    let answer = Value::Object(answer);
    if options.dry_run {
        return Ok(json::ok(&answer));
    }
    let status = if outcome.effect == Effect::Created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(conditional::tagged(json::answer(status, &answer), outcome.resource.version))
}

/// The answer to a `DELETE`: Kuma's; of a dry run what it would do.
pub fn delete(key: &ResourceKey, outcome: &DeleteOutcome, options: &WriteOptions) -> Response {
    if !options.dry_run {
        return json::ok(&json!({}));
    }
    let mut answer = entry(Effect::Deleted, key);
    answer.insert("dryRun".to_owned(), json!(true));
    if !outcome.cascade.is_empty() {
        let cascade: Vec<_> = outcome.cascade.iter().map(|key| (Effect::Deleted, key.clone())).collect();
        answer.insert("also".to_owned(), also(&cascade));
    }
    json::ok(&Value::Object(answer))
}

/// What is written beside the resources that a request names.
pub fn also(others: &[(Effect, ResourceKey)]) -> Value {
    Value::Array(others.iter().map(|(effect, key)| Value::Object(entry(*effect, key))).collect())
}

/// What happens to one resource.
pub fn entry(effect: Effect, key: &ResourceKey) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("result".to_owned(), json!(effect.to_string()));
    named(&mut entry, key);
    entry
}

/// Adds the members that name a resource.
pub fn named(entry: &mut Map<String, Value>, key: &ResourceKey) {
    entry.insert("type".to_owned(), json!(key.kind.name()));
    if key.kind.is_mesh_scoped() {
        entry.insert("mesh".to_owned(), json!(key.mesh));
    }
    entry.insert("name".to_owned(), json!(key.name));
}
