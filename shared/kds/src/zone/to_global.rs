//! What global gets from this zone.

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::{Kind, Resource};

use super::ZoneSettings;
use crate::catalogue::Entry;
use crate::codec::Encoded;
use crate::sender::Outlet;
use crate::{filter, mapper};

/// The outlet of the stream to global. Encoded forms are not kept: nobody else needs them.
#[derive(Debug)]
pub(crate) struct GlobalOutlet {
    pub(crate) zone: String,
    pub(crate) skip_label_prefixes: Vec<String>,
}

impl GlobalOutlet {
    /// The outlet of a zone with these settings.
    pub(crate) fn new(settings: &ZoneSettings) -> Self {
        Self { zone: settings.zone.clone(), skip_label_prefixes: settings.common.skip_label_prefixes.clone() }
    }
}

impl Outlet for GlobalOutlet {
    fn identifier(&self) -> &str {
        &self.zone
    }

    fn sends(&self, kind: Kind) -> bool {
        kind.descriptor().direction.sent_to_global()
    }

    fn admits(&self, resource: &Resource, _: &BTreeSet<String>) -> bool {
        filter::zone_sends(resource)
    }

    fn encode(&self, entry: &Entry) -> Result<Arc<Encoded>, Arc<str>> {
        mapper::encode_for_global(&entry.resource, &self.zone, &self.skip_label_prefixes)
            .map(Arc::new)
            .map_err(Arc::from)
    }
}
