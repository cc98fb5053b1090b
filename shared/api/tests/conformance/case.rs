//! One case of the table: resources to load, requests to send, answers to expect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Method;
use regex::Regex;
use serde_json::Value;

use crate::support::{ALONE, Answer, Setup};

/// One request of a case.
struct Action {
    path: String,
    status: u16,
    method: Method,
    /// Where the files of the action are, up to the kind of the file.
    stem: PathBuf,
}

fn actions(input: &Path, text: &str) -> Vec<Action> {
    let base = input.to_string_lossy().trim_end_matches(".input.yaml").to_owned();
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    let lines: Vec<_> = lines.filter_map(|line| line.strip_prefix("#/")).collect();
    let several = lines.len() > 1;
    let action = |(index, line): (usize, &&str)| {
        let mut words = line.split_whitespace();
        let path = format!("/{}", words.next().unwrap_or_default());
        let status = words.next().and_then(|status| status.parse().ok()).unwrap_or(200);
        let method = words.find_map(|word| word.strip_prefix("method=")).unwrap_or("GET");
        let stem = if several { format!("{base}_{index:02}") } else { base.clone() };
        Action { path, status, method: method.parse().expect("a method"), stem: stem.into() }
    };
    lines.iter().enumerate().map(action).collect()
}

/// Replaces what differs between any two runs.
fn settled(text: &str, address: &str) -> Value {
    let times = Regex::new(r#"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d[^"]+"#).expect("a valid expression");
    let text = text.replace(address, "{{address}}");
    let text = times.replace_all(&text, "0001-01-01T00:00:00Z");
    serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
}

/// A control plane like the one under test upstream.
pub fn setup() -> Setup {
    let mut setup = Setup::new(ALONE);
    setup.admission.zone = "default".to_owned();
    setup
}

/// The documents of a file without the space around them, as upstream reads them: a text at the very end of one has no
/// newline then.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n---").map(str::trim).filter(|document| !document.is_empty())
}

/// Takes the members out of a body that the answer calls unknown; `None` when it complains of anything else.
fn without_unknown_members(body: &str, answer: &Answer) -> Option<String> {
    if answer.status != 400 {
        return None;
    }
    let mut body: Value = serde_json::from_str(body).ok()?;
    let violations = answer.violations();
    for (field, reason) in &violations {
        if reason != "unknown field" {
            return None;
        }
        let pointer = format!("/{}", field.replace(['.', '['], "/").replace(']', ""));
        let (parent, member) = pointer.rsplit_once('/')?;
        body.pointer_mut(parent)?.as_object_mut()?.remove(member)?;
    }
    (!violations.is_empty()).then(|| body.to_string())
}

/// The differences of a case, by the name of the action's files.
pub async fn run(input: &Path, setup: Setup) -> BTreeMap<String, Option<String>> {
    let text = std::fs::read_to_string(input).expect("a readable case");
    let api = setup.start().await;
    for document in documents(&text) {
        let resource: Value = serde_norway::from_str(document).expect("YAML");
        if !resource.is_null() {
            api.load(resource).await;
        }
    }
    let mut results = BTreeMap::new();
    for action in actions(input, &text) {
        let name = action.stem.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = |kind: &str| std::fs::read_to_string(format!("{}.{kind}.json", action.stem.display())).ok();
        let send = async |body: Option<String>| {
            let mut request = api.request(action.method.clone(), &action.path);
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body);
            }
            api.send(request).await
        };
        let body = file("request");
        let mut answer = send(body.clone()).await;
        if let Some(body) = body.and_then(|body| without_unknown_members(&body, &answer)) {
            answer = send(Some(body)).await;
        }
        let address = api.address.to_string();
        let (actual, expected) = (settled(&answer.text, &address), file("golden").map(|text| settled(&text, &address)));
        let differs = if answer.status != action.status {
            Some(format!("status {} instead of {}: {}", answer.status, action.status, answer.text))
        } else if expected.as_ref().is_some_and(|expected| *expected != actual) {
            Some(format!("answered {actual:#}\nexpected {:#}", expected.unwrap_or_default()))
        } else {
            None
        };
        results.insert(name, differs);
    }
    results
}
