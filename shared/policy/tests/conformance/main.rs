//! Matching and rules compared with those of Kuma.
//!
//! The environment variable `CONFORMANCE_DIR` names a folder with test inputs and expected outputs of Kuma 2.13.10; its
//! subfolders `policy-matchers` and `policy-rules` are Kuma's `pkg/plugins/policies/core/matchers/testdata` and
//! `pkg/plugins/policies/core/rules`. Without the variable these tests print that they are skipped.

mod load;
mod matchers;
mod meta;
mod rules;
mod show;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Outcome of the cases of one test.
#[derive(Default)]
struct Report {
    passed: usize,
    failures: Vec<String>,
}

impl Report {
    /// Compares what was computed with an expected file.
    fn compare(&mut self, golden: &Path, computed: &Value) {
        let expected = load::document(golden);
        if show::normal(&expected) == show::normal(computed) {
            self.passed += 1;
        } else {
            let pretty = |value: &Value| serde_json::to_string_pretty(&show::normal(value)).unwrap_or_default();
            self.failures.push(format!(
                "{}\nexpected {}\ncomputed {}",
                golden.display(),
                pretty(&expected),
                pretty(computed)
            ));
        }
    }

    /// Ends a test: all cases must have passed, and there must have been as many as expected.
    fn finish(self, name: &str, cases: usize) {
        println!("{name}: {} passed, {} failed", self.passed, self.failures.len());
        assert!(self.failures.is_empty(), "{name}: {} failed, the first is {}", self.failures.len(), self.failures[0]);
        assert_eq!(self.passed, cases, "{name}: number of cases");
    }
}

/// A subfolder of the conformance data; `None`, with a printed line, when there is none.
fn folder(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    Some(Path::new(&root).join(name))
}

/// The files of a folder whose names end in `suffix`, with what comes before it.
fn cases(folder: &Path, suffix: &str) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut cases: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name()?.to_str()?.strip_suffix(suffix)?.to_owned();
            Some((name, path))
        })
        .collect();
    cases.sort();
    cases
}
