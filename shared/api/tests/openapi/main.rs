//! That the OpenAPI document is true: requests that it allows are understood, requests that it does not allow are refused with
//! the field at fault, and answers are as it says.

mod document;
mod generate;
mod mutate;
#[path = "../support/mod.rs"]
mod support;

use document::Document;
use generate::Choices;
use http::Method;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use support::{ALONE, Answer, Api};
use tandem_model::{Kind, Mode};
use tokio::runtime::Runtime;

/// Kinds that people write, with the paths of their lists.
fn writable() -> impl Iterator<Item = (Kind, String)> {
    let kinds = Kind::all().filter(|kind| !kind.descriptor().read_only);
    kinds.filter_map(|kind| {
        let path = kind.descriptor().path?;
        Some((kind, if kind.is_mesh_scoped() { format!("/meshes/default/{path}") } else { format!("/{path}") }))
    })
}

/// Whether the server says that a body does not have the shape it wants, as opposed to that it makes no sense.
fn is_about_shape(answer: &Answer) -> bool {
    let detail = answer.problem().2;
    (detail.starts_with("invalid ") && detail.contains(" object: "))
        || answer.violations().iter().any(|(_, reason)| reason == "unknown field" || reason.starts_with("in body"))
}

/// Checks that an answer has the documented status and form.
fn check(document: &Document, method: &str, path: &str, answer: &Answer) -> Result<(), String> {
    let status = answer.status.as_u16();
    let told = || format!("{method} {path}: {status} {}", answer.text);
    if status >= 500 {
        return Err(told());
    }
    let Some(schema) = document.answer(method, path, status) else {
        return Err(format!("the document does not know this answer: {}", told()));
    };
    let Some(schema) = schema else { return Ok(()) };
    let body: Value = serde_json::from_str(&answer.text).map_err(|error| format!("{error} in {}", told()))?;
    document.validate(&schema, &body).map_err(|error| format!("{error} in {}", told()))
}

/// Writes `body` and checks all that the document says about it. Returns whether it was accepted.
async fn write(api: &Api, document: &Document, kind: Kind, list: &str, body: &Value) -> Result<bool, String> {
    let name = body["name"].as_str().unwrap_or_default();
    let template = document.template(kind, true);
    let address = format!("{list}/{name}");
    let answer = api.put(&address, body).await;
    check(document, "put", &template, &answer)?;
    if !answer.status.is_success() {
        if is_about_shape(&answer) {
            return Err(format!("the schema allows {body}, but: {}", answer.text));
        }
        return Ok(false);
    }
    let read = api.get(&address).await;
    check(document, "get", &template, &read)?;
    if !read.status.is_success() {
        return Err(format!("{kind} was accepted and is not there: {body}"));
    }
    let listed = api.get(&format!("{list}?name={name}")).await;
    check(document, "get", &document.template(kind, false), &listed)?;
    // What was read is a body that may be written.
    let again = api.put(&address, &read.json()).await;
    if again.status != 200 {
        return Err(format!("{kind} cannot be written as it was read: {} {}", read.text, again.text));
    }
    Ok(true)
}

async fn prepared(mode: Mode) -> (Api, Document) {
    let api = Api::start(mode).await;
    api.mesh("default").await;
    let answer = api.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document = Document::new(answer.json());
    let yaml = api.get("/openapi.yaml").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    let yaml: Value = serde_norway::from_str(&yaml.text).expect("YAML");
    assert_eq!(&yaml, document.value(), "both forms are the same");
    (api, document)
}

#[tokio::test]
async fn the_document_is_whole() {
    for mode in [Mode::Global, ALONE, support::FEDERATED] {
        let (_, document) = prepared(mode).await;
        document.check_references();
        document.check_operations();
        document.check_schemas();
    }
}

#[tokio::test]
async fn the_document_knows_exactly_the_routes_that_there_are() {
    for mode in [Mode::Global, ALONE] {
        let (api, document) = prepared(mode).await;
        for (path, methods) in document.methods() {
            let address = document::filled(&path);
            for method in ["get", "put", "post", "delete", "patch", "head", "options"] {
                let name: Method = method.to_ascii_uppercase().parse().expect("a method");
                let request = api.request(name, &address).header("content-type", "application/json").body("{}");
                let answer = api.send(request).await;
                let is_allowed = answer.text != "405: Method Not Allowed" && answer.status != 405 || {
                    methods.iter().any(|known| known == method) && answer.text.starts_with('{')
                };
                let known = methods.iter().any(|known| known == method);
                assert_ne!(answer.text, "404: Page Not Found", "{method} {address}");
                assert_eq!(
                    is_allowed && method != "head",
                    known,
                    "{method} {address}: {} {}",
                    answer.status,
                    answer.text
                );
                if known {
                    check(&document, method, &path, &answer).expect("a documented answer");
                }
            }
        }
    }
}

#[tokio::test]
async fn examples_are_accepted() {
    let (api, document) = prepared(ALONE).await;
    for (kind, list) in writable() {
        let example = document.example(kind);
        match write(&api, &document, kind, &list, &example).await {
            Ok(true) => {}
            Ok(false) => {
                let answer = api.put(&format!("{list}/{}", example["name"].as_str().expect("a name")), &example).await;
                panic!("the example of {kind} is refused: {}", answer.text);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_the_schema_allows_is_understood() {
    let runtime = Runtime::new().expect("a runtime");
    for mode in [ALONE, Mode::Global] {
        let (api, document) = runtime.block_on(prepared(mode));
        let mut accepted = 0;
        for (kind, list) in writable() {
            if !document.is_writable(kind) {
                continue;
            }
            let counter = std::cell::Cell::new(0);
            let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
            let outcome = runner.run(&vec(any::<u8>(), 0..600), |bytes| {
                let mut choices = Choices::new(&bytes);
                let mut body = document.generate(kind, &mut choices);
                body["type"] = json!(kind.name());
                body["name"] = json!("generated");
                if kind.is_mesh_scoped() {
                    body["mesh"] = json!("default");
                }
                if document.validate(&document.body(kind), &body).is_err() {
                    return Err(TestCaseError::reject("some combinations of members are not allowed"));
                }
                let outcome = runtime.block_on(write(&api, &document, kind, &list, &body));
                let is_accepted = outcome.map_err(|error| TestCaseError::fail(format!("{error}\n{body}")))?;
                counter.set(counter.get() + usize::from(is_accepted));
                Ok(())
            });
            if let Err(error) = outcome {
                panic!("{kind}: {error}");
            }
            accepted += counter.get();
        }
        assert!(accepted > 100, "only {accepted} bodies were accepted, so that little was checked");
    }
}

#[tokio::test]
async fn what_the_schema_forbids_is_refused_with_the_field() {
    let (api, document) = prepared(ALONE).await;
    let mut tried = 0;
    for (kind, list) in writable() {
        let example = document.example(kind);
        let name = example["name"].as_str().expect("a name").to_owned();
        for mutation in mutate::all(&document, kind, &example) {
            let answer = api.put(&format!("{list}/{name}"), &mutation.body).await;
            assert_eq!(answer.status, 400, "{kind} {}: {}\n{}", mutation.what, answer.text, mutation.body);
            check(&document, "put", &document.template(kind, true), &answer).expect("a documented answer");
            let named = answer.text.contains(&mutation.member);
            assert!(named, "{kind} {}: {:?} is not named in {}", mutation.what, mutation.member, answer.text);
            tried += 1;
        }
        assert_eq!(api.get(&format!("{list}/{name}")).await.status, 404, "{kind}: nothing is stored");
    }
    assert!(tried > 1000, "only {tried} bodies were tried");
}
