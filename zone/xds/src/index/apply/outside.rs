//! Changes of what is spoken to services outside of the mesh.

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::{Kind, Kri, ResourceKey};

use crate::index::MeshIndex;
use crate::index::outside_tls::TlsSettings;
use crate::index::snapshot::MeshState;
use crate::index::touched::Touched;

/// What a resource says about TLS.
fn settings<'a>(state: &'a MeshState, key: &ResourceKey) -> Option<&'a TlsSettings> {
    match key.kind {
        Kind::ExternalService => state.externals.get(key.name.as_str())?.tls.as_ref(),
        _ => state.views.get(&Kri::of(state.destinations.get(key)?)?)?.outside_tls(),
    }
}

/// The resources that take certificates or keys from a Secret.
pub(super) fn users(index: &MeshIndex, secret: &ResourceKey) -> BTreeSet<ResourceKey> {
    let Some(state) = index.state.meshes.get(&*secret.mesh) else { return BTreeSet::new() };
    let uses = |key: &&ResourceKey| settings(state, key).is_some_and(|settings| settings.uses_secret(&secret.name));
    state.outside_tls.keys().filter(uses).cloned().collect()
}

/// Finds out again how TLS is spoken to a service outside of the mesh, once all other changes are taken in: secrets and what uses them
/// come in any order.
pub(super) fn refresh(index: &mut MeshIndex, key: &ResourceKey, touched: &mut Touched) {
    let Some(state) = index.state.meshes.get(&*key.mesh) else { return };
    let settings = settings(state, key);
    let new = settings.map(|settings| settings.load(&state.secrets).map(Arc::new).map_err(Arc::<str>::from));
    let old = state.outside_tls.get(key);
    if old == new.as_ref() {
        // What was known of it is forgotten when the resource itself changes.
        if let Some(Err(reason)) = new {
            index.report(key, reason);
        }
        return;
    }
    // Proxies tell which of their destinations cannot be reached, and reach ExternalServices themselves.
    let is_wrong = |tls: Option<&Result<_, _>>| tls.is_some_and(Result::is_err);
    if key.kind == Kind::ExternalService || is_wrong(old) || is_wrong(new.as_ref()) {
        touched.meshes.insert(key.mesh.clone());
    }
    touched.zone_proxies = true;
    if new.is_some() {
        // What the resource itself lacks is told of already, and it was forgotten what it lacked before.
        index.settle(key);
    }
    if let Some(Err(reason)) = &new {
        index.report(key, reason);
    }
    let known = &mut index.mesh_mut(&key.mesh).outside_tls;
    match new {
        Some(new) => known.insert_mut(key.clone(), new),
        None => {
            known.remove_mut(key);
        }
    }
}
