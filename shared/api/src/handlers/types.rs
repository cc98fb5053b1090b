//! The catalogue of types: `/_resources` and `/policies`.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tandem_model::{Descriptor, Kind, Scope};

use crate::context::SharedContext;
use crate::json;
use crate::names::{plural, singular};

fn sorted(keep: impl Fn(&Descriptor) -> bool) -> Vec<&'static Descriptor> {
    let mut kinds: Vec<_> = Kind::all().map(Kind::descriptor).filter(|d| d.path.is_some() && keep(d)).collect();
    kinds.sort_by_key(|descriptor| descriptor.name);
    kinds
}

/// Answer of `GET /_resources`.
#[derive(Serialize, JsonSchema)]
pub struct ResourceTypes {
    /// The types, by name.
    resources: Vec<ResourceType>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ResourceType {
    /// Whether an export for federation contains it.
    include_in_federation: bool,
    /// Name, as in member `type` of items.
    name: &'static str,
    /// Segment of the path.
    path: Option<&'static str>,
    /// Name of several, for people.
    plural_display_name: String,
    /// Set for policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyKind>,
    /// Whether it cannot be written here.
    read_only: bool,
    /// `Mesh` or `Global`.
    scope: &'static str,
    /// Name in identifiers; empty for types without identifiers.
    short_name: &'static str,
    /// Name of one, for people.
    singular_display_name: String,
}

/// What kind of policy a type is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PolicyKind {
    /// Has a list `from`.
    has_from_target_ref: bool,
    /// Has a list `to`.
    has_to_target_ref: bool,
    /// Has a list `rules` in place of `from`.
    is_from_as_rules: bool,
    /// Selects proxies by `targetRef`.
    is_target_ref: bool,
}

/// Answer of `GET /policies`.
#[derive(Serialize, JsonSchema)]
pub struct PolicyTypes {
    /// The types, by name.
    policies: Vec<PolicyType>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PolicyType {
    /// Name, as in member `type` of items.
    name: &'static str,
    /// Whether it cannot be written here.
    read_only: bool,
    /// Segment of the path.
    path: Option<&'static str>,
    /// Name of one, for people.
    singular_display_name: String,
    /// Name of several, for people.
    plural_display_name: String,
    /// Whether it may still change.
    is_experimental: bool,
    /// Selects proxies by `targetRef`.
    is_target_ref_based: bool,
    /// Has a list `from`.
    is_inbound: bool,
    /// Has a list `to`.
    is_outbound: bool,
}

/// `GET /_resources`: every type with a path.
pub async fn resources(State(context): State<SharedContext>) -> Response {
    // Upstream reports the federated zone as a whole here, not type by type.
    let all_read_only = context.settings.read_only || context.admission.settings().mode.is_federated_zone();
    let types = sorted(|_| true).into_iter().map(|d| ResourceType {
        include_in_federation: d.in_federation,
        name: d.name,
        path: d.path,
        plural_display_name: plural(d.kind),
        policy: d.policy.map(|policy| PolicyKind {
            has_from_target_ref: policy.from,
            has_to_target_ref: policy.to,
            is_from_as_rules: policy.rules,
            is_target_ref: d.kind.is_json(),
        }),
        read_only: all_read_only || d.read_only,
        scope: if d.scope == Scope::Mesh { "Mesh" } else { "Global" },
        short_name: d.short_name.unwrap_or_default(),
        singular_display_name: singular(d.kind),
    });
    json::ok(&ResourceTypes { resources: types.collect() })
}

/// `GET /policies`: every policy type.
pub async fn policies(State(context): State<SharedContext>) -> Response {
    let types = sorted(|d| d.policy.is_some()).into_iter().map(|d| PolicyType {
        name: d.name,
        read_only: context.settings.read_only || context.admission.is_read_only(d.kind),
        path: d.path,
        singular_display_name: singular(d.kind),
        plural_display_name: plural(d.kind),
        is_experimental: false,
        is_target_ref_based: d.kind.is_json(),
        is_inbound: d.policy.is_some_and(|policy| policy.from),
        is_outbound: d.policy.is_some_and(|policy| policy.to),
    });
    json::ok(&PolicyTypes { policies: types.collect() })
}
