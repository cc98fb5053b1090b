//! What one zone gets from global.

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::{Kind, Resource};

use crate::catalogue::Entry;
use crate::codec::Encoded;
use crate::feature::Features;
use crate::filter::ToZone;
use crate::mapper;
use crate::sender::Outlet;

/// The outlet of the stream to one zone. Encoded forms are shared with the streams to all other zones.
#[derive(Debug)]
pub(crate) struct ZoneOutlet {
    pub(crate) zone: String,
    pub(crate) features: Features,
    pub(crate) skip_label_prefixes: Vec<String>,
}

impl Outlet for ZoneOutlet {
    fn identifier(&self) -> &str {
        "global"
    }

    fn sends(&self, kind: Kind) -> bool {
        kind.descriptor().direction.sent_to_zones()
    }

    fn admits(&self, resource: &Resource, disabled_zones: &BTreeSet<String>) -> bool {
        ToZone { zone: &self.zone, features: self.features, disabled_zones }.admits(resource)
    }

    fn encode(&self, entry: &Entry) -> Result<Arc<Encoded>, Arc<str>> {
        let hash_names = self.features.hash_suffix;
        entry.shared(hash_names, |resource| mapper::encode_for_zones(resource, hash_names, &self.skip_label_prefixes))
    }
}
