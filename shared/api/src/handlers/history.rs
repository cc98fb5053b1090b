//! `…/{name}/_history` and `…/{name}/_rollback`: what a resource was, and how it becomes that again.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tandem_admission::Effect;
use tandem_auth::access::User;
use tandem_model::rest::Document;
use tandem_model::{Kind, Resource};
use tandem_store::HistoryEntry;

use super::lists::page;
use super::resources::reach_to_write;
use super::{Place, require_mesh, writes};
use crate::context::SharedContext;
use crate::problem::Problem;
use crate::query::{first, parameters};
use crate::router::OriginalUri;
use crate::{access, conditional, json_patch, representation};

const TITLE: &str = "Could not retrieve the history of a resource";
const ROLLBACK_TITLE: &str = "Could not roll back a resource";
/// Members that are the same in all revisions, or follow from what the history says already.
const LEFT_OUT: [&str; 7] = ["type", "mesh", "name", "creationTime", "modificationTime", "kri", "status"];

/// `GET` of a history, newest first.
pub async fn get(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    access::resource(&context, &user, kind)?;
    let key = place.key(kind);
    let entries = context.store.history(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
    if entries.is_empty() {
        if kind.is_mesh_scoped() {
            require_mesh(&context, place.mesh.as_deref()).await?;
        }
        let stored = context.store.get(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
        stored.ok_or_else(|| Problem::not_found(TITLE))?;
    }
    let items = entries.iter().rev().map(item).collect::<Result<Vec<_>, _>>()?;
    Ok(page(items.len(), &items, None))
}

fn item(entry: &HistoryEntry) -> Result<Value, Problem> {
    let effect = match (&entry.before, &entry.after) {
        (_, None) => Effect::Deleted,
        (None, Some(_)) => Effect::Created,
        (Some(_), Some(_)) => Effect::Updated,
    };
    let changes = json_patch::diff(&content(entry.before.as_deref())?, &content(entry.after.as_deref())?);
    Ok(json!({
        "revision": entry.revision,
        "time": entry.time.to_string(),
        "author": entry.author,
        "result": effect.to_string(),
        "changes": changes,
    }))
}

/// What people write of a resource; an empty object when it does not exist.
fn content(resource: Option<&Resource>) -> Result<Value, Problem> {
    let Some(resource) = resource else { return Ok(Value::Object(Map::new())) };
    let mut content = representation::of(resource, TITLE)?;
    if let Value::Object(members) = &mut content {
        members.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    }
    Ok(content)
}

/// `PUT` of a rollback: writes the resource as it was after revision `to`, by the rules of today.
pub async fn rollback(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = reach_to_write(&context, &user, kind, &place).await?;
    let options = conditional::options(&user, &headers, uri.0.query())?;
    let to = revision(uri.0.query())?;
    let entries = context.store.history(&key).await.map_err(|error| Problem::store(ROLLBACK_TITLE, &error))?;
    let Some(entry) = entries.iter().find(|entry| entry.revision == to) else {
        let detail = format!("revision {to} is not in the history of the resource");
        return Err(Problem::new(StatusCode::NOT_FOUND, ROLLBACK_TITLE, detail));
    };
    let Some(resource) = &entry.after else {
        let detail = format!("revision {to} is the deletion of the resource");
        return Err(Problem::new(StatusCode::BAD_REQUEST, ROLLBACK_TITLE, detail));
    };
    let resource = Resource { status: None, ..Resource::clone(resource) };
    let document = Document { type_name: kind.name().to_owned(), resource, status: None };
    let outcome = context.admission.put(&key, document, &options).await.map_err(Problem::admission)?;
    writes::put(&outcome, &options)
}

fn revision(query: Option<&str>) -> Result<u64, Problem> {
    let parameters = parameters(query);
    first(&parameters, "to").and_then(|text| text.parse().ok()).ok_or_else(|| {
        Problem::bad_request("invalid parameter \"to\"")
            .with_parameter("to", "must be the number of a revision in the history of the resource")
    })
}
