//! What users and proxies write, at random.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use tandem_model::{Kind, Resource, ResourceKey, label};
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::mesh::v1alpha1::{
    Dataplane, DataplaneInsight, Mesh, ZoneEgress, ZoneIngress, dataplane, zone_egress, zone_ingress,
};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::Write;

use crate::ledger::{EVERYBODY, GLOBAL, ID, REFUSED_BY, VERSION};

const MESH: &str = "default";
const NAMESPACE: &str = "shop";

/// What is written on global.
const OF_GLOBAL: [Template; 6] = [
    Template::Plain(Kind::Mesh),
    Template::Plain(Kind::MeshTimeout),
    Template::Plain(Kind::MeshTimeout),
    Template::Plain(Kind::HostnameGenerator),
    Template::Plain(Kind::Secret),
    Template::Plain(Kind::MeshExternalService),
];

/// What is written in a zone.
const OF_ZONES: [Template; 9] = [
    Template::Plain(Kind::Dataplane),
    Template::Plain(Kind::Dataplane),
    Template::Plain(Kind::DataplaneInsight),
    Template::Plain(Kind::ZoneIngress),
    Template::Plain(Kind::ZoneEgress),
    Template::Plain(Kind::MeshService),
    Template::Plain(Kind::MeshService),
    Template::Plain(Kind::MeshTimeout),
    Template::Producer,
];

#[derive(Debug, Clone, Copy)]
enum Template {
    Plain(Kind),
    /// A policy about the services of its namespace, which other zones get too.
    Producer,
}

impl Template {
    fn kind(self) -> Kind {
        match self {
            Self::Plain(kind) => kind,
            Self::Producer => Kind::MeshTimeout,
        }
    }
}

/// Writes of all users.
pub struct Users {
    random: StdRng,
    version: u64,
    /// What exists, by store.
    present: BTreeMap<String, Vec<(String, Template)>>,
    zones: Vec<String>,
    most: usize,
}

impl Users {
    /// Users who keep up to `most` resources in each store.
    pub fn new(random: StdRng, zones: Vec<String>, most: usize) -> Self {
        Self { random, version: 0, present: BTreeMap::new(), zones, most }
    }

    /// One more write in a store.
    pub fn write(&mut self, store: &str) -> Write {
        let present = self.present.entry(store.to_owned()).or_default();
        let dice = self.random.random_range(0..100);
        if present.is_empty() || (dice < 45 && present.len() < self.most) {
            return self.create(store);
        }
        let index = self.random.random_range(0..present.len());
        if dice < 75 {
            let (name, template) = present[index].clone();
            let refused = self.random.random_bool(0.2);
            let mut resource = self.next(store, &name, template);
            if refused {
                let who = self.someone_who_refuses(store);
                resource.labels.insert(REFUSED_BY.to_owned(), who);
            }
            return Write::Put(resource);
        }
        let (name, template) = present.swap_remove(index);
        Write::Delete { key: key(template.kind(), &name), expected: None }
    }

    /// Two writes of one kind, the first of which everybody refuses.
    pub fn refused_and_good(&mut self, store: &str) -> Vec<Write> {
        let template = if store == GLOBAL { OF_GLOBAL[1] } else { OF_ZONES[5] };
        let mut names = ["bad", "good"].map(|name| format!("{name}-{}", self.version));
        names.sort();
        let mut writes = Vec::new();
        for name in names {
            let mut resource = self.next(store, &name, template);
            if name.starts_with("bad") {
                resource.labels.insert(REFUSED_BY.to_owned(), EVERYBODY.to_owned());
            }
            self.present.entry(store.to_owned()).or_default().push((name, template));
            writes.push(Write::Put(resource));
        }
        writes
    }

    /// What was written in a store is lost.
    pub fn forget(&mut self, store: &str) {
        self.present.remove(store);
    }

