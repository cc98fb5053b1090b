//! Resources for tests.

use std::sync::Arc;

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::certificate_authority_backend::Mode;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Inbound, Outbound};
use tandem_proto::system::v1alpha1 as system;

/// The form in which the index takes a resource that exists.
pub(crate) fn change(resource: &Arc<Resource>) -> (&ResourceKey, Option<&Arc<Resource>>) {
    (&resource.key, Some(resource))
}

/// A Mesh under construction.
pub(crate) struct MeshBuilder {
    name: String,
    pub spec: pb::Mesh,
}

pub(crate) fn mesh(name: &str) -> MeshBuilder {
    MeshBuilder { name: name.into(), spec: pb::Mesh::default() }
}

impl MeshBuilder {
    pub fn mtls(mut self) -> Self {
        let backend =
            pb::CertificateAuthorityBackend { name: "ca-1".into(), r#type: "builtin".into(), ..Default::default() };
        self.spec.mtls =
            Some(pb::mesh::Mtls { enabled_backend: "ca-1".into(), backends: vec![backend], skip_validation: false });
        self
    }

    pub fn permissive(mut self) -> Self {
        self.spec.mtls.as_mut().expect("call mtls first").backends[0].mode = Mode::Permissive.into();
        self
    }

    pub fn zone_egress(mut self) -> Self {
        self.spec.routing.get_or_insert_default().zone_egress = true;
        self
    }

    pub fn locality_aware(mut self) -> Self {
        self.spec.routing.get_or_insert_default().locality_aware_load_balancing = true;
        self
    }

    pub fn resource(&self) -> Resource {
        Resource::from_proto(ResourceKey::global(Kind::Mesh, self.name.as_str()), &self.spec)
    }

    /// The Mesh and the secret with its certificate.
    pub fn with_authority(&self) -> Vec<Resource> {
        let key = ResourceKey::new(Kind::Secret, self.name.as_str(), format!("{}.ca-builtin-cert-ca-1", self.name));
        let secret = system::Secret { data: Some(format!("CA of {}", self.name).into_bytes()) };
        vec![self.resource(), Resource::from_proto(key, &secret)]
    }
}

/// A Dataplane under construction, at 10.0.0.1.
#[derive(Clone)]
pub(crate) struct DataplaneBuilder {
    key: ResourceKey,
    pub spec: pb::Dataplane,
}

pub(crate) fn dataplane(mesh: &str, name: &str) -> DataplaneBuilder {
    let networking = pb::dataplane::Networking { address: "10.0.0.1".into(), ..Default::default() };
    let spec = pb::Dataplane { networking: Some(networking), ..Default::default() };
    DataplaneBuilder { key: ResourceKey::new(Kind::Dataplane, mesh, name), spec }
}

impl DataplaneBuilder {
    fn networking(&mut self) -> &mut pb::dataplane::Networking {
        self.spec.networking.as_mut().expect("set by dataplane()")
    }

    pub fn address(mut self, address: &str) -> Self {
        self.networking().address = address.into();
        self
    }

    pub fn inbound(self, port: u32, service: &str) -> Self {
        self.inbound_with(port, &[("kuma.io/service", service)])
    }

    pub fn inbound_with(mut self, port: u32, tags: &[(&str, &str)]) -> Self {
        let tags = tags.iter().map(|&(tag, value)| (tag.into(), value.into())).collect();
        self.networking().inbound.push(Inbound { port, tags, ..Default::default() });
        self
    }

    pub fn outbound(mut self, port: u32, service: &str) -> Self {
        let tags = [("kuma.io/service".into(), service.into())].into();
        self.networking().outbound.push(Outbound { port, tags, ..Default::default() });
        self
    }

    pub fn resource(&self) -> Resource {
        Resource::from_proto(self.key.clone(), &self.spec)
    }
}

/// An ingress of a zone with services, each as mesh, name and number of instances. Speaks `http`.
pub(crate) fn remote_ingress(address: &str, name: &str, zone: &str, services: &[(&str, &str, u32)]) -> Resource {
    let address = if address == "default" { "198.51.100.1" } else { address };
    let available = services.iter().map(|&(mesh, service, instances)| pb::zone_ingress::AvailableService {
        tags: [("kuma.io/service", service), ("kuma.io/protocol", "http"), ("kuma.io/zone", zone)]
            .map(|(tag, value)| (tag.to_owned(), value.to_owned()))
            .into(),
        instances,
        mesh: mesh.into(),
        external_service: false,
    });
    let ingress = pb::ZoneIngress {
        zone: zone.into(),
        networking: Some(pb::zone_ingress::Networking {
            address: address.into(),
            advertised_address: address.into(),
            port: 10001,
            advertised_port: 10001,
            admin: None,
        }),
        available_services: available.collect(),
    };
    Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, name), &ingress)
}

/// An egress of this zone at 10.0.0.9.
pub(crate) fn egress(name: &str) -> Resource {
    let networking = pb::zone_egress::Networking { address: "10.0.0.9".into(), port: 10002, admin: None };
    Resource::from_proto(
        ResourceKey::global(Kind::ZoneEgress, name),
        &pb::ZoneEgress { zone: String::new(), networking: Some(networking) },
    )
}

/// A MeshTimeout.
pub(crate) fn policy(mesh: &str, name: &str, spec: serde_json::Value) -> Resource {
    Resource::from_json(ResourceKey::new(Kind::MeshTimeout, mesh, name), spec)
}
