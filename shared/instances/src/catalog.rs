//! The list of instances, as it is stored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Config;
use tandem_store::Write;
use tracing::warn;

/// Name of the Config that lists the instances. It does not travel to zones.
pub const CATALOG: &str = "cp-catalog";

/// One instance of a control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Instance {
    /// Id, `<hostname>-<4 hex digits>`.
    pub id: String,
    /// IP address at which other instances reach it.
    pub address: String,
    /// Port at which they do.
    pub inter_cp_port: u16,
    /// Whether it leads.
    pub leader: bool,
    /// Raised by the instance at every heartbeat.
    pub heartbeat: u64,
}

/// All entries, ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Catalog {
    pub(crate) instances: Vec<Instance>,
}

pub(crate) fn key() -> ResourceKey {
    ResourceKey::global(Kind::Config, CATALOG)
}

impl Catalog {
    /// The entries of a stored catalogue. One that cannot be read lists nobody: all instances enter themselves again.
    pub(crate) fn read(resource: Option<&Resource>) -> Self {
        let Some(resource) = resource else { return Self::default() };
        let read = resource
            .proto::<Config>()
            .map_err(|error| error.to_string())
            .and_then(|config| serde_json::from_str(&config.config).map_err(|error| error.to_string()));
        read.unwrap_or_else(|error| {
            warn!(error, "the list of instances (Config {CATALOG:?}) cannot be read; it is written anew");
            Self::default()
        })
    }

    /// The write that replaces what was read.
    pub(crate) fn write(&self, replaced: Option<&Arc<Resource>>) -> Write {
        let config = serde_json::to_string(self).expect("names and numbers have a JSON form");
        let resource = Resource::from_proto(key(), &Config { config });
        match replaced {
            Some(present) => Write::Update { resource, expected: Some(present.version) },
            None => Write::Create(resource),
        }
    }

    /// The entry of an instance, added when there is none.
    pub(crate) fn entry(&mut self, id: &str) -> &mut Instance {
        let at = match self.instances.binary_search_by(|instance| instance.id.as_str().cmp(id)) {
            Ok(at) => at,
            Err(at) => {
                self.instances.insert(at, Instance { id: id.to_owned(), ..Instance::default() });
                at
            }
        };
        &mut self.instances[at]
    }

    /// Puts entries that someone else wrote into order, each id once.
    pub(crate) fn normalize(mut self) -> Self {
        self.instances.sort_by(|one, other| one.id.cmp(&other.id));
        self.instances.dedup_by(|one, other| one.id == other.id);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_kuma_and_a_counter() {
        let mut catalog = Catalog::default();
        catalog.entry("b-2").leader = true;
        let own = catalog.entry("a-1");
        (own.address, own.inter_cp_port, own.heartbeat) = ("10.0.0.1".into(), 5683, 7);
        let Write::Create(resource) = catalog.write(None) else { panic!("nothing is replaced") };
        let config: Config = resource.proto().expect("a Config");
        assert_eq!(
            config.config,
            r#"{"instances":[{"id":"a-1","address":"10.0.0.1","interCpPort":5683,"leader":false,"heartbeat":7},{"id":"b-2","address":"","interCpPort":0,"leader":true,"heartbeat":0}]}"#
        );
        assert_eq!(Catalog::read(Some(&resource)), catalog);
    }

    #[test]
    fn what_others_wrote_is_read_leniently() {
        let read = |config: &str| {
            let resource = Resource::from_proto(key(), &Config { config: config.to_owned() });
            Catalog::read(Some(&resource)).normalize().instances
        };
        let kuma =
            r#"{"instances":[{"id":"b","address":"10.0.0.2","interCpPort":5683,"leader":true},{"id":"a"},{"id":"a"}]}"#;
        let ids: Vec<_> = read(kuma).into_iter().map(|instance| (instance.id, instance.leader)).collect();
        assert_eq!(ids, [("a".to_owned(), false), ("b".to_owned(), true)]);
        assert!(read("no JSON").is_empty());
    }
}
