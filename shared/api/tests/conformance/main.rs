//! Runs upstream's tables of requests and answers against this API.
//!
//! Reads `$CONFORMANCE_DIR/api-server`; skipped when the variable is not set. A case is a file of resources that starts
//! with comment lines naming the requests; bodies and expected answers are files beside it. Resources are put into the store
//! as they are. Both sides are compared as JSON after addresses and times are replaced.
//!
//! Two kinds of difference are deliberate. A body with members that the schema does not have is refused here: the run
//! checks that the refusal names them all, takes them out and goes on. Actions in [`differences`] differ for the reason
//! given there; one that stops to differ fails too.
//!
//! `CONFORMANCE_ONLY=part` narrows the run to cases whose path contains the text.

mod attachments;
mod case;
mod differences;
mod legacy_rules;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};

use differences::{DIFFERENT, NOT_APPLICABLE, reason};
use serde_json::Value;

/// Folders of cases.
const FOLDERS: &[&str] = &[
    "resources/crud",
    "resources/inspect/dataplanes/_layout",
    "resources/inspect/dataplanes/_policies",
    "resources/inspect/dataplanes/_policies/inbounds",
    "resources/inspect/dataplanes/_policies/outbounds",
    "resources/inspect/dataplanes/_policies/routes",
    "resources/inspect/dataplanes/_routes",
    "resources/inspect/dataplanes/_rules",
    "resources/inspect/meshgateways/_rules",
    "resources/inspect/meshservices/_dataplanes",
    "resources/inspect/policies/_resources/dataplanes",
    "resources/inspect/services/_resources/hostnames",
    "service-insights",
    "insights",
];

fn root() -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        eprintln!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    Some(PathBuf::from(root).join("api-server"))
}

/// What came of the cases of a folder.
#[derive(Default)]
struct Row {
    cases: usize,
    passed: usize,
    different: Vec<String>,
    not_applicable: Vec<String>,
    failed: Vec<String>,
}

async fn run_folder(folder: &Path) -> Row {
    let files = std::fs::read_dir(folder).expect("the folder of cases");
    let mut inputs: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    inputs.retain(|path| path.to_string_lossy().ends_with(".input.yaml") && path.to_string_lossy().contains(&only));
    inputs.sort();
    let mut row = Row { cases: inputs.len(), ..Row::default() };
    for input in &inputs {
        for (action, differs) in case::run(input, case::setup()).await {
            if let Some(reason) = reason(NOT_APPLICABLE, &action) {
                row.not_applicable.push(format!("{action}: {reason}"));
                continue;
            }
            match (differs, reason(DIFFERENT, &action)) {
                (None, None) => row.passed += 1,
                (Some(_), Some(reason)) => row.different.push(format!("{action}: {reason}")),
                (Some(differs), None) => row.failed.push(format!("{action}: {differs}")),
                (None, Some(reason)) => {
                    row.failed.push(format!("{action} is as upstream, but listed as different: {reason}"));
                }
            }
        }
    }
    row
}

#[tokio::test]
async fn tables_of_requests_and_answers() {
    let Some(root) = root() else { return };
    let (mut table, mut failed) = (Vec::new(), Vec::new());
    writeln!(table, "\n{:<45} cases  passed  failed  different  not applicable", "api-server").expect("memory");
    for folder in FOLDERS {
        let row = run_folder(&root.join(folder)).await;
        let (different, not_applicable) = (row.different.len(), row.not_applicable.len());
        let counts = format!(
            "{:>5}  {:>6}  {:>6}  {different:>9}  {not_applicable:>14}",
            row.cases,
            row.passed,
            row.failed.len()
        );
        writeln!(table, "{folder:<45} {counts}").expect("memory");
        for line in row.different.iter().chain(&row.not_applicable) {
            writeln!(table, "    {line}").expect("memory");
        }
        failed.extend(row.failed);
    }
    // Past the test harness, which would swallow the table of a run that passes.
    std::io::stderr().write_all(&table).expect("standard error is open");
    assert!(failed.is_empty(), "{} answers differ:\n{}", failed.len(), failed.join("\n\n"));
}

#[tokio::test]
async fn catalogues() {
    let Some(root) = root() else { return };
    let api = case::setup().start().await;
    for path in ["_resources", "policies", "who-am-i"] {
        let golden = std::fs::read_to_string(root.join(format!("base_endpoints/{path}.golden.json"))).expect("a file");
        let expected: Value = serde_json::from_str(&golden).expect("JSON");
        assert_eq!(api.get(&format!("/{path}")).await.json(), expected, "{path}");
    }
}
