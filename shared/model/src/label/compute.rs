//! Labels that the control plane adds to what a user gave.
//!
//! Source of the rules: Kuma `pkg/core/resources/model/resource.go` `ComputeLabels`, for Universal.

use tandem_proto::mesh::v1alpha1::Dataplane;

use super::{ENV, ENV_UNIVERSAL, LabelContext, MESH, ORIGIN, ORIGIN_GLOBAL, ORIGIN_ZONE, PROXY_TYPE, ZONE};
use crate::dataplane::DataplaneExt;
use crate::kind::Kind;
use crate::mode::Mode;
use crate::resource::{DEFAULT_MESH, DecodeError, Labels, Resource};

/// The labels of a resource that a user or proxy writes to this control plane: those it came with, completed.
///
/// # Errors
/// When a Dataplane cannot be decoded to find out whether it is a gateway.
pub fn compute(resource: &Resource, context: &LabelContext) -> Result<Labels, DecodeError> {
    let mut labels = resource.labels.clone();
    let kind = resource.kind();
    if kind.is_mesh_scoped() {
        let mesh = if resource.key.mesh.is_empty() { DEFAULT_MESH } else { &resource.key.mesh };
        set_default(&mut labels, MESH, mesh);
    }
    if !context.mode.is_global() && kind.descriptor().direction.provided_by_zone() {
        set_default(&mut labels, ORIGIN, ORIGIN_ZONE);
        if labels.get(ORIGIN).is_none_or(|origin| origin != ORIGIN_GLOBAL) {
            set_default(&mut labels, ZONE, &context.zone);
            set_default(&mut labels, ENV, ENV_UNIVERSAL);
        }
    }
    if let Some(proxy_type) = proxy_type(resource)? {
        labels.insert(PROXY_TYPE.to_owned(), proxy_type.to_owned());
    }
    Ok(labels)
}

fn set_default(labels: &mut Labels, name: &str, value: &str) {
    labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
}

fn proxy_type(resource: &Resource) -> Result<Option<&'static str>, DecodeError> {
    Ok(match resource.kind() {
        Kind::Dataplane => {
            let dataplane: Dataplane = resource.proto()?;
            Some(if dataplane.is_builtin_gateway() { "gateway" } else { "sidecar" })
        }
        Kind::ZoneIngress => Some("zoneingress"),
        Kind::ZoneEgress => Some("zoneegress"),
        _ => None,
    })
}

/// True when a resource with these labels was created on the side that `mode` names.
///
/// The label [`ORIGIN`] is relative to its holder: a zone sees `global` on everything global sent it.
pub fn is_locally_originated(mode: Mode, labels: &Labels) -> bool {
    let own = if mode.is_global() { ORIGIN_GLOBAL } else { ORIGIN_ZONE };
    labels.get(ORIGIN).is_none_or(|origin| origin == own)
}

#[cfg(test)]
mod tests {
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::Gateway;

    use super::*;
    use crate::resource::{ResourceKey, Spec};

    fn computed(mode: Mode, resource: &Resource) -> Vec<(String, String)> {
        let context = LabelContext { mode, zone: "east".into(), check_origin: true };
        compute(resource, &context).expect("the resources of these tests decode").into_iter().collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn resource(kind: Kind, mesh: &str) -> Resource {
        Resource::new(ResourceKey::new(kind, mesh, "x"), Spec::Proto(Default::default()))
    }

    const ZONE_MODE: Mode = Mode::Zone { federated: true };

    #[test]
    fn global_adds_the_mesh_only() {
        assert_eq!(computed(Mode::Global, &resource(Kind::MeshTimeout, "m")), pairs(&[(MESH, "m")]));
        assert_eq!(computed(Mode::Global, &resource(Kind::Mesh, "")), []);
    }

    #[test]
    fn a_zone_labels_what_zones_provide() {
        assert_eq!(
            computed(ZONE_MODE, &resource(Kind::MeshTimeout, "m")),
            pairs(&[(ENV, "universal"), (MESH, "m"), (ORIGIN, "zone"), (ZONE, "east")])
        );
        assert_eq!(
            computed(ZONE_MODE, &resource(Kind::GlobalSecret, "")),
            pairs(&[(ENV, "universal"), (ORIGIN, "zone"), (ZONE, "east")])
        );
        assert_eq!(computed(ZONE_MODE, &resource(Kind::TrafficPermission, "m")), pairs(&[(MESH, "m")]));
    }

    #[test]
    fn what_the_user_gave_stays() {
        let given = resource(Kind::MeshTimeout, "m").with_labels([(ORIGIN, "global"), (MESH, "n"), ("team", "a")]);
        assert_eq!(computed(ZONE_MODE, &given), pairs(&[(MESH, "n"), (ORIGIN, "global"), ("team", "a")]));
    }

    #[test]
    fn proxies_get_their_type() {
        let proxy = |gateway: Option<Gateway>| {
            let networking = Networking { gateway, ..Default::default() };
            let spec = Dataplane { networking: Some(networking), ..Default::default() };
            let resource = Resource::from_proto(ResourceKey::new(Kind::Dataplane, "m", "x"), &spec);
            computed(Mode::Global, &resource.with_labels([(PROXY_TYPE, "forged")]))
        };
        let builtin = Gateway { r#type: 1, ..Default::default() };
        assert_eq!(proxy(None), pairs(&[(MESH, "m"), (PROXY_TYPE, "sidecar")]));
        assert_eq!(proxy(Some(Gateway::default())), pairs(&[(MESH, "m"), (PROXY_TYPE, "sidecar")]));
        assert_eq!(proxy(Some(builtin)), pairs(&[(MESH, "m"), (PROXY_TYPE, "gateway")]));
        assert_eq!(computed(Mode::Global, &resource(Kind::ZoneIngress, "")), pairs(&[(PROXY_TYPE, "zoneingress")]));
        assert_eq!(computed(Mode::Global, &resource(Kind::ZoneEgress, "")), pairs(&[(PROXY_TYPE, "zoneegress")]));
    }

    #[test]
    fn origin_is_relative_to_the_holder() {
        let with = |origin: &str| Labels::from([(ORIGIN.to_owned(), origin.to_owned())]);
        assert!(is_locally_originated(Mode::Global, &Labels::new()));
        assert!(is_locally_originated(Mode::Global, &with("global")));
        assert!(!is_locally_originated(Mode::Global, &with("zone")));
        assert!(is_locally_originated(ZONE_MODE, &with("zone")));
        assert!(!is_locally_originated(ZONE_MODE, &with("global")));
    }
}
