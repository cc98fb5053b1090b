//! What the specification of a Mesh means, and who may join it.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/mesh/mesh_helpers.go`, `pkg/core/managers/apis/dataplane/membership.go`
//! for constraints, and `pkg/plugins/ca/builtin` for the names of secrets.

use tandem_proto::mesh::v1alpha1::certificate_authority_backend::Mode as MtlsMode;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode as MeshServicesMode;
use tandem_proto::mesh::v1alpha1::{CertificateAuthorityBackend, Dataplane, Mesh};

use crate::dataplane::DataplaneExt;
use crate::tags::{ANY, Tags, display};

/// Meaning of a Mesh's specification.
pub trait MeshExt {
    /// The certificate authority in use; `None` when mutual TLS is off.
    fn enabled_backend(&self) -> Option<&CertificateAuthorityBackend>;
    /// True when mutual TLS is on.
    fn mtls_enabled(&self) -> bool;
    /// True when mutual TLS is on and inbounds still accept plain text.
    fn mtls_permissive(&self) -> bool;
    /// How MeshServices come to be in the mesh.
    fn mesh_services_mode(&self) -> MeshServicesMode;
    /// True when traffic to unknown destinations passes; the default.
    fn passthrough(&self) -> bool;
    /// True when traffic to other zones and external services goes through the ZoneEgress.
    fn zone_egress(&self) -> bool;
    /// True when endpoints of the own zone are preferred.
    fn locality_aware(&self) -> bool;
}

impl MeshExt for Mesh {
    fn enabled_backend(&self) -> Option<&CertificateAuthorityBackend> {
        let mtls = self.mtls.as_ref().filter(|mtls| !mtls.enabled_backend.is_empty())?;
        mtls.backends.iter().find(|backend| backend.name == mtls.enabled_backend)
    }

    fn mtls_enabled(&self) -> bool {
        self.enabled_backend().is_some()
    }

    fn mtls_permissive(&self) -> bool {
        self.enabled_backend().is_some_and(|backend| backend.mode() == MtlsMode::Permissive)
    }

    fn mesh_services_mode(&self) -> MeshServicesMode {
        self.mesh_services.as_ref().map_or(MeshServicesMode::Disabled, |services| services.mode())
    }

    fn passthrough(&self) -> bool {
        let outbound = self.networking.as_ref().and_then(|networking| networking.outbound.as_ref());
        outbound.and_then(|outbound| outbound.passthrough).unwrap_or(true)
    }

    fn zone_egress(&self) -> bool {
        self.routing.as_ref().is_some_and(|routing| routing.zone_egress)
    }

    fn locality_aware(&self) -> bool {
        self.routing.as_ref().is_some_and(|routing| routing.locality_aware_load_balancing)
    }
}

/// Name of the Secret of the mesh that holds the certificate of a `builtin` backend.
pub fn builtin_cert_secret(mesh: &str, backend: &str) -> String {
    format!("{mesh}.ca-builtin-cert-{backend}")
}

/// Name of the Secret of the mesh that holds the private key of a `builtin` backend.
pub fn builtin_key_secret(mesh: &str, backend: &str) -> String {
    format!("{mesh}.ca-builtin-key-{backend}")
}

/// Why a Dataplane may not be a member of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The mesh has requirements and the tags meet none of them.
    #[error(
        "dataplane cannot be a member of mesh {mesh:?} because its tags {tags:?} does not fulfill any requirements \
         defined on the Mesh"
    )]
    Requirements {
        /// Name of the mesh.
        mesh: String,
        /// The tag set at fault.
        tags: String,
    },
    /// The tags meet a restriction.
    #[error(
        "dataplane cannot be a member of mesh {mesh:?} because its tags {tags:?} matches restricted tags \
         {restriction:?} defined on the Mesh"
    )]
    Restrictions {
        /// Name of the mesh.
        mesh: String,
        /// The tag set at fault.
        tags: String,
        /// Tags of the restriction.
        restriction: String,
    },
}

/// Checks the constraints of a mesh against every tag set of a Dataplane.
///
/// Call it with the tags as they will be stored, the zone's own included. A Dataplane without any tag set passes.
///
/// # Errors
/// For the first tag set that meets no requirement or meets a restriction.
pub fn check_membership(name: &str, mesh: &Mesh, dataplane: &Dataplane) -> Result<(), MembershipError> {
    let constraints = mesh.constraints.as_ref().and_then(|constraints| constraints.dataplane_proxy.as_ref());
    let Some(constraints) = constraints else { return Ok(()) };
    for tags in dataplane.tag_sets() {
        let requirements = &constraints.requirements;
        if !requirements.is_empty() && !requirements.iter().any(|rule| is_met(&rule.tags, tags)) {
            return Err(MembershipError::Requirements { mesh: name.to_owned(), tags: display(tags) });
        }
        if let Some(rule) = constraints.restrictions.iter().find(|rule| is_met(&rule.tags, tags)) {
            let restriction = display(&rule.tags);
            return Err(MembershipError::Restrictions { mesh: name.to_owned(), tags: display(tags), restriction });
        }
    }
    Ok(())
}

