//! From facts to the Config of a mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::vips::{NameKind, Vip, VipName, Vips as Addresses, config_name, mesh_of_config, parse};
use tandem_model::vips::{to_json, to_tag_first_json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Config;
use tandem_store::Write;

use super::VirtualAddressSettings;
use super::facts::{Concerned, Facts};
use super::names::Names;
use crate::services::vips::Vips;

/// All that is known, and which meshes have to be looked at again.
#[derive(Debug)]
pub(super) struct Planner {
    settings: VirtualAddressSettings,
    facts: Facts,
    kept: BTreeMap<String, Kept>,
    due: BTreeSet<String>,
}

/// The addresses of a mesh.
#[derive(Debug)]
struct Kept {
    /// The Config, and what it says.
    stored: Option<(Arc<Resource>, Result<Addresses, String>)>,
    range: Vips<VipName>,
    /// What was said about the mesh last, so that it is said once.
    problems: BTreeSet<String>,
}

/// What is to be done for a mesh.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The new Config; `None` when it is as it should be.
    pub(super) write: Option<Write>,
    /// How many names it has.
    pub(super) names: usize,
    /// What was not known to be wrong before; for people.
    pub(super) problems: Vec<String>,
}

impl Planner {
    pub(super) fn new(settings: VirtualAddressSettings) -> Self {
        Self { settings, facts: Facts::default(), kept: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// Forgets everything it was told.
    pub(super) fn clear(&mut self) {
        self.facts = Facts::default();
        self.kept.clear();
        self.due.clear();
    }

    /// True when a mesh has to be looked at again.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The meshes that have to be looked at again.
    pub(super) fn take_due(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.due)
    }

    /// A mesh has to be looked at once more.
    pub(super) fn retry(&mut self, mesh: String) {
        self.due.insert(mesh);
    }

    /// Takes notice of a resource that is now so, or is gone.
    pub(super) fn apply(&mut self, key: &ResourceKey, new: Option<&Arc<Resource>>) {
        if key.kind == Kind::Config {
            if let Some(mesh) = mesh_of_config(&key.name) {
                self.apply_config(mesh, new);
                self.due.insert(mesh.to_owned());
            }
            return;
        }
        let Self { settings, facts, .. } = self;
        match facts.apply(key, new.map(|resource| &**resource), &settings.zone, &settings.domain) {
            Concerned::These(meshes) => self.due.extend(meshes),
            Concerned::All => self.due.extend(facts.meshes.iter().cloned()),
        }
        if key.kind == Kind::Mesh && new.is_none() {
            self.kept.remove(&key.name);
            self.due.remove(&key.name);
        }
    }

    fn kept(&mut self, mesh: &str) -> &mut Kept {
        let Self { kept, settings, .. } = self;
        kept.entry(mesh.to_owned()).or_insert_with(|| Kept {
            stored: None,
            range: Vips::new(settings.range),
            problems: BTreeSet::new(),
        })
    }

    fn apply_config(&mut self, mesh: &str, new: Option<&Arc<Resource>>) {
        let said = |resource: &Arc<Resource>| {
            let text = resource.proto::<Config>().map_err(|error| error.to_string())?.config;
            parse(&text).map_err(|error| error.to_string())
        };
        let stored = new.map(|resource| (resource.clone(), said(resource)));
        let kept = self.kept(mesh);
        let old = std::mem::replace(&mut kept.stored, stored);
        let addresses = |stored: &Option<(_, Result<Addresses, String>)>| match stored {
            Some((_, Ok(addresses))) => addresses.clone(),
            _ => Addresses::new(),
        };
        let new = addresses(&kept.stored);
        for name in addresses(&old).keys().filter(|name| !new.contains_key(*name)) {
            kept.range.set(name, []);
        }
        for (name, vip) in new.iter().filter(|(name, _)| own_address(name).is_none()) {
            kept.range.set(name, [vip.address.as_str()]);
        }
    }

    /// Finds out what the Config of a mesh should be.
    pub(super) fn plan(&mut self, mesh: &str) -> Plan {
        if !self.facts.meshes.contains(mesh) {
            return Plan::default();
        }
        let Names { names, mut problems } = Names::of(&self.facts, mesh, self.settings.of_services);
        let (tag_first, range) = (self.settings.tag_first, self.settings.range);
        let kept = self.kept(mesh);
        let known = match &kept.stored {
            None => Addresses::new(),
            Some((_, Ok(addresses))) => addresses.clone(),
            Some((config, Err(reason))) => {
                // Whatever it holds may be in use: nothing is written over it.
                problems.insert(format!(
                    "the addresses stay as they are, because the Config {:?} cannot be read: {reason}; mend or delete it",
                    config.key.name
                ));
                return Plan { problems: kept.news(problems), ..Plan::default() };
            }
        };
        let mut wanted = Addresses::new();
        let mut without = Vec::new();
        for (name, targets) in names {
            let address = own_address(&name).map_or_else(|| kept.range.allocate(&name), Ok);
            if address.is_err() {
                without.push(name.to_string());
            }
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            wanted.insert(name, Vip { address, outbounds: targets.into_values().collect() });
        }
        if !without.is_empty() {
            problems.insert(format!(
                "all addresses of {range} are in use, so there is none for {}; give a larger range with dnsServer.CIDR",
                without.join(", ")
            ));
        }
        let write = (wanted != known).then(|| {
            let text = if tag_first { to_tag_first_json(&wanted) } else { to_json(&wanted) };
            let spec = Config { config: text };
            let key = ResourceKey::global(Kind::Config, config_name(mesh));
            let resource = Resource::from_proto(key.clone(), &spec);
            match &kept.stored {
                Some((stored, _)) => Write::Update {
                    resource: Resource { spec: resource.spec, ..(**stored).clone() },
                    expected: Some(stored.version),
                },
                None => Write::Create(resource.with_owner(ResourceKey::global(Kind::Mesh, mesh))),
            }
        });
        Plan { write, names: wanted.len(), problems: kept.news(problems) }
    }
}

impl Kept {
    /// Remembers what is wrong; returns what was not known.
    fn news(&mut self, problems: BTreeSet<String>) -> Vec<String> {
        let news = problems.difference(&self.problems).cloned().collect();
        self.problems = problems;
        news
    }
}

/// The address of a name that is one.
fn own_address(name: &VipName) -> Option<IpAddr> {
    (name.kind == NameKind::Host).then(|| name.name.parse().ok()).flatten()
}
