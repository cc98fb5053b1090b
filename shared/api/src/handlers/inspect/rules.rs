//! `_rules`: what the policies of a mesh amount to for one proxy or gateway.
//!
//! Shapes: Kuma `api/openapi/specs/common/resource.yaml` (`InspectRule`) and `pkg/api-server/resource_endpoints.go`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::Subset;
use tandem_policy::http_route::hash_of_json;
use tandem_policy::matching::Matched;
use tandem_policy::rules::{InboundRule, ResourceRule, ResourceRules, Rule, RuleError, RuleOrigin, ToRules};
use tandem_policy::rules::{from_rules, inbound_rules, single_item_rules, to_rules};
use tandem_policy::subject::InboundKey;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Gateway;
use tandem_proto::mesh::v1alpha1::dataplane::networking::gateway::GatewayType;
use tandem_proto::mesh::v1alpha1::{Dataplane, MeshGateway};

use crate::context::{ApiContext, SharedContext};
use crate::handlers::{Place, require_mesh};
use crate::inspect::{MeshView, POLICY_ORDER, Proxy, meta};
use crate::json;
use crate::problem::Problem;

const DATAPLANE_TITLE: &str = "Could not retrieve Dataplane";
const GATEWAY_TITLE: &str = "Could not retrieve MeshGateway";
const MESH_TITLE: &str = "Failed to build Mesh context";

/// `GET` of the rules of a proxy.
pub async fn of_dataplane(State(context): State<SharedContext>, Path(place): Path<Place>) -> Result<Response, Problem> {
    require_mesh(&context, place.mesh.as_deref()).await?;
    let proxy = Proxy::load(&*context.store, &place.key(Kind::Dataplane), DATAPLANE_TITLE).await?;
    answer(&context, &proxy.resource, &proxy).await
}

/// `GET` of the rules of a builtin gateway: those of a proxy with the tags of its first selector.
pub async fn of_gateway(State(context): State<SharedContext>, Path(place): Path<Place>) -> Result<Response, Problem> {
    require_mesh(&context, place.mesh.as_deref()).await?;
    let found = context.store.get(&place.key(Kind::MeshGateway)).await;
    let gateway = found.map_err(|error| Problem::store(GATEWAY_TITLE, &error))?;
    let gateway = gateway.ok_or_else(|| Problem::not_found(GATEWAY_TITLE))?;
    let spec: MeshGateway = gateway.proto().map_err(|error| Problem::internal(GATEWAY_TITLE, &error))?;
    let proxy = stand_in(&gateway, spec)?;
    answer(&context, &gateway, &proxy).await
}

