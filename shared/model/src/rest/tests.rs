use serde_json::{Value, json};

use super::*;
use crate::kind::Kind;
use crate::label::LabelContext;
use crate::mode::Mode;
use crate::resource::{Resource, ResourceKey};

fn read(value: Value) -> Document {
    from_json(value, None, Unknown::Refuse).expect("the bodies of these tests are well formed")
}

fn refusal(kind: Option<Kind>, value: Value) -> RestError {
    from_json(value, kind, Unknown::Refuse).expect_err("a refusal")
}

fn at(mut resource: Resource, time: &str) -> Resource {
    resource.created = time.parse().expect("an RFC 3339 time");
    resource.modified = resource.created;
    resource
}

#[test]
fn flat_form() {
    let body = json!({
        "type": "CircuitBreaker", "mesh": "default", "name": "cb", "labels": {"kuma.io/mesh": "default"},
        "sources": [{"match": {"kuma.io/service": "*"}}], "destinations": [{"match": {"kuma.io/service": "*"}}],
        "conf": {"interval": "1m30s", "baseEjectionTime": "1.5s"},
    });
    let resource = at(read(body).resource, "2026-01-02T03:04:05.600Z");
    assert_eq!(
        to_json(&resource).expect("what was read can be written").to_string(),
        r#"{"type":"CircuitBreaker","mesh":"default","name":"cb","creationTime":"2026-01-02T03:04:05.6Z","modificationTime":"2026-01-02T03:04:05.6Z","labels":{"kuma.io/mesh":"default"},"sources":[{"match":{"kuma.io/service":"*"}}],"destinations":[{"match":{"kuma.io/service":"*"}}],"conf":{"interval":"90s","baseEjectionTime":"1.500s"}}"#
    );
}

#[test]
fn nested_form() {
    let body = json!({
        "spec": {"targetRef": {"kind": "Mesh"}}, "name": "mt", "mesh": "default", "type": "MeshTimeout",
        "labels": {"kuma.io/zone": "zone-a", "kuma.io/origin": "zone"},
    });
    let resource = at(read(body).resource, "2026-11-20T20:00:26.53699893Z");
    assert_eq!(
        to_json(&resource).expect("what was read can be written").to_string(),
        r#"{"type":"MeshTimeout","mesh":"default","name":"mt","creationTime":"2026-11-20T20:00:26.53699893Z","modificationTime":"2026-11-20T20:00:26.53699893Z","labels":{"kuma.io/origin":"zone","kuma.io/zone":"zone-a"},"kri":"kri_mt_default_zone-a__mt_","spec":{"targetRef":{"kind":"Mesh"}}}"#
    );
}

#[test]
fn global_kinds_have_no_mesh_and_new_ones_no_time() {
    let resource = read(json!({"type": "Mesh", "name": "default"})).resource;
    assert_eq!(
        to_json(&resource).expect("what was read can be written").to_string(),
        r#"{"type":"Mesh","name":"default","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","kri":"kri_m____default_"}"#
    );
    let secret = read(json!({"type": "GlobalSecret", "mesh": "ignored", "name": "s", "data": "dGVzdA=="})).resource;
    assert_eq!(secret.key, ResourceKey::global(Kind::GlobalSecret, "s"));
    let json = to_json(&secret).expect("what was read can be written");
    assert_eq!((json.get("kri"), json.get("mesh"), &json["data"]), (None, None, &json!("dGVzdA==")));
}

