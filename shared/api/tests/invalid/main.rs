//! Resources that are refused, or accepted with a warning, and what is answered to whoever sends them.
//!
//! The cases are data: a file in `cases` for each type, in the form that [`case::CaseFile`] describes. Each is sent
//! to an API of its own, over a socket; a refusal must leave the store as it was.

mod case;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use case::{Answered, Case, CaseFile, Method};
use support::{ALONE, Api, FEDERATED};
use tandem_model::Mode;
use tokio::task::JoinSet;

/// How many refusals there are at least, counting everything but accepted resources.
const ENOUGH: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_exact() {
    let mut running = JoinSet::new();
    for (name, file) in case::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid/cases")) {
        running.spawn(async move { run(name, file).await });
    }
    let mut results = running.join_all().await;
    results.sort_by(|a, b| a.file.cmp(&b.file));

    let refused: usize = results.iter().map(|result| result.refused).sum();
    let failures: Vec<&String> = results.iter().flat_map(|result| &result.failures).collect();
    for Outcome { file, refused, accepted, .. } in &results {
        println!("{file:34} {refused:4} refused {accepted:4} accepted with a warning");
    }
    println!("{refused} refused resources");
    assert!(failures.is_empty(), "{} wrong answers:\n{}", failures.len(), join(&failures));
    assert!(refused >= ENOUGH, "only {refused} of {ENOUGH}");
}

fn join(lines: &[&String]) -> String {
    lines.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n")
}

/// What came out of one file.
struct Outcome {
    file: String,
    refused: usize,
    accepted: usize,
    failures: Vec<String>,
}

async fn run(file: String, CaseFile { kind, cases }: CaseFile) -> Outcome {
    let mut outcome = Outcome { file, refused: 0, accepted: 0, failures: Vec::new() };
    for case in cases {
        let expected = case.expected();
        if expected.status < 300 {
            outcome.accepted += 1;
        } else {
            outcome.refused += 1;
        }
        let (answered, trace) = send(&case, kind).await;
        if answered != expected {
            let shown = format!("{} / {}:\n  expected {expected:?}\n  answered {answered:?}", outcome.file, case.name);
            outcome.failures.push(shown);
        } else if answered.status >= 300 && trace {
            outcome.failures.push(format!("{} / {}: the refusal changed the store", outcome.file, case.name));
        }
    }
    outcome
}

/// The answer, and whether the store changed.
async fn send(case: &Case, kind: tandem_model::Kind) -> (Answered, bool) {
    let api = Api::start(match case.mode {
        case::ControlPlane::Zone => ALONE,
        case::ControlPlane::Federated => FEDERATED,
        case::ControlPlane::Global => Mode::Global,
    })
    .await;
    api.mesh("default").await;
    for resource in &case.before {
        let stored = api.put(&case::address(resource), resource).await;
        assert!(stored.status.is_success(), "{}: {}", case.name, stored.text);
    }
    let before = api.store.revision();
    let path = case.path(kind);
    let answer = match case.method {
        Method::Put => api.put_text(&path, "application/json", &case.body(kind)).await,
        Method::Delete => api.delete(&path).await,
    };
    (Answered::of(&answer), api.store.revision() != before)
}
