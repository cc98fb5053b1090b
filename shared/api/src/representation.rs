//! Resources as the API shows and reads them.

use http::StatusCode;
use serde_json::{Map, Value};
use tandem_model::rest::{self, Document, RestError, Unknown};
use tandem_model::{DecodeError, Encoding, Kind, Resource, Spec};

use crate::problem::Problem;
use crate::query::{first, parameters};

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
            // Clients know these without parameters when type, mesh, name or labels are at fault.
            let is_meta = |field: &str| ["type", "mesh", "name", "labels"].iter().any(|meta| field.starts_with(meta));
            let parameters = error.violations().into_iter().filter(|violation| !is_meta(&violation.field)).collect();
            Problem { parameters, ..Problem::bad_request(error.to_string()) }
        }
    })
}

/// Refuses representations of single resources that this server does not have.
///
/// # Errors
/// 400 under `title` for any `format` but `universal`. Kubernetes objects are not served, since the stores of this
/// control plane hold none.
pub fn check_format(query: Option<&str>, title: &str) -> Result<(), Problem> {
    let parameters = parameters(query);
    match first(&parameters, "format").filter(|format| !format.is_empty()) {
        None | Some("universal") => Ok(()),
        Some(format) => Err(Problem::new(StatusCode::BAD_REQUEST, title, "Resource is not valid").with_parameter(
            "format",
            format!("\"format\" must be one of [\"universal\"], not {format:?}: this control plane stores no Kubernetes objects"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for query in [None, Some(""), Some("format="), Some("format=universal")] {
            assert_eq!(check_format(query, "T"), Ok(()));
        }
        let problem = check_format(Some("format=k8s"), "T").expect_err("no Kubernetes objects");
        assert_eq!((problem.status, problem.title.as_str()), (StatusCode::BAD_REQUEST, "T"));
        assert_eq!(problem.parameters[0].field, "format");
    }
}
