//! What routes lead to.
//!
//! Source: Kuma `pkg/plugins/policies/core/rules/resolve/backendref.go`.

use std::fmt;

use tandem_model::kri::Kri;
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::Tags;

use crate::destinations::Destinations;
use crate::reach::BACKEND_KINDS;
use crate::schema::BackendRef;

/// A destination of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it leads.
    pub target: BackendTarget,
    /// Share of the traffic relative to that of the others; zero for none.
    pub weight: u32,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendTarget {
    /// To what has these tags, one of which is `kuma.io/service`.
    Tags(Tags),
    /// To a resource, which need not exist.
    Port {
        /// The resource.
        destination: Kri,
        /// Name or number of its port; empty where none is told.
        port: String,
    },
}

impl fmt::Display for BackendTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags(tags) => {
                let tags: Vec<_> = tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
                write!(f, "{}", tags.join(","))
            }
            Self::Port { destination, port } => write!(f, "{}", destination.clone().with_section(port.clone())),
        }
    }
}

impl Backend {
    /// What a reference in the route with identifier `route` means: by labels the oldest resource that has them all. `None` when no
    /// resource has.
    pub fn resolve(reference: &BackendRef, route: &Kri, destinations: &Destinations) -> Option<Self> {
        let target = reference.target_ref();
        let kind = target.kind.resource_kind().filter(|_| reference.references_resource());
        let Some(kind) = kind.filter(|kind| BACKEND_KINDS.contains(kind)) else {
            let service = (SERVICE_TAG.to_owned(), target.name().to_owned());
            let tags = reference.tags.clone().unwrap_or_default().into_iter().chain([service]).collect();
            return Some(Self { target: BackendTarget::Tags(tags), weight: reference.weight });
        };
        let destination = match target.labels() {
            Some(labels) => {
                let oldest = destinations.labelled(kind, labels).into_iter().min_by_key(|found| found.resource.created);
                oldest?.kri.clone()
            }
            None => target.kri(route)?,
        };
        let port = match (target.section_name(), reference.port) {
            ("", Some(number)) if number > 0 => number.to_string(),
            (name, _) => name.to_owned(),
        };
        Some(Self { target: BackendTarget::Port { destination, port }, weight: reference.weight })
    }
}

/// Checks that Envoy takes the weights.
///
/// # Errors
/// When their sum is too large, with the reason.
pub(crate) fn check_weights(backends: &[Backend]) -> Result<(), String> {
    let sum: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    match sum > u64::from(u32::MAX) {
        true => Err(format!("the weights of its backendRefs add up to {sum}, the most is {}", u32::MAX)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tandem_model::kind::Kind;
    use tandem_model::resource::{Resource, ResourceKey};

    use super::*;

    fn service(name: &str, created: &str) -> Arc<Resource> {
        let spec = json!({"ports": [{"name": "web", "port": 80}]});
        let mut resource = Resource::from_json(ResourceKey::new(Kind::MeshService, "m", name), spec);
        resource.created = created.parse().expect("a time");
        Arc::new(resource.with_labels([("team", "x"), ("kuma.io/zone", "east")]))
    }

    fn resolved(reference: Value) -> Option<String> {
        let destinations =
            Destinations::new([service("a", "2026-01-02T00:00:00Z"), service("b", "2026-01-01T00:00:00Z")]);
        let reference: BackendRef = serde_json::from_value(reference).expect("a reference");
        let route: Kri = "kri_mhttpr_m_west_ns_r_rule_0".parse().expect("an identifier");
        let backend = Backend::resolve(&reference, &route, &destinations)?;
        Some(format!("{} {}", backend.target, backend.weight))
    }

    #[test]
    fn references_mean_services_or_resources() {
        let found = |reference| resolved(reference).unwrap_or_default();
        assert_eq!(found(json!({"kind": "MeshService", "name": "a"})), "kuma.io/service=a 1");
        let subset = json!({"kind": "MeshServiceSubset", "name": "a", "tags": {"v": "1"}, "weight": 0});
        assert_eq!(found(subset), "kuma.io/service=a,v=1 0");
        let by_number = json!({"kind": "MeshService", "name": "a", "port": 80, "weight": 9});
        assert_eq!(found(by_number), "kri_msvc_m_west_ns_a_80 9", "of the zone and the namespace of the route");
        let by_name = json!({"kind": "MeshService", "name": "a", "namespace": "other", "sectionName": "web"});
        assert_eq!(found(by_name), "kri_msvc_m_west_other_a_web 1");
        assert_eq!(found(json!({"kind": "MeshExternalService", "name": "e"})), "kri_extsvc_m_west_ns_e_ 1");
    }

    #[test]
    fn labels_mean_the_oldest_resource() {
        let labelled = |value: &str| json!({"kind": "MeshService", "labels": {"team": value}, "port": 80});
        assert_eq!(resolved(labelled("x")).as_deref(), Some("kri_msvc_m_east__b_80 1"));
        assert_eq!(resolved(labelled("y")), None);
    }
}
