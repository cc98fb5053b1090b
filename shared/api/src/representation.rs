//! Resources as the API shows and reads them.

use serde_json::{Map, Value};
use tandem_model::rest::{self, Document, RestError, Unknown};
use tandem_model::{DecodeError, Encoding, Kind, Resource, Spec};

use crate::problem::Problem;

/// Members of a JSON object.
pub type Members = Map<String, Value>;

/// The JSON form of a stored resource.
///
/// # Errors
/// 500 under `title` when what is stored does not decode.
pub fn of(resource: &Resource, title: &str) -> Result<Value, Problem> {
    rest::to_json(resource).map_err(|error| Problem::internal(title, &error))
}

/// The members that all types share, and those of the specification, apart.
///
/// # Errors
/// 500 under `title` when what is stored does not decode.
pub fn parts(resource: &Resource, title: &str) -> Result<(Members, Members), Problem> {
    let spec = match (&resource.spec, resource.kind().descriptor().encoding) {
        (Spec::Json(Value::Object(spec)), _) => Ok(spec.clone()),
        (Spec::Proto(bytes), Encoding::Proto { message }) => tandem_proto::json::to_json(message, bytes)
            .map_err(|source| DecodeError::Message { key: resource.key.clone(), source }),
        _ => Err(DecodeError::Encoding { key: resource.key.clone(), expected: "protobuf" }),
    };
    let spec = spec.map_err(|error| Problem::internal(title, &error))?;
    Ok((rest::meta_json(resource), spec))
}

/// Reads a body sent to an address of type `kind`. Members nobody knows are refused, unlike upstream.
///
/// # Errors
/// 400 that names the member.
pub fn read(kind: Kind, value: Value) -> Result<Document, Problem> {
    rest::from_json(value, Some(kind), Unknown::Refuse).map_err(|error| match &error {
        RestError::Invalid(violations) => Problem::invalid("Could not process a resource", violations),
        RestError::UnknownType(_) => Problem::bad_request(error.to_string()),
        RestError::Malformed { .. } => {
            // Of type, mesh, name and labels the text itself tells.
            let is_meta = |field: &str| matches!(field, "type" | "mesh" | "name") || field.starts_with("labels");
            let parameters = error.violations().into_iter().filter(|violation| !is_meta(&violation.field)).collect();
            Problem { parameters, ..Problem::bad_request(error.to_string()) }
        }
    })
}
