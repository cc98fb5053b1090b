//! Validation shared by the policies.

mod conf;
mod net;
mod target;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tandem_model::violation::{Path, Violations};

use crate::role::Role;
use crate::schema::{BackendRef, SpiffeMatch};
use crate::target_ref::{ProxyType, TargetKind, TargetRef};

pub(crate) use conf::{
    greater_than_zero, int_greater_than_zero, int_percentage, is_spiffe_id, not_negative, percentage, status_code,
};
pub(crate) use net::{RequestUri, is_dns_name, is_file_path, is_url};
pub(crate) use target::{TargetRules, target_ref};

/// A specification that can tell what is wrong with it.
pub(crate) trait Validate: Serialize + DeserializeOwned {
    /// Adds everything that is wrong; paths begin with `spec`.
    fn validate(&self, role: Role, violations: &mut Violations);

    /// Adds what is wrong beyond that when a person writes it. Peers may have taken it from their users, so it is kept when they
    /// send it.
    fn validate_written(&self, _violations: &mut Violations) {}

    /// What is allowed but should be written differently.
    fn warnings(&self) -> Vec<String>;
}

/// The path of the specification.
pub(crate) fn spec() -> Path {
    Path::new("spec")
}

/// Kind of the proxies a policy is about; an absent reference means the mesh.
pub(crate) fn top_kind(target: Option<&TargetRef>) -> TargetKind {
    target.map(|target| target.kind).unwrap_or_default()
}

/// An optional list as slice; absent is empty.
pub(crate) fn list<T>(list: &Option<Vec<T>>) -> &[T] {
    list.as_deref().unwrap_or_default()
}

/// The warning for `from`, which `rules` replaces, if it is used.
pub(crate) fn from_deprecation(used: bool) -> Option<String> {
    used.then(|| "'from' field is deprecated, use 'rules' instead".to_owned())
}

/// The warning for kinds of proxies that should be selected by labels instead.
///
/// Source: Kuma `pkg/plugins/policies/core/jsonpatch/validators/deprecations.go`.
pub(crate) fn target_deprecation(target: Option<&TargetRef>) -> Option<String> {
    let kind = target?.kind;
    match kind {
        TargetKind::MeshService | TargetKind::MeshServiceSubset | TargetKind::MeshSubset => {
            Some(format!("{} value for 'targetRef.kind' is deprecated, use Dataplane with labels instead", kind.name()))
        }
        TargetKind::MeshHTTPRoute => Some(
            "MeshHTTPRoute value for 'targetRef.kind' is deprecated, use MeshHTTPRoute in spec.to[].targetRef"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Adds the violation for traffic to a MeshExternalService that not the whole mesh is configured for.
pub(crate) fn external_service_only_from_mesh(
    to: TargetKind,
    top: TargetKind,
    item: &Path,
    violations: &mut Violations,
) {
    if to == TargetKind::MeshExternalService && top != TargetKind::Mesh {
        violations.add(
            &item.field("targetRef").field("kind"),
            "kind MeshExternalService is only allowed with targetRef.kind: Mesh as it is configured on the Zone Egress \
             and shared by all clients in the mesh",
        );
    }
}

/// Adds the violation of every match that names no SPIFFE ID.
pub(crate) fn spiffe_matches(matches: &[SpiffeMatch], path: &Path, violations: &mut Violations) {
    for (index, condition) in matches.iter().enumerate() {
        if condition.spiffe_id.as_ref().is_some_and(|id| !is_spiffe_id(&id.value)) {
            violations.add(&path.index(index).field("spiffeID"), "must be a valid Spiffe ID");
        }
    }
}

/// Kinds of destinations that a route may send traffic to.
pub(crate) const BACKENDS: &[TargetKind] = &[
    TargetKind::MeshService,
    TargetKind::MeshServiceSubset,
    TargetKind::MeshExternalService,
    TargetKind::MeshMultiZoneService,
];

/// Adds what is wrong with a destination of a route.
pub(crate) fn backend_ref(backend: &BackendRef, path: &Path, rules: &TargetRules<'_>, violations: &mut Violations) {
    target_ref(&backend.target_ref(), path, rules, violations);
    if backend.kind == TargetKind::MeshMultiZoneService && backend.port.is_none() {
        violations.add(&path.field("port"), "must be defined with kind MeshMultiZoneService");
    }
}

/// The violation of `from` where gateways are among the proxies.
pub(crate) const GATEWAYS_NEED_TO: &str = "must not be defined when the scope includes a Gateway, select only proxyType \
                                           Sidecar or select only gateways and use spec.to";

/// True when a policy is about gateways, too.
///
/// Source: Kuma `api/common/v1alpha1/targetref.go`, `IncludesGateways`.
pub(crate) fn includes_gateways(target: Option<&TargetRef>) -> bool {
    let types = target.and_then(|target| target.proxy_types.as_deref()).unwrap_or_default();
    match top_kind(target) {
        TargetKind::MeshGateway | TargetKind::MeshHTTPRoute => true,
        TargetKind::Mesh | TargetKind::MeshSubset => types.is_empty() || types.contains(&ProxyType::Gateway),
        _ => false,
    }
}

/// The warnings for clients given as services, one each.
pub(crate) fn service_clients<'a>(clients: impl Iterator<Item = &'a TargetRef>) -> impl Iterator<Item = String> {
    clients.filter(|client| client.kind == TargetKind::MeshService).map(|_| {
        "MeshService value for 'from[].targetRef.kind' is deprecated, use MeshSubset with 'kuma.io/service' instead"
            .to_owned()
    })
}
