//! The configuration: defaults, then a YAML file, then `KUMA_*` variables, with Kuma's keys.
//!
//! [`keys`] lists every key as data; [`load`] reads and checks values and yields the typed [`Config`] together with
//! what `config show` and the HTTP API need to know about every value. Kuma ignores unknown keys; here they are
//! refused, because a key that is silently ignored is a setting that silently does not hold.

mod check;
mod derive;
pub mod duration;
mod error;
pub mod keys;
mod model;
mod settings;
mod suggestion;
#[cfg(test)]
mod tests;
mod tls;
mod value;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use error::{ConfigError, Problem};
pub use model::*;
use settings::Settings;
pub use settings::Source;
pub use tls::{CIPHER_SUITES, Tls, TlsVersion};
pub use value::ValueType;

/// Which control plane a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The central one.
    Global,
    /// The one of a zone.
    Zone,
}

impl Role {
    /// Value of the key `mode`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Zone => "zone",
        }
    }

    /// Name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Global => "global-cp",
            Self::Zone => "zone-cp",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Global => Self::Zone,
            Self::Zone => Self::Global,
        }
    }
}

/// A configuration that was read and is valid.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
    settings: Settings,
}

/// One line of `config show`.
#[derive(Debug)]
pub struct Shown {
    /// The key.
    pub key: &'static keys::Key,
    /// Its value; secrets are masked.
    pub value: Value,
    /// Where the value came from.
    pub source: Source,
}

impl Loaded {
    /// The whole effective configuration as JSON in Kuma's shape, with secrets masked.
    pub fn effective_json(&self) -> Value {
        Value::Object(self.settings.json(|_| true))
    }

    /// The same as peers of this control plane know it: without keys that Kuma does not have, and with a store type
    /// that Kuma has (`sled` becomes `memory`).
    pub fn wire_json(&self) -> Value {
        let mut json = self.settings.json(|key| !key.is_own());
        if let Some(Value::Object(store)) = json.get_mut("store")
            && store.get("type").and_then(Value::as_str) == Some("sled")
        {
            store.insert("type".to_owned(), Value::from("memory"));
        }
        Value::Object(json)
    }

    /// Every key with its value and where it came from.
    pub fn shown(&self) -> impl Iterator<Item = Shown> {
        keys::all().map(|key| Shown {
            key,
            value: self.settings.shown(key),
            source: self.settings.source(key.path).clone(),
        })
    }
}

/// Values given on the command line, by key path; they win over everything.
pub type Flags<'a> = &'a [(&'static str, &'static str, String)];

/// Reads the configuration of a program in `role`.
///
/// `environment` are all variables of the process; only those that begin with `KUMA_`, and `HOME`, are looked at.
/// `flags` are `(key path, flag, value)`.
///
/// # Errors
/// When the file cannot be read or is not YAML, or when keys are unknown or have bad values; all of these are named.
pub fn load(
    role: Role,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: Flags<'_>,
) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    if let Some(file) = file {
        settings.read_file(file, &mut problems)?;
    }
    let (home, variables): (Vec<_>, Vec<_>) = environment.into_iter().partition(|(name, _)| name == "HOME");
    settings.read_environment(variables, &mut problems, &mut warnings);
    for (path, flag, text) in flags {
        let Some(key) = keys::by_path(path) else { continue };
        match key.value_type.parse(text) {
            Ok(value) => settings.set(key, value, Source::Flag(flag)),
            Err(reason) => problems.push(Problem { key: (*flag).to_owned(), origin: String::new(), reason }),
        }
    }
    if settings.text("mode") == "standalone" {
        warnings.push("\"standalone\" mode is deprecated; \"zone\" is used".to_owned());
        let source = settings.source("mode").clone();
        if let Some(key) = keys::by_path("mode") {
            settings.set(key, Value::from("zone"), source);
        }
    }
    let generated_certificate = derive::generates_certificate(&settings);
    let generated_key_file = derive::generates_store_key(&settings);
    let home = home.first().map(|(_, home)| home.as_str()).unwrap_or_default();
    derive::derive(&mut settings, role, home, &mut problems);
    check::check(&settings, role, &mut problems);
    warnings.extend(settings.ineffective().map(|(key, source)| check::ineffective(key, source)));

    let config = if problems.is_empty() { typed(&settings) } else { Err(problems) };
    let mut config = config.map_err(|problems| ConfigError::Invalid { problems })?;
    config.general.generated_certificate = generated_certificate;
    config.store.encryption.generated_key_file = generated_key_file;
    Ok(Loaded { config, warnings, settings })
}

/// The typed form of the used keys. The members `tlsCertFile` … of a section become `tls.certFile` ….
fn typed(settings: &Settings) -> Result<Config, Vec<Problem>> {
    const TLS: [&str; 5] = ["CertFile", "KeyFile", "MinVersion", "MaxVersion", "CipherSuites"];
    let mut tree = Map::new();
    for key in keys::all().filter(|key| key.used) {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let value = settings.value(key).into_owned();
        match name.strip_prefix("tls").filter(|name| TLS.contains(name)) {
            Some(name) => {
                let name = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
                settings::insert(&mut tree, section.split('.').chain(["tls", &name]), value);
            }
            None => settings::insert(&mut tree, key.path.split('.'), value),
        }
    }
    serde_path_to_error::deserialize(Value::Object(tree)).map_err(|error| {
        let key = error.path().to_string();
        vec![Problem { key, origin: String::new(), reason: error.into_inner().to_string() }]
    })
}
