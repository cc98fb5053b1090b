//! Metadata as Kuma's test data prints it, and as its tests rewrite it.
//!
//! Source: Kuma `pkg/test/resources/matadata.go`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tandem_model::kind::Kind;
use tandem_model::kri::Kri;
use tandem_model::name::hashed;
use tandem_model::resource::{Resource, ResourceKey};

const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// How the metadata of the resources of a case prints.
#[derive(Default)]
pub struct Metas {
    /// Name extensions of resources with rewritten metadata, which prints in another form.
    rewritten: HashMap<ResourceKey, Map<String, Value>>,
}

impl Metas {
    /// The metadata of a resource.
    pub fn show(&self, resource: &Resource) -> Value {
        match self.rewritten.get(&resource.key) {
            Some(extensions) => json!({
                "CreationTime": NO_TIME,
                "Labels": resource.labels,
                "Mesh": resource.key.mesh,
                "ModificationTime": NO_TIME,
                "Name": resource.key.name,
                "NameExtensions": if extensions.is_empty() { Value::Null } else { Value::Object(extensions.clone()) },
                "Version": "",
            }),
            None => rest(resource),
        }
    }

    /// Remembers that the metadata of a resource was rewritten.
    pub fn rewritten(&mut self, resource: &Resource, meta: &Rewritten) {
        self.rewritten.insert(resource.key.clone(), meta.extensions.clone());
    }
}

/// The metadata of a resource as the HTTP API shows it.
pub fn rest(resource: &Resource) -> Value {
    let mut meta = Map::new();
    meta.insert("type".into(), json!(resource.kind().name()));
    if resource.kind().is_mesh_scoped() {
        meta.insert("mesh".into(), json!(resource.key.mesh));
    }
    meta.insert("name".into(), json!(resource.key.name));
    meta.insert("creationTime".into(), json!(NO_TIME));
    meta.insert("modificationTime".into(), json!(NO_TIME));
    if !resource.labels.is_empty() {
        meta.insert("labels".into(), json!(resource.labels));
    }
    if let Some(kri) = Kri::of(resource) {
        meta.insert("kri".into(), json!(kri.to_string()));
    }
    Value::Object(meta)
}

/// New metadata of a resource.
pub struct Rewritten {
    pub resource: Resource,
    pub extensions: Map<String, Value>,
}

/// Where a resource is created, or where it is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    GlobalUni,
    GlobalK8s,
    ZoneUni,
    ZoneK8s,
}

impl Place {
    pub const ALL: [Self; 4] = [Self::GlobalUni, Self::GlobalK8s, Self::ZoneUni, Self::ZoneK8s];

    pub fn name(self) -> &'static str {
        match self {
            Self::GlobalUni => "global-uni",
            Self::GlobalK8s => "global-k8s",
            Self::ZoneUni => "zone-uni",
            Self::ZoneK8s => "zone-k8s",
        }
    }

    pub fn is_k8s(self) -> bool {
        matches!(self, Self::GlobalK8s | Self::ZoneK8s)
    }

    pub fn is_zone(self) -> bool {
        matches!(self, Self::ZoneUni | Self::ZoneK8s)
    }

    /// A resource as it is where it was created. Labels it has already win.
    pub fn created(self, resource: &Resource) -> Rewritten {
        let name = resource.key.name.clone();
        let mut labels = resource.labels.clone();
        let mut default = |label: &str, value: &str| {
            labels.entry(label.to_owned()).or_insert_with(|| value.to_owned());
        };
        default("kuma.io/origin", if self.is_zone() { "zone" } else { "global" });
        default("kuma.io/display-name", &name);
        if self.is_zone() {
            default("kuma.io/zone", self.name());
        }
        if self.is_k8s() {
            default("k8s.kuma.io/namespace", "ns-k8s");
            default("kuma.io/mesh", &resource.key.mesh);
        }
        let mut resource = Resource { labels, ..resource.clone() };
        let mut extensions = Map::new();
        if self.is_k8s() {
            extensions = k8s_name(&mut resource, &name, "ns-k8s");
        }
        Rewritten { resource, extensions }
    }
}

/// A resource after synchronization to a control plane on Kubernetes or elsewhere.
pub fn synced(meta: &Rewritten, to_k8s: bool) -> Rewritten {
    let mut resource = meta.resource.clone();
    let extra = ["kuma.io/zone", "k8s.kuma.io/namespace"].into_iter().filter_map(|label| meta.resource.label(label));
    let name = hashed(&resource.key.mesh, resource.display_name(), extra);
    resource.key.name.clone_from(&name);
    let mut extensions = Map::new();
    if to_k8s {
        extensions = k8s_name(&mut resource, &name, "kuma-system");
    }
    Rewritten { resource, extensions }
}

fn k8s_name(resource: &mut Resource, name: &str, namespace: &str) -> Map<String, Value> {
    resource.key.name = format!("{name}.{namespace}");
    Map::from_iter([
        ("k8s.kuma.io/namespace".to_owned(), json!(namespace)),
        ("k8s.kuma.io/name".to_owned(), json!(name)),
    ])
}

/// Meshes keep their metadata in all variants.
pub fn is_rewritten(kind: Kind) -> bool {
    kind != Kind::Mesh
}
