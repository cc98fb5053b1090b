//! JSON to resource.

use serde_json::{Map, Value};
use tandem_proto::json::Unknown;

use super::{COMPUTED, LABELS, MESH, NAME, SPEC, STATUS, TYPE};
use crate::core;
use crate::kind::{Encoding, Kind};
use crate::resource::{DEFAULT_MESH, Labels, Resource, ResourceKey, Spec};
use crate::schema::SpecError;
use crate::violation::{Path, Violation, Violations};

/// What a client sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Member `type` as sent; may differ from the kind of the resource when that was given by the address.
    pub type_name: String,
    /// The resource: key, labels and specification. Its status is empty.
    pub resource: Resource,
    /// Status as sent. What users send has no effect; restoring a dump may use it.
    pub status: Option<Value>,
}

/// Why JSON is no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// The JSON does not fit the kind at all.
    #[error("invalid {type_name} object: {reason:?}")]
    Malformed {
        /// The kind that was expected; empty when the JSON names none.
        type_name: String,
        /// Path of the member at fault; empty when the whole document is.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// The type is not one of a known kind.
    #[error("invalid type: {0:?} is not a known resource type")]
    UnknownType(String),
    /// Members are missing, unknown, or have values that the schema does not allow.
    #[error("{0}")]
    Invalid(Violations),
}

impl RestError {
    /// The error for a text that does not parse as JSON or YAML.
    pub fn malformed(kind: Option<Kind>, reason: impl ToString) -> Self {
        let type_name = kind.map_or_else(String::new, |kind| kind.name().to_owned());
        Self::Malformed { type_name, field: String::new(), reason: reason.to_string() }
    }

    /// The members at fault, as far as they are known.
    pub fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Malformed { field, .. } if field.is_empty() => Vec::new(),
            Self::Malformed { field, reason, .. } => {
                vec![Violation { field: field.clone(), reason: reason.clone() }]
            }
            Self::UnknownType(_) => vec![Violation { field: TYPE.to_owned(), reason: self.to_string() }],
            Self::Invalid(violations) => violations.iter().cloned().collect(),
        }
    }
}

/// Reads a resource from its JSON form.
///
/// With `kind` the JSON has to fit that kind, and member `type` is only recorded (flat form) or has to name it (nested
/// form). Without, `type` decides. Specifications of the kinds in [`core`] come back with their defaults filled in;
/// those of policies as they are. Names, labels and values are not validated here.
///
/// # Errors
/// When the JSON is no object, members have the wrong type, required ones are missing, or unknown ones are present
/// and `unknown` says to refuse them. The unknown members of a policy's specification are not checked here.
pub fn from_json(value: Value, kind: Option<Kind>, unknown: Unknown) -> Result<Document, RestError> {
    let Value::Object(mut object) = value else {
        return Err(RestError::malformed(kind, format!("must be an object, not {}", type_of(&value))));
    };
    let kind = match kind {
        Some(kind) => kind,
        None => match object.get(TYPE) {
            Some(Value::String(name)) => name.parse().map_err(|_| RestError::UnknownType(name.clone()))?,
            Some(other) => {
                return Err(RestError::malformed(None, format!("type must be a string, not {}", type_of(other))));
            }
            None => return Err(RestError::malformed(None, "type is missing")),
        },
    };
    for name in COMPUTED {
        object.remove(name);
    }
    match kind.descriptor().encoding {
        Encoding::Proto { message } => flat(object, kind, message, unknown),
        Encoding::Json { status } => nested(object, kind, status, unknown),
    }
}

fn flat(mut object: Map<String, Value>, kind: Kind, message: &str, unknown: Unknown) -> Result<Document, RestError> {
    let mut text = |member: &str| match object.remove(member) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(not_decodable(kind, member, "string", member, &other)),
    };
    let type_name = text(TYPE)?;
    let mesh = text(MESH)?;
    let name = text(NAME)?;
    let labels = labels(object.remove(LABELS)).map_err(|WrongLabels { key, found }| {
        let expected = if key.is_some() { "string" } else { "map[string]string" };
        let field = key.map_or_else(|| Path::new(LABELS), |key| Path::new(LABELS).key(&key));
        not_decodable(kind, LABELS, expected, field.as_str(), &found)
    })?;
    let bytes = tandem_proto::json::from_json(message, &object, unknown).map_err(|error| {
        if error.reason == UNKNOWN_FIELD {
            return RestError::Invalid(Violations::one(&Path::new(&error.path), UNKNOWN_FIELD));
        }
        RestError::Malformed { type_name: kind.name().to_owned(), field: error.path, reason: error.reason }
    })?;
    Ok(document(type_name, kind, mesh, name, labels, Spec::Proto(bytes.into()), None))
}

