//! JSON of the HTTP API: one flat form for kinds encoded as protobuf, one nested form for the others.
//!
//! ```text
//! flat    {type, mesh?, name, creationTime, modificationTime, labels?, kri?, <members of the specification>}
//! nested  {type, mesh?, name, creationTime, modificationTime, labels?, kri?, spec, status?}
//! ```
//!
//! Members are written in this order. Source of the format: Kuma `pkg/core/resources/model/rest`.
//!
//! One difference is deliberate: Kuma drops members it does not know, [`from_json`] can refuse them.

mod kubernetes;
mod read;
mod request;
mod write;

#[cfg(test)]
mod tests;

pub use kubernetes::{SYSTEM_NAMESPACE, to_kubernetes_json};
pub(crate) use read::UNKNOWN_FIELD;
pub use read::{Document, RestError, from_json};
pub use request::validate_request;
pub use tandem_proto::json::Unknown;
pub use write::{Shown, list_json, meta_json, status_json, to_json};

/// Member that names the kind.
const TYPE: &str = "type";
/// Member that names the mesh.
const MESH: &str = "mesh";
/// Member with the name.
const NAME: &str = "name";
/// Member with the labels.
const LABELS: &str = "labels";
/// Member with the specification in the nested form.
const SPEC: &str = "spec";
/// Member with the status in the nested form.
const STATUS: &str = "status";
/// Members that the control plane computes; accepted in what clients send, and without effect there.
const COMPUTED: [&str; 3] = ["creationTime", "modificationTime", "kri"];
