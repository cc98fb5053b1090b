//! Decoding of specifications.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::schema;
use tandem_model::violation::Violations;

/// The value does not have the shape the schema asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(pub Violations);

/// Decodes a specification. Members that the schema does not know are ignored.
///
/// # Errors
/// When a member has the wrong type or is missing. Paths begin with `spec`.
pub fn decode<T: DeserializeOwned>(spec: &Value) -> Result<T, SchemaError> {
    schema::decode("spec", spec).map_err(SchemaError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ToItem;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, Default)]
    struct Conf {
        #[serde(default)]
        size: Option<u32>,
        #[serde(default)]
        name: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Spec {
        to: Option<Vec<ToItem<Conf>>>,
    }

    fn refused(spec: Value) -> String {
        decode::<Spec>(&spec).expect_err("a violation").to_string()
    }

    #[test]
    fn violations_name_the_member() {
        let to = |target: Value, default: Value| json!({"to": [{"targetRef": target, "default": default}]});
        assert_eq!(refused(to(json!({}), json!({}))), "spec.to[0].targetRef.kind: in body is required");
        assert_eq!(
            refused(to(json!({"kind": "Moon"}), json!({}))),
            "spec.to[0].targetRef.kind: in body should be one of [Mesh MeshSubset MeshGateway MeshService \
             MeshExternalService MeshMultiZoneService MeshServiceSubset MeshHTTPRoute Dataplane]"
        );
        assert_eq!(
            refused(to(json!({"kind": "Mesh"}), json!({"name": 5}))),
            "spec.to[0].default.name: in body must be of type string: \"number\""
        );
        assert_eq!(refused(json!({"to": {}})), "spec.to: in body must be of type array: \"object\"");
    }

    #[test]
    fn unknown_members_are_ignored() {
        let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "new": true, "default": {"size": 2}}]});
        let spec: Spec = decode(&spec).expect("decodes");
        let to = spec.to.expect("an item");
        assert_eq!((to[0].default.size, &to[0].default.name), (Some(2), &None));
    }
}
