//! What the control plane tells of itself: `/`, `/config`, `/who-am-i`, and this API as an OpenAPI document.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use tandem_auth::access::User;
use tandem_model::{Kind, ResourceKey};
use tandem_proto::system::v1alpha1::Config;
use tandem_runtime::version::{KUMA_VERSION, PRODUCT};

use super::gui;
use crate::context::SharedContext;
use crate::openapi::Document;
use crate::problem::Problem;
use crate::{access, json};

/// Name of the Config that holds the identifier of the deployment; a zone gets it from global.
const CLUSTER_ID: &str = "kuma-cluster-id";

/// Answer of `GET /`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Identifier of the deployment; empty until there is one.
    cluster_id: String,
    /// Address of the web page; empty when there is none.
    gui: String,
    /// Host name of the control plane.
    hostname: String,
    /// Identifier of the process.
    instance_id: String,
    /// Product that the API is compatible with.
    product: &'static str,
    /// Its version.
    version: &'static str,
}

/// Answer of `GET /who-am-i`.
#[derive(Serialize, JsonSchema)]
pub struct WhoAmI {
    /// Name of the user.
    name: String,
    /// Groups the user belongs to.
    groups: Vec<String>,
}

/// `GET /`. Clients built for Kuma refuse to talk to another product and warn about another version.
pub async fn index(State(context): State<SharedContext>) -> Result<Response, Problem> {
    const TITLE: &str = "Could not retrieve the index";
    let key = ResourceKey::global(Kind::Config, CLUSTER_ID);
    let stored = context.store.get(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
    let cluster_id = match stored {
        Some(config) => config.proto::<Config>().map_err(|error| Problem::internal(TITLE, &error))?.config,
        None => String::new(),
    };
    Ok(json::ok(&Index {
        cluster_id,
        gui: gui::address(&context),
        hostname: context.identity.instance.hostname().to_owned(),
        instance_id: context.identity.instance.as_str().to_owned(),
        product: PRODUCT,
        version: KUMA_VERSION,
    }))
}

/// `GET /openapi.json`.
pub async fn openapi_json(Extension(document): Extension<Arc<Document>>) -> Response {
    json::verbatim(StatusCode::OK, document.json())
}

/// `GET /openapi.yaml`.
pub async fn openapi_yaml(Extension(document): Extension<Arc<Document>>) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], document.yaml()).into_response()
}

/// `GET /config`: the effective configuration, compact.
pub async fn config(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
) -> Result<Response, Problem> {
    access::metadata(&context, &user)?;
    Ok(json::verbatim(StatusCode::OK, context.identity.config.to_string()))
}

/// `GET /who-am-i`.
pub async fn who_am_i(Extension(user): Extension<User>) -> Response {
    json::ok(&WhoAmI { name: user.name, groups: user.groups })
}
