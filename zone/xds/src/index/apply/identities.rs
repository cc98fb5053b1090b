//! Changes of MeshIdentities and MeshTrusts.

use std::sync::Arc;

use tandem_model::ResourceKey;

use super::New;
use crate::index::MeshIndex;
use crate::index::identity::MeshIdentityView;
use crate::index::snapshot::Authority;
use crate::index::touched::Touched;
use crate::index::trust::{TrustBundle, TrustView};

pub(super) fn identity(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let name: Arc<str> = key.name.as_str().into();
    let decoded = index.decoded(key, new, MeshIdentityView::decode).and_then(Arc::into_inner).flatten();
    let old = index.state.meshes.get(&*key.mesh).and_then(|mesh| mesh.identities.get(&name));
    match (old, &decoded) {
        (None, None) => return,
        (Some(old), Some(new)) if old.is_same(new) => return,
        _ => {}
    }
    let state = index.mesh_mut(&key.mesh);
    match decoded {
        Some(view) => {
            state.identities.insert_mut(name, Arc::new(view));
        }
        None => {
            state.identities.remove_mut(&name);
        }
    }
    index.security_changed(&key.mesh, touched);
    index.drop_mesh_if_empty(&key.mesh);
}

pub(super) fn trust(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let name: Arc<str> = key.name.as_str().into();
    let view = index.decoded(key, new, TrustView::decode);
    let old = index.state.meshes.get(&*key.mesh).and_then(|mesh| mesh.trusts.get(&name));
    if old == view.as_ref() {
        return;
    }
    let state = index.mesh_mut(&key.mesh);
    match view {
        Some(view) => {
            state.trusts.insert_mut(name, view);
        }
        None => {
            state.trusts.remove_mut(&name);
        }
    }
    if index.refresh_trust(&key.mesh) {
        index.security_changed(&key.mesh, touched);
    }
    index.drop_mesh_if_empty(&key.mesh);
}

impl MeshIndex {
    /// Gathers again whom the proxies of a mesh trust. True when that changed.
    pub(super) fn refresh_trust(&mut self, mesh: &str) -> bool {
        let Some(state) = self.state.meshes.get(mesh) else { return false };
        let authority = match &state.authority {
            Authority::Root(root) => Some(&**root),
            Authority::Missing(_) | Authority::Off => None,
        };
        let bundle = TrustBundle::of(state.trusts.values(), mesh, authority);
        let changed = *state.trust != bundle;
        if changed {
            self.mesh_mut(mesh).trust = Arc::new(bundle);
        }
        changed
    }

    /// True when the authority of a MeshIdentity of the mesh is, in part, in a Secret.
    pub(super) fn is_authority_of_identity(&self, mesh: &str, secret: &str) -> bool {
        let state = self.state.meshes.get(mesh);
        state.is_some_and(|state| state.identities.values().any(|identity| identity.refers_to(secret)))
    }

    /// All proxies of a mesh have to look at their certificates again.
    fn security_changed(&mut self, mesh: &str, touched: &mut Touched) {
        let revision = self.next_revision();
        self.mesh_mut(mesh).config_revision = revision;
        touched.meshes.insert(mesh.to_owned());
        touched.zone_proxies = true;
    }
}
