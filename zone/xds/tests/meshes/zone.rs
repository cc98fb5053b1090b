//! A zone whose proxies are generated as in the program: again when a change concerns them, and only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_xds::{
    AdminTls, Cache, Features, Generated, Identity, MeshIndex, ProxyInput, ProxyMetadata, Snapshot, WorkloadIdentity,
    ZoneSettings, generate, identity_requests, workload_request,
};

use crate::choice::Choice;
use crate::slots::{Slots, ZONE};

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    /// A resource is written, or deleted.
    Resource { slot: usize, content: Option<u128> },
    /// A host name is looked up.
    Address { name: usize, found: bool },
}

type Stored = BTreeMap<ResourceKey, Arc<Resource>>;

/// What a proxy has.
struct Proxy {
    metadata: ProxyMetadata,
    /// The last good configuration.
    generated: Option<Generated>,
    /// What came of the last attempt: digest of each resource, certificates that it needs; or the reason why there is nothing.
    outcome: Outcome,
}

type Outcome = Result<Vec<String>, String>;

/// The zone.
pub struct World<'a> {
    slots: &'a Slots,
    features: u64,
    index: MeshIndex,
    cache: Cache,
    stored: Stored,
    /// Host names with known addresses.
    addresses: BTreeMap<String, String>,
    proxies: BTreeMap<ResourceKey, Proxy>,
}

impl<'a> World<'a> {
    /// An empty zone; the number decides what its proxies can do.
    pub fn new(slots: &'a Slots, features: u64) -> Self {
        Self {
            slots,
            features,
            index: MeshIndex::new(ZoneSettings::new(ZONE)),
            cache: Cache::default(),
            stored: Stored::new(),
            addresses: BTreeMap::new(),
            proxies: BTreeMap::new(),
        }
    }

    /// The changes after which the slots have these contents and all host names are known.
    pub fn filled(&self, contents: &[Option<u128>]) -> Vec<Change> {
        let resources = contents.iter().enumerate().map(|(slot, content)| Change::Resource { slot, content: *content });
        let names = (0..self.slots.hostnames().len()).map(|name| Change::Address { name, found: true });
        resources.chain(names).collect()
    }

    /// All configurations, by proxy.
    pub fn configurations(&self) -> impl Iterator<Item = (&ResourceKey, Result<&Generated, &String>)> {
        self.proxies.iter().filter_map(|(key, proxy)| match &proxy.outcome {
            Ok(_) => Some((key, Ok(proxy.generated.as_ref()?))),
            Err(reason) => Some((key, Err(reason))),
        })
    }

    /// Takes in changes at once, and generates again for whom they concern.
    pub fn change(&mut self, changes: &[Change]) {
        let mut written: Vec<(ResourceKey, Option<Arc<Resource>>)> = Vec::new();
        for change in changes {
            match change {
                Change::Resource { slot, content } => {
                    let slot = &self.slots.all[*slot];
                    let resource = content.map(|content| Arc::new(resource(slot, content)));
                    match &resource {
                        Some(resource) => drop(self.stored.insert(slot.key.clone(), resource.clone())),
                        None => drop(self.stored.remove(&slot.key)),
                    }
                    written.push((slot.key.clone(), resource));
                }
                Change::Address { name, found } => {
                    let (name, address) = self.slots.hostnames().swap_remove(*name);
                    if *found {
                        self.addresses.insert(name, address);
                    } else {
                        self.addresses.remove(&name);
                    }
                }
            }
        }
        let mut touched = self.index.apply(written.iter().map(|(key, resource)| (key, resource.as_ref())));
        // Names are looked up while something uses them.
        let used: Vec<_> = self.index.hostnames().map(str::to_owned).collect();
        for name in used {
            let address = self.addresses.get(&name).map(|address| address.parse().expect("an address"));
            touched.merge(self.index.resolve(&name, address));
        }
        let snapshot = self.index.snapshot();
        let keys: Vec<_> = self.stored.keys().filter(|key| is_proxy(key)).cloned().collect();
        self.proxies.retain(|key, _| self.stored.contains_key(key));
        for (number, key) in keys.iter().enumerate() {
            let none = Default::default();
            let known = self.proxies.get(key);
            let services =
                known.and_then(|proxy| proxy.generated.as_ref()).map_or(&none, |generated| &generated.services);
            if known.is_some() && !touched.concerns(key, services) {
                continue;
            }
            let proxy = self.proxies.entry(key.clone()).or_insert_with(|| Proxy {
                metadata: metadata(self.features.rotate_right(8 * (number as u32 % 8))),
                generated: None,
                outcome: Err(String::new()),
            });
            let (outcome, generated) = make(&snapshot, key, &proxy.metadata, &self.cache, proxy.generated.as_ref());
            proxy.outcome = outcome;
            if let Some(generated) = generated {
                proxy.generated = Some(generated);
            }
        }
    }

