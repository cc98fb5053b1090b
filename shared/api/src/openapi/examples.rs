//! Examples of items, shown in the document and accepted by the server.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use tandem_model::Kind;

/// Documents in YAML, each with its `type`.
const EXAMPLES: &str = include_str!("examples.yaml");

static BY_TYPE: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let documents = serde_norway::Deserializer::from_str(EXAMPLES);
    documents
        .map(|document| {
            let example = Value::deserialize(document).expect("the examples are YAML, as a test checks");
            (example["type"].as_str().unwrap_or_default().to_owned(), example)
        })
        .collect()
});

/// The example of a kind; `None` for kinds that nobody writes.
pub fn of(kind: Kind) -> Option<&'static Value> {
    BY_TYPE.get(kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_people_write_has_one() {
        for kind in super::super::schemas::served() {
            assert_eq!(of(kind).is_some(), !kind.descriptor().read_only, "{kind}");
        }
        assert!(BY_TYPE.keys().all(|name| name.parse::<Kind>().is_ok()));
    }
}
