//! Names of destinations by tags.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use tandem_model::label::SERVICE_TAG;

/// Name of a destination by tags: the service and, when there are other tags, a hash of all of them.
///
/// Source: Kuma `pkg/xds/envoy/tags/match.go`, `DestinationClusterName`.
pub fn service_cluster(tags: &BTreeMap<String, String>) -> String {
    let mut name = tags.get(SERVICE_TAG).cloned().unwrap_or_default();
    if tags.keys().any(|tag| tag != SERVICE_TAG) {
        let mut hash = Sha256::new();
        for (tag, value) in tags {
            hash.update(tag);
            hash.update(value);
        }
        name.push('-');
        for byte in &hash.finalize()[..8] {
            let _ = write!(name, "{byte:02x}"); // a String takes everything
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tags_are_hashed() {
        let name = |tags: &[(&str, &str)]| {
            service_cluster(&tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(name(&[("kuma.io/service", "web")]), "web");
        // As upstream names it.
        assert_eq!(name(&[("kuma.io/service", "web"), ("kuma.io/protocol", "http")]), "web-e816eaf96a14245f");
        assert_eq!(name(&[]), "");
    }
}
