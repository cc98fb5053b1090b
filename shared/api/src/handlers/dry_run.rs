//! `_dry-run` of a policy: which proxies a write or a deletion of it would change, and how. Nothing is stored.
//!
//! Kuma has no such thing. The checks are those of the write, and so are the rights: whoever may not write the policy learns
//! nothing. Certificates and keys are placeholders in everything that is told of Envoys.

use std::collections::BTreeMap;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use tandem_auth::access::User;
use tandem_model::label::ZONE;
use tandem_model::{Kind, ResourceKey};
use tandem_policy::explain::{DryRun, EnvoyKnowledge, ProxyChange, ProxyName};
use tandem_proto::mesh::v1alpha1::DataplaneInsight;

use super::{Place, require_mesh};
use crate::context::{ApiContext, SharedContext};
use crate::explain::{Inspected, Supposed, elsewhere, patch, proxy_name};
use crate::inspect::Proxy;
use crate::problem::Problem;
use crate::proxies::{Difference, ProxyConfigurationError, ProxyConfigurations};
use crate::query::paging::{Page, next_link};
use crate::router::OriginalUri;
use crate::server::PublicOrigin;
use crate::{access, body, json, representation};

const TITLE: &str = "Could not find out what the policy would change";

/// `POST …/{name}/_dry-run`: of a write of a policy of a kind.
pub async fn put(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    (Extension(origin), Extension(uri)): (Extension<PublicOrigin>, Extension<OriginalUri>),
    Path(place): Path<Place>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    reach(&context, &user, kind, &place).await?;
    let bytes = body::read(body, context.settings.body_limit).await?;
    let document = representation::read(kind, body::parse(&bytes, &headers, kind.name())?)?;
    let supposed = Supposed::put(&context, &user, &place.key(kind), document, uri.0.query()).await?;
    answer(&context, &origin, &uri, supposed).await
}

/// `DELETE …/{name}/_dry-run`: of a deletion of a policy of a kind.
pub async fn delete(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(origin): Extension<PublicOrigin>,
    Extension(uri): Extension<OriginalUri>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    reach(&context, &user, kind, &place).await?;
    let supposed = Supposed::delete(&context, &user, &place.key(kind), uri.0.query()).await?;
    answer(&context, &origin, &uri, supposed).await
}

async fn reach(context: &ApiContext, user: &User, kind: Kind, place: &Place) -> Result<(), Problem> {
    require_mesh(context, place.mesh.as_deref()).await?;
    access::resource(context, user, kind)
}

async fn answer(
    context: &ApiContext,
    origin: &PublicOrigin,
    uri: &OriginalUri,
    supposed: Supposed,
) -> Result<Response, Problem> {
    let page = Page::read(uri.0.query()).map_err(|problem| Problem { title: TITLE.to_owned(), ..problem })?;
    let mesh = Mesh::load(context, &supposed.key.mesh).await?;
    let configurations = context.proxies.configurations.clone();
    let work = move || mesh.run(&supposed, configurations.as_deref(), page);
    let (mut answer, next) =
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(TITLE, &error))?;
    answer.next = next.map(|offset| next_link(&origin.0, &uri.0, offset));
    Ok(json::ok(&answer))
}

/// All that a change of a policy can concern.
struct Mesh {
    inspected: Inspected,
    /// The Dataplanes, as they reach services.
    proxies: BTreeMap<ResourceKey, Proxy>,
    /// Of those that connected.
    insights: BTreeMap<ResourceKey, DataplaneInsight>,
}

/// A proxy that would change, before it is told.
struct Changed {
    key: ResourceKey,
    difference: Option<Result<Difference, ProxyConfigurationError>>,
}

