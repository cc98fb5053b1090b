//! `_routes` of an outbound: where its requests and connections go.
//!
//! Rules: Kuma `pkg/api-server/resource_endpoints.go`; shapes: `api/openapi/specs/common/resource.yaml`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use tandem_auth::access::User;
use tandem_model::Kind;
use tandem_policy::http_route::hash_of_json;
use tandem_policy::rules::{ResourceRule, to_resource_rules};

use super::exclusive::{Identifiers, Origin, load, origins};
use crate::context::SharedContext;
use crate::handlers::Place;
use crate::json;
use crate::problem::Problem;

/// The routes of a kind.
#[derive(Serialize)]
struct Routes {
    kind: &'static str,
    rules: Vec<Rule>,
    origins: Vec<Origin>,
}

#[derive(Serialize)]
struct Rule {
    conf: Value,
    /// The policy that contributed it last; empty where that is not told apart.
    kri: String,
    /// `null` for routes that take everything.
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
        routes.extend(rules.compute(&outbound).map(|rule| Routes {
            kind: kind.name(),
            rules: rules_of(rule),
            origins: origins(rule.origins.iter().map(|origin| &*origin.policy)),
        }));
    }
    Ok(json::ok(&json!({ "routes": routes })))
}

fn http(rule: &ResourceRule) -> Vec<Rule> {
    let rules = rule.confs.iter().filter_map(|conf| conf["rules"].as_array()).flatten();
    let shown = rules.map(|entry| {
        let origin = rule.origin_by_matches.get(&hash_of_json(&entry["matches"]));
        Rule {
            conf: entry["default"].clone(),
            kri: origin.map(|origin| origin.policy.kri.to_string()).unwrap_or_default(),
            matches: entry["matches"].clone(),
        }
    });
    shown.collect()
}

fn tcp(rule: &ResourceRule) -> Vec<Rule> {
    let shown =
        rule.confs.iter().map(|conf| Rule { conf: conf["default"].clone(), kri: String::new(), matches: Value::Null });
    shown.collect()
}
