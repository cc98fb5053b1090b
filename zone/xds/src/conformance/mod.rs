//! Comparison with recorded results of Kuma, read from the folder named by `CONFORMANCE_DIR`; skipped when it is not set.
//!
//! Both sides are brought to one form before they are compared: resources by type and name, and durations and numbers written in one way.
//! What exercises policies of the older generation is listed as not applicable, with the reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tandem_policy::envoy::DraftSet;

use crate::encoded::{Encoded, ResourceType};
use crate::generate::collect;
use crate::metadata::{Features, ProxyMetadata};
use crate::testing::envoy_json;

mod generators;
mod sidecars;
mod zone_proxies;

/// A folder of the data; `None`, with a message, when there is none.
fn folder(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    let folder = Path::new(&root).join("xds-generator").join(name);
    assert!(folder.is_dir(), "CONFORMANCE_DIR has no folder {}", folder.display());
    Some(folder)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A YAML file; an empty one is null.
fn yaml(path: &Path) -> Value {
    serde_norway::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Resources by type and name.
type Resources = BTreeMap<(String, String), Value>;

fn golden(path: &Path) -> Resources {
    let content = yaml(path);
    let listed = content["resources"].as_array().into_iter().flatten();
    listed
        .map(|entry| {
            let resource = entry["resource"].clone();
            let resource_type = resource["@type"].as_str().expect("resources tell their type").to_owned();
            ((resource_type, entry["name"].as_str().unwrap_or_default().to_owned()), canonical(resource))
        })
        .collect()
}

fn generated<'a>(resources: impl IntoIterator<Item = (ResourceType, &'a Arc<Encoded>)>) -> Resources {
    let entry = |(resource_type, resource): (ResourceType, &Arc<Encoded>)| {
        let json = envoy_json::any_to_json(&resource.body);
        ((resource_type.type_url().to_owned(), resource.name.to_string()), canonical(json))
    };
    resources.into_iter().map(entry).collect()
}

fn of_set(set: &DraftSet) -> Resources {
    let encoded = collect::encode(set);
    generated(encoded.iter().map(|(resource_type, resource)| (*resource_type, resource)))
}

/// The one form: durations as text of a number of seconds without trailing zeros.
fn canonical(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => members.values_mut().for_each(|member| *member = canonical(member.take())),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = canonical(item.take())),
        Value::String(text) => {
            if let Some(seconds) = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok()) {
                *text = format!("{seconds} seconds");
            }
        }
        // A number with a fraction of zero is the same number.
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0) {
                *number = (whole as i64).into();
            }
        }
        _ => {}
    }
    value
}

/// What differs, resource by resource; empty when nothing does.
fn differences(actual: &Resources, expected: &Resources) -> Vec<String> {
    let mut found = Vec::new();
    for (key, expected) in expected {
        match actual.get(key) {
            None => found.push(format!("missing: {key:?}")),
            Some(actual) => compare(&format!("{key:?}"), actual, expected, &mut found),
        }
    }
    found.extend(actual.keys().filter(|key| !expected.contains_key(*key)).map(|key| format!("surplus: {key:?}")));
    found
}

fn compare(path: &str, actual: &Value, expected: &Value, found: &mut Vec<String>) {
    match (actual, expected) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                let member = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                compare(&format!("{path}.{name}"), &member(one), &member(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{index}]"), one, other, found);
            }
        }
        _ if actual == expected => {}
        _ => found.push(format!("{path}: {actual} instead of {expected}")),
    }
}

/// Results of one area, reported at its end.
#[derive(Default)]
struct Report {
    area: &'static str,
    passed: Vec<String>,
    failed: Vec<(String, Vec<String>)>,
    not_applicable: Vec<(String, &'static str)>,
}

impl Report {
    fn new(area: &'static str) -> Self {
        Self { area, ..Self::default() }
    }

    fn case(&mut self, name: impl Into<String>, differences: Vec<String>) {
        if differences.is_empty() {
            self.passed.push(name.into());
        } else {
            self.failed.push((name.into(), differences));
        }
    }

    fn skip(&mut self, name: impl Into<String>, reason: &'static str) {
        self.not_applicable.push((name.into(), reason));
    }

    /// Prints the result and fails the test if a case failed.
    fn finish(self) {
        println!("{}: {} passed, {} not applicable", self.area, self.passed.len(), self.not_applicable.len());
        for (name, reason) in &self.not_applicable {
            println!("  not applicable: {name}: {reason}");
        }
        for (name, differences) in &self.failed {
            println!("  failed: {name}");
            differences.iter().for_each(|difference| println!("    {difference}"));
        }
        assert!(self.failed.is_empty(), "{}: {} cases failed", self.area, self.failed.len());
        assert!(!self.passed.is_empty(), "{}: no case was compared", self.area);
    }
}

/// Metadata with these features and nothing else; upstream's tests leave `ipv6Enabled` at false.
fn metadata(features: &[&str]) -> ProxyMetadata {
    ProxyMetadata {
        features: Features::from_names(features.iter().copied()),
        ipv6_enabled: false,
        ..ProxyMetadata::default()
    }
}
