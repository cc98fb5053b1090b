//! The one form of an answer of `_config`.
//!
//! The recorded answers had what depends on the host blotted out: addresses, also inside of names, and prefixes of statistics; the
//! listener that publishes names, and how names are looked up, were taken out. The same is done with ours. Of the patch, tests are
//! left out, operations are ordered by path, and the one size that depends on names counts as zero.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::compare::canonical;

const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// The form of an answer.
pub fn of(mut answer: Value) -> Value {
    if let Some(listeners) = answer["xds"][LISTENERS].as_object_mut() {
        listeners.remove("_kuma:dynamicconfig");
    }
    let mut answer = canonical(redacted(answer));
    let operations = answer["diff"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let path = |operation: &Value| operation["path"].as_str().unwrap_or_default().to_owned();
    let mut operations: Vec<_> = operations.into_iter().filter(|operation| operation["op"] != "test").collect();
    for operation in &mut operations {
        if path(operation).ends_with("maxDirectResponseBodySizeBytes") {
            operation["value"] = json!(0);
        }
    }
    operations.sort_by_key(path);
    answer["diff"] = Value::Array(operations);
    answer
}

fn redacted(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redacted_text(&text)),
        Value::Array(items) => items.into_iter().map(redacted).collect(),
        Value::Object(members) => {
            let members = members.into_iter().filter(|(name, _)| name != "@type" && name != "dnsLookupFamily");
            let members = members.map(|(name, value)| match name.as_str() {
                "statPrefix" => (name, json!("STAT_PREFIX_REDACTED")),
                _ => (redacted_text(&name), redacted(value)),
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn redacted_text(text: &str) -> String {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b\d{1,3}(\.\d{1,3}){3}\b|\[?[0-9a-fA-F:]*::[0-9a-fA-F:.]*\]?").expect("a valid expression")
    });
    ADDRESS.replace_all(text, "IP_REDACTED").into_owned()
}
