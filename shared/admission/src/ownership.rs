//! What deletes what.
//!
//! Source: Kuma `pkg/core/resources/manager` and the managers of single kinds. Dataplanes, ExternalServices, RateLimits
//! and user secrets have no owner there and outlive their mesh; so they do here, for the same reason that the names
//! must mean the same in a mixed deployment.

use tandem_model::{Kind, ResourceKey};

/// The resource whose deletion deletes the one under `key`, for resources written on this control plane.
pub fn owner(key: &ResourceKey) -> Option<ResourceKey> {
    let same = |kind: Kind| Some(ResourceKey::new(kind, key.mesh.clone(), key.name.clone()));
    match key.kind {
        Kind::Dataplane | Kind::ExternalService | Kind::RateLimit | Kind::Secret => None,
        Kind::MeshInsight => Some(ResourceKey::global(Kind::Mesh, key.name.clone())),
        Kind::DataplaneInsight => same(Kind::Dataplane),
        Kind::ZoneIngressInsight => same(Kind::ZoneIngress),
        Kind::ZoneEgressInsight => same(Kind::ZoneEgress),
        Kind::ZoneInsight => same(Kind::Zone),
        kind if kind.is_mesh_scoped() => Some(ResourceKey::global(Kind::Mesh, key.mesh.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let owned = |kind, mesh: &str| owner(&ResourceKey::new(kind, mesh, "x")).map(|key| key.to_string());
        assert_eq!(owned(Kind::MeshTimeout, "m").as_deref(), Some(r#"type="Mesh" name="m" mesh="""#));
        assert_eq!(owned(Kind::MeshInsight, "").as_deref(), Some(r#"type="Mesh" name="x" mesh="""#));
        assert_eq!(owned(Kind::DataplaneInsight, "m").as_deref(), Some(r#"type="Dataplane" name="x" mesh="m""#));
        assert_eq!(owned(Kind::ZoneInsight, "").as_deref(), Some(r#"type="Zone" name="x" mesh="""#));
        for kind in [Kind::Dataplane, Kind::Secret, Kind::RateLimit, Kind::ExternalService] {
            assert_eq!(owned(kind, "m"), None, "{kind}");
        }
        for kind in [Kind::Mesh, Kind::Zone, Kind::GlobalSecret, Kind::HostnameGenerator, Kind::Config] {
            assert_eq!(owned(kind, ""), None, "{kind}");
        }
    }
}
