//! The catalogue of types: `/_resources` and `/policies`.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tandem_model::{Descriptor, Kind, Scope};

use crate::context::SharedContext;
use crate::json;
use crate::names::{plural, singular};

fn sorted(keep: impl Fn(&Descriptor) -> bool) -> Vec<&'static Descriptor> {
    let mut kinds: Vec<_> = Kind::all().map(Kind::descriptor).filter(|d| d.path.is_some() && keep(d)).collect();
    kinds.sort_by_key(|descriptor| descriptor.name);
    kinds
}

/// `GET /_resources`: every type with a path.
pub async fn resources(State(context): State<SharedContext>) -> Response {
    // Upstream reports the federated zone as a whole here, not type by type.
    let all_read_only = context.settings.read_only || context.admission.settings().mode.is_federated_zone();
    let items: Vec<Value> = sorted(|_| true)
        .into_iter()
        .map(|d| {
            let mut item = Map::new();
            item.insert("includeInFederation".to_owned(), json!(d.in_federation));
            item.insert("name".to_owned(), json!(d.name));
            item.insert("path".to_owned(), json!(d.path));
            item.insert("pluralDisplayName".to_owned(), json!(plural(d.kind)));
            if let Some(policy) = d.policy {
                item.insert(
                    "policy".to_owned(),
                    json!({
                        "hasFromTargetRef": policy.from,
                        "hasToTargetRef": policy.to,
                        "isFromAsRules": policy.rules,
                        "isTargetRef": d.kind.is_json(),
                    }),
                );
            }
            item.insert("readOnly".to_owned(), json!(all_read_only || d.read_only));
            item.insert("scope".to_owned(), json!(if d.scope == Scope::Mesh { "Mesh" } else { "Global" }));
            item.insert("shortName".to_owned(), json!(d.short_name.unwrap_or_default()));
            item.insert("singularDisplayName".to_owned(), json!(singular(d.kind)));
            Value::Object(item)
        })
        .collect();
    json::ok(&json!({ "resources": items }))
}

/// `GET /policies`: every policy type.
pub async fn policies(State(context): State<SharedContext>) -> Response {
    let items: Vec<Value> = sorted(|d| d.policy.is_some())
        .into_iter()
        .map(|d| {
            let policy = d.policy.unwrap_or(tandem_model::kind::PolicyTraits::LEGACY);
            json!({
                "name": d.name,
                "readOnly": context.settings.read_only || context.admission.is_read_only(d.kind),
                "path": d.path,
                "singularDisplayName": singular(d.kind),
                "pluralDisplayName": plural(d.kind),
                "isExperimental": false,
                "isTargetRefBased": d.kind.is_json(),
                "isInbound": policy.from,
                "isOutbound": policy.to,
            })
        })
        .collect();
    json::ok(&json!({ "policies": items }))
}
