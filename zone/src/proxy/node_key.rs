//! Which resource a node says it is.

use tandem_model::name::{validate_mesh_name, validate_name};
use tandem_model::{Kind, ResourceKey, Violations};
use tandem_xds::{NodeId, NodeIdError};
use tonic::Status;

/// Longest id of a node: mesh and name of the greatest lengths, and the dot between them.
const LONGEST: usize = 2 * 253 + 1;

/// The node cannot be a proxy.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// The id is not made like one.
    #[error(transparent)]
    Id(#[from] NodeIdError),
    /// The id is longer than mesh and name can be together.
    #[error("the id of the node has {0} bytes; mesh and name of a proxy have at most {LONGEST} together")]
    TooLong(usize),
    /// No mesh or proxy can have the names in the id.
    #[error("the id of the node names no proxy: {0}")]
    Names(Violations),
}

impl From<NodeKeyError> for Status {
    fn from(error: NodeKeyError) -> Self {
        match error {
            // Envoy and kuma-dp know these texts with this code.
            NodeKeyError::Id(error) => Self::unknown(error.to_string()),
            NodeKeyError::TooLong(_) | NodeKeyError::Names(_) => Self::invalid_argument(error.to_string()),
        }
    }
}

/// The key of the resource of a proxy of this kind, from the id of its node.
///
/// # Errors
/// When no proxy can have this id.
pub fn node_key(id: &str, kind: Kind) -> Result<ResourceKey, NodeKeyError> {
    if id.len() > LONGEST {
        return Err(NodeKeyError::TooLong(id.len()));
    }
    let NodeId { mesh, name } = NodeId::parse(id)?;
    let mut violations = validate_name(&name);
    if kind.is_mesh_scoped() || !mesh.is_empty() {
        violations.extend(validate_mesh_name(&mesh));
    }
    violations.into_result().map_err(NodeKeyError::Names)?;
    Ok(ResourceKey::new(kind, mesh, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(id: &str, kind: Kind) -> String {
        node_key(id, kind).expect_err(id).to_string()
    }

    #[test]
    fn ids_of_proxies_are_read() {
        let key = node_key("mesh-1.web-01.namespace", Kind::Dataplane).expect("an id");
        assert_eq!(key, ResourceKey::new(Kind::Dataplane, "mesh-1", "web-01.namespace"));
        assert_eq!(node_key(".zi", Kind::ZoneIngress).expect("an id"), ResourceKey::new(Kind::ZoneIngress, "", "zi"));
    }

    #[test]
    fn what_no_proxy_can_be_is_refused() {
        assert_eq!(refusal("", Kind::Dataplane), "Envoy ID must not be nil");
        assert_eq!(refusal("mesh", Kind::Dataplane), "the name should be provided after the dot");
        assert!(refusal(".web", Kind::Dataplane).contains("mesh: cannot be empty"));
        assert!(refusal("default.../../etc/passwd", Kind::Dataplane).contains("name: invalid characters"));
        assert!(refusal("default.we\0b", Kind::Dataplane).contains("name: invalid characters"));
        assert!(refusal(&format!("default.{}", "x".repeat(300)), Kind::Dataplane).contains("length"));
        assert!(refusal(&"x.".repeat(40_000), Kind::Dataplane).starts_with("the id of the node has 80000 bytes"));
    }
}
