//! Every configuration key of Kuma 2.13.10, as data, and the few that are ours.
//!
//! One row per key: whether this build acts on it, its path in the YAML file, its environment variable (empty when
//! there is none), its type, and its default written as it would be in the environment. To begin to use a key, mark
//! its row `used` and add the field to the structs beside this folder.
//!
//! Source of names, types and defaults: Kuma `pkg/config/**` (struct tags and `DefaultConfig`).

mod access;
mod api_server;
mod general;
mod injector;
mod kubernetes;
mod multizone;
mod observability;
mod proxies;
mod resources;
mod store;

use super::value::ValueType;

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Path in the YAML file, segments joined by dots.
    pub path: &'static str,
    variable: &'static str,
    /// What values look like.
    pub value_type: ValueType,
    /// Default, as it would be written in the environment.
    pub default: &'static str,
    /// Whether this build acts on the key; setting one that is unused gives a warning.
    pub used: bool,
}

impl Key {
    /// Name of the environment variable; `None` for keys that only a file can set.
    pub fn variable(&self) -> Option<&'static str> {
        (!self.variable.is_empty()).then_some(self.variable)
    }

    /// True for keys that Kuma does not have.
    pub fn is_own(&self) -> bool {
        OWN.contains(&self.path)
    }

    /// True for keys whose value must not be shown.
    pub fn is_secret(&self) -> bool {
        matches!(
            self.path,
            "store.postgres.password" | "store.encryption.key" | "multizone.zone.kds.auth.cpTokenInline"
        )
    }
}

/// Keys that Kuma does not have.
const OWN: &[&str] = &[
    "store.sled.path",
    "store.encryption.enabled",
    "store.encryption.key",
    "store.encryption.keyFile",
    "dpServer.authn.takeoverProtection",
    "log.level",
    "log.format",
    "multizone.global.kds.deletionGuard.share",
    "multizone.global.kds.deletionGuard.minimum",
    "multizone.global.kds.deletionGuard.hold",
    "multizone.zone.kds.deletionGuard.share",
    "multizone.zone.kds.deletionGuard.minimum",
    "multizone.zone.kds.deletionGuard.hold",
    "multizone.global.kds.disabledZones",
    "multizone.global.kds.auth.type",
    "multizone.global.kds.auth.clientCaFile",
    "multizone.zone.kds.auth.cpTokenInline",
    "multizone.zone.kds.auth.cpTokenPath",
    "multizone.zone.kds.auth.clientCertFile",
    "multizone.zone.kds.auth.clientKeyFile",
    "policies.denyOverridesAllow",
    "dpServer.certificates.keyType",
    "bootstrapServer.maxRequestSize",
    "bootstrapServer.maxMemory",
    "dpServer.arrivals.maxWaiting",
    "dpServer.arrivals.maxWait",
    "dpServer.limits.maxPendingConnections",
    "dpServer.limits.firstRequestTimeout",
    "dpServer.limits.idleTimeout",
    "dpServer.limits.maxStreams",
    "dpServer.limits.maxNodeSize",
    "dpServer.limits.maxSubscriptionSize",
];

/// A table of keys; see the module for the columns.
macro_rules! keys {
    ($($state:ident $path:literal $variable:literal $value_type:ident $default:literal;)*) => {
        /// The keys of this section.
        pub(super) static KEYS: &[Key] = &[$(Key {
            path: $path,
            variable: $variable,
            value_type: crate::config::value::ValueType::$value_type,
            default: $default,
            used: keys!(@ $state),
        }),*];
    };
    (@ used) => { true };
    (@ unused) => { false };
}
use keys;

static SECTIONS: [&[Key]; 10] = [
    general::KEYS,
    store::KEYS,
    proxies::KEYS,
    observability::KEYS,
    api_server::KEYS,
    access::KEYS,
    kubernetes::KEYS,
    injector::KEYS,
    resources::KEYS,
    multizone::KEYS,
];

/// All keys.
pub fn all() -> impl Iterator<Item = &'static Key> + Clone {
    SECTIONS.iter().flat_map(|section| section.iter())
}

/// The key at a path; letter case does not matter, as in Kuma.
pub fn by_path(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path.eq_ignore_ascii_case(path))
}

/// The key with an environment variable.
pub fn by_variable(variable: &str) -> Option<&'static Key> {
    all().find(|key| key.variable() == Some(variable))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn paths_and_variables_are_unique_and_no_key_is_inside_another() {
        let mut paths = HashSet::new();
        let mut variables = HashSet::new();
        for key in all() {
            assert!(paths.insert(key.path.to_ascii_lowercase()), "{} twice", key.path);
            if let Some(variable) = key.variable() {
                assert!(variable.starts_with("KUMA_"), "{variable}");
                assert!(variables.insert(variable), "{variable} twice");
            }
        }
        for path in &paths {
            for (at, _) in path.match_indices('.') {
                assert!(!paths.contains(&path[..at]), "{path} is inside a key");
            }
        }
        assert_eq!(paths.len() - OWN.len(), 304, "as many as Kuma has");
    }

    #[test]
    fn defaults_are_valid_values() {
        for key in all() {
            key.value_type.parse(key.default).unwrap_or_else(|error| panic!("{}: {error}", key.path));
        }
    }
}
