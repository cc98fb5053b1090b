//! What the control plane tells of itself: `/`, `/config`, `/who-am-i`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;
use tandem_auth::access::User;
use tandem_model::{Kind, ResourceKey};
use tandem_proto::system::v1alpha1::Config;
use tandem_runtime::version::{KUMA_VERSION, PRODUCT};

use crate::context::SharedContext;
use crate::problem::Problem;
use crate::{access, json};

/// Name of the Config that holds the identifier of the deployment; a zone gets it from global.
const CLUSTER_ID: &str = "kuma-cluster-id";

/// `GET /`. Clients built for Kuma refuse to talk to another product and warn about another version.
pub async fn index(State(context): State<SharedContext>) -> Result<Response, Problem> {
    const TITLE: &str = "Could not retrieve the index";
    let key = ResourceKey::global(Kind::Config, CLUSTER_ID);
    let stored = context.store.get(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
    let cluster_id = match stored {
        Some(config) => config.proto::<Config>().map_err(|error| Problem::internal(TITLE, &error))?.config,
        None => String::new(),
    };
    Ok(json::ok(&json!({
        "clusterId": cluster_id,
        "gui": "",
        "hostname": context.identity.instance.hostname(),
        "instanceId": context.identity.instance.as_str(),
        "product": PRODUCT,
        "version": KUMA_VERSION,
    })))
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
    json::ok(&json!({ "name": user.name, "groups": user.groups }))
}
