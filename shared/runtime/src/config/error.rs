//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration was refused. Nothing has been started then.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error(
        "unable to access configuration file '{}', please check if the file exists and has the correct permissions \
         ({reason})",
        file.display()
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Reason.
        reason: std::io::Error,
    },
    /// The configuration file is not YAML.
    #[error("parsing configuration from file '{}' failed: {reason}", file.display())]
    Yaml {
        /// The file.
        file: PathBuf,
        /// Reason, with line and column.
        reason: serde_norway::Error,
    },
    /// One or more keys are unknown or have bad values.
    #[error("{}", listed(problems))]
    Invalid {
        /// What is wrong, at least one.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    match problems {
        [problem] => format!("configuration validation failed: {problem}"),
        _ => problems.iter().fold("configuration validation failed:".to_owned(), |text, p| format!("{text}\n  {p}")),
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key or environment variable concerned.
    pub key: String,
    /// Where the value came from; empty when that is clear from the key.
    pub origin: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.origin.is_empty() {
            write!(f, " ({})", self.origin)?;
        }
        write!(f, ": {}", self.reason)
    }
}
