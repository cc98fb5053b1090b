//! `_problems` of a policy: what keeps it from having the effect that it asks for.
//!
//! Kuma has no such thing. What control planes of zones find out when they make configurations is in the insights of proxies, so
//! global tells it of all zones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tandem_auth::access::User;
use tandem_model::label::ZONE;
use tandem_model::{Kind, Resource, ResourceKey, name};
use tandem_policy::explain::references_to_nothing;
use tandem_policy::matching::unresolved;
use tandem_policy::policy::Policy;

use super::problems::{PROXIES, ProblemSubject, insight_kind, problems_of, subject};
use super::{Place, require_mesh};
use crate::context::{ApiContext, SharedContext};
use crate::explain::Inspected;
use crate::problem::Problem;
use crate::{access, json};

const TITLE: &str = "Could not retrieve problems";
/// Most proxies that are named for one problem.
const MOST_PROXIES: usize = 100;

/// The problems of a policy.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicyProblems {
    /// How many there are.
    total: usize,
    /// All of them.
    items: Vec<ProblemOfPolicy>,
}

/// Something that keeps a policy from having the effect that it asks for. It takes no other policy down.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemOfPolicy {
    /// `Unreadable`: the stored policy does not decode. `Disabled`: its type is switched off. `Unresolved`: something that it refers
    /// to does not exist. `LeftOut`: it, or a part of it, cannot be turned into configuration.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The reason.
    message: String,
    /// Of what was found out when proxies were configured: how many proxies it concerns.
    #[serde(skip_serializing_if = "is_zero")]
    proxies_total: usize,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proxies: Vec<ProblemSubject>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// `GET …/{name}/_problems` of a policy of a kind.
pub async fn get(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    require_mesh(&context, place.mesh.as_deref()).await?;
    access::resource(&context, &user, kind)?;
    let key = place.key(kind);
    let stored = context.store.get(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
    let stored = stored.ok_or_else(|| Problem::not_found(TITLE))?;
    let mut items = of_itself(&context, &stored).await?;
    let told: BTreeSet<String> = items.iter().map(|problem| problem.message.clone()).collect();
    let mut of_proxies = of_proxies(&context, &stored).await?;
    of_proxies.retain(|problem| !told.contains(&problem.message));
    items.extend(of_proxies);
    Ok(json::ok(&PolicyProblems { total: items.len(), items }))
}

/// What can be told from the policy and what it refers to.
async fn of_itself(context: &ApiContext, stored: &Arc<Resource>) -> Result<Vec<ProblemOfPolicy>, Problem> {
    let alone = |kind, message| ProblemOfPolicy { kind, message, proxies_total: 0, proxies: Vec::new() };
    let policy = match Policy::decode(stored.clone()) {
        Ok(policy) => policy,
        Err(error) => return Ok(vec![alone("Unreadable", error.to_string())]),
    };
    let mut problems = Vec::new();
    if !context.settings.policies.is_enabled(policy.kind()) {
        problems.push(alone("Disabled", format!("{} is not among `policies.pluginPoliciesEnabled`", policy.kind())));
    }
    let inspected = Inspected::load(context, &stored.key.mesh, TITLE).await?;
    let missing = unresolved(&policy, inspected.mesh.routes());
    problems.extend(missing.map(|error| alone("Unresolved", error.to_string())));
    let is_service = |name: &str| inspected.is_service(name);
    let dangling = references_to_nothing(&policy, &inspected.mesh.destinations, &is_service);
    problems.extend(dangling.into_iter().map(|message| alone("Unresolved", message)));
    let left_out = context.proxies.configurations.as_ref().map(|made| made.left_out()).unwrap_or_default();
    let own = left_out.into_iter().filter(|(key, _)| *key == stored.key).flat_map(|(_, reasons)| reasons);
    problems.extend(own.map(|reason| alone("LeftOut", reason)));
    Ok(problems)
}

/// What was found out when proxies were configured.
async fn of_proxies(context: &ApiContext, stored: &Resource) -> Result<Vec<ProblemOfPolicy>, Problem> {
    let mut by_message: BTreeMap<String, BTreeSet<ResourceKey>> = BTreeMap::new();
    for proxy in PROXIES {
        let mesh = proxy.is_mesh_scoped().then_some(stored.key.mesh.as_str());
        let insights = context.store.list(insight_kind(proxy), mesh).await;
        for insight in insights.map_err(|error| Problem::store(TITLE, &error))? {
            let problems = problems_of(&insight).unwrap_or_default();
            for problem in problems {
                if problem.subject.as_ref().is_some_and(|subject| is_about(subject, stored, &insight)) {
                    let key = ResourceKey { kind: proxy, ..insight.key.clone() };
                    by_message.entry(problem.message).or_default().insert(key);
                }
            }
        }
    }
    let told = by_message.into_iter().map(|(message, proxies)| ProblemOfPolicy {
        kind: "LeftOut",
        message,
        proxies_total: proxies.len(),
        proxies: proxies.iter().take(MOST_PROXIES).map(subject).collect(),
    });
    Ok(told.collect())
}

/// Whether what an insight names is a policy, which has another name in zones than at global.
fn is_about(named: &ProblemSubject, stored: &Resource, insight: &Resource) -> bool {
    if named.kind != stored.kind().name() || named.mesh != stored.key.mesh {
        return false;
    }
    let display_name = stored.display_name();
    let is_of_zone = || stored.label(ZONE).is_some_and(|zone| insight.label(ZONE) == Some(zone));
    named.name == stored.key.name || named.name == name::synced(stored) || named.name == display_name && is_of_zone()
}
