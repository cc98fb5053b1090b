//! `_routes` of an outbound: where its requests and connections go.
//!
//! Rules: Kuma `pkg/api-server/resource_endpoints.go`; shapes: `api/openapi/specs/common/resource.yaml`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tandem_auth::access::User;
use tandem_model::Kind;
use tandem_policy::http_route::hash_of_json;
use tandem_policy::rules::{ResourceRule, to_resource_rules};

use super::exclusive::{ContributingPolicy, Identifiers, load, origins};
use crate::context::SharedContext;
use crate::handlers::Place;
use crate::json;
use crate::problem::Problem;

/// Where the traffic of an outbound goes.
#[derive(Serialize, JsonSchema)]
pub struct OutboundRoutes {
    /// By kind.
    routes: Vec<OutboundRoute>,
}

/// What the routes of a kind amount to.
#[derive(Serialize, JsonSchema)]
pub struct OutboundRoute {
    /// `MeshHTTPRoute` or `MeshTCPRoute`.
    kind: &'static str,
    /// Strongest first.
    rules: Vec<OutboundRouteRule>,
    /// The policies, in the order in which they were merged.
    origins: Vec<ContributingPolicy>,
}

/// Where some of the traffic goes.
#[derive(Serialize, JsonSchema)]
pub struct OutboundRouteRule {
    /// What happens to it.
    conf: Value,
    /// Identifier of the policy that contributed it last; empty for a MeshTCPRoute.
    kri: String,
    /// Which requests; `null` for a MeshTCPRoute, which takes all connections.
    matches: Value,
}

/// `GET` of the routes of an outbound.
pub async fn get(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
    Path(identifiers): Path<Identifiers>,
) -> Result<Response, Problem> {
    let (mesh, proxy) = load(&context, &user, &place).await?;
    let outbound = identifiers.outbound()?;
    let subject = proxy.subject(&mesh);
    let mut routes = Vec::new();
    for (kind, rules_of) in [(Kind::MeshHTTPRoute, http as fn(&ResourceRule) -> _), (Kind::MeshTCPRoute, tcp)] {
        let rules = to_resource_rules(&mesh.matched(kind, &subject, false).policies, &mesh.destinations);
        routes.extend(rules.compute(&outbound).map(|rule| OutboundRoute {
            kind: kind.name(),
            rules: rules_of(rule),
            origins: origins(rule.origins.iter().map(|origin| &*origin.policy)),
        }));
    }
    Ok(json::ok(&OutboundRoutes { routes }))
}

fn http(rule: &ResourceRule) -> Vec<OutboundRouteRule> {
    let rules = rule.confs.iter().filter_map(|conf| conf["rules"].as_array()).flatten();
    let shown = rules.map(|entry| {
        let origin = rule.origin_by_matches.get(&hash_of_json(&entry["matches"]));
        OutboundRouteRule {
            conf: entry["default"].clone(),
            kri: origin.map(|origin| origin.policy.kri.to_string()).unwrap_or_default(),
            matches: entry["matches"].clone(),
        }
    });
    shown.collect()
}

fn tcp(rule: &ResourceRule) -> Vec<OutboundRouteRule> {
    let shown = rule.confs.iter().map(|conf| OutboundRouteRule {
        conf: conf["default"].clone(),
        kri: String::new(),
        matches: Value::Null,
    });
    shown.collect()
}
