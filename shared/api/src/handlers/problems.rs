//! `_problems`: what keeps proxies from serving all that their resources say, and which resources are left out of every
//! configuration.
//!
//! Kuma has no such thing. What is told of a proxy is in its insight, so global tells it of the proxies of all zones.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tandem_auth::access::User;
use tandem_model::{DecodeError, Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;

use super::Place;
use crate::context::SharedContext;
use crate::problem::Problem;
use crate::{access, json};

const TITLE: &str = "Could not retrieve problems";

/// Kinds of proxies.
pub const PROXIES: [Kind; 3] = [Kind::Dataplane, Kind::ZoneIngress, Kind::ZoneEgress];

/// A resource, by what it is called.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProblemSubject {
    /// Type.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Mesh; left out for what belongs to none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) mesh: String,
    /// Name.
    pub(super) name: String,
}

/// Something that keeps a proxy from serving all that its resources say.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProblem {
    /// `Rejected`: Envoy refused resources and keeps the earlier ones. `LeftOut`: something cannot be turned into configuration;
    /// everything else is served. `NotConfigured`: no configuration can be made; the proxy keeps the earlier one. `NotPermitted`:
    /// the constraints of the mesh no longer permit the proxy, which is served until it connects again.
    #[serde(rename = "type")]
    kind: String,
    /// Of what Envoy refused: the type of its resources.
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_type: String,
    /// Of what Envoy refused: the names of its resources as far as it told them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<String>,
    /// The resource that is left out, if it is one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<ProblemSubject>,
    /// The reason; Envoy's own words if it told it.
    pub(super) message: String,
    /// When it was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    time: Option<Timestamp>,
}

/// The problems of a proxy.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProxyProblems {
    /// How many there are.
    total: usize,
    /// All of them.
    items: Vec<ProxyProblem>,
}

/// A proxy with problems.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProxyWithProblems {
    /// The proxy.
    proxy: ProblemSubject,
    /// What is wrong with it.
    problems: Vec<ProxyProblem>,
}

/// A resource that is left out of every configuration, wholly or in part.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LeftOutResource {
    /// The resource.
    resource: ProblemSubject,
    /// Why.
    reasons: Vec<String>,
}

/// All problems that this control plane knows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problems {
    /// Proxies with problems.
    proxies: Vec<ProxyWithProblems>,
    /// Resources that are left out; empty at global, which makes no configurations.
    resources: Vec<LeftOutResource>,
}

/// `GET …/{name}/_problems` of a proxy.
pub async fn of_proxy(
    kind: Kind,
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    access::resource(&context, &user, kind)?;
    let key = place.key(kind);
    let store = &context.store;
    let proxy = store.get(&key).await.map_err(|error| Problem::store(TITLE, &error))?;
    if proxy.is_none() {
        return Err(Problem::not_found(TITLE));
    }
    let insight = store
        .get(&ResourceKey { kind: insight_kind(kind), ..key })
        .await
        .map_err(|error| Problem::store(TITLE, &error))?;
    let items = insight.as_deref().map(problems_of).transpose().map_err(|error| Problem::internal(TITLE, &error))?;
    let items = items.unwrap_or_default();
    Ok(json::ok(&ProxyProblems { total: items.len(), items }))
}

/// `GET /_problems`.
pub async fn all(State(context): State<SharedContext>, Extension(user): Extension<User>) -> Result<Response, Problem> {
    let mut proxies = Vec::new();
    for kind in PROXIES {
        access::resource(&context, &user, kind)?;
        let insights = context.store.list(insight_kind(kind), None).await;
        for insight in insights.map_err(|error| Problem::store(TITLE, &error))? {
            // The address of the proxy tells that its insight cannot be read; here that would hide all the others.
            let problems = problems_of(&insight).unwrap_or_default();
            if !problems.is_empty() {
                let key = ResourceKey { kind, ..insight.key.clone() };
                proxies.push(ProxyWithProblems { proxy: subject(&key), problems });
            }
        }
    }
    let left_out = context.proxies.configurations.as_ref().map(|made| made.left_out()).unwrap_or_default();
    let resources = left_out.into_iter().map(|(key, reasons)| LeftOutResource { resource: subject(&key), reasons });
    Ok(json::ok(&Problems { proxies, resources: resources.collect() }))
}

pub(super) fn insight_kind(proxy: Kind) -> Kind {
    match proxy {
        Kind::ZoneIngress => Kind::ZoneIngressInsight,
        Kind::ZoneEgress => Kind::ZoneEgressInsight,
        _ => Kind::DataplaneInsight,
    }
}

pub(super) fn subject(key: &ResourceKey) -> ProblemSubject {
    ProblemSubject { kind: key.kind.to_string(), mesh: key.mesh.clone(), name: key.name.clone() }
}

/// What an insight says.
pub(super) fn problems_of(insight: &Resource) -> Result<Vec<ProxyProblem>, DecodeError> {
    let problems = match insight.kind() {
        Kind::ZoneIngressInsight => insight.proto::<pb::ZoneIngressInsight>()?.problems,
        Kind::ZoneEgressInsight => insight.proto::<pb::ZoneEgressInsight>()?.problems,
        _ => insight.proto::<pb::DataplaneInsight>()?.problems,
    };
    Ok(problems.into_iter().map(shown).collect())
}

fn shown(problem: pb::ProxyProblem) -> ProxyProblem {
    ProxyProblem {
        kind: problem.r#type,
        resource_type: problem.resource_type,
        resources: problem.resources,
        subject: problem.subject.map(|of| ProblemSubject { kind: of.r#type, mesh: of.mesh, name: of.name }),
        message: problem.message,
        time: problem.time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_as_the_insight_has_them() {
        let problem = pb::ProxyProblem {
            r#type: "LeftOut".to_owned(),
            subject: Some(pb::ProblemSubject {
                r#type: "MeshService".to_owned(),
                mesh: "m".to_owned(),
                name: "s".to_owned(),
            }),
            message: "no port".to_owned(),
            time: Some(Default::default()),
            ..pb::ProxyProblem::default()
        };
        let insight = pb::ZoneEgressInsight { problems: vec![problem], ..pb::ZoneEgressInsight::default() };
        let insight = Resource::from_proto(ResourceKey::global(Kind::ZoneEgressInsight, "e"), &insight);
        assert_eq!(
            serde_json::to_value(problems_of(&insight).expect("it decodes")).expect("it has a JSON form"),
            serde_json::json!([{
                "type": "LeftOut",
                "subject": {"type": "MeshService", "mesh": "m", "name": "s"},
                "message": "no port",
                "time": "1970-01-01T00:00:00Z"
            }])
        );
    }
}