    /// Compares what every proxy has with what an index that is built now gives it.
    pub fn check(&self) -> Result<(), String> {
        let mut fresh = MeshIndex::new(ZoneSettings::new(ZONE));
        fresh.apply(self.stored.iter().map(|(key, resource)| (key, Some(resource))));
        for (name, address) in &self.addresses {
            fresh.resolve(name, Some(address.parse().expect("an address")));
        }
        let snapshot = fresh.snapshot();
        for (key, proxy) in &self.proxies {
            let (outcome, anew) = make(&snapshot, key, &proxy.metadata, &Cache::default(), None);
            if outcome == proxy.outcome {
                continue;
            }
            let now = self.index.snapshot();
            let (current, _) = make(&now, key, &proxy.metadata, &Cache::default(), None);
            let (cached, _) = make(&now, key, &proxy.metadata, &self.cache, proxy.generated.as_ref());
            let what = if current != outcome {
                "the index differs from one built anew"
            } else if cached != outcome {
                "what was kept is used although it is outdated"
            } else {
                "a change did not wake it"
            };
            return Err(format!("{key}: {what}: {}", difference(proxy, &outcome, anew.as_ref())));
        }
        Ok(())
    }
}

/// What differs, resource by resource.
fn difference(proxy: &Proxy, outcome: &Outcome, anew: Option<&Generated>) -> String {
    let (Ok(had), Ok(has), Some(old), Some(new)) = (&proxy.outcome, outcome, &proxy.generated, anew) else {
        return format!("{:?} instead of {outcome:?}", proxy.outcome);
    };
    let mut text = String::new();
    for (only, of, which) in [(had, has, old), (has, had, new)] {
        text.push_str(if std::ptr::eq(which, old) { "\nhas: " } else { "\nshould have: " });
        for line in only.iter().filter(|line| !of.contains(line)) {
            let resource = which.resources.iter().find(|(_, resource)| digest(&resource.body, &resource.name) == *line);
            match resource {
                Some((_, resource)) => match tandem_envoy_json::any_to_json(&resource.body) {
                    Ok(value) => text.push_str(&format!("\n  {value}")),
                    Err(error) => text.push_str(&format!("\n  {}: {error}", resource.name)),
                },
                None => text.push_str(&format!("\n  {line}")),
            }
        }
    }
    text
}

fn is_proxy(key: &ResourceKey) -> bool {
    match key.kind {
        Kind::Dataplane | Kind::ZoneEgress => true,
        Kind::ZoneIngress => key.name == "ingress",
        _ => false,
    }
}

/// The resource in a slot.
fn resource(slot: &crate::slots::Slot, content: u128) -> Resource {
    let mut choice = Choice(content);
    let mut document = (slot.make)(&slot.place, &mut choice);
    document["type"] = json!(slot.key.kind.name());
    document["name"] = json!(slot.key.name);
    if !slot.key.mesh.is_empty() {
        document["mesh"] = json!(slot.key.mesh);
    }
    let seconds = 1_700_000_000 + choice.below(3) as i64;
    let read = from_json(document.clone(), None, Unknown::Refuse).unwrap_or_else(|error| panic!("{document}: {error}"));
    let created = jiff::Timestamp::from_second(seconds).expect("in range");
    let resource = Resource { status: read.status, created, ..read.resource };
    assert!(has_readable_status(&resource), "{document}");
    resource
}

