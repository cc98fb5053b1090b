//! `policies` of a proxy: all policies that concern it, by what they are attached to.
//!
//! Shapes: Kuma `pkg/api-server/types/{inspect,gateway}.go`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, rest};
use tandem_policy::legacy::{self, LegacyPolicies, PASS_THROUGH};

use crate::context::SharedContext;
use crate::handlers::Place;
use crate::inspect::{GatewayView, MeshView, POLICY_ORDER, Proxy, attachments, by_kind, legacy_policies, matched};
use crate::json;
use crate::problem::Problem;

const MESH_TITLE: &str = "Could not build MeshContext";
const TITLE: &str = "Could not get MatchedPolicies";

/// `GET` of the policies of a proxy.
pub async fn get(State(context): State<SharedContext>, Path(place): Path<Place>) -> Result<Response, Problem> {
    let name = place.mesh.as_deref().unwrap_or_default();
    let mesh = MeshView::load(&*context.store, name, MESH_TITLE).await?;
    let proxy = Proxy::load(&*context.store, &place.key(Kind::Dataplane), TITLE).await?;
    let proxy = proxy.at_virtual_addresses(&mesh, context.settings.service_vip_port);
    let legacy = legacy_policies(&*context.store, &legacy::KINDS, name, TITLE).await?;
    let answer = match proxy.spec.is_builtin_gateway() {
        true => of_gateway(&mesh, &proxy, &legacy),
        false => of_sidecar(&mesh, &proxy, &legacy),
    };
    Ok(json::ok(&answer))
}

fn of_sidecar(mesh: &MeshView, proxy: &Proxy, legacy: &LegacyPolicies) -> Value {
    let items = attachments(mesh, proxy, legacy, &POLICY_ORDER).into_iter().map(|(attachment, policies)| {
        let mut by_kind: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for policy in &policies {
            by_kind.entry(policy.kind().name()).or_default().push(Value::Object(rest::meta_json(policy)));
        }
        let mut item = attachment.show();
        item.insert("matchedPolicies".to_owned(), json!(by_kind));
        item
    });
    let items: Vec<Map<String, Value>> = items.collect();
    json!({"kind": "SidecarDataplane", "total": items.len(), "items": items})
}

/// Policies selected by `targetRef` are not part of the answer.
fn of_gateway(mesh: &MeshView, proxy: &Proxy, legacy: &LegacyPolicies) -> Value {
    let gateway = GatewayView::of(&proxy.subject(mesh), legacy);
    let mut answer =
        json!({"kind": "MeshGatewayDataplane", "gateway": gateway.key(), "listeners": gateway.show(legacy)});
    // These two apply to everything that goes through the gateway.
    let matched = matched(mesh, proxy, legacy);
    let log = matched.traffic_logs.get(PASS_THROUGH).map(|policy| &policy.resource);
    let policies = by_kind(log.into_iter().chain(matched.traffic_trace.iter().map(|policy| &policy.resource)));
    if !policies.is_empty() {
        answer["policies"] = Value::Object(policies);
    }
    answer
}
