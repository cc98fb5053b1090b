//! A zone that was given another name.
//!
//! What was created in a zone carries its name. When the zone is renamed, all of that is renamed with it: else the zone
//! would take its own resources for those of another zone, and nobody could change them any more, because the label must
//! be that of the zone and may not be changed. Kuma leaves the labels as they are and forces the new name upon what it
//! sends. Global knows the zone under its new name as a new zone; the Zone with the old name is deleted there by hand.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use tandem_model::{Kind, Resource, Spec, label};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_store::{Reader, Write};

use crate::error::Reason;

/// The writes that give everything of this zone its present name, where it has one of the `former` ones.
pub(crate) async fn writes(store: &dyn Reader, former: &BTreeSet<String>, name: &str) -> Result<Vec<Write>, Reason> {
    let mut writes = Vec::new();
    for kind in Kind::all().filter(|kind| kind.descriptor().direction.provided_by_zone()) {
        for present in store.list(kind, None).await? {
            let ours = present.label(label::ORIGIN) == Some(label::ORIGIN_ZONE);
            if !ours || !present.label(label::ZONE).is_some_and(|zone| former.contains(zone)) {
                continue;
            }
            let mut resource = (*present).clone();
            resource.labels.insert(label::ZONE.to_owned(), name.to_owned());
            if kind == Kind::Dataplane {
                retag(&mut resource, former, name);
            }
            writes.push(Write::Update { resource, expected: Some(present.version) });
        }
    }
    Ok(writes)
}

/// Corrects the tags of a Dataplane. One that does not decode stays as it is; it is reported where it is used.
fn retag(resource: &mut Resource, former: &BTreeSet<String>, name: &str) {
    let Ok(mut dataplane) = resource.proto::<Dataplane>() else { return };
    let Some(networking) = &mut dataplane.networking else { return };
    let inbounds = networking.inbound.iter_mut().map(|inbound| &mut inbound.tags);
    let gateways = networking.gateway.iter_mut().map(|gateway| &mut gateway.tags);
    let mut changed = false;
    for tags in inbounds.chain(gateways) {
        changed |= retag_one(tags, former, name);
    }
    if changed {
        resource.spec = Spec::Proto(dataplane.encode_to_vec().into());
    }
}

fn retag_one(tags: &mut BTreeMap<String, String>, former: &BTreeSet<String>, name: &str) -> bool {
    match tags.get_mut(label::ZONE) {
        Some(zone) if former.contains(zone) => {
            name.clone_into(zone);
            true
        }
        _ => false,
    }
}
