//! Policies and meshes for tests.

use std::sync::Arc;

use prost::{Message, Name};
use serde_json::{Value, json};
use tandem_model::resource::Resource;
use tandem_model::rest::{Unknown, from_json};
use tandem_proto::mesh::v1alpha1::Mesh;

use super::Decoded;

fn stored(mut document: Value, members: &Value) -> Resource {
    for (name, member) in members.as_object().into_iter().flatten() {
        document[name] = member.clone();
    }
    from_json(document, None, Unknown::Refuse).expect("a valid resource").resource
}

/// The Mesh `m` with these members.
pub(super) fn mesh(members: Value) -> Mesh {
    stored(json!({"type": "Mesh", "name": "m"}), &members).proto().expect("a Mesh")
}

/// The policy `p` of a kind with this `conf`.
pub(super) fn decoded<S: Message + Name + Default>(kind: &str, conf: Value) -> Decoded<S> {
    let resource = stored(json!({"type": kind, "mesh": "m", "name": "p"}), &json!({"conf": conf}));
    Decoded::decode(Arc::new(resource)).expect("a policy of the kind")
}
