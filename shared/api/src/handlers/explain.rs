//! `_explain`: why policies have the effect on a proxy that they have, and what one that is not stored would change for it.
//!
//! Kuma has no such thing. Whoever may read the rules of a proxy may ask; a policy that is sent along is checked as for a write, by
//! whoever may write it. Certificates and keys are placeholders in everything that is told of Envoys.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use tandem_auth::access::User;
use tandem_model::label::ZONE;
use tandem_model::{Kind, ResourceKey};
use tandem_policy::explain::{EnvoyKnowledge, Explanation, KindExplanation, ProxyChange};
use tandem_proto::mesh::v1alpha1::DataplaneInsight;

use super::{Place, apply, require_mesh};
use crate::context::{ApiContext, SharedContext};
use crate::explain::{Inspected, Supposed, Wanted, elsewhere, name_resources, patch, proxy_name, wanted};
use crate::inspect::Proxy;
use crate::problem::Problem;
use crate::proxies::SupposedChange;
use crate::router::OriginalUri;
use crate::{access, body, json};

const TITLE: &str = "Could not explain policies";

/// `GET …/dataplanes/{name}/_explain`.
pub async fn get(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let wanted = wanted(uri.0.query())?;
    let scene = Scene::load(&context, &user, &place).await?;
    let explanations = scene.inspected.explained(&scene.proxy, &wanted, TITLE)?;
    let (policies, envoy, _) = scene.with_envoy(&context, explanations, Vec::new()).await?;
    let proxy = proxy_name(&scene.proxy.resource);
    Ok(json::ok(&Explanation { proxy, policies, envoy, change: None }))
}

/// `POST …/dataplanes/{name}/_explain` of a policy that is not stored.
pub async fn post(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let query = uri.0.query();
    let wanted = wanted(query)?;
    let scene = Scene::load(&context, &user, &place).await?;
    let bytes = body::read(body, context.settings.body_limit).await?;
    let document = apply::read(&context, &user, body::parse(&bytes, &headers, "policy")?)?;
    let name = document.resource.key.name.clone();
    let target = Place { mesh: place.mesh.clone(), name: Some(name) }.key(document.resource.kind());
    let supposed = Supposed::put(&context, &user, &target, document, query).await?;

    let after = supposed.applied(&scene.inspected);
    let kinds = supposed.kinds();
    let rules = scene.inspected.changed(&after, &scene.proxy, &kinds);
    let own = Wanted { kinds: vec![supposed.key.kind], ..wanted.clone() };
    let explanations = after.explained(&scene.proxy, if wanted.kinds.is_empty() { &own } else { &wanted }, TITLE)?;
    let scene = Scene { inspected: Arc::new(after), ..scene };
    let (policies, envoy, diff) = scene.with_envoy(&context, explanations, vec![supposed.change()]).await?;
    let proxy = proxy_name(&scene.proxy.resource);
    let change = Some(ProxyChange { proxy: proxy.clone(), rules, diff, error: None });
    Ok(json::ok(&Explanation { proxy, policies, envoy, change }))
}

/// A proxy in its mesh.
struct Scene {
    inspected: Arc<Inspected>,
    proxy: Arc<Proxy>,
    /// `None` for a proxy that never connected.
    insight: Option<DataplaneInsight>,
}

impl Scene {
    async fn load(context: &ApiContext, user: &User, place: &Place) -> Result<Self, Problem> {
        require_mesh(context, place.mesh.as_deref()).await?;
        access::resource(context, user, Kind::Dataplane)?;
        let key = place.key(Kind::Dataplane);
        let proxy = Proxy::load(&*context.store, &key, "Could not retrieve Dataplane").await?;
        let inspected = Inspected::load(context, &key.mesh, TITLE).await?;
        let proxy = inspected.proxy(proxy);
        Ok(Self { inspected: Arc::new(inspected), proxy: Arc::new(proxy), insight: insight(context, &key).await? })
    }

    /// Adds to explanations, of the state after a change, what is known of Envoys, and tells what the change would change in them.
    async fn with_envoy(
        &self,
        context: &ApiContext,
        mut explanations: Vec<KindExplanation>,
        changes: Vec<SupposedChange>,
    ) -> Result<Told, Problem> {
        let unknown = |message: String| EnvoyKnowledge { known: false, message: Some(message) };
        let Some(configurations) = context.proxies.configurations.clone() else {
            return Ok((explanations, elsewhere(self.proxy.resource.label(ZONE)), None));
        };
        let Some(insight) = self.insight.clone() else {
            return Ok((
                explanations,
                unknown("the proxy never connected, so no Envoy is configured".to_owned()),
                None,
            ));
        };
        let (inspected, proxy) = (self.inspected.clone(), self.proxy.clone());
        let work = move || {
            let known = name_resources(&*configurations, &inspected, &proxy, &insight, &changes, &mut explanations);
            let states = (!changes.is_empty()).then(|| configurations.suppose(&[], &changes)).flatten();
            let difference = states.map(|states| states.compare(&proxy.resource.key, &insight)).transpose();
            match difference {
                Ok(difference) => {
                    let diff = difference.map(|difference| difference.as_ref().map(patch).unwrap_or_default());
                    (explanations, known, diff)
                }
                Err(error) => (explanations, unknown(format!("no configuration can be made: {error}")), None),
            }
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(TITLE, &error))
    }
}

/// Explanations, what is known of Envoys, and the difference that a change makes.
type Told = (Vec<KindExplanation>, EnvoyKnowledge, Option<Vec<serde_json::Value>>);

/// What a proxy said of itself; `None` when it never connected.
pub async fn insight(context: &ApiContext, dataplane: &ResourceKey) -> Result<Option<DataplaneInsight>, Problem> {
    let key = ResourceKey { kind: Kind::DataplaneInsight, ..dataplane.clone() };
    let insight = context.store.get(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
    insight.map(|insight| insight.proto()).transpose().map_err(|error| Problem::internal(TITLE, &error))
}
