//! Comparison with Kuma's own test data, which lives outside of the project in the folder that the environment
//! variable `CONFORMANCE_DIR` names. Without it these tests say so and pass.

mod crud;
mod spec;
mod sync;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// A folder of the test data; `None`, with a message, when there is no test data.
fn folder(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    let folder = Path::new(&root).join(name);
    assert!(folder.is_dir(), "CONFORMANCE_DIR has no folder {name}");
    Some(folder)
}

/// The files below a folder whose names end so, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no file {ending} below {}", folder.display());
    found
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text that are not empty.
fn documents(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML with a JSON form"))
        .filter(|document| !document.is_null())
        .collect()
}

/// The same value without points in time.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                *member = match name.as_str() {
                    "creationTime" | "modificationTime" => Value::Null,
                    _ => timeless(member.take()),
                };
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = timeless(item.take());
            }
        }
        _ => {}
    }
    value
}
