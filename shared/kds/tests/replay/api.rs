//! Reads `api.json`: the HTTP calls that were made while conversations were recorded, with what they were answered.

use std::path::Path;

use serde_json::Value;
use tandem_model::{Kind, Resource, label, rest};
use tandem_proto::json::Unknown;

/// What the HTTP API of the recorded control planes said.
#[derive(Debug)]
pub struct Api(Vec<Value>);

impl Api {
    /// Reads `api.json`.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// Resources of a type that a control plane listed, in REST form.
    pub fn listed(&self, control_plane: &str, kind: Kind) -> Vec<Value> {
        let descriptor = kind.descriptor();
        let paths: Vec<_> = descriptor.path.into_iter().chain(descriptor.alternative_path).collect();
        let lists = self.0.iter().filter(|call| {
            let segments: Vec<_> = call["path"].as_str().unwrap_or_default().split('/').collect();
            let of_kind = matches!(segments[..], ["", path] | ["", "meshes", _, path] if paths.contains(&path));
            call["cp"] == control_plane && call["method"] == "GET" && call["status"] == 200 && of_kind
        });
        let mut documents: Vec<Value> = Vec::new();
        for document in lists.filter_map(|call| call["response"]["items"].as_array()).flatten() {
            if !documents.contains(document) {
                documents.push(document.clone());
            }
        }
        documents
    }

    /// Resources of a type that were created at a control plane, as it lists them or else as they were sent.
    pub fn created(&self, control_plane: &str, kind: Kind) -> Vec<Resource> {
        let calls = self.0.iter().filter(|call| {
            let accepted = call["status"].as_u64().is_some_and(|status| status < 300);
            call["cp"] == control_plane && call["method"] == "PUT" && accepted && call["request"]["type"] == kind.name()
        });
        let created = calls.map(|call| {
            let known = self.resources(control_plane, kind);
            let sent = resource(&call["request"]);
            known.into_iter().find(|known| known.key == sent.key).unwrap_or_else(|| {
                let mesh = sent.key.mesh.clone();
                let labels: Vec<_> = sent.labels.clone().into_iter().chain([(label::MESH.to_owned(), mesh)]).collect();
                sent.with_labels(labels)
            })
        });
        created.collect()
    }

    /// Resources of a type that a control plane has by itself: neither from elsewhere nor created by a call.
    pub fn own(&self, control_plane: &str, kind: Kind) -> Vec<Resource> {
        let created = self.created(control_plane, kind);
        let mut own = self.resources(control_plane, kind);
        own.retain(|resource| {
            !resource.labels.contains_key(label::DISPLAY_NAME) && created.iter().all(|other| other.key != resource.key)
        });
        own
    }

    /// Resources of a type that came to a control plane from a zone.
    pub fn of_zone(&self, control_plane: &str, kind: Kind, zone: &str) -> Vec<Resource> {
        let mut from = self.resources(control_plane, kind);
        from.retain(|resource| resource.label(label::ZONE) == Some(zone));
        from
    }

    fn resources(&self, control_plane: &str, kind: Kind) -> Vec<Resource> {
        self.listed(control_plane, kind).iter().map(resource).collect()
    }
}

fn resource(document: &Value) -> Resource {
    let read = rest::from_json(document.clone(), None, Unknown::Refuse).expect("a resource");
    Resource { status: read.status, ..read.resource }
}
