//! The services of meshes, one item each, from the one insight that a mesh keeps of all its services.
//!
//! Shape: Kuma `pkg/api-server/service_insight_endpoints.go`.

use axum::Extension;
use axum::extract::{MatchedPath, Path, State};
use axum::response::Response;
use prost::{Message, Name};
use serde_json::{Map, Value};
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_proto::mesh::v1alpha1::ServiceInsight;
use tandem_proto::mesh::v1alpha1::service_insight::Service;
use tandem_proto::mesh::v1alpha1::service_insight::service::Type;

use super::lists::{ListRequest, page};
use super::resources::GET_TITLE;
use super::{Place, require_mesh};
use crate::context::{ApiContext, SharedContext};
use crate::json;
use crate::problem::Problem;
use crate::query::paging::LIST_TITLE;
use crate::query::{first, parameters};
use crate::representation;
use crate::router::OriginalUri;
use crate::server::PublicOrigin;

const ALL_TYPES: [Type; 4] = [Type::Internal, Type::External, Type::GatewayDelegated, Type::GatewayBuiltin];

/// `GET` of a list of services.
pub async fn list(
    State(context): State<SharedContext>,
    Extension(origin): Extension<PublicOrigin>,
    Extension(uri): Extension<OriginalUri>,
    route: MatchedPath,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let mesh = place.mesh.as_deref();
    let request = ListRequest { kind: Kind::ServiceInsight, mesh, route: &route, uri: &uri, origin: &origin };
    require_mesh(&context, mesh).await?;
    let query = parameters(uri.0.query());
    let types = types(first(&query, "type").unwrap_or_default())?;
    let page_wanted = request.page().map_err(|problem| retitled(problem, "Could not paginate resources"))?;
    let part = first(&query, "name").unwrap_or_default();

    let insights = context.store.list(Kind::ServiceInsight, mesh).await;
    let insights = insights.map_err(|error| Problem::store(LIST_TITLE, &error))?;
    // The store lists by mesh and the services of a mesh are sorted by name, so the whole is in order.
    let mut services = Vec::new();
    for insight in &insights {
        let spec: ServiceInsight = insight.proto().map_err(|error| Problem::internal(LIST_TITLE, &error))?;
        let wanted = |name: &str, service: &Service| name.contains(part) && types.contains(&service.service_type());
        services.extend(spec.services.into_iter().filter(|(n, s)| wanted(n, s)).map(|(n, s)| (insight, n, s)));
    }
    let (shown, next) = page_wanted.cut(&services);
    let items = shown.iter().map(|(insight, name, service)| item(&context, insight, name, service.clone(), LIST_TITLE));
    let items: Vec<Value> = items.collect::<Result<_, _>>()?;
    let next = next.map(|offset| request.link(offset));
    Ok(page(services.len(), &items, next.as_deref()))
}

/// `GET` of one service. One that the insight does not know is shown without proxies, as upstream does.
pub async fn get(State(context): State<SharedContext>, Path(place): Path<Place>) -> Result<Response, Problem> {
    require_mesh(&context, place.mesh.as_deref()).await?;
    let (mesh, name) = (place.mesh.unwrap_or_default(), place.name.unwrap_or_default());
    let insight = find(&context, &mesh).await?.ok_or_else(|| Problem::not_found(GET_TITLE))?;
    let mut spec: ServiceInsight = insight.proto().map_err(|error| Problem::internal(GET_TITLE, &error))?;
    let service = spec.services.remove(&name).unwrap_or_default();
    Ok(json::ok(&item(&context, &insight, &name, service, GET_TITLE)?))
}

/// The insight of a mesh. On a federated zone it carries the hashed name that synchronization gave it.
async fn find(context: &ApiContext, mesh: &str) -> Result<Option<std::sync::Arc<Resource>>, Problem> {
    let name = format!("all-services-{mesh}");
    let failed = |error| Problem::store(GET_TITLE, &error);
    let key = ResourceKey::new(Kind::ServiceInsight, mesh, name.as_str());
    if let Some(insight) = context.store.get(&key).await.map_err(failed)? {
        return Ok(Some(insight));
    }
    let all = context.store.list(Kind::ServiceInsight, Some(mesh)).await.map_err(failed)?;
    Ok(all.into_iter().find(|insight| insight.display_name() == name))
}

fn retitled(problem: Problem, title: &str) -> Problem {
    Problem { title: title.to_owned(), ..problem }
}

fn types(text: &str) -> Result<Vec<Type>, Problem> {
    if text.is_empty() {
        return Ok(ALL_TYPES.to_vec());
    }
    let known = |name: &str| ALL_TYPES.into_iter().find(|kind| kind.as_str_name() == name);
    text.split(',')
        .map(|name| {
            known(&name.trim().to_ascii_lowercase())
                .ok_or_else(|| Problem::bad_request("bad request: unsupported service type"))
        })
        .collect()
}

fn item(
    context: &ApiContext,
    insight: &Resource,
    name: &str,
    mut service: Service,
    title: &str,
) -> Result<Value, Problem> {
    let mut labels = insight.labels.clone();
    labels.remove(label::DISPLAY_NAME);
    let shown =
        Resource { key: ResourceKey { name: name.to_owned(), ..insight.key.clone() }, labels, ..insight.clone() };

    let proxies = service.dataplanes.get_or_insert_default();
    proxies.total = proxies.online + proxies.offline;
    if service.service_type() == Type::Internal {
        service.address_port = context.settings.service_address(name);
    }
    let mut object: Map<String, Value> = representation::parts(&shown, title)?.0;
    let members = tandem_proto::json::to_json(&Service::full_name(), &service.encode_to_vec());
    object.extend(members.map_err(|error| Problem::internal(title, &error))?);
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_lists() {
        assert_eq!(types("").expect("all").len(), 4);
        assert_eq!(types("External, gateway_BUILTIN").expect("known"), [Type::External, Type::GatewayBuiltin]);
        let problem = types("internal,foo").expect_err("unknown");
        assert_eq!(problem.detail, "bad request: unsupported service type");
    }
}
