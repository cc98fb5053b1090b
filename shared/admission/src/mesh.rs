//! What a Mesh must satisfy beyond its own shape, and what it brings with it.
//!
//! Rules and texts: Kuma `pkg/core/managers/apis/mesh` and `pkg/defaults/mesh`. Other than there, the mesh and
//! everything it brings are stored together or not at all.

use prost::Message;
use tandem_auth::keys::{self, Realm};
use tandem_model::{Resource, ResourceKey, Spec, name};
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_store::Reader;

use crate::default_policies::default_policies;
use crate::error::Reason;
use crate::settings::AdmissionSettings;
use crate::{authority_change, ca, metrics_defaults};

/// A Mesh ready to be stored, and the resources to be created with it.
pub(crate) struct Prepared {
    /// The mesh with its defaults.
    pub(crate) mesh: Resource,
    /// What is missing in the store of all it needs; owned by the mesh.
    pub(crate) brings: Vec<Resource>,
}

/// Checks a Mesh about to replace `stored` (or to be created) and prepares what it needs.
pub(crate) async fn prepare(
    store: &dyn Reader,
    settings: &AdmissionSettings,
    mut resource: Resource,
    stored: Option<&Resource>,
) -> Result<Prepared, Reason> {
    let mut mesh: Mesh = resource.proto()?;
    metrics_defaults::apply(&mut mesh)?;
    check(store, &resource.key.name, &mesh, stored).await?;

    let mut brings = ca::missing(store, &resource.key.name, &mesh).await?;
    if stored.is_none() {
        brings.extend(keys::missing(store, &Realm::Dataplane { mesh: resource.key.name.clone() }).await?);
        let skipped = &mesh.skip_creating_initial_policies;
        for policy in default_policies(&resource.key.name, skipped, settings.create_mesh_routing_resources) {
            if store.get(&policy.key).await?.is_none() {
                brings.push(policy);
            }
        }
    }
    for brought in &mut brings {
        brought.owner = Some(resource.key.clone());
    }
    resource.spec = Spec::Proto(mesh.encode_to_vec().into());
    Ok(Prepared { mesh: resource, brings })
}

async fn check(store: &dyn Reader, mesh_name: &str, mesh: &Mesh, stored: Option<&Resource>) -> Result<(), Reason> {
    let mut violations = match stored {
        None => name::validate_new_mesh(mesh_name),
        Some(stored) => authority_change::check(store, mesh_name, &stored.proto()?, mesh).await?,
    };
    violations.extend(ca::check(store, mesh_name, mesh).await?);
    Ok(violations.into_result()?)
}

/// The mesh of a resource, decoded.
pub(crate) async fn load(store: &dyn Reader, name: &str) -> Result<Mesh, Reason> {
    let key = ResourceKey::global(tandem_model::Kind::Mesh, name);
    match store.get(&key).await? {
        Some(mesh) => Ok(mesh.proto()?),
        None => Err(Reason::MeshNotFound(name.to_owned())),
    }
}