    fn create(&mut self, store: &str) -> Write {
        let templates = if store == GLOBAL { &OF_GLOBAL[..] } else { &OF_ZONES[..] };
        let template = templates[self.random.random_range(0..templates.len())];
        // Names come back, so that what was deleted is created again.
        let name = format!("{}-{}", prefix(store, template), self.random.random_range(0..6));
        let present = self.present.entry(store.to_owned()).or_default();
        if !present.iter().any(|(known, of)| *known == name && of.kind() == template.kind()) {
            present.push((name.clone(), template));
        }
        Write::Put(self.next(store, &name, template))
    }

    fn someone_who_refuses(&mut self, store: &str) -> String {
        let mut all: Vec<_> = self.zones.iter().filter(|zone| *zone != store).cloned().collect();
        if store != GLOBAL {
            all.push(GLOBAL.to_owned());
        }
        all.push(EVERYBODY.to_owned());
        all.swap_remove(self.random.random_range(0..all.len()))
    }

    /// The next version of a resource.
    fn next(&mut self, store: &str, name: &str, template: Template) -> Resource {
        self.version += 1;
        let number = self.version;
        let id = format!("{store}.{}.{name}", template.kind());
        let labels = [(ID, id), (VERSION, number.to_string())];
        let mut resource = content(template, name, number);
        resource.labels.extend(labels.map(|(name, value)| (name.to_owned(), value)));
        resource
    }
}

/// Beginning of the names of what is made from a template.
fn prefix(store: &str, template: Template) -> String {
    match template {
        Template::Producer => format!("producer-{store}"),
        Template::Plain(_) => "r".to_owned(),
    }
}

fn key(kind: Kind, name: &str) -> ResourceKey {
    if kind.is_mesh_scoped() { ResourceKey::new(kind, MESH, name) } else { ResourceKey::global(kind, name) }
}

fn content(template: Template, name: &str, number: u64) -> Resource {
    let port = u32::try_from(number % 60_000 + 1).unwrap_or(1);
    let key = key(template.kind(), name);
    let timeout = |target| json!({"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": target, "default": {"idleTimeout": format!("{number}s")}}]});
    match (template, template.kind()) {
        (Template::Producer, _) => Resource::from_json(key, timeout(json!({"kind": "MeshService", "name": "backend"})))
            .with_labels([(label::POLICY_ROLE, "producer"), (label::K8S_NAMESPACE, NAMESPACE)]),
        (_, Kind::Mesh) => Resource::from_proto(
            key,
            &Mesh { skip_creating_initial_policies: vec![number.to_string()], ..Mesh::default() },
        ),
        (_, Kind::Secret) => Resource::from_proto(key, &Secret { data: Some(number.to_string().into_bytes()) }),
        (_, Kind::Dataplane) => {
            let inbound =
                Inbound { port, tags: [("kuma.io/service".to_owned(), name.to_owned())].into(), ..Inbound::default() };
            let networking =
                dataplane::Networking { address: "10.0.0.1".into(), inbound: vec![inbound], ..Default::default() };
            Resource::from_proto(key, &Dataplane { networking: Some(networking), ..Dataplane::default() })
        }
        (_, Kind::DataplaneInsight) => Resource::from_proto(key, &DataplaneInsight::default()),
        (_, Kind::ZoneIngress) => {
            let networking = zone_ingress::Networking { address: "10.0.0.1".into(), port, ..Default::default() };
            Resource::from_proto(key, &ZoneIngress { networking: Some(networking), ..ZoneIngress::default() })
        }
        (_, Kind::ZoneEgress) => {
            let networking = zone_egress::Networking { address: "10.0.0.1".into(), port, ..Default::default() };
            Resource::from_proto(key, &ZoneEgress { networking: Some(networking), ..ZoneEgress::default() })
        }
        (_, Kind::HostnameGenerator) => {
            Resource::from_json(key, json!({"template": format!("{number}.mesh"), "selector": {"meshService": {}}}))
        }
        (_, Kind::MeshTimeout) => Resource::from_json(key, timeout(json!({"kind": "Mesh"}))),
        _ => Resource::from_json(key, json!({"number": number})),
    }
}
