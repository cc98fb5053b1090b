//! The values of all keys and where each came from. Only values that differ from the table are held.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use serde_norway::Value as Yaml;

use super::error::{ConfigError, Problem};
use super::keys::{self, Key};
use super::suggestion;

/// What secrets are shown as.
const MASK: &str = "*****";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The built-in default.
    Default,
    /// The configuration file.
    File(Arc<Path>),
    /// An environment variable.
    Variable(&'static str),
    /// A command line flag.
    Flag(&'static str),
    /// Follows from another key or from the surroundings, as named.
    Derived(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "file {}", file.display()),
            Self::Variable(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
            Self::Derived(from) => write!(f, "from {from}"),
        }
    }
}

/// A value that was set.
#[derive(Debug, Clone)]
struct Setting {
    value: Value,
    source: Source,
}

/// Values by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    set: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Value of a key.
    pub(super) fn value(&self, key: &Key) -> Cow<'_, Value> {
        match self.set.get(key.path) {
            Some(setting) => Cow::Borrowed(&setting.value),
            None => Cow::Owned(default_value(key)),
        }
    }

    /// Text of the key at `path`; empty when it is not a text.
    pub(super) fn text(&self, path: &str) -> String {
        let value = keys::by_path(path).map(|key| self.value(key));
        value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Value of the key at `path`; `Null` for no key.
    pub(super) fn at(&self, path: &str) -> Value {
        keys::by_path(path).map_or(Value::Null, |key| self.value(key).into_owned())
    }

    /// Where the value of a key came from.
    pub(super) fn source(&self, path: &str) -> &Source {
        self.set.get(path).map_or(&Source::Default, |setting| &setting.source)
    }

    /// True when a file, a variable or a flag set the key.
    pub(super) fn is_given(&self, path: &str) -> bool {
        !matches!(self.source(path), Source::Default | Source::Derived(_))
    }

    /// True when a file, a variable or a flag gave the key a text that is not empty.
    pub(super) fn is_given_text(&self, path: &str) -> bool {
        self.is_given(path) && !self.text(path).is_empty()
    }

    pub(super) fn set(&mut self, key: &'static Key, value: Value, source: Source) {
        self.set.insert(key.path, Setting { value, source });
    }

    /// Sets the key at `path` to a text that follows from `from`.
    pub(super) fn derive(&mut self, path: &str, value: impl Into<Value>, from: &'static str) {
        if let Some(key) = keys::by_path(path) {
            self.set(key, value.into(), Source::Derived(from));
        }
    }

    /// A problem with the key at `path`.
    pub(super) fn problem(&self, path: &str, reason: impl Into<String>) -> Problem {
        let origin = match self.source(path) {
            Source::Default => keys::by_path(path).and_then(Key::variable).unwrap_or_default().to_owned(),
            source => source.to_string(),
        };
        Problem { key: path.to_owned(), origin, reason: reason.into() }
    }

    /// Keys that were given a value other than their default but that this build does not use.
    pub(super) fn ineffective(&self) -> impl Iterator<Item = (&'static Key, &Source)> {
        keys::all().filter(|key| !key.used && self.is_given(key.path)).filter_map(|key| {
            let setting = self.set.get(key.path)?;
            (setting.value != default_value(key)).then_some((key, &setting.source))
        })
    }

    /// Reads a YAML file on top of what there is.
    pub(super) fn read_file(&mut self, file: &Path, problems: &mut Vec<Problem>) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|reason| ConfigError::Unreadable { file: PathBuf::from(file), reason })?;
        let yaml_error = |reason| ConfigError::Yaml { file: PathBuf::from(file), reason };
        let mut yaml: Yaml = serde_norway::from_str(&text).map_err(yaml_error)?;
        yaml.apply_merge().map_err(yaml_error)?;
        self.read_yaml("", &yaml, &Arc::from(file), problems);
        Ok(())
    }

    fn read_yaml(&mut self, path: &str, yaml: &Yaml, file: &Arc<Path>, problems: &mut Vec<Problem>) {
        let origin = || Source::File(file.clone()).to_string();
        let Yaml::Mapping(members) = yaml else {
            // A section without content, as `store:` alone, changes nothing.
            if !yaml.is_null() {
                let key = if path.is_empty() { "configuration" } else { path }.to_owned();
                problems.push(Problem { key, origin: origin(), reason: "expected a mapping of keys".into() });
            }
            return;
        };
        for (name, value) in members {
            let Some(name) = name.as_str() else {
                let reason = "the name of a key must be a text".to_owned();
                problems.push(Problem { key: format!("{path}.{name:?}"), origin: origin(), reason });
                continue;
            };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if let Some(key) = keys::by_path(&path) {
                if self.set.get(key.path).is_some_and(|s| matches!(s.source, Source::File(_))) {
                    let reason = "given twice in different letter case".to_owned();
                    problems.push(Problem { key: path, origin: origin(), reason });
                } else if !value.is_null() {
                    match key.value_type.from_yaml(value) {
                        Ok(value) => self.set(key, value, Source::File(file.clone())),
                        Err(reason) => problems.push(Problem { key: key.path.into(), origin: origin(), reason }),
                    }
                }
            } else if is_section(&path) {
                self.read_yaml(&path, value, file, problems);
            } else {
                let reason = suggestion::unknown("key", suggestion::nearest_path(&path));
                problems.push(Problem { key: path, origin: origin(), reason });
            }
        }
    }

    /// Reads environment variables on top of what there is; those of other programs are passed over.
    pub(super) fn read_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) {
        for (name, text) in variables {
            if !name.starts_with("KUMA_") {
                continue;
            }
            let Some(key) = keys::by_variable(&name) else {
                if suggestion::is_of_kuma_dp(&name) {
                    warnings.push(format!("{name} is a variable of kuma-dp and has no effect on a control plane"));
                } else if !suggestion::is_service_link(&name, &text) {
                    let reason = suggestion::unknown("variable", suggestion::nearest_variable(&name));
                    problems.push(Problem { key: name, origin: String::new(), reason });
                }
                continue;
            };
            let Some(variable) = key.variable() else { continue };
            match key.value_type.parse(&text) {
                Ok(value) => self.set(key, value, Source::Variable(variable)),
                Err(reason) => problems.push(Problem { key: name, origin: key.path.into(), reason }),
            }
        }
    }

    /// All values as nested JSON; `include` chooses the keys, secrets are masked.
    pub(super) fn json(&self, include: impl Fn(&Key) -> bool) -> Map<String, Value> {
        let mut root = Map::new();
        for key in keys::all().filter(|key| include(key)) {
            insert(&mut root, key.path.split('.'), self.shown(key));
        }
        root
    }

    /// Value of a key as it may be shown.
    pub(super) fn shown(&self, key: &Key) -> Value {
        let value = self.value(key).into_owned();
        if key.is_secret() && value.as_str() != Some("") { Value::from(MASK) } else { value }
    }
}

/// Default of a key.
pub(super) fn default_value(key: &Key) -> Value {
    key.value_type.parse(key.default).expect("a test parses all defaults")
}

/// Puts `value` at a path, making objects on the way.
pub(super) fn insert<'a>(mut object: &mut Map<String, Value>, path: impl Iterator<Item = &'a str>, value: Value) {
    let mut path = path.peekable();
    while let Some(name) = path.next() {
        if path.peek().is_none() {
            object.insert(name.to_owned(), value);
            return;
        }
        let member = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        object = member.as_object_mut().expect("no key is inside another, as a test shows");
    }
}

fn is_section(path: &str) -> bool {
    keys::all().any(|key| {
        key.path.len() > path.len()
            && key.path.as_bytes()[path.len()] == b'.'
            && key.path.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(path))
    })
}
