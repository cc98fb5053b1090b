//! `dataplanes` of a MeshGateway or MeshGatewayRoute: the builtin gateways that it concerns.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, ResourceKey};
use tandem_policy::legacy::selects_dataplane;
use tandem_proto::mesh::v1alpha1::MeshGateway;

use crate::context::{ApiContext, SharedContext};
use crate::handlers::Place;
use crate::inspect::{GatewayView, MeshView, Proxy, key_json, legacy_policies};
use crate::json;
use crate::problem::Problem;

const MESH_TITLE: &str = "Could not build mesh context";
const GATEWAY_TITLE: &str = "Could not find MeshGateway";
const ROUTE_TITLE: &str = "Could not find MeshGatewayRoute";

/// `GET` of the proxies that a MeshGateway selects, whether or not another one wins.
pub async fn of_gateway(State(context): State<SharedContext>, Path(at): Path<Place>) -> Result<Response, Problem> {
    let key = at.key(Kind::MeshGateway);
    MeshView::load(&*context.store, &key.mesh, MESH_TITLE).await?;
    let found = context.store.get(&key).await.map_err(|error| Problem::store(GATEWAY_TITLE, &error))?;
    let gateway = found.ok_or_else(|| Problem::not_found(GATEWAY_TITLE))?;
    let gateway: MeshGateway = gateway.proto().map_err(|error| Problem::internal(GATEWAY_TITLE, &error))?;
    answer(&context, &key, GATEWAY_TITLE, |proxy| selects_dataplane(&gateway, &proxy.spec)).await
}

/// `GET` of the proxies that follow a MeshGatewayRoute.
pub async fn of_route(State(context): State<SharedContext>, Path(at): Path<Place>) -> Result<Response, Problem> {
    let key = at.key(Kind::MeshGatewayRoute);
    let mesh = MeshView::load(&*context.store, &key.mesh, MESH_TITLE).await?;
    let found = context.store.get(&key).await.map_err(|error| Problem::store(ROUTE_TITLE, &error))?;
    found.ok_or_else(|| Problem::not_found(ROUTE_TITLE))?;
    let legacy = legacy_policies(&*context.store, &[Kind::MeshGatewayRoute], &key.mesh, ROUTE_TITLE).await?;
    let follows = |proxy: &Proxy| GatewayView::of(&proxy.subject(&mesh), &legacy).has_route(&key.name);
    answer(&context, &key, ROUTE_TITLE, follows).await
}

async fn answer(
    context: &ApiContext,
    key: &ResourceKey,
    title: &str,
    is_concerned: impl Fn(&Proxy) -> bool,
) -> Result<Response, Problem> {
    let proxies = context.store.list(Kind::Dataplane, Some(&key.mesh)).await;
    let mut items: Vec<Value> = Vec::new();
    for resource in proxies.map_err(|error| Problem::store(title, &error))? {
        let Ok(proxy) = Proxy::decode(resource, title) else { continue };
        if proxy.spec.is_builtin_gateway() && is_concerned(&proxy) {
            items.push(json!({"dataplane": key_json(&proxy.resource.key)}));
        }
    }
    Ok(json::ok(&json!({"total": items.len(), "items": items})))
}
