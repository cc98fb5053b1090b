//! `_resources/dataplanes`: the proxies that a policy or a MeshService selects.
//!
//! Rules: Kuma `pkg/api-server/resource_endpoints.go`, `matchingDataplanesForPolicy`, and `inspect_mesh_service.go`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tandem_model::core::mesh_service::MeshService;
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::tags::Tags;
use tandem_model::{Kind, Resource};
use tandem_policy::matching::select;
use tandem_policy::policy::Policy;
use tandem_policy::subject::{Gateway, Subject};
use tandem_proto::mesh::v1alpha1::Dataplane;

use crate::context::{ApiContext, SharedContext};
use crate::handlers::{Place, require_mesh};
use crate::inspect::{gateways, meta, policies};
use crate::problem::Problem;
use crate::query::paging::{Page, next_link};
use crate::query::{first, parameters};
use crate::router::OriginalUri;
use crate::server::PublicOrigin;
use crate::{json, representation};

const TITLE: &str = "Could not retrieve policy";

/// `GET` of the proxies that a policy of a kind selects. Shadow policies are treated like others.
pub async fn of_policy(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(origin): Extension<PublicOrigin>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    require_mesh(&context, place.mesh.as_deref()).await?;
    let request = Request::read(&origin, &uri)?;
    let policy = load(&context, kind, &place).await?;
    let selected = if kind.is_target_ref_policy() {
        let selector = TargetRefSelector::load(&context, policy).await?;
        request.selected(&context, &place, |resource, dataplane| selector.selects(resource, dataplane)).await?
    } else {
        let tags = legacy_selectors(&policy)?;
        let selects = |dataplane: &Dataplane| tags.iter().any(|tags| dataplane.is_selected_by(tags));
        request.selected(&context, &place, |_, dataplane| selects(dataplane)).await?
    };
    Ok(request.answer(&selected))
}

/// `GET` of the proxies behind a MeshService.
pub async fn of_service(
    State(context): State<SharedContext>,
    Extension(origin): Extension<PublicOrigin>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let request = Request::read(&origin, &uri)?;
    let service = load(&context, Kind::MeshService, &place).await?;
    let spec: MeshService = service.json().map_err(|error| Problem::internal(TITLE, &error))?;
    let selector = spec.selector;
    let selects = |resource: &Resource, dataplane: &Dataplane| match (&selector.dataplane_ref, &selector.dataplane_tags)
    {
        (Some(reference), _) => reference.name.as_deref().unwrap_or_default() == resource.key.name,
        (None, Some(tags)) => dataplane.is_selected_by(tags),
        (None, None) => false,
    };
    let selected = request.selected(&context, &place, selects).await?;
    Ok(request.answer(&selected))
}

async fn load(context: &ApiContext, kind: Kind, place: &Place) -> Result<Arc<Resource>, Problem> {
    let found = context.store.get(&place.key(kind)).await.map_err(|error| Problem::store(TITLE, &error))?;
    found.ok_or_else(|| Problem::not_found(TITLE))
}

/// What decides whether a policy with a `targetRef` concerns a proxy.
struct TargetRefSelector {
    policy: Policy,
    routes: Vec<Arc<Policy>>,
    gateways: Vec<Gateway>,
}

impl TargetRefSelector {
    async fn load(context: &ApiContext, policy: Arc<Resource>) -> Result<Self, Problem> {
        let mesh = policy.key.mesh.clone();
        let policy = Policy::decode(policy).map_err(|error| Problem::internal(TITLE, &error))?;
        Ok(Self {
            policy,
            routes: policies(&*context.store, Kind::MeshHTTPRoute, &mesh, TITLE).await?,
            gateways: gateways(&*context.store, &mesh, TITLE).await?,
        })
    }

    fn selects(&self, resource: &Resource, dataplane: &Dataplane) -> bool {
        let subject = Subject::new(resource, dataplane, &self.gateways);
        select(&self.policy, &subject, &self.routes).is_ok_and(|selection| selection.applies(&subject))
    }
}

/// The selectors of an older policy: of proxies, or of both ends of connections.
fn legacy_selectors(policy: &Resource) -> Result<Vec<Tags>, Problem> {
    let (_, spec) = representation::parts(policy, TITLE)?;
    let lists = ["selectors", "sources", "destinations"].into_iter().filter_map(|name| spec.get(name)?.as_array());
    let tags = |selector: &Value| -> Tags {
        let tags = selector["match"].as_object().into_iter().flatten();
        tags.map(|(tag, value)| (tag.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
    };
    Ok(lists.flatten().map(tags).collect())
}

/// What part of the selected proxies is asked for.
struct Request<'a> {
    origin: &'a PublicOrigin,
    uri: &'a OriginalUri,
    page: Page,
    name_part: String,
}

impl<'a> Request<'a> {
    fn read(origin: &'a PublicOrigin, uri: &'a OriginalUri) -> Result<Self, Problem> {
        let page = Page::read(uri.0.query());
        let page = page.map_err(|problem| Problem { title: TITLE.to_owned(), ..problem })?;
        let name_part = first(&parameters(uri.0.query()), "name").unwrap_or_default().to_owned();
        Ok(Self { origin, uri, page, name_part })
    }

    /// The proxies of the mesh, sorted by name, that are selected and have the wanted part in their name. One that does
    /// not decode is selected by nothing.
    async fn selected(
        &self,
        context: &ApiContext,
        place: &Place,
        selects: impl Fn(&Resource, &Dataplane) -> bool,
    ) -> Result<Vec<Arc<Resource>>, Problem> {
        let mut all = context
            .store
            .list(Kind::Dataplane, place.mesh.as_deref())
            .await
            .map_err(|error| Problem::store(TITLE, &error))?;
        all.retain(|resource| {
            resource.key.name.contains(&self.name_part)
                && resource.proto().is_ok_and(|dataplane: Dataplane| selects(resource, &dataplane))
        });
        Ok(all)
    }

    /// The page; unlike in other lists `next` is left out when there is none.
    fn answer(&self, selected: &[Arc<Resource>]) -> Response {
        let (shown, next) = self.page.cut(selected);
        let items: Vec<Value> = shown.iter().map(|resource| meta(resource)).collect();
        let mut answer =
            Map::from_iter([("total".to_owned(), selected.len().into()), ("items".to_owned(), json!(items))]);
        if let Some(offset) = next {
            answer.insert("next".to_owned(), next_link(&self.origin.0, &self.uri.0, offset).into());
        }
        json::ok(&answer)
    }
}
