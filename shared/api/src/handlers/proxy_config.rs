//! The configuration of a proxy as the control plane would make it now, with or without policies that are on trial.
//!
//! Rules and texts: Kuma `pkg/api-server/resource_endpoints.go` (`configForProxy`), `pkg/core/xds/inspect`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};
use tandem_auth::access::User;
use tandem_model::{Kind, ResourceKey};
use tandem_proto::mesh::v1alpha1::DataplaneInsight;

use super::{Place, require_mesh};
use crate::context::SharedContext;
use crate::problem::Problem;
use crate::proxies::ProxyConfigurationError;
use crate::query::{boolean, first, parameters};
use crate::router::OriginalUri;
use crate::{access, json, json_patch};

const INSIGHT_TITLE: &str = "Failed to fetch dataplane insight";

/// `GET …/{name}/_config`. The name is that of a Dataplane, also below `/meshgateways`.
pub async fn get(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let Some(configurations) = context.proxies.configurations.clone() else {
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "Not allowed on global CP"));
    };
    require_mesh(&context, place.mesh.as_deref()).await?;
    let request = Request::read(uri.0.query())?;
    access::resource(&context, &user, Kind::Dataplane)?;
    let dataplane = place.key(Kind::Dataplane);
    let key = ResourceKey { kind: Kind::DataplaneInsight, ..dataplane.clone() };
    let insight = context.store.get(&key).await.map_err(|error| Problem::store(INSIGHT_TITLE, &error))?;
    let insight = insight.ok_or_else(|| Problem::not_found(INSIGHT_TITLE))?;
    let insight: DataplaneInsight = insight.proto().map_err(|error| Problem::internal(INSIGHT_TITLE, &error))?;

    let make = |with_shadow, title| {
        configurations.make(&dataplane, &insight, with_shadow).map_err(|error| match error {
            ProxyConfigurationError::NotFound => Problem::not_found(title),
            ProxyConfigurationError::Failed(text) => Problem::internal(title, &text),
        })
    };
    let wanted = Value::Object(make(request.shadow, "Failed to inspect proxy config")?);
    let mut answer = Map::new();
    if request.diff {
        let current = Value::Object(make(false, "Failed to inspect current proxy config")?);
        answer.insert("diff".to_owned(), Value::Array(json_patch::diff(&current, &wanted)));
    }
    answer.insert("xds".to_owned(), wanted);
    Ok(json::ok(&Value::Object(answer)))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    shadow: bool,
    diff: bool,
}

impl Request {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let refuse =
            |name| Problem::bad_request(format!("bad request: unsupported value for query parameter '{name}'"));
        let parameters = parameters(query);
        let given = |name| first(&parameters, name).filter(|text| !text.is_empty());
        let shadow = match given("shadow") {
            Some(text) => boolean(text).ok_or_else(|| refuse("shadow"))?,
            None => false,
        };
        let diff = match given("include") {
            Some(text) if text.split(',').all(|part| part == "diff") => true,
            Some(_) => return Err(refuse("include")),
            None => false,
        };
        Ok(Self { shadow, diff })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused() {
        let read = |query| Request::read(Some(query)).map_err(|problem| problem.detail);
        let refused = |name| Err(format!("bad request: unsupported value for query parameter '{name}'"));
        assert_eq!(read(""), Ok(Request { shadow: false, diff: false }));
        assert_eq!(read("shadow=1&include=diff"), Ok(Request { shadow: true, diff: true }));
        assert_eq!(read("shadow=&include="), Ok(Request { shadow: false, diff: false }));
        assert_eq!(read("shadow=yes"), refused("shadow"));
        assert_eq!(read("include=diff,all"), refused("include"));
    }
}
