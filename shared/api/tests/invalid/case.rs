//! The form of the case files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tandem_model::{Encoding, Kind};

use crate::support::Answer;

/// The cases of one type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// The type of the resources.
    #[serde(rename = "type", deserialize_with = "kind")]
    pub kind: Kind,
    /// The cases.
    pub cases: Vec<Case>,
}

/// A resource, where it is sent, and what is answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What is wrong with it.
    pub name: String,
    /// Who is asked.
    #[serde(default)]
    pub mode: ControlPlane,
    /// Resources that exist already, beside the mesh `default`.
    #[serde(default)]
    pub before: Vec<Value>,
    /// What is done.
    #[serde(default)]
    pub method: Method,
    /// Mesh of the resource.
    #[serde(default = "default_mesh")]
    mesh: String,
    /// Name of the resource.
    #[serde(default = "default_name")]
    named: String,
    /// Labels of the resource.
    labels: Option<Value>,
    /// Specification of the resource.
    #[serde(default, deserialize_with = "present")]
    spec: Option<Value>,
    /// The whole resource, instead of the above.
    resource: Option<Value>,
    /// The body, instead of a resource.
    text: Option<String>,
    /// The path, if it is not that of the resource.
    path: Option<String>,
    /// Expected status.
    #[serde(default = "default_status")]
    status: u16,
    /// Expected title.
    #[serde(default = "default_title")]
    title: String,
    /// Expected detail.
    #[serde(default = "default_detail")]
    detail: String,
    /// Expected violations in order: field and reason.
    #[serde(default)]
    violations: Vec<(String, String)>,
    /// Expected warnings of a resource that is accepted.
    #[serde(default)]
    warnings: Vec<String>,
    /// Why the answer is not Kuma's.
    #[serde(rename = "differs")]
    _differs: Option<String>,
}

/// A kind of control plane.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlPlane {
    /// A zone without global.
    #[default]
    Zone,
    /// A zone with global.
    Federated,
    /// A global control plane.
    Global,
}

/// What is done with the resource.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// It is written.
    #[default]
    Put,
    /// It is deleted.
    Delete,
}

/// An answer, as far as it is compared.
#[derive(Debug, PartialEq)]
pub struct Answered {
    pub status: u16,
    title: String,
    detail: String,
    violations: Vec<(String, String)>,
    warnings: Vec<String>,
}

impl Answered {
    /// Takes an answer apart.
    pub fn of(answer: &Answer) -> Self {
        if answer.status.is_success() {
            let warnings = answer.json()["warnings"].as_array().cloned().unwrap_or_default();
            let warnings = warnings.iter().map(|warning| warning.as_str().unwrap_or_default().to_owned()).collect();
            return Self::accepted(answer.status.as_u16(), warnings);
        }
        let (status, title, detail) = answer.problem();
        Self { status, title, detail, violations: answer.violations(), warnings: Vec::new() }
    }

    fn accepted(status: u16, warnings: Vec<String>) -> Self {
        Self { status, title: String::new(), detail: String::new(), violations: Vec::new(), warnings }
    }
}

impl Case {
    /// What is to be answered.
    pub fn expected(&self) -> Answered {
        if self.status < 300 {
            return Answered::accepted(self.status, self.warnings.clone());
        }
        Answered {
            status: self.status,
            title: self.title.clone(),
            detail: self.detail.clone(),
            violations: self.violations.clone(),
            warnings: Vec::new(),
        }
    }

    /// Where the request goes.
    pub fn path(&self, kind: Kind) -> String {
        match (&self.path, &self.resource) {
            (Some(path), _) => path.clone(),
            (None, Some(resource)) => address(resource),
            (None, None) => path_of(kind, &self.mesh, &self.named),
        }
    }

    /// What is sent.
    pub fn body(&self, kind: Kind) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        if let Some(resource) = &self.resource {
            return resource.to_string();
        }
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(kind.name()));
        if kind.is_mesh_scoped() {
            body.insert("mesh".to_owned(), json!(self.mesh));
        }
        body.insert("name".to_owned(), json!(self.named));
        if let Some(labels) = &self.labels {
            body.insert("labels".to_owned(), labels.clone());
        }
        match (&self.spec, kind.descriptor().encoding) {
            (Some(Value::Object(members)), Encoding::Proto { .. }) => body.extend(members.clone()),
            (Some(spec), _) => {
                body.insert("spec".to_owned(), spec.clone());
            }
            (None, _) => {}
        }
        Value::Object(body).to_string()
    }
}

/// The path of a resource.
pub fn address(resource: &Value) -> String {
    let text = |member: &str| resource[member].as_str().unwrap_or_default();
    let kind: Kind = text("type").parse().expect("the resources of cases without path name their type");
    path_of(kind, text("mesh"), text("name"))
}

fn path_of(kind: Kind, mesh: &str, name: &str) -> String {
    let path = kind.descriptor().path.expect("the types of the cases have a path");
    if kind.is_mesh_scoped() { format!("/meshes/{mesh}/{path}/{name}") } else { format!("/{path}/{name}") }
}

/// All files of a folder, by name without extension.
pub fn load(folder: &Path) -> BTreeMap<String, CaseFile> {
    let entries = std::fs::read_dir(folder).expect("the folder of cases");
    entries
        .map(|entry| {
            let path = entry.expect("an entry of the folder of cases").path();
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let file = serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().expect("a file").to_string_lossy().into_owned(), file)
        })
        .collect()
}

fn kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| serde::de::Error::custom(format!("{name} is no type")))
}

/// Keeps a member that is `null` apart from one that is missing.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn default_mesh() -> String {
    "default".to_owned()
}

fn default_name() -> String {
    "res".to_owned()
}

fn default_status() -> u16 {
    400
}

fn default_title() -> String {
    "Could not process a resource".to_owned()
}

fn default_detail() -> String {
    "Resource is not valid".to_owned()
}
