//! Resources for tests.

pub(crate) mod envoy_json;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::certificate_authority_backend::Mode;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Inbound, Outbound};
use tandem_proto::system::v1alpha1 as system;

use crate::{
    AdminTls, Cache, Features, GenerateError, Generated, Identity, MeshIndex, ProxyInput, ProxyMetadata, ResourceType,
    Touched, WorkloadIdentity, ZoneSettings, generate, identity_requests, workload_request,
};

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

/// A zone with its index and cache.
pub(crate) struct Zone {
    pub index: MeshIndex,
    pub cache: Cache,
}

impl Zone {
    pub fn new(name: &str, resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut zone = Self { index: MeshIndex::new(ZoneSettings::new(name)), cache: Cache::default() };
        resources.into_iter().for_each(|resource| drop(zone.put(resource)));
        let mut problems = zone.index.take_problems();
        // Some go without an authority on purpose.
        problems.retain(|problem| problem.key.kind != Kind::Mesh);
        assert_eq!(problems, []);
        zone
    }

    pub fn put(&mut self, resource: Resource) -> Touched {
        let resource = Arc::new(resource);
        self.index.apply([change(&resource)])
    }

    /// Generates for a proxy with an identity in every mesh that asks for one.
    pub fn generate(&self, key: &ResourceKey, previous: Option<&Generated>) -> Result<Generated, GenerateError> {
        let snapshot = self.index.snapshot();
        let requests = identity_requests(&snapshot, key);
        let identities = requests.into_iter().map(|request| (request.mesh, self.identity())).collect();
        self.generate_with(key, &metadata(), &identities, previous)
    }

    pub fn generate_with(
        &self,
        key: &ResourceKey,
        metadata: &ProxyMetadata,
        identities: &BTreeMap<String, Arc<Identity>>,
        previous: Option<&Generated>,
    ) -> Result<Generated, GenerateError> {
        let material = AdminTls { ca: b"CA".into(), certificate: b"CERT".into(), private_key: b"KEY".into() };
        let snapshot = self.index.snapshot();
        let workload = workload_request(&snapshot, key).filter(|request| request.identity.ready);
        let workload = workload.map(|request| {
            Arc::new(WorkloadIdentity { name: request.identity.kri.to_string().into(), certificate: self.identity() })
        });
        let workload = workload.as_ref();
        let input = ProxyInput { key, metadata, identities, workload, admin_tls: Some(&material), previous };
        generate(&snapshot, &input, &self.cache)
    }

    /// The identity of every proxy.
    fn identity(&self) -> Arc<Identity> {
        static IDENTITY: LazyLock<Arc<Identity>> =
            LazyLock::new(|| Arc::new(Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() }));
        IDENTITY.clone()
    }
}

/// A certificate and its key.
pub(crate) struct ClientPair {
    pub chain: &'static str,
    pub key: &'static str,
}

/// A self-signed certificate with its key, in PEM; the same in every call.
pub(crate) fn client_pair() -> ClientPair {
    static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["client.example".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    ClientPair { chain: &PAIR.0, key: &PAIR.1 }
}

/// The certificate of an authority, PEM.
pub(crate) fn authority() -> &'static str {
    static AUTHORITY: LazyLock<String> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["authority".to_owned()]).expect("a name and a fresh key");
        made.cert.pem()
    });
    &AUTHORITY
}

/// A MeshTrust of one authority.
pub(crate) fn trust(mesh: &str, name: &str, domain: &str, pem: &str) -> Resource {
    let bundle = serde_json::json!({"type": "Pem", "pem": {"value": pem}});
    let spec = serde_json::json!({"trustDomain": domain, "caBundles": [bundle]});
    Resource::from_json(ResourceKey::new(Kind::MeshTrust, mesh, name), spec)
}

/// What a proxy of today tells.
pub(crate) fn metadata() -> ProxyMetadata {
    ProxyMetadata {
        admin_port: 9901,
        readiness_port: 9902,
        features: Features::from_names([
            "feature-embedded-dns",
            "feature-readiness-unix-socket",
            "feature-strict-inbound-ports",
            "feature-reuse-port",
        ]),
        workdir: "/w".into(),
        ..ProxyMetadata::default()
    }
}

/// Names of the resources of one type.
pub(crate) fn names(generated: &Generated, resource_type: ResourceType) -> Vec<&str> {
    generated.resources.of(resource_type).iter().map(|resource| &*resource.name).collect()
}

/// A resource as JSON.
pub(crate) fn json(generated: &Generated, resource_type: ResourceType, name: &str) -> serde_json::Value {
    let resource = generated.resources.get(resource_type, name).unwrap_or_else(|| panic!("{name} is not there"));
    envoy_json::any_to_json(&resource.body)
}

/// A policy of a kind for the whole mesh; `list` is `to` or `from`.
pub(crate) fn for_all(kind: Kind, mesh: &str, name: &str, list: &str, conf: serde_json::Value) -> Resource {
    let all = serde_json::json!({"kind": "Mesh"});
    let spec = serde_json::json!({"targetRef": all, list: [{"targetRef": all, "default": conf}]});
    Resource::from_json(ResourceKey::new(kind, mesh, name), spec)
}

/// A MeshTimeout.
pub(crate) fn policy(mesh: &str, name: &str, spec: serde_json::Value) -> Resource {
    Resource::from_json(ResourceKey::new(Kind::MeshTimeout, mesh, name), spec)
}

/// A resource of a mesh from the members of its JSON form.
pub(crate) fn stored(kind: Kind, mesh: &str, name: &str, members: &serde_json::Value) -> Resource {
    use tandem_model::rest::{Unknown, from_json};
    let mut value = serde_json::json!({"type": kind.name(), "mesh": mesh, "name": name});
    for (member, content) in members.as_object().into_iter().flatten() {
        value[member] = content.clone();
    }
    from_json(value, None, Unknown::Refuse).expect("a valid resource").resource
}