#[test]
fn statuses_always_have_their_members() {
    assert_eq!(status_json(Kind::MeshService, None).to_string(), r#"{"tls":{},"dataplaneProxies":{}}"#);
    assert_eq!(status_json(Kind::MeshExternalService, Some(&json!({}))), json!({"vip": {}}));
    assert_eq!(status_json(Kind::MeshIdentity, None), json!({}));
    assert_eq!(
        status_json(Kind::Workload, Some(&json!({"dataplaneProxies": {"total": 3}, "more": 1}))),
        json!({"dataplaneProxies": {"total": 3, "connected": 0, "healthy": 0}, "more": 1})
    );
}

#[test]
fn lists() {
    assert_eq!(list_json(0, vec![], None).to_string(), r#"{"total":0,"items":[],"next":null}"#);
    let next = Some("http://localhost:5681/meshes?offset=1&size=1".to_owned());
    assert_eq!(list_json(2, vec![json!({})], next.clone())["next"], json!(next));
}

#[test]
fn computed_members_have_no_effect() {
    let body = json!({
        "type": "MeshService", "mesh": "m", "name": "web", "kri": "kri_nonsense", "creationTime": 5,
        "modificationTime": "x", "spec": {}, "status": {"vips": [{"ip": "1.2.3.4"}]},
    });
    let document = read(body);
    assert_eq!(document.resource.status, Some(json!({})));
    assert_eq!(document.status, Some(json!({"vips": [{"ip": "1.2.3.4"}]})));
}

#[test]
fn unknown_members_are_refused_or_ignored() {
    for (body, field) in [
        (json!({"type": "Mesh", "name": "a", "mtsl": {}}), "mtsl"),
        (json!({"type": "Mesh", "name": "a", "mtls": {"backends": [{"nam": "x"}]}}), "mtls.backends[0].nam"),
        (json!({"type": "Mesh", "name": "a", "status": {}}), "status"),
        (json!({"type": "MeshTimeout", "name": "a", "spec": {}, "status": {}}), "status"),
        (json!({"type": "MeshService", "name": "a", "spec": {"port": []}}), "spec.port"),
        (json!({"type": "MeshService", "name": "a", "spec": {}, "specs": {}}), "specs"),
    ] {
        let error = refusal(None, body.clone());
        assert!(matches!(&error, RestError::Invalid(_)), "{error}");
        let [violation] = &error.violations()[..] else { panic!("not one violation: {error}") };
        assert_eq!((violation.field.as_str(), violation.reason.as_str()), (field, "unknown field"));
        assert!(from_json(body, None, Unknown::Ignore).is_ok());
    }
}

#[test]
fn members_of_the_wrong_type() {
    for (kind, body, text) in [
        (
            Kind::Dataplane,
            json!({"type": "Dataplane", "mesh": "default", "name": 4}),
            r#"invalid Dataplane object: "json: cannot unmarshal number into Go struct field ResourceMeta.name of type string""#,
        ),
        (Kind::Mesh, json!([]), r#"invalid Mesh object: "must be an object, not array""#),
        (
            Kind::MeshTrafficPermission,
            json!({"type": "TrafficPermission", "name": "sample", "spec": {}}),
            ": type in body should be one of [MeshTrafficPermission]",
        ),
        (Kind::MeshTimeout, json!({"type": "MeshTimeout", "name": "a"}), ": .spec in body is required"),
        (
            Kind::MeshTimeout,
            json!({"type": "MeshTimeout", "name": "a", "spec": "x"}),
            ": spec in body must be of type object: \"string\"",
        ),
        (
            Kind::MeshTimeout,
            json!({"type": "MeshTimeout", "name": 4, "spec": {}}),
            ": name in body must be of type string: \"number\"",
        ),
        (
            Kind::MeshTimeout,
            json!({"type": "MeshTimeout", "name": "a", "labels": {"x": 1}, "spec": {}}),
            ": labels.x in body must be of type string: \"number\"",
        ),
    ] {
        assert_eq!(refusal(Some(kind), body).to_string(), text);
    }
}

#[test]
fn errors_in_a_message_name_the_field() {
    let error = refusal(None, json!({"type": "Dataplane", "networking": {"inbound": [{"port": "x"}]}}));
    assert!(matches!(&error, RestError::Malformed { .. }), "{error}");
    let [violation] = &error.violations()[..] else { panic!("not one violation: {error}") };
    assert_eq!(violation.field, "networking.inbound[0].port");
    assert!(!violation.reason.starts_with("networking"), "{}", violation.reason);
}

#[test]
fn the_type_has_to_be_known() {
    assert_eq!(refusal(None, json!({"type": "Nope"})), RestError::UnknownType("Nope".into()));
    assert_eq!(refusal(None, json!({})).to_string(), r#"invalid  object: "type is missing""#);
}

#[test]
fn body_and_address_have_to_agree() {
    let context = LabelContext { mode: Mode::Zone { federated: false }, zone: "default".into(), check_origin: true };
    let check = |body: Value, target: ResourceKey| {
        let document = from_json(body, Some(target.kind), Unknown::Refuse).expect("well formed");
        let violations = validate_request(&document, &target, &context);
        violations.iter().map(|v| (v.field.clone(), v.reason.clone())).collect::<Vec<_>>()
    };
    let target = ResourceKey::new(Kind::Dataplane, "default", "dp-4");
    assert_eq!(check(json!({"type": "Dataplane", "mesh": "default", "name": "dp-4"}), target.clone()), []);
    let found = check(json!({"type": "MeshTrafficPermission", "mesh": "def$ault", "name": "dp-4$"}), target);
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["name", "type", "mesh", "name", "mesh"]);
    assert_eq!(found[1].1, "type from the URL has to be the same as in body");
    assert!(found[3].1.starts_with("invalid characters. A lowercase RFC 1123"));
}
