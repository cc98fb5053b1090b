//! Reading of the input files.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use tandem_model::kind::{Encoding, Kind};
use tandem_model::resource::{Resource, ResourceKey, Spec};
use tandem_policy::policy::Policy;
use tandem_proto::json::{Unknown, from_json};

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The only document of a file.
pub fn document(path: &Path) -> Value {
    serde_norway::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The resources of a file, in its order.
pub fn resources(path: &Path) -> Vec<Arc<Resource>> {
    serde_norway::Deserializer::from_str(&text(path))
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .filter(|document| !document.is_null())
        .map(|document| Arc::new(resource(path, document)))
        .collect()
}

fn resource(path: &Path, document: Value) -> Resource {
    let Value::Object(mut members) = document else { panic!("{}: not an object", path.display()) };
    let mut take = |name: &str| members.shift_remove(name);
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let kind: Kind = text(take("type")).expect("a type").parse().expect("a known type");
    let name = text(take("name")).expect("a name");
    let mesh = text(take("mesh")).unwrap_or_else(|| "default".to_owned());
    let labels = take("labels");
    let spec = take("spec");
    for ignored in ["creationTime", "modificationTime", "status"] {
        take(ignored);
    }
    let spec = match kind.descriptor().encoding {
        Encoding::Json { .. } => Spec::Json(spec.unwrap_or_else(|| Value::Object(Map::new()))),
        Encoding::Proto { message } => {
            let bytes = from_json(message, &members, Unknown::Ignore);
            Spec::Proto(bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into())
        }
    };
    let mesh = if kind.is_mesh_scoped() { mesh } else { String::new() };
    let labels = labels.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    let labels = labels.into_iter().map(|(label, value)| (label, value.as_str().unwrap_or_default().to_owned()));
    Resource::new(ResourceKey::new(kind, mesh, name), spec).with_labels(labels)
}

/// The policies of one kind among resources, in their order.
pub fn policies(resources: &[Arc<Resource>], kind: Kind) -> Vec<Arc<Policy>> {
    let of_kind = resources.iter().filter(|resource| resource.kind() == kind);
    of_kind
        .map(|resource| Arc::new(Policy::decode(Arc::clone(resource)).unwrap_or_else(|error| panic!("{error}"))))
        .collect()
}

/// The kind of policies that a file is about: the only one, or the one that is not MeshHTTPRoute.
pub fn policy_kind(resources: &[Arc<Resource>]) -> Kind {
    let mut kinds: Vec<Kind> =
        resources.iter().map(|resource| resource.kind()).filter(|kind| kind.is_target_ref_policy()).collect();
    kinds.dedup();
    *kinds.iter().find(|kind| **kind != Kind::MeshHTTPRoute).unwrap_or(&kinds[0])
}
