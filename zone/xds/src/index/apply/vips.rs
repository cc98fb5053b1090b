//! Changes of the Configs that keep virtual addresses.

use tandem_model::ResourceKey;
use tandem_model::vips::mesh_of_config;
use tandem_model::virtual_outbound::VirtualOutbound;

use super::New;
use crate::index::MeshIndex;
use crate::index::touched::Touched;
use crate::index::vips::{ALL_VIPS, VipsView, vips_of};

pub(super) fn config(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let Some(mesh) = mesh_of_config(&key.name) else { return };
    let settings = index.state.settings.clone();
    let view = index.decoded(key, new, |resource| VipsView::decode(resource, &settings)).unwrap_or_default();
    let without: Vec<_> = view.without_address().collect();
    if !without.is_empty() {
        let reason =
            format!("no virtual address is left for {}: give a larger range with dnsServer.CIDR", without.join(", "));
        index.report(key, reason);
    }
    let old = index.state.meshes.get(mesh).map(|state| state.vips.clone()).unwrap_or_default();
    if *old == *view {
        return;
    }
    let changed = old.changed_services(&view);
    index.mesh_mut(mesh).vips = view;
    index.drop_mesh_if_empty(mesh);
    if changed.is_empty() {
        return;
    }
    touched.services.insert((mesh.to_owned(), ALL_VIPS.to_owned()));
    touched.services.extend(changed.into_iter().map(|service| (mesh.to_owned(), vips_of(&service))));
}

/// Sidecars follow the Config; what they ask zone proxies for has the tags that VirtualOutbounds choose.
pub(super) fn virtual_outbound(index: &mut MeshIndex, key: &ResourceKey, new: New<'_>, touched: &mut Touched) {
    let outbound = index.decoded(key, new, |resource| VirtualOutbound::decode(resource));
    let old = index.state.meshes.get(&*key.mesh).and_then(|state| state.virtual_outbounds.get(key.name.as_str()));
    if old == outbound.as_ref() {
        return;
    }
    let outbounds = &mut index.mesh_mut(&key.mesh).virtual_outbounds;
    match outbound {
        Some(outbound) => outbounds.insert_mut(key.name.as_str().into(), outbound),
        None => {
            outbounds.remove_mut(key.name.as_str());
        }
    }
    index.drop_mesh_if_empty(&key.mesh);
    touched.zone_proxies = true;
}