/// A status that cannot be read counts as none, and would make these tests see less.
fn has_readable_status(resource: &Resource) -> bool {
    use tandem_model::core::{mesh_external_service, mesh_identity, mesh_multi_zone_service, mesh_service};
    fn reads<T: serde::de::DeserializeOwned>(status: &Value) -> bool {
        serde_json::from_value::<T>(status.clone()).is_ok()
    }
    let Some(status) = &resource.status else { return true };
    match resource.kind() {
        Kind::MeshService => reads::<mesh_service::Status>(status),
        Kind::MeshMultiZoneService => reads::<mesh_multi_zone_service::Status>(status),
        Kind::MeshExternalService => reads::<mesh_external_service::Status>(status),
        Kind::MeshIdentity => reads::<mesh_identity::Status>(status),
        _ => true,
    }
}

fn metadata(features: u64) -> ProxyMetadata {
    let mut choice = Choice(features.into());
    let all = [
        "feature-unified-resource-naming",
        "feature-embedded-dns",
        "feature-bind-outbounds",
        "feature-strict-inbound-ports",
        "feature-readiness-unix-socket",
        "feature-reuse-port",
        "feature-tcp-accesslog-via-named-pipe",
    ];
    // The one by which listeners are bound to virtual addresses without redirection is seldom.
    let chosen = all.iter().filter(|name| if **name == all[2] { choice.below(8) == 7 } else { choice.flag() });
    ProxyMetadata {
        admin_port: 9901,
        readiness_port: 9902,
        dns_port: 15053,
        workdir: "/w".to_owned(),
        features: Features::from_names(chosen.copied()),
        ipv6_enabled: choice.flag(),
        ..ProxyMetadata::default()
    }
}

/// Generates for a proxy with the certificates it asks for.
fn make(
    snapshot: &Snapshot,
    key: &ResourceKey,
    metadata: &ProxyMetadata,
    cache: &Cache,
    previous: Option<&Generated>,
) -> (Outcome, Option<Generated>) {
    let identity = |name: &str| {
        let certificate = format!("certificate of {key} from {name}");
        Arc::new(Identity { certificate_chain: certificate.into_bytes(), private_key: b"key".into() })
    };
    let requests = identity_requests(snapshot, key);
    let mut needed: Vec<String> = requests.iter().map(|request| format!("{request:?}")).collect();
    let identities = requests.iter().map(|request| (request.mesh.clone(), identity(&request.mesh))).collect();
    let workload = workload_request(snapshot, key);
    needed.extend(workload.iter().map(|request| {
        let view = &request.identity;
        format!("{} {:?} {} {:?}", view.kri, view.spec, view.ready, request.spiffe_id)
    }));
    let workload = workload.filter(|request| request.identity.ready && request.spiffe_id.is_ok()).map(|request| {
        let name = request.identity.kri.to_string();
        Arc::new(WorkloadIdentity { certificate: identity(&name), name: name.into() })
    });
    let admin_tls = AdminTls { ca: b"CA".into(), certificate: b"CERT".into(), private_key: b"KEY".into() };
    let input = ProxyInput {
        key,
        metadata,
        identities: &identities,
        workload: workload.as_ref(),
        admin_tls: Some(&admin_tls),
        previous,
    };
    match generate(snapshot, &input, cache) {
        Ok(generated) => {
            let mut outcome: Vec<_> =
                generated.resources.iter().map(|(_, resource)| digest(&resource.body, &resource.name)).collect();
            outcome.extend(needed);
            outcome.extend(generated.warnings.iter().map(ToString::to_string));
            outcome.sort();
            (Ok(outcome), Some(generated))
        }
        Err(error) => (Err(error.to_string()), None),
    }
}

fn digest(body: &[u8], name: &str) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{name} {:016x}", hasher.finish())
}

/// An encoded resource as JSON.
pub fn json_of(body: &[u8]) -> Value {
    tandem_envoy_json::any_to_json(body).expect("generated messages have a JSON form")
}
