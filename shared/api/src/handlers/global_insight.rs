//! Sums over all meshes and zones: `/global-insight` and `/global-insights`.
//!
//! Shapes: Kuma `pkg/insights/globalinsight` and `pkg/api-server/global_insights_endpoints.go`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tandem_insights::Total;
use tandem_model::{Kind, Scope};

use crate::context::SharedContext;
use crate::json;
use crate::problem::Problem;

/// `GET /global-insight`.
pub async fn global_insight(State(context): State<SharedContext>) -> Result<Response, Problem> {
    let sum = tandem_insights::global_insight(&*context.store).await;
    Ok(json::ok(&sum.map_err(|error| Problem::store("Could not retrieve GlobalInsight", &error))?))
}

/// Answer of `GET /global-insights`.
#[derive(Serialize, JsonSchema)]
pub struct GlobalCounts {
    /// `GlobalInsights`.
    r#type: &'static str,
    /// When they were counted.
    #[serde(rename = "creationTime")]
    #[schemars(with = "String")]
    creation_time: Timestamp,
    /// Resources by type.
    resources: BTreeMap<&'static str, Total>,
}

/// `GET /global-insights`: how many resources of each type of global scope there are.
pub async fn global_counts(State(context): State<SharedContext>) -> Result<Response, Problem> {
    let mut resources = BTreeMap::new();
    let counted = |kind: &Kind| {
        let descriptor = kind.descriptor();
        descriptor.scope == Scope::Global && descriptor.path.is_some() && !descriptor.name.ends_with("Insight")
    };
    for kind in Kind::all().filter(counted) {
        let counted = context.store.window(kind, None, 0, 0).await;
        let counted = counted.map_err(|error| Problem::store("Could not retrieve global insights", &error))?;
        resources.insert(kind.name(), Total { total: counted.total as u64 });
    }
    Ok(json::ok(&GlobalCounts { r#type: "GlobalInsights", creation_time: Timestamp::now(), resources }))
}
