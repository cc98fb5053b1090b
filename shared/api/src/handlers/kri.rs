//! `/_kri/{kri}`: a resource by its identifier.
//!
//! Rules: Kuma `pkg/api-server/kri_endpoint.go`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use tandem_auth::access::User;
use tandem_model::kri::Kri;
use tandem_model::{ResourceKey, name};

use super::resources::GET_TITLE;
use crate::access;
use crate::context::SharedContext;
use crate::format::Format;
use crate::problem::Problem;
use crate::router::OriginalUri;

/// `GET /_kri/{kri}`.
pub async fn get(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let kri: Kri = text.parse().map_err(|error| Problem::bad_request(format!("bad request: {error}")))?;
    let settings = context.admission.settings();
    let local = if settings.mode.is_global() { kri.zone.is_empty() } else { kri.zone == settings.zone };
    let stored_name = if local || name::keeps_name_when_synced(kri.kind) {
        kri.name.clone()
    } else {
        name::hashed(&kri.mesh, &kri.name, [kri.zone.as_str(), kri.namespace.as_str()])
    };
    access::resource(&context, &user, kri.kind)?;
    let key = ResourceKey::new(kri.kind, kri.mesh, stored_name);
    let stored = context.store.get(&key).await.map_err(|error| Problem::store(GET_TITLE, &error))?;
    let resource = stored.ok_or_else(|| Problem::not_found(GET_TITLE))?;
    let format = Format::read(uri.0.query(), GET_TITLE)?;
    format.answer(&resource, GET_TITLE)
}
