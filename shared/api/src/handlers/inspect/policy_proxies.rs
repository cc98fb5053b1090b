//! `dataplanes` of a policy: the proxies where it wins over others of its kind, and what of them it is attached to.
//!
//! Shapes: Kuma `pkg/api-server/types/inspect.go`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::legacy::{LegacyPolicies, PASS_THROUGH};

use crate::context::SharedContext;
use crate::handlers::Place;
use crate::inspect::{GatewayView, MeshView, Proxy, attachments, key_json, legacy_policies, matched};
use crate::json;
use crate::problem::Problem;

const TITLE: &str = "Could not list Dataplanes";

/// True for the kinds that this question can be asked of. The other two configure gateways and addresses, not proxies.
pub fn is_asked_of(kind: Kind) -> bool {
    kind.descriptor().policy.is_some() && !matches!(kind, Kind::MeshGatewayRoute | Kind::VirtualOutbound)
}

/// `GET` of the proxies of a policy; none for a policy that does not exist.
pub async fn get(kind: Kind, State(context): State<SharedContext>, Path(at): Path<Place>) -> Result<Response, Problem> {
    let store = &*context.store;
    let key = at.key(kind);
    let mesh = MeshView::load(store, &key.mesh, TITLE).await?;
    // Policies about services follow the routes; gateways have routes of their own.
    let (legacy, kinds) = match kind.is_target_ref_policy() {
        true => (LegacyPolicies::default(), vec![kind]),
        false => {
            let mut kinds = vec![kind, Kind::MeshGatewayRoute];
            kinds.extend((kind != Kind::TrafficRoute).then_some(Kind::TrafficRoute));
            (legacy_policies(store, &kinds, &key.mesh, TITLE).await?, Vec::new())
        }
    };
    let proxies = store.list(Kind::Dataplane, Some(&key.mesh)).await.map_err(|error| Problem::store(TITLE, &error))?;
    let mut items: Vec<Value> = Vec::new();
    for resource in proxies {
        let Ok(proxy) = Proxy::decode(resource, TITLE) else { continue };
        let is_it = |policy: &Arc<Resource>| policy.key == key;
        if proxy.spec.is_builtin_gateway() {
            items.extend(of_gateway(&mesh, &proxy, &legacy, &key));
            continue;
        }
        let proxy = proxy.at_virtual_addresses(&mesh, context.settings.service_vip_port);
        let attachments = attachments(&mesh, &proxy, &legacy, &kinds);
        let attached = attachments.iter().filter(|(_, policies)| policies.iter().any(is_it));
        let attached: Vec<_> = attached.map(|(attachment, _)| attachment.show()).collect();
        if !attached.is_empty() {
            let proxy = key_json(&proxy.resource.key);
            items.push(json!({"kind": "SidecarDataplane", "dataplane": proxy, "attachments": attached}));
        }
    }
    Ok(json::ok(&json!({"total": items.len(), "items": items})))
}

/// Only policies of the older generation are part of the answer.
fn of_gateway(mesh: &MeshView, proxy: &Proxy, legacy: &LegacyPolicies, policy: &ResourceKey) -> Option<Value> {
    let gateway = GatewayView::of(&proxy.subject(mesh), legacy);
    let mut item = json!({
        "kind": "MeshGatewayDataplane", "dataplane": key_json(&proxy.resource.key), "gateway": gateway.key(),
    });
    let listeners = gateway.show_used(legacy, policy);
    if !listeners.is_empty() {
        item["listeners"] = Value::Array(listeners);
        return Some(item);
    }
    // These two apply to everything that goes through the gateway.
    let matched = matched(mesh, proxy, legacy);
    let log = matched.traffic_logs.get(PASS_THROUGH).map(|policy| &policy.resource.key);
    let trace = matched.traffic_trace.as_ref().map(|policy| &policy.resource.key);
    (log == Some(policy) || trace == Some(policy)).then_some(item)
}