/// What is said of members that the schema does not have.
pub(crate) const UNKNOWN_FIELD: &str = "unknown field";

/// The error that clients know from Go's JSON decoder.
fn not_decodable(kind: Kind, member: &str, expected: &str, field: &str, found: &Value) -> RestError {
    RestError::Malformed {
        type_name: kind.name().to_owned(),
        field: field.to_owned(),
        reason: format!(
            "json: cannot unmarshal {} into Go struct field ResourceMeta.{member} of type {expected}",
            go_type_of(found)
        ),
    }
}

fn nested(
    mut object: Map<String, Value>,
    kind: Kind,
    has_status: bool,
    unknown: Unknown,
) -> Result<Document, RestError> {
    let mut violations = Violations::none();
    let root = Path::root();
    let wrong_type = |path: &str, expected: &str, found: &Value| {
        format!("{path} in body must be of type {expected}: {:?}", type_of(found))
    };
    let mut text = |member: &str, otherwise: Option<&str>| match (object.remove(member), otherwise) {
        (None | Some(Value::Null), Some(otherwise)) => otherwise.to_owned(),
        (None, None) => {
            violations.add(&root, format!(".{member} in body is required"));
            String::new()
        }
        (Some(Value::String(text)), _) => text,
        (Some(other), _) => {
            violations.add(&root, wrong_type(member, "string", &other));
            other.to_string()
        }
    };
    let type_name = text(TYPE, None);
    let name = text(NAME, None);
    let mesh = text(MESH, Some(DEFAULT_MESH));
    if !type_name.is_empty() && type_name != kind.name() {
        violations.add(&root, format!("type in body should be one of [{kind}]"));
    }
    let labels = labels(object.remove(LABELS)).unwrap_or_else(|wrong| {
        let (member, expected) =
            wrong.key.map_or((LABELS.to_owned(), "object"), |key| (format!("{LABELS}.{key}"), "string"));
        violations.add(&root, wrong_type(&member, expected, &wrong.found));
        Labels::new()
    });
    let spec = match object.remove(SPEC) {
        Some(spec @ Value::Object(_)) => spec,
        None => {
            violations.add(&root, ".spec in body is required");
            Value::Null
        }
        Some(other) => {
            violations.add(&root, wrong_type(SPEC, "object", &other));
            Value::Null
        }
    };
    let status = if has_status { object.remove(STATUS).filter(|status| !status.is_null()) } else { None };
    if unknown == Unknown::Refuse {
        for member in object.keys() {
            violations.add(&Path::new(member), UNKNOWN_FIELD);
        }
    }
    violations.into_result().map_err(RestError::Invalid)?;
    let spec = core::normalise(kind, spec, unknown).map_err(|error| match error {
        SpecError::Shape(violations) => RestError::Invalid(violations),
        SpecError::Value(Violation { field, reason }) => {
            RestError::Malformed { type_name: kind.name().to_owned(), field, reason }
        }
    })?;
    Ok(document(type_name, kind, mesh, name, labels, Spec::Json(spec), status))
}

fn document(
    type_name: String,
    kind: Kind,
    mesh: String,
    name: String,
    labels: Labels,
    spec: Spec,
    status: Option<Value>,
) -> Document {
    let mesh = if kind.is_mesh_scoped() { mesh } else { String::new() };
    let mut resource = Resource::new(ResourceKey::new(kind, mesh, name), spec);
    resource.labels = labels;
    Document { type_name, resource, status }
}

/// What is not of the right type in the labels.
struct WrongLabels {
    /// Key of the label; absent when the labels as a whole are meant.
    key: Option<String>,
    /// What is there.
    found: Value,
}

fn labels(value: Option<Value>) -> Result<Labels, WrongLabels> {
    let members = match value {
        None | Some(Value::Null) => return Ok(Labels::new()),
        Some(Value::Object(members)) => members,
        Some(found) => return Err(WrongLabels { key: None, found }),
    };
    members
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            found => Err(WrongLabels { key: Some(key), found }),
        })
        .collect()
}

/// JSON type of a value, as schema violations name it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// JSON type of a value, as Go's decoder names it.
fn go_type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        other => type_of(other),
    }
}
