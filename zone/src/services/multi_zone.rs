//! MeshMultiZoneServices: of which MeshServices they consist.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/meshmultizoneservice/status_updater.go`. The mesh is not compared: a
//! selector may name it by its label.

use tandem_model::core::common::{Condition, ConditionStatus};
use tandem_model::core::mesh_multi_zone_service::{MatchedMeshService, Status};
use tandem_model::{Kri, Resource};

use super::draft::Spec;

/// Type of the condition that tells whether there are MeshServices.
const CONDITION: &str = "MeshServicesMatched";

/// True when a MeshMultiZoneService of this specification has this MeshService.
pub(super) fn consists_of(spec: &Spec, service: &Resource) -> bool {
    match spec {
        Spec::MultiZone(labels) => labels.iter().all(|(name, value)| service.labels.get(name) == Some(value)),
        Spec::Service(_) | Spec::External => false,
    }
}

/// How a MeshMultiZoneService refers to its MeshServices, in order.
pub(super) fn matched<'a>(services: impl Iterator<Item = &'a Resource>) -> Vec<MatchedMeshService> {
    let matched = services.filter_map(Kri::of).map(|Kri { name, namespace, zone, mesh, .. }| MatchedMeshService {
        name,
        namespace,
        zone,
        mesh,
    });
    let mut matched: Vec<_> = matched.collect();
    matched.sort_by_cached_key(|MatchedMeshService { name, namespace, zone, mesh }| {
        format!("{name}/{namespace}/{zone}/{mesh}")
    });
    matched
}

/// Writes the MeshServices of a MeshMultiZoneService, and the condition that follows, into its status.
pub(super) fn tell(status: &mut Status, matched: Vec<MatchedMeshService>) {
    let (holds, reason, message) = match matched.len() {
        0 => (
            ConditionStatus::False,
            "NoMatchesFound",
            "Selector does not match any MeshService in this zone".to_owned(),
        ),
        number => (ConditionStatus::True, "MatchesFound", format!("Matched {number} MeshService(s)")),
    };
    let condition = Condition { kind: CONDITION.to_owned(), status: holds, reason: reason.to_owned(), message };
    match status.conditions.iter_mut().find(|known| known.kind == CONDITION) {
        Some(known) => *known = condition,
        None => status.conditions.push(condition),
    }
    status.mesh_services = matched;
}
