//! What keeps a resource from being deleted.
//!
//! Texts: Kuma `pkg/core/managers/apis/{mesh,zone}` and `pkg/core/secrets/manager`.

use tandem_model::{Kind, Path, ResourceKey, Violations};
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_proto::system::v1alpha1::ZoneInsight;
use tandem_store::Reader;

use crate::ca;
use crate::error::Reason;
use crate::settings::AdmissionSettings;

/// Checks that nothing needs the resource under `key`.
pub(crate) async fn check(store: &dyn Reader, settings: &AdmissionSettings, key: &ResourceKey) -> Result<(), Reason> {
    if settings.unsafe_delete {
        return Ok(());
    }
    let violations = match key.kind {
        Kind::Mesh if !store.list(Kind::Dataplane, Some(&key.name)).await?.is_empty() => {
            Violations::one(&Path::new("mesh"), "unable to delete mesh, there are still some dataplanes attached")
        }
        Kind::Zone if is_zone_online(store, &key.name).await? => Violations::one(
            &Path::new("zone"),
            "unable to delete Zone, Zone CP is still connected, please shut it down first",
        ),
        Kind::Secret if !settings.mode.is_federated_zone() => users_of_secret(store, key).await?,
        _ => Violations::none(),
    };
    Ok(violations.into_result()?)
}

/// Whether a zone has a connection to global that was opened and not closed.
pub(crate) async fn is_zone_online(store: &dyn Reader, zone: &str) -> Result<bool, Reason> {
    let Some(insight) = store.get(&ResourceKey::global(Kind::ZoneInsight, zone)).await? else { return Ok(false) };
    let insight: ZoneInsight = insight.proto()?;
    Ok(insight.subscriptions.iter().any(|s| s.connect_time.is_some() && s.disconnect_time.is_none()))
}

async fn users_of_secret(store: &dyn Reader, key: &ResourceKey) -> Result<Violations, Reason> {
    let mut violations = Violations::none();
    let Some(mesh) = store.get(&ResourceKey::global(Kind::Mesh, key.mesh.as_str())).await? else {
        return Ok(violations);
    };
    let mesh: Mesh = mesh.proto()?;
    for backend in mesh.mtls.iter().flat_map(|mtls| &mtls.backends) {
        if ca::used_secrets(&key.mesh, backend).contains(&key.name) {
            let (secret, mesh, backend) = (&key.name, &key.mesh, &backend.name);
            violations.add(
                &Path::new("name"),
                format!(
                    "The secret {secret:?} that you are trying to remove is currently in use in Mesh {mesh:?} in mTLS \
                     backend {backend:?}. Please remove the reference from the {backend:?} backend before removing \
                     the secret."
                ),
            );
        }
    }
    Ok(violations)
}
