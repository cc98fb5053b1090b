//! What policies amount to for traffic to an ExternalService at a ZoneEgress.

use std::sync::Arc;

use tandem_model::ResourceKey;
use tandem_model::kind::Kind;
use tandem_model::tags::Tags;

use super::MeshPolicies;
use crate::egress::selects_service;
use crate::fault_injection::Faults;
use crate::policy::Policy;
use crate::rate_limit::Limits;
use crate::rules::{first_match, from_rules};
use crate::traffic_permission::Permission;

/// Kinds that configure traffic to ExternalServices.
pub(super) const KINDS: [Kind; 3] = [Kind::MeshTrafficPermission, Kind::MeshFaultInjection, Kind::MeshRateLimit];

/// What holds for traffic to an ExternalService at a ZoneEgress. Of policies only `from` counts: an egress serves all clients.
#[derive(Debug, Default, PartialEq)]
pub struct OutsidePolicies {
    /// MeshTrafficPermission; `None` when there are none in the mesh.
    pub permission: Option<Permission>,
    /// MeshFaultInjection.
    pub faults: Faults,
    /// MeshRateLimit.
    pub limits: Limits,
}

impl OutsidePolicies {
    pub(super) fn new(mesh: &MeshPolicies, service: &Tags) -> Self {
        let selected = |kind| -> Vec<Arc<Policy>> {
            mesh.of_kind(kind).iter().filter(|policy| selects_service(&policy.target, service)).cloned().collect()
        };
        let has_permissions = !mesh.of_kind(Kind::MeshTrafficPermission).is_empty();
        Self {
            permission: has_permissions
                .then(|| Permission::by_tags(&selected(Kind::MeshTrafficPermission), &mesh.mesh, &mesh.settings)),
            faults: Faults::by_tags(&selected(Kind::MeshFaultInjection)),
            limits: limits(&selected(Kind::MeshRateLimit)),
        }
    }

    /// What of which policies cannot take effect.
    pub fn problems(&self) -> impl Iterator<Item = &(ResourceKey, String)> {
        self.faults.problems().iter().chain(self.limits.problems())
    }
}

/// What policies say about all clients.
fn limits(policies: &[Arc<Policy>]) -> Limits {
    // Entries of MeshRateLimit are about the mesh, which has a form in tags.
    let rules = from_rules(policies).unwrap_or_default();
    let conf = first_match(&rules, &Default::default()).map(|rule| rule.conf.clone());
    let written = policies.iter().flat_map(|policy| policy.from.iter().map(move |item| (policy, &item.conf)));
    Limits::new(
        &conf.and_then(|conf| serde_json::from_value(conf).ok()).unwrap_or_default(),
        &written.collect::<Vec<_>>(),
    )
}
