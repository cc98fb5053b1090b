//! Specifications of core kinds and the violations Kuma finds in them.

use std::path::Path;

use serde_json::Value;
use tandem_model::rest::Unknown;
use tandem_model::schema::SpecError;
use tandem_model::{Kind, Resource, ResourceKey, Violation, core, name, validate};

use super::{documents, files, folder, text};

/// The violations of a specification, and whether they are those of the schema. Kuma's data was made without the
/// schema that comes before these rules in its API, so the schema finds more, and in its own words.
fn violations(kind: Kind, name: &str, spec: Value) -> (Vec<Violation>, bool) {
    match core::normalise(kind, spec, Unknown::Refuse) {
        Err(SpecError::Shape(violations)) => (violations.iter().cloned().collect(), true),
        Err(SpecError::Value(violation)) => (vec![violation], true),
        Ok(spec) => {
            let mut violations = name::validate_display_name_length(kind, name);
            let resource = Resource::from_json(ResourceKey::new(kind, "default", name), spec);
            violations.extend(validate(&resource));
            (violations.iter().cloned().collect(), false)
        }
    }
}

fn check(kind: Kind, input: &Path, ending: &str) {
    let place = input.display();
    let expected = Path::new(&input.to_string_lossy().replace(".input.yaml", ending)).to_owned();
    let expected = if expected.exists() { documents(&text(&expected)).pop() } else { None };
    let expected: Vec<(String, String)> = expected
        .as_ref()
        .and_then(|value| value["violations"].as_array())
        .map(|list| list.iter().map(|v| (member(v, "field"), member(v, "message"))).collect())
        .unwrap_or_default();
    let too_long = "a".repeat(64);
    let name = if place.to_string().contains("name-too-long") { &too_long } else { "test" };
    let spec = documents(&text(input)).pop().unwrap_or_default();
    let (found, by_schema) = violations(kind, name, spec);
    if by_schema {
        let is_expected = |violation: &Violation| expected.iter().any(|(field, _)| *field == violation.field);
        assert!(found.iter().any(is_expected), "{place}: {found:?}");
        return;
    }
    let found: Vec<(String, String)> = found.into_iter().map(|v| (v.field, v.reason)).collect();
    // What is wrong with a template is told in the words of the parser.
    let template = "couldn't parse template: ";
    let plain = |list: &[(String, String)]| -> Vec<(String, String)> {
        let cut = |reason: &String| if reason.starts_with(template) { template.to_owned() } else { reason.clone() };
        list.iter().map(|(field, reason)| (field.clone(), cut(reason))).collect()
    };
    assert_eq!(plain(&found), plain(&expected), "{place}");
}

fn member(violation: &Value, name: &str) -> String {
    violation[name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn core_kinds() {
    let Some(folder) = folder("core-apis") else { return };
    for (kind, path, ending) in [
        (Kind::MeshExternalService, "meshexternalservice/api-v1alpha1", ".output.yaml"),
        (Kind::MeshIdentity, "meshidentity/api-v1alpha1", ".golden.yaml"),
        (Kind::MeshTrust, "meshtrust/api-v1alpha1", ".golden.yaml"),
    ] {
        for input in files(&folder.join(path), ".input.yaml") {
            check(kind, &input, ending);
        }
    }
}