/// A proxy that the gateway selects.
fn stand_in(gateway: &Resource, spec: MeshGateway) -> Result<Proxy, Problem> {
    let selector = spec.selectors.into_iter().next().ok_or_else(|| {
        let reason = "no selectors on MeshGateway this is not supported";
        Problem::new(StatusCode::BAD_REQUEST, "Invalid MeshGateway", reason)
    })?;
    let mut dataplane = Dataplane::default();
    dataplane.networking.get_or_insert_default().gateway =
        Some(Gateway { r#type: GatewayType::Builtin.into(), tags: selector.r#match });
    let key = ResourceKey { kind: Kind::Dataplane, ..gateway.key.clone() };
    let mut resource = Resource::from_proto(key, &dataplane);
    resource.labels = gateway.labels.clone();
    Ok(Proxy { resource: resource.into(), spec: dataplane })
}

async fn answer(context: &ApiContext, asked: &Resource, proxy: &Proxy) -> Result<Response, Problem> {
    let mesh = MeshView::load(&*context.store, &asked.key.mesh, MESH_TITLE).await?;
    let subject = proxy.subject(&mesh);
    let mut matches_by_hash = BTreeMap::new();
    let mut entries = Vec::new();
    for kind in POLICY_ORDER {
        let rules = Rules::of(mesh.matched(kind, &subject, false), &mesh);
        if kind == Kind::MeshHTTPRoute {
            let routes = rules.to.rules.iter().filter_map(|rule| rule.conf["rules"].as_array()).flatten();
            matches_by_hash.extend(routes.map(|route| &route["matches"]).map(|m| (hash_of_json(m), m.clone())));
        }
        entries.extend(rules.show(kind, &mesh, &proxy.spec));
    }
    let http_matches: Vec<Value> =
        matches_by_hash.into_iter().map(|(hash, matches)| json!({"hash": hash, "match": matches})).collect();
    Ok(json::ok(&json!({"httpMatches": http_matches, "resource": meta(asked), "rules": entries})))
}

/// What the policies of one kind amount to.
struct Rules {
    to: ToRules,
    from: BTreeMap<InboundKey, Vec<Rule>>,
    inbound: BTreeMap<InboundKey, Vec<InboundRule>>,
    proxy: Option<Rule>,
    warnings: Vec<String>,
}

impl Rules {
    fn of(matched: Matched, mesh: &MeshView) -> Self {
        let Matched { policies, by_inbound, mut warnings, .. } = matched;
        let mut or_warn = |what: &str, error: String| warnings.push(format!("couldn't create {what} rules: {error}"));
        let from: Result<_, _> =
            by_inbound.iter().map(|(inbound, policies)| Ok((inbound.clone(), from_rules(policies)?))).collect();
        let from = from.map_err(|error: RuleError| or_warn("From", error.to_string()));
        let inbound = by_inbound.iter().map(|(inbound, policies)| (inbound.clone(), inbound_rules(policies)));
        let to = to_rules(&policies, mesh.routes(), &mesh.destinations);
        let to = to.map_err(|error| or_warn("To", error.to_string()));
        let proxy = single_item_rules(&policies).map_err(|error| or_warn("top level", error.to_string()));
        Self {
            // Rules of inbounds are all there or none is.
            inbound: if from.is_ok() { inbound.collect() } else { BTreeMap::new() },
            from: from.unwrap_or_default(),
            to: to.unwrap_or_default(),
            proxy: proxy.unwrap_or_default().into_iter().next(),
            warnings,
        }
    }

    /// The entry of the kind; none without any rule.
    fn show(&self, kind: Kind, mesh: &MeshView, dataplane: &Dataplane) -> Option<Value> {
        // Services by tags have no part in a mesh of MeshServices.
        let to: Vec<Value> = if mesh.exclusive() { Vec::new() } else { self.to.rules.iter().map(rule).collect() };
        let to_resources = resource_rules(&self.to.resource_rules);
        let from = by_inbound(dataplane, &self.from, rule);
        let inbound = by_inbound(dataplane, &self.inbound, inbound_rule);
        if [&to, &to_resources, &from, &inbound].iter().all(|rules| rules.is_empty()) && self.proxy.is_none() {
            return None;
        }
        let mut entry = Map::new();
        let mut add = |name: &str, value: Value| entry.insert(name.to_owned(), value);
        add("type", kind.name().into());
        add("toRules", to.into());
        add("toResourceRules", to_resources.into());
        add("fromRules", from.into());
        add("inboundRules", inbound.into());
        if let Some(rule) = &self.proxy {
            add("proxyRule", json!({"conf": rule.conf, "origin": origins(rule)}));
        }
        add("warnings", self.warnings.clone().into());
        Some(Value::Object(entry))
    }
}

fn origins(rule: &Rule) -> Vec<Value> {
    rule.origins.iter().map(|policy| meta(&policy.resource)).collect()
}

fn rule(rule: &Rule) -> Value {
    json!({"conf": rule.conf, "matchers": matchers(&rule.subset), "origin": origins(rule)})
}

fn matchers(subset: &Subset) -> Vec<Value> {
    subset.conditions().iter().map(|tag| json!({"key": tag.key, "value": tag.value, "not": tag.not})).collect()
}

fn inbound_rule(rule: &InboundRule) -> Value {
    json!({"conf": [rule.conf()], "origin": [origin(&rule.origin)]})
}

fn origin(origin: &RuleOrigin) -> Value {
    json!({"resourceMeta": meta(&origin.policy.resource), "ruleIndex": origin.index})
}

/// Sorted by the name of the destination.
fn resource_rules(rules: &ResourceRules) -> Vec<Value> {
    let mut rules: Vec<_> = rules.0.values().collect();
    rules.sort_by(|a, b| a.resource.key.name.cmp(&b.resource.key.name));
    let show = |rule: &ResourceRule| {
        json!({
            "conf": rule.confs,
            "origin": rule.origins.iter().map(origin).collect::<Vec<_>>(),
            "resourceMeta": meta(&rule.resource),
            "resourceSectionName": rule.section,
        })
    };
    rules.into_iter().map(show).collect()
}

/// The rules of the inbounds that have any, sorted by port.
fn by_inbound<R>(dataplane: &Dataplane, rules: &BTreeMap<InboundKey, Vec<R>>, show: fn(&R) -> Value) -> Vec<Value> {
    let mut entries: Vec<_> = rules.iter().filter(|(_, rules)| !rules.is_empty()).collect();
    entries.sort_by_key(|(inbound, _)| inbound.port);
    let entries = entries.into_iter().map(|(inbound, rules)| {
        json!({"inbound": inbound_of(dataplane, inbound.port), "rules": rules.iter().map(show).collect::<Vec<_>>()})
    });
    entries.collect()
}

/// An inbound as rules name it. A gateway has its own tags there, whatever the port.
fn inbound_of(dataplane: &Dataplane, port: u32) -> Value {
    let inbound = dataplane.inbounds().iter().find(|inbound| inbound.port == port);
    let mut object = Map::new();
    if let Some(inbound) = inbound.filter(|inbound| !inbound.name.is_empty()) {
        object.insert("name".to_owned(), inbound.name.as_str().into());
    }
    object.insert("port".to_owned(), port.into());
    let tags = dataplane.gateway().map(|gateway| &gateway.tags).or(inbound.map(|inbound| &inbound.tags));
    object.insert("tags".to_owned(), json!(tags.cloned().unwrap_or_default()));
    Value::Object(object)
}