impl Mesh {
    async fn load(context: &ApiContext, mesh: &str) -> Result<Self, Problem> {
        let inspected = Inspected::load(context, mesh, TITLE).await?;
        let list =
            async |kind| context.store.list(kind, Some(mesh)).await.map_err(|error| Problem::store(TITLE, &error));
        let dataplanes = list(Kind::Dataplane).await?;
        // What does not decode is configured by nobody.
        let proxies = dataplanes.into_iter().filter_map(|resource| Proxy::decode(resource, TITLE).ok());
        let proxies = proxies.map(|proxy| (proxy.resource.key.clone(), inspected.proxy(proxy))).collect();
        let insights = list(Kind::DataplaneInsight).await?;
        let insights = insights.into_iter().filter_map(|insight| {
            let key = ResourceKey { kind: Kind::Dataplane, ..insight.key.clone() };
            Some((key, insight.proto().ok()?))
        });
        Ok(Self { proxies, insights: insights.collect(), inspected })
    }

    /// What a change would change, and the offset of the next page.
    fn run(
        &self,
        supposed: &Supposed,
        configurations: Option<&dyn ProxyConfigurations>,
        page: Page,
    ) -> (DryRun, Option<usize>) {
        let after = supposed.applied(&self.inspected);
        let mut not_connected = Vec::new();
        let states = configurations.and_then(|made| made.suppose(&[], &[supposed.change()]));
        let changed: Vec<Changed> = match &states {
            Some(states) => {
                let mut changed = Vec::new();
                for key in states.concerned() {
                    let none = DataplaneInsight::default();
                    let insight = match key.kind {
                        Kind::Dataplane => self.insights.get(&key),
                        _ => Some(&none),
                    };
                    let Some(insight) = insight else {
                        not_connected.push(key);
                        continue;
                    };
                    let difference = states.compare(&key, insight).transpose();
                    changed.extend(difference.map(|difference| Changed { key, difference: Some(difference) }));
                }
                changed
            }
            None => {
                let concerned =
                    self.proxies.values().filter(|proxy| supposed.can_concern(&self.inspected, &after, proxy));
                let kinds = supposed.kinds();
                let differs = |proxy: &&Proxy| !self.inspected.changed(&after, proxy, &kinds).is_empty();
                let changed = concerned.filter(differs);
                changed.map(|proxy| Changed { key: proxy.resource.key.clone(), difference: None }).collect()
            }
        };
        let (shown, next) = page.cut(&changed);
        let envoy = match states {
            Some(_) => EnvoyKnowledge { known: true, message: None },
            None => elsewhere(self.only_zone()),
        };
        let answer = DryRun {
            dry_run: true,
            result: supposed.effect.to_string(),
            warnings: supposed.warnings.clone(),
            selected: self.proxies.values().filter(|proxy| after.selects(&supposed.key, proxy)).count(),
            total: changed.len(),
            items: shown.iter().map(|changed| self.told(changed, supposed, &after)).collect(),
            next: None,
            not_connected: not_connected.iter().map(|key| self.name(key)).collect(),
            envoy,
        };
        (answer, next)
    }

    fn told(&self, changed: &Changed, supposed: &Supposed, after: &Inspected) -> ProxyChange {
        let rules = self.proxies.get(&changed.key).map(|proxy| {
            let kinds = supposed.kinds();
            self.inspected.changed(after, proxy, &kinds)
        });
        let (diff, error) = match &changed.difference {
            None => (None, None),
            Some(Ok(difference)) => (Some(patch(difference)), None),
            Some(Err(error)) => (None, Some(format!("no configuration can be made: {error}"))),
        };
        ProxyChange { proxy: self.name(&changed.key), rules: rules.unwrap_or_default(), diff, error }
    }

    fn name(&self, key: &ResourceKey) -> ProxyName {
        match self.proxies.get(key) {
            Some(proxy) => proxy_name(&proxy.resource),
            None => ProxyName {
                kind: key.kind.name().to_owned(),
                mesh: key.mesh.clone(),
                name: key.name.clone(),
                zone: None,
            },
        }
    }

    /// The zone of all proxies, if they have one in common.
    fn only_zone(&self) -> Option<&str> {
        let mut zones = self.proxies.values().map(|proxy| proxy.resource.label(ZONE));
        let first = zones.next()??;
        zones.all(|zone| zone == Some(first)).then_some(first)
    }
}
