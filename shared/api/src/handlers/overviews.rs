//! Resources together with their insights.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{MatchedPath, Path, State};
use axum::response::Response;
use serde_json::{Map, Value};
use tandem_auth::access::User;
use tandem_model::{Kind, Resource, ResourceKey};

use super::Place;
use super::lists::ListRequest;
use super::resources::{GET_TITLE, load};
use crate::context::SharedContext;
use crate::format::Format;
use crate::json;
use crate::problem::Problem;
use crate::query::paging::LIST_TITLE;
use crate::representation;
use crate::router::OriginalUri;
use crate::server::PublicOrigin;

/// What an overview of a type is called and made of.
#[derive(Debug, Clone, Copy)]
pub struct Overview {
    /// Type of the resource.
    pub kind: Kind,
    /// Type of the insight; it has the resource's name and mesh.
    pub insight: Kind,
    /// Member `type` of the overview.
    pub name: &'static str,
    /// Member that holds the resource's specification.
    pub member: &'static str,
    /// Member that holds the insight's.
    pub insight_member: &'static str,
}

/// All overviews.
pub const OVERVIEWS: [Overview; 4] = [
    Overview {
        kind: Kind::Dataplane,
        insight: Kind::DataplaneInsight,
        name: "DataplaneOverview",
        member: "dataplane",
        insight_member: "dataplaneInsight",
    },
    Overview {
        kind: Kind::Zone,
        insight: Kind::ZoneInsight,
        name: "ZoneOverview",
        member: "zone",
        insight_member: "zoneInsight",
    },
    Overview {
        kind: Kind::ZoneIngress,
        insight: Kind::ZoneIngressInsight,
        name: "ZoneIngressOverview",
        member: "zoneIngress",
        insight_member: "zoneIngressInsight",
    },
    Overview {
        kind: Kind::ZoneEgress,
        insight: Kind::ZoneEgressInsight,
        name: "ZoneEgressOverview",
        member: "zoneEgress",
        insight_member: "zoneEgressInsight",
    },
];

impl Overview {
    /// The overview of a resource; a missing insight is left out.
    fn of(&self, resource: &Resource, insight: Option<&Resource>, title: &str) -> Result<Map<String, Value>, Problem> {
        let mut overview = Map::new();
        overview.insert("type".to_owned(), Value::from(self.name));
        let (meta, spec) = representation::parts(resource, title)?;
        overview.extend(meta.into_iter().filter(|(member, _)| member != "type" && member != "kri"));
        overview.insert(self.member.to_owned(), Value::Object(spec));
        if let Some(insight) = insight {
            let (_, spec) = representation::parts(insight, title)?;
            overview.insert(self.insight_member.to_owned(), Value::Object(spec));
        }
        Ok(overview)
    }
}

/// `GET` of a list of overviews.
pub async fn list(
    overview: Overview,
    State(context): State<SharedContext>,
    Extension(origin): Extension<PublicOrigin>,
    Extension(uri): Extension<OriginalUri>,
    route: MatchedPath,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let mesh = place.mesh.as_deref();
    let request = ListRequest { kind: overview.kind, mesh, route: &route, uri: &uri, origin: &origin };
    // None of these types is for administrators only.
    let listed = request.load(&context, || Ok(())).await?;
    let conditions = listed.filter.of_insights();
    let mut insights = HashMap::with_capacity(listed.items.len());
    for resource in &listed.items {
        let key = ResourceKey { kind: overview.insight, ..resource.key.clone() };
        let insight = context.store.get(&key).await.map_err(|error| Problem::store(LIST_TITLE, &error))?;
        let Some(insight) = insight else { continue };
        if conditions.matches(&insight).map_err(|error| Problem::internal(LIST_TITLE, &error))? {
            insights.insert(resource.key.clone(), insight);
        }
    }
    listed.answer(move |resource| {
        let insight = insights.get(&resource.key).map(AsRef::as_ref);
        overview.of(&resource, insight, LIST_TITLE).map(Value::Object)
    })
}

/// `GET` of the overview of one resource.
pub async fn get(
    overview: Overview,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    Format::only_universal(uri.0.query(), GET_TITLE)?;
    let resource = load(&context, &user, overview.kind, &place).await?;
    let key = ResourceKey { kind: overview.insight, ..resource.key.clone() };
    let insight = context.store.get(&key).await.map_err(|error| Problem::store(GET_TITLE, &error))?;
    let mut item = overview.of(&resource, insight.as_deref(), GET_TITLE)?;
    // Upstream shows an empty insight here, though not in lists.
    item.entry(overview.insight_member).or_insert_with(|| Value::Object(Map::new()));
    Ok(json::ok(&Value::Object(item)))
}
