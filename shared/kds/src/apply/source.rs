//! Which store of the peer stands behind what this control plane has of it, by type.
//!
//! Kept in a `Config` resource, `kds-peer-<peer>`, that never travels and goes with the Zone at global. It is written
//! together with what was taken from the store, so that after a restart of this side a full state of the same store is
//! known for what it is: everything that it does not list was deleted there.

use std::collections::{BTreeMap, BTreeSet};

use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Config;
use tandem_store::Write;
use tracing::warn;
use uuid::Uuid;

/// Name of the resource for a peer: a zone, or `global`.
pub(super) fn key(peer: &str) -> ResourceKey {
    ResourceKey::global(Kind::Config, format!("kds-peer-{peer}"))
}

/// The stores, each with the types that came from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources(BTreeMap<Uuid, BTreeSet<Kind>>);

impl Sources {
    /// Reads the resource. One that cannot be read says nothing, which is safe.
    pub(super) fn read(stored: Option<&Resource>) -> Self {
        let Some(stored) = stored else { return Self::default() };
        let read = stored.proto::<Config>().map_err(|error| error.to_string());
        let read = read.and_then(|config| parse(&config.config));
        read.unwrap_or_else(|error| {
            warn!(resource = %stored.key, error, "cannot be read; large deletions of the peer are held back until it is new");
            Self::default()
        })
    }

    /// The store that a type came from.
    pub(super) fn of(&self, kind: Kind) -> Option<Uuid> {
        self.0.iter().find(|(_, kinds)| kinds.contains(&kind)).map(|(store, _)| *store)
    }

    /// Sets it.
    pub(super) fn set(&mut self, kind: Kind, store: Option<Uuid>) {
        self.0.retain(|_, kinds| {
            kinds.remove(&kind);
            !kinds.is_empty()
        });
        if let Some(store) = store {
            self.0.entry(store).or_default().insert(kind);
        }
    }

    /// What has to be written for this to be stored in place of `stored`.
    pub(super) fn write(&self, stored: Option<&Resource>, key: ResourceKey, owner: Option<ResourceKey>) -> Write {
        let stores: BTreeMap<String, Vec<&str>> = self
            .0
            .iter()
            .map(|(store, kinds)| (store.to_string(), kinds.iter().map(|kind| kind.name()).collect()))
            .collect();
        let config = serde_json::json!(stores).to_string();
        let mut resource = Resource::from_proto(key, &Config { config });
        resource.owner = owner;
        match stored {
            None => Write::Create(resource),
            Some(stored) => Write::Update { resource, expected: Some(stored.version) },
        }
    }
}

fn parse(text: &str) -> Result<Sources, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let stores = value.as_object().ok_or("not an object")?;
    let mut sources = Sources::default();
    for (store, kinds) in stores {
        let store = Uuid::try_parse(store).map_err(|error| error.to_string())?;
        let kinds = kinds.as_array().ok_or("not a list of types")?;
        // A type that this version does not know is of no use to it.
        for kind in kinds.iter().filter_map(|kind| kind.as_str()?.parse().ok()) {
            sources.set(kind, Some(store));
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let mut sources = Sources::read(None);
        sources.set(Kind::Dataplane, Some(first));
        sources.set(Kind::MeshService, Some(first));
        sources.set(Kind::MeshService, Some(second));
        sources.set(Kind::Workload, Some(second));
        sources.set(Kind::Workload, None);
        let owner = Some(ResourceKey::global(Kind::Zone, "east"));
        let Write::Create(resource) = sources.write(None, key("east"), owner.clone()) else { panic!("it is new") };
        assert_eq!(resource.key.name, "kds-peer-east");
        assert_eq!(resource.owner, owner);
        let read = Sources::read(Some(&resource));
        assert_eq!(read, sources);
        assert_eq!(read.of(Kind::Dataplane), Some(first));
        assert_eq!(read.of(Kind::MeshService), Some(second));
        assert_eq!(read.of(Kind::Workload), None);
        assert!(matches!(
            read.write(Some(&resource), key("east"), None),
            Write::Update { expected: Some(version), .. } if version == resource.version
        ));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for text in ["", "[]", "{\"x\": []}", "{\"00000000-0000-0000-0000-000000000000\": 1}"] {
            let resource = Resource::from_proto(key("east"), &Config { config: text.to_owned() });
            assert_eq!(Sources::read(Some(&resource)), Sources::default(), "{text}");
        }
        let unknown = "{\"00000000-0000-0000-0000-000000000000\": [\"FromTheFuture\", \"Mesh\"]}";
        let resource = Resource::from_proto(key("east"), &Config { config: unknown.to_owned() });
        assert_eq!(Sources::read(Some(&resource)).of(Kind::Mesh), Some(Uuid::nil()));
    }
}
