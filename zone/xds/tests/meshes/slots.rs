//! Which resources there may be.

use serde_json::Value;
use tandem_model::{Kind, ResourceKey};

use crate::choice::Choice;
use crate::{global, legacy, policies, proxies, services};

/// Names of meshes. None of them is part of anything else in a configuration.
pub const MESHES: [&str; 3] = ["redmesh", "bluemesh", "greenmesh"];

/// Name of the zone.
pub const ZONE: &str = "east";

/// Services that exist in every mesh.
pub const SERVICES: [&str; 3] = ["web", "api", "db"];

/// Where a resource belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Number of the mesh; of resources of the whole zone, the number of meshes.
    pub mesh: usize,
    /// Distinguishes resources of a kind.
    pub number: usize,
}

impl Place {
    /// Name of the mesh.
    pub fn mesh(&self) -> &'static str {
        MESHES[self.mesh]
    }

    /// An address of a proxy of the mesh.
    pub fn address(&self, host: usize) -> String {
        format!("10.{}.0.{host}", self.mesh + 1)
    }

    /// A virtual address of the mesh.
    pub fn vip(&self, host: usize) -> String {
        format!("241.{}.0.{host}", self.mesh + 1)
    }

    /// A host name of the mesh.
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}.example", self.mesh())
    }

    /// A number by which the effect of a policy of the mesh is known.
    pub fn marker(&self) -> u32 {
        marker(self.mesh)
    }

    /// The marker as a duration.
    pub fn duration(&self) -> String {
        format!("{}s", self.marker())
    }
}

/// See [`Place::marker`].
pub fn marker(mesh: usize) -> u32 {
    77_031 + 100 * u32::try_from(mesh).expect("few meshes")
}

/// Makes the members of a resource beside type, mesh and name.
pub type Make = fn(&Place, &mut Choice) -> Value;

/// A resource that may exist.
pub struct Slot {
    pub key: ResourceKey,
    pub place: Place,
    pub make: Make,
}

/// All resources that may exist.
pub struct Slots {
    /// Number of meshes.
    pub meshes: usize,
    pub all: Vec<Slot>,
}

impl Slots {
    /// Those of a zone of so many meshes.
    pub fn new(meshes: usize) -> Self {
        let mut all = Vec::new();
        for (mesh, mesh_name) in MESHES.iter().enumerate().take(meshes) {
            let mut add = |kind: Kind, names: &[&str], make: Make| {
                for (number, name) in names.iter().enumerate() {
                    let name = name.replace("MESH", mesh_name);
                    let key = match kind {
                        Kind::Mesh | Kind::Config => ResourceKey::global(kind, name),
                        _ => ResourceKey::new(kind, *mesh_name, name),
                    };
                    all.push(Slot { key, place: Place { mesh, number }, make });
                }
            };
            add(Kind::Mesh, &["MESH"], global::mesh);
            add(Kind::Secret, &["MESH.ca-builtin-cert-ca-1", "root", "identity-root-ca", "outside-ca"], global::secret);
            add(Kind::Config, &["kuma-MESH-dns-vips"], global::vips);
            add(Kind::Dataplane, &["dp-0", "dp-1", "dp-2", "dp-3"], proxies::dataplane);
            add(Kind::ServiceInsight, &["all-services-MESH"], global::service_insight);
            services::KINDS.iter().for_each(|(kind, names, make)| add(*kind, names, *make));
            policies::KINDS.iter().for_each(|(kind, make)| add(*kind, &["policy", "other"], *make));
            legacy::KINDS.iter().for_each(|(kind, make)| add(*kind, &["policy", "other"], *make));
        }
        let mut add = |kind: Kind, names: &[&str], make: Make| {
            for (number, name) in names.iter().enumerate() {
                all.push(Slot { key: ResourceKey::global(kind, *name), place: Place { mesh: meshes, number }, make });
            }
        };
        add(Kind::ZoneIngress, &["ingress", "west-1", "west-2", "north"], proxies::ingress);
        add(Kind::ZoneEgress, &["egress-1", "egress-2"], proxies::egress);
        Self { meshes, all }
    }

    /// Number of resources.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Host names in place of addresses, and the address that each leads to.
    pub fn hostnames(&self) -> Vec<(String, String)> {
        let of_mesh = |mesh| {
            let place = Place { mesh, number: 0 };
            (place.host("dp"), place.address(99))
        };
        let ingress = ("ingress.west.example".to_owned(), "192.0.2.99".to_owned());
        (0..self.meshes).map(of_mesh).chain([ingress]).collect()
    }
}
