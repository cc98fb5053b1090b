//! `_policies` of a proxy, of its inbounds, of its outbounds, and of routes to these: what the policies of each kind
//! amount to.
//!
//! Rules: Kuma `pkg/api-server/resource_endpoints.go`; shapes: `api/openapi/specs/common/resource.yaml`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tandem_auth::access::User;
use tandem_model::{Kind, Kri};
use tandem_policy::rules::{inbound_rules, single_item_rules, to_resource_rules};

use super::exclusive::{ContributingPolicy, Identifiers, load, origins};
use crate::context::SharedContext;
use crate::handlers::Place;
use crate::inspect::{MeshView, POLICY_ORDER, Proxy};
use crate::json;
use crate::problem::Problem;

const TITLE: &str = "Failed building response";

/// What policies amount to.
#[derive(Serialize, JsonSchema)]
pub struct PolicyConfs {
    /// By kind.
    policies: Vec<PolicyConf>,
}

/// What the policies of a kind amount to.
#[derive(Serialize, JsonSchema)]
pub struct PolicyConf {
    /// Their configurations merged; for outgoing traffic a list of one, or of one per host name for MeshHTTPRoutes.
    conf: Value,
    /// The kind.
    kind: &'static str,
    /// The policies, in the order in which they were merged.
    origins: Vec<ContributingPolicy>,
}

/// What policies say about an inbound.
#[derive(Serialize, JsonSchema)]
pub struct InboundPolicyConfs {
    /// By kind.
    policies: Vec<InboundPolicyConf>,
}

/// What the policies of a kind say about an inbound, entry by entry.
#[derive(Serialize, JsonSchema)]
pub struct InboundPolicyConf {
    /// The kind.
    kind: &'static str,
    /// The entries, weakest first.
    rules: Vec<InboundPolicyRule>,
    /// The policy of each entry.
    origins: Vec<ContributingPolicy>,
}

/// An entry of a policy.
#[derive(Serialize, JsonSchema)]
pub struct InboundPolicyRule {
    /// Identifier of the policy.
    kri: String,
    /// Its configuration.
    conf: Value,
}

/// `GET` of what configures the proxy itself.
pub async fn of_proxy(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    let (mesh, proxy) = load(&context, &user, &place).await?;
    let subject = proxy.subject(&mesh);
    let mut policies = Vec::new();
    for kind in POLICY_ORDER {
        let rules = single_item_rules(&mesh.matched(kind, &subject, false).policies);
        let rules = rules.map_err(|error| Problem::internal(TITLE, &error))?;
        policies.extend(rules.into_iter().next().map(|rule| PolicyConf {
            conf: rule.conf,
            kind: kind.name(),
            origins: origins(rule.origins.iter().map(|policy| &**policy)),
        }));
    }
    Ok(json::ok(&PolicyConfs { policies }))
}

/// `GET` of what configures an inbound.
pub async fn of_inbound(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
    Path(identifiers): Path<Identifiers>,
) -> Result<Response, Problem> {
    let (mesh, proxy) = load(&context, &user, &place).await?;
    let section = identifiers.inbound()?.section;
    let subject = proxy.subject(&mesh);
    // An identifier without section means the first.
    let inbound = subject.inbounds.iter().find(|inbound| section.is_empty() || inbound.section == section);
    let inbound = inbound.ok_or_else(|| {
        let name = &proxy.resource.key.name;
        Problem::new(StatusCode::NOT_FOUND, TITLE, format!("Dataplane {name:?} has no inbound {section:?}"))
    })?;
    let mut policies = Vec::new();
    for kind in POLICY_ORDER {
        let matched = mesh.matched(kind, &subject, false);
        let rules = matched.by_inbound.get(&inbound.key).map(|policies| inbound_rules(policies)).unwrap_or_default();
        if rules.is_empty() {
            continue;
        }
        let shown = rules
            .iter()
            .map(|rule| InboundPolicyRule { kri: rule.origin.policy.kri.to_string(), conf: rule.conf().clone() })
            .collect();
        policies.push(InboundPolicyConf {
            kind: kind.name(),
            rules: shown,
            origins: origins(rules.iter().map(|rule| &*rule.origin.policy)),
        });
    }
    Ok(json::ok(&InboundPolicyConfs { policies }))
}

/// `GET` of what configures an outbound: what is said about its port, else about its destination, else about the mesh.
pub async fn of_outbound(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
    Path(identifiers): Path<Identifiers>,
) -> Result<Response, Problem> {
    let (mesh, proxy) = load(&context, &user, &place).await?;
    let outbound = identifiers.outbound()?;
    let levels = [outbound.clone(), outbound.without_section()];
    Ok(json::ok(&outgoing(&mesh, &proxy, &levels, &POLICY_ORDER)))
}

/// `GET` of what configures a route of an outbound: what is said about the route, else what holds for the outbound.
pub async fn of_route(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
    Path(identifiers): Path<Identifiers>,
) -> Result<Response, Problem> {
    let (mesh, proxy) = load(&context, &user, &place).await?;
    let outbound = identifiers.outbound()?;
    let levels = [identifiers.route()?, outbound.clone(), outbound.without_section()];
    let routes = [Kind::MeshHTTPRoute, Kind::MeshTCPRoute];
    let kinds: Vec<Kind> = POLICY_ORDER.into_iter().filter(|kind| !routes.contains(kind)).collect();
    Ok(json::ok(&outgoing(&mesh, &proxy, &levels, &kinds)))
}

/// What policies of some kinds say about the first of `levels` that they say anything about; the mesh comes last.
fn outgoing(mesh: &MeshView, proxy: &Proxy, levels: &[Kri], kinds: &[Kind]) -> PolicyConfs {
    let subject = proxy.subject(mesh);
    let whole_mesh = Kri::of(&mesh.mesh);
    let conf = |kind: &Kind| {
        let rules = to_resource_rules(&mesh.matched(*kind, &subject, false).policies, &mesh.destinations);
        let rule = levels.iter().chain(&whole_mesh).find_map(|kri| rules.get(kri))?;
        Some(PolicyConf {
            conf: Value::Array(rule.confs.clone()),
            kind: kind.name(),
            origins: origins(rule.origins.iter().map(|origin| &*origin.policy)),
        })
    };
    PolicyConfs { policies: kinds.iter().filter_map(conf).collect() }
}