/// Unlike a selector, `*` asks for a value that is not empty, and an empty value for an absent or empty tag.
fn is_met(rule: &Tags, tags: &Tags) -> bool {
    rule.iter().all(|(tag, wanted)| {
        let value = tags.get(tag).map_or("", String::as_str);
        if wanted == ANY { !value.is_empty() } else { wanted == value }
    })
}

#[cfg(test)]
mod tests {
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::{Gateway, Inbound};
    use tandem_proto::mesh::v1alpha1::mesh::dataplane_proxy_constraints::Rules;
    use tandem_proto::mesh::v1alpha1::mesh::{Constraints, DataplaneProxyConstraints, Mtls};

    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn rules(of: &[&[(&str, &str)]]) -> Vec<Rules> {
        of.iter().map(|pairs| Rules { tags: tags(pairs) }).collect()
    }

    fn mesh(requirements: &[&[(&str, &str)]], restrictions: &[&[(&str, &str)]]) -> Mesh {
        let constraints =
            DataplaneProxyConstraints { requirements: rules(requirements), restrictions: rules(restrictions) };
        Mesh { constraints: Some(Constraints { dataplane_proxy: Some(constraints) }), ..Default::default() }
    }

    fn sidecar(inbounds: &[&[(&str, &str)]]) -> Dataplane {
        let inbound = inbounds.iter().map(|pairs| Inbound { tags: tags(pairs), ..Default::default() }).collect();
        Dataplane { networking: Some(Networking { inbound, ..Default::default() }), ..Default::default() }
    }

    fn refusal(mesh: &Mesh, dataplane: &Dataplane) -> Option<String> {
        check_membership("default", mesh, dataplane).err().map(|error| error.to_string())
    }

    #[test]
    fn every_tag_set_meets_a_requirement() {
        let mesh = mesh(&[&[("kuma.io/zone", "east"), ("team", "*")], &[("admin", "true")]], &[]);
        assert_eq!(refusal(&mesh, &sidecar(&[&[("kuma.io/zone", "east"), ("team", "a")], &[("admin", "true")]])), None);
        assert_eq!(
            refusal(&mesh, &sidecar(&[&[("admin", "true")], &[("team", "a"), ("kuma.io/zone", "west")]])).as_deref(),
            Some(
                "dataplane cannot be a member of mesh \"default\" because its tags \"kuma.io/zone=west team=a\" does \
                 not fulfill any requirements defined on the Mesh"
            )
        );
        assert!(refusal(&mesh, &sidecar(&[&[("kuma.io/zone", "east"), ("team", "")]])).is_some());
    }

    #[test]
    fn no_tag_set_meets_a_restriction() {
        let mesh = mesh(&[], &[&[("legacy", "*")]]);
        assert_eq!(refusal(&mesh, &sidecar(&[&[("legacy", "")]])), None);
        assert_eq!(
            refusal(&mesh, &sidecar(&[&[("a", "b")], &[("legacy", "yes")]])).as_deref(),
            Some(
                "dataplane cannot be a member of mesh \"default\" because its tags \"legacy=yes\" matches restricted \
                 tags \"legacy=*\" defined on the Mesh"
            )
        );
    }

    #[test]
    fn gateways_are_checked_even_without_tags() {
        let gateway = Dataplane {
            networking: Some(Networking { gateway: Some(Gateway::default()), ..Default::default() }),
            ..Default::default()
        };
        assert!(refusal(&mesh(&[&[("team", "*")]], &[]), &gateway).is_some());
        assert_eq!(refusal(&mesh(&[&[("team", "")]], &[]), &gateway), None);
        assert_eq!(refusal(&Mesh::default(), &gateway), None);
    }

    #[test]
    fn meanings_of_an_empty_mesh() {
        let mesh = Mesh::default();
        assert!(!mesh.mtls_enabled());
        assert!(mesh.passthrough());
        assert!(!mesh.zone_egress());
        assert_eq!(mesh.mesh_services_mode(), MeshServicesMode::Disabled);
    }

    #[test]
    fn the_enabled_backend_is_the_named_one() {
        let backend = CertificateAuthorityBackend {
            name: "ca-1".into(),
            mode: MtlsMode::Permissive.into(),
            ..Default::default()
        };
        let with = |enabled: &str| Mesh {
            mtls: Some(Mtls { enabled_backend: enabled.into(), backends: vec![backend.clone()], ..Default::default() }),
            ..Default::default()
        };
        assert!(with("ca-1").mtls_permissive());
        assert!(!with("").mtls_enabled());
        assert!(!with("ca-2").mtls_enabled());
    }
}
