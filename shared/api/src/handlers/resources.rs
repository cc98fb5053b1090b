//! Reading, writing and deleting resources of any type.

use axum::Extension;
use axum::body::Body;
use axum::extract::{MatchedPath, Path, State};
use axum::response::Response;
use http::HeaderMap;
use tandem_auth::access::User;
use tandem_model::rest::Shown;
use tandem_model::{Kind, Resource, ResourceKey};

use super::lists::ListRequest;
use super::{Place, require_mesh, writes};
use crate::context::{ApiContext, SharedContext};
use crate::format::Format;
use crate::problem::Problem;
use crate::router::OriginalUri;
use crate::server::PublicOrigin;
use crate::{access, body, conditional, representation};

/// Title of everything that goes wrong with reading one resource.
pub const GET_TITLE: &str = "Could not retrieve a resource";

/// `GET` of a list.
pub async fn list(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(origin): Extension<PublicOrigin>,
    Extension(uri): Extension<OriginalUri>,
    route: MatchedPath,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let request = ListRequest { kind, mesh: place.mesh.as_deref(), route: &route, uri: &uri, origin: &origin };
    let listed = request.load(&context, || access::resource(&context, &user, kind)).await?;
    listed.answer(|resource| Ok(Shown(resource)))
}

/// `GET` of an item.
pub async fn get(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let resource = load(&context, &user, kind, &place).await?;
    let format = Format::read(uri.0.query(), GET_TITLE)?;
    if conditional::is_known(&headers, resource.version) {
        return Ok(conditional::not_modified(resource.version));
    }
    Ok(conditional::tagged(format.answer(&resource, GET_TITLE)?, resource.version))
}

/// The item a path names, after mesh and access were checked.
pub async fn load(
    context: &ApiContext,
    user: &User,
    kind: Kind,
    place: &Place,
) -> Result<std::sync::Arc<Resource>, Problem> {
    let key = reach(context, user, kind, place).await?;
    match context.store.get(&key).await {
        Ok(Some(resource)) => Ok(resource),
        Ok(None) => Err(Problem::not_found(GET_TITLE)),
        Err(error) => Err(Problem::store(GET_TITLE, &error)),
    }
}

/// The key of the item a path names, after mesh and access were checked.
async fn reach(context: &ApiContext, user: &User, kind: Kind, place: &Place) -> Result<ResourceKey, Problem> {
    if kind.is_mesh_scoped() {
        require_mesh(context, place.mesh.as_deref()).await?;
    }
    access::resource(context, user, kind)?;
    Ok(place.key(kind))
}

/// The key of the item a path names, after it was checked that people may write its type here, mesh and access.
pub async fn reach_to_write(
    context: &ApiContext,
    user: &User,
    kind: Kind,
    place: &Place,
) -> Result<ResourceKey, Problem> {
    context.admission.check_writable(kind).map_err(Problem::admission)?;
    reach(context, user, kind, place).await
}

/// `PUT` of an item.
pub async fn put(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = reach_to_write(&context, &user, kind, &place).await?;
    let bytes = body::read(body, context.settings.body_limit).await?;
    let value = body::parse(&bytes, &headers, kind.name())?;
    let document = representation::read(kind, value)?;
    let options = conditional::options(&user, &headers, uri.0.query())?;
    let outcome = context.admission.put(&key, document, &options).await.map_err(Problem::admission)?;
    writes::put(&outcome, &options)
}

/// `DELETE` of an item.
pub async fn delete(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = reach_to_write(&context, &user, kind, &place).await?;
    let options = conditional::options(&user, &headers, uri.0.query())?;
    let outcome = context.admission.delete(&key, &options).await.map_err(Problem::admission)?;
    Ok(writes::delete(&key, &outcome, &options))
}
