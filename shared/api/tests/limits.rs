//! Limits of requests: what is too large, too deep or too long is refused, and says so.

mod support;

use http::Method;
use serde_json::{Value, json};
use support::{ALONE, Api};

const PATCH: &str = "/meshes/default/meshproxypatches/p";

/// A MeshProxyPatch whose free-form value is nested in `levels` lists.
fn nested(levels: usize) -> String {
    let value = "[".repeat(levels) + &"]".repeat(levels);
    format!(
        r#"{{"type":"MeshProxyPatch","mesh":"default","name":"p","spec":{{"default":{{"appendModifications":[{{"cluster":
        {{"operation":"Patch","jsonPatches":[{{"op":"add","path":"/a","value":{value}}}]}}}}]}}}}}}"#
    )
}

#[tokio::test]
async fn depth_of_bodies() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let deepest = api.put_text(PATCH, "application/json", &nested(50)).await;
    assert_eq!(deepest.status, 201, "{}", deepest.text);
    let read = api.get(PATCH).await;
    assert_eq!(read.status, 200);
    assert_eq!(api.put(PATCH, &read.json()).await.status, 200, "what was stored can be read and written");
    for levels in [64, 1_000, 100_000, 1_000_000] {
        for format in ["application/json", "application/yaml"] {
            let answer = api.put_text(PATCH, format, &nested(levels)).await;
            let (status, _, detail) = answer.problem();
            assert_eq!(status, 400, "{levels} {format}");
            assert!(detail.starts_with("invalid MeshProxyPatch object: "), "{levels} {format}: {detail}");
        }
    }
    let unclosed = api.put_text(PATCH, "application/json", &"[".repeat(3_000_000)).await;
    assert_eq!(unclosed.status, 400);
}

#[tokio::test]
async fn depth_of_free_form_settings() {
    let api = Api::start(ALONE).await;
    let mesh = |levels: usize| {
        let conf = (0..levels).fold(json!("x"), |inner, _| json!({ "a": inner }));
        json!({ "type": "Mesh", "name": "m", "metrics": { "enabledBackend": "b", "backends": [
            { "name": "b", "type": "prometheus", "conf": conf }] } })
    };
    let answer = api.put("/meshes/m", &mesh(50)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("nested too deeply"), "{}", answer.text);
}

#[tokio::test]
async fn aliases_and_members_that_are_there_twice() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let mut bomb = "type: MeshProxyPatch\nname: p\na0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n".to_owned();
    for level in 1..9 {
        let previous = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [previous.as_str(); 10].join(", "));
    }
    let refused = api.put_text(PATCH, "application/yaml", &bomb).await;
    assert_eq!(refused.problem().0, 400);

    let alias = "type: MeshTimeout\nmesh: default\nname: t\nspec:\n  to:\n  - targetRef: &all {kind: Mesh}\n    default: {idleTimeout: 1s}\n";
    let accepted = api.put_text("/meshes/default/meshtimeouts/t", "application/yaml", alias).await;
    assert_eq!(accepted.status, 201, "{}", accepted.text);

    for (format, body) in [
        ("application/json", r#"{"type":"Zone","name":"z","enabled":true,"enabled":false}"#),
        ("application/yaml", "type: Zone\nname: z\nenabled: true\nenabled: false\n"),
    ] {
        let answer = api.put_text("/zones/z", format, body).await;
        let (status, _, detail) = answer.problem();
        assert_eq!(status, 400, "{format}");
        assert!(detail.contains("enabled") && detail.contains("is there twice"), "{detail}");
    }
}

#[tokio::test]
async fn numbers_beyond_all_ranges() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let path = "/meshes/default/dataplanes/d";
    for number in
        ["1e400", "-1e400", &"9".repeat(400), "18446744073709551616", "-9223372036854775809", "4294967296", "1e10"]
    {
        let body = format!(
            r#"{{"type":"Dataplane","mesh":"default","name":"d","networking":{{"address":"10.0.0.1","inbound":[{{"port":{number}}}]}}}}"#
        );
        let answer = api.put_text(path, "application/json", &body).await;
        assert_eq!(answer.problem().0, 400, "{number}");
        let yaml = api.put_text(path, "application/yaml", &body).await;
        assert_eq!(yaml.problem().0, 400, "{number} in YAML");
    }
    assert_eq!(api.get(path).await.status, 404);
}

#[tokio::test]
async fn answers_about_many_mistakes_are_short() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let mut body = json!({ "type": "MeshTimeout", "mesh": "default", "name": "t", "spec": { "to": [] } });
    for number in 0..50_000 {
        body["spec"][format!("mistake{number}")] = Value::Null;
    }
    let answer = api.put("/meshes/default/meshtimeouts/t", &body).await;
    assert_eq!(answer.problem().0, 400);
    assert_eq!(answer.violations().len(), 101);
    assert!(answer.text.len() < 100_000, "{}", answer.text.len());
    let long = json!({ "type": "MeshTimeout", "mesh": "default", "name": "t", "spec": { "x".repeat(3_000_000): 1 } });
    let answer = api.put("/meshes/default/meshtimeouts/t", &long).await;
    assert_eq!(answer.problem().0, 400);
    assert!(answer.text.len() < 100_000, "{}", answer.text.len());
}

#[tokio::test]
async fn lengths_of_addresses_and_headers() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let long_name = format!("/meshes/default/dataplanes/{}", "a".repeat(10_000));
    assert_eq!(api.get(&long_name).await.status, 404);
    let answer = api.raw(&format!("GET /meshes?name={} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000))).await;
    assert!(answer.starts_with("HTTP/1.1 414"), "{answer:.100}");
    let large_header = "b".repeat(1 << 20);
    let answer = api.raw(&format!("GET /meshes HTTP/1.1\r\nhost: x\r\nx-a: {large_header}\r\n\r\n")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:.100}");
    let headers: String = (0..2_000).map(|number| format!("x-{number}: a\r\n")).collect();
    let answer = api.raw(&format!("GET /meshes HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:.100}");
    let request = api.request(Method::GET, "/meshes?size=1001");
    assert_eq!(api.send(request).await.violations()[0].0, "size");
}
