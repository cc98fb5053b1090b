//! What running Envoys say of themselves: configuration, statistics, clusters.
//!
//! Rules and texts: Kuma `pkg/api-server/inspect_envoy_admin_endpoints.go`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use tandem_auth::access::User;
use tandem_model::{AdminOperation, Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::{ZoneEgress, ZoneIngress};

use crate::context::{ApiContext, SharedContext};
use crate::problem::Problem;
use crate::proxies::EnvoyAdminError;
use crate::query::{boolean, first, parameters};
use crate::router::OriginalUri;
use crate::{access, json};

const TITLE: &str = "Could not execute admin operation";
/// Upstream's title for both kinds of zone proxies.
const REMOTE_TITLE: &str = "Could not connect to zone ingress that resides in another zone";

/// Parameters in the path.
#[derive(Debug, Deserialize)]
pub struct Question {
    #[serde(default)]
    mesh: String,
    name: String,
    operation: String,
}

/// `GET …/{name}/{operation}` of a proxy.
pub async fn ask(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(question): Path<Question>,
) -> Result<Response, Problem> {
    let operation = operation(&question.operation, uri.0.query()).ok_or_else(|| Problem::not_found(TITLE))?;
    access::envoy(&context, &user, operation)?;
    let title = if kind == Kind::Dataplane {
        "Could not get dataplane resource"
    } else {
        "Could not get zone ingress resource"
    };
    let key = ResourceKey::new(kind, question.mesh, question.name);
    let proxy = context.store.get(&key).await.map_err(|error| Problem::store(title, &error))?;
    let proxy = proxy.ok_or_else(|| Problem::not_found(title))?;
    if is_remote(&context, &proxy)? {
        return Err(Problem::new(StatusCode::BAD_REQUEST, REMOTE_TITLE, "Resource is not valid"));
    }
    let body = context.proxies.envoys.ask(&proxy, operation).await.map_err(|error| match error {
        EnvoyAdminError::NotConnected(text) => Problem::bad_request(text),
        EnvoyAdminError::Unanswered(text) => Problem::new(StatusCode::BAD_REQUEST, TITLE, text),
        // Who may ask the proxy may also know why it gives no answer.
        EnvoyAdminError::Failed(text) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, TITLE, text),
    })?;
    Ok(if operation.answers_json() {
        json::verbatim(StatusCode::OK, body)
    } else {
        ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))], body).into_response()
    })
}

/// `None` when nothing of the name can be asked for.
fn operation(name: &str, query: Option<&str>) -> Option<AdminOperation> {
    let parameters = parameters(query);
    let flag = |name: &str| first(&parameters, name).and_then(boolean);
    let json = first(&parameters, "format") == Some("json");
    match name {
        "xds" => Some(AdminOperation::ConfigDump { include_eds: flag("include_eds").unwrap_or(false) }),
        "stats" => Some(AdminOperation::Stats { json, used_only: flag("usedonly").unwrap_or(true) }),
        "clusters" => Some(AdminOperation::Clusters { json }),
        _ => None,
    }
}

/// A zone knows the zone proxies of other zones, too, but cannot ask them.
fn is_remote(context: &ApiContext, proxy: &Resource) -> Result<bool, Problem> {
    let settings = context.admission.settings();
    if settings.mode.is_global() {
        return Ok(false);
    }
    let zone = match proxy.kind() {
        Kind::ZoneIngress => proxy.proto::<ZoneIngress>().map(|ingress| ingress.zone),
        Kind::ZoneEgress => proxy.proto::<ZoneEgress>().map(|egress| egress.zone),
        _ => return Ok(false),
    };
    let zone = zone.map_err(|error| Problem::internal(TITLE, &error))?;
    Ok(!zone.is_empty() && zone != settings.zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_operations() {
        let dump = |include_eds| Some(AdminOperation::ConfigDump { include_eds });
        let stats = |json, used_only| Some(AdminOperation::Stats { json, used_only });
        for (name, query, expected) in [
            ("xds", "", dump(false)),
            ("xds", "include_eds=T", dump(true)),
            ("xds", "include_eds=maybe", dump(false)),
            ("stats", "", stats(false, true)),
            ("stats", "usedonly=false&format=json", stats(true, false)),
            ("stats", "usedonly=maybe&format=text", stats(false, true)),
            ("clusters", "format=json", Some(AdminOperation::Clusters { json: true })),
            ("config_dump", "", None),
        ] {
            assert_eq!(operation(name, Some(query)), expected, "{name}?{query}");
        }
    }
}
