//! What is answered to requests that make no sense: status, shape and text.

mod support;

use http::Method;
use serde_json::json;
use support::{ALONE, Api, Setup};
use tandem_api::ApiSettings;
use tandem_model::Mode;

const WEB: &str = "/meshes/default/dataplanes/web";

#[tokio::test]
async fn requests_that_match_no_route() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    for (method, path, status, body) in [
        (Method::GET, "/nope", 404, "404: Page Not Found"),
        (Method::GET, "/versions", 404, "404: Page Not Found"),
        (Method::GET, "/meshes/default/nope", 404, "404: Page Not Found"),
        (Method::GET, "/meshes/default/dataplanes/a%2Fb", 404, "404: Page Not Found"),
        (Method::POST, "/meshes/default", 405, "405: Method Not Allowed"),
        (Method::PATCH, "/meshes", 405, "405: Method Not Allowed"),
        (Method::OPTIONS, "/meshes", 405, "405: Method Not Allowed"),
        (Method::PUT, "/config", 405, "405: Method Not Allowed"),
        (Method::GET, "/tokens/dataplane", 405, "405: Method Not Allowed"),
    ] {
        let answer = api.send(api.request(method.clone(), path)).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, body), "{method} {path}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8", "{method} {path}");
    }
    let head = api.send(api.request(Method::HEAD, "/meshes/default")).await;
    assert_eq!(head.status, 405);
    assert_eq!(head.headers["allow"], "PUT, DELETE, GET");
    let redirected = api.get("//meshes?size=1").await;
    assert_eq!(
        (redirected.status.as_u16(), &redirected.headers["location"]),
        (307, &"/meshes?size=1".parse().expect("a value"))
    );
    assert_eq!(api.get("/meshes/").await.status, 200);
    assert_eq!(api.get("/zones%2Binsights").await.status, 200);
}

#[tokio::test]
async fn content_negotiation() {
    let api = Api::start(ALONE).await;
    let accept = |value: &'static str| api.request(Method::GET, "/meshes").header("accept", value);
    for (value, status) in [("*/*", 200), ("text/html,application/json;q=0.1", 200), ("text/plain", 406)] {
        assert_eq!(api.send(accept(value)).await.status, status, "{value}");
    }
    assert_eq!(
        api.send(accept("text/plain")).await.text,
        "406: Not Acceptable\n\nAvailable representations: application/json"
    );
    let bare = api.request(Method::PUT, "/meshes/m").body("{}");
    let answer = api.send(bare).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (415, "415: Unsupported Media Type"));
    let xml = api.request(Method::GET, "/meshes").header("content-type", "application/xml");
    assert_eq!(api.send(xml).await.status, 415);
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let mut setup = Setup::new(ALONE);
    setup.settings = ApiSettings { body_limit: 1000, ..ApiSettings::default() };
    let api = setup.start().await;
    api.mesh("default").await;

    let large = json!({ "type": "Dataplane", "name": "a".repeat(2000) });
    let (status, title, detail) = api.put(WEB, &large).await.problem();
    assert_eq!((status, title.as_str()), (413, "Request body too large"));
    assert_eq!(detail, "the body is longer than the limit of 1000 bytes");

    for (body, reason) in [
        ("", "unexpected end of JSON input"),
        ("{\"type\":", "unexpected end of JSON input"),
        ("{,}", "invalid character ',' looking for beginning of object key string"),
        ("[]", "must be an object, not array"),
        (
            r#"{"type":"Dataplane","name":4}"#,
            "json: cannot unmarshal number into Go struct field ResourceMeta.name of type string",
        ),
    ] {
        let (status, title, detail) = api.put_text(WEB, "application/json", body).await.problem();
        assert_eq!((status, title.as_str()), (400, "Bad Request"), "{body}");
        assert_eq!(detail, format!("invalid Dataplane object: {reason:?}"), "{body}");
    }

    let head = format!("PUT {WEB} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let cut_off = api.raw(&format!("{head}content-length: 100\r\n\r\n{{\"type\"")).await;
    assert!(cut_off.is_empty() || cut_off.starts_with("HTTP/1.1 400"), "{cut_off}");
    assert_eq!(api.get("/meshes/default").await.status, 200, "nothing else stops");
    assert_eq!(api.get(WEB).await.status, 404, "nothing was stored");
}

#[tokio::test]
async fn violations_name_their_fields() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let body = |name: &str, members: serde_json::Value| {
        let mut body = json!({ "type": "Dataplane", "mesh": "default", "name": name });
        body["networking"] = members;
        body
    };
    let inbound = json!({ "address": "10.0.0.1", "inbound": [{ "port": 80, "tags": { "kuma.io/service": "a" } }] });

    let mut unknown = body("web", inbound.clone());
    unknown["networking"]["adress"] = json!("x");
    let answer = api.put(WEB, &unknown).await;
    assert_eq!(answer.problem().1, "Could not process a resource");
    assert_eq!(answer.violations(), [("networking.adress".to_owned(), "unknown field".to_owned())]);

    let answer = api.put(WEB, &body("web", json!({ "address": "10.0.0.1", "inbound": [{ "port": "x" }] }))).await;
    assert_eq!(answer.problem().1, "Bad Request");
    assert_eq!(answer.violations()[0].0, "networking.inbound[0].port");

    let answer = api.put(WEB, &body("other", inbound.clone())).await;
    assert_eq!(
        answer.violations(),
        [("name".to_owned(), "name from the URL has to be the same as in body".to_owned())]
    );
    let upper = api.put("/meshes/default/dataplanes/Web", &body("Web", inbound)).await;
    assert_eq!(upper.violations()[0].0, "name");
    assert!(upper.violations()[0].1.starts_with("invalid characters. A lowercase RFC 1123 subdomain"));

    let policy =
        json!({ "type": "MeshTimeout", "mesh": "default", "name": "t", "spec": { "targetRef": { "kind": 4 } } });
    let answer = api.put("/meshes/default/meshtimeouts/t", &policy).await;
    assert_eq!(
        answer.violations()[0],
        ("spec.targetRef.kind".to_owned(), "in body must be of type string: \"number\"".to_owned())
    );
}

#[tokio::test]
async fn meshes_that_do_not_exist() {
    let api = Api::start(ALONE).await;
    let expected = (404, "Failed to retrieve Mesh".to_owned(), "Not found".to_owned());
    assert_eq!(api.get("/meshes/nope/dataplanes").await.problem(), expected);
    assert_eq!(api.get("/meshes/nope/dataplanes/x").await.problem(), expected);
    assert_eq!(api.get("/meshes/nope/dataplanes/_overview").await.problem(), expected);
    assert_eq!(api.put("/meshes/nope/dataplanes/x", &json!({})).await.problem(), expected);
    assert_eq!(api.delete("/meshes/nope/dataplanes/x").await.problem(), expected);
    assert_eq!(api.get("/meshes/nope").await.problem().1, "Could not retrieve a resource");
}

#[tokio::test]
async fn deletes_that_would_break_something() {
    let api = Api::start(Mode::Global).await;
    api.mesh("m").await;
    api.load(json!({ "type": "Dataplane", "mesh": "m", "name": "dp" })).await;
    let answer = api.delete("/meshes/m").await;
    assert_eq!(answer.problem().1, "Could not delete a resource");
    assert_eq!(
        answer.violations(),
        [("mesh".to_owned(), "unable to delete mesh, there are still some dataplanes attached".to_owned())]
    );
}

#[tokio::test]
async fn base_path_and_origins() {
    let mut setup = Setup::new(ALONE);
    setup.settings = ApiSettings {
        base_path: "/foo/".to_owned(),
        cors_allowed_domains: vec!["http://gui.example".to_owned()],
        ..ApiSettings::default()
    };
    let api = setup.start().await;
    api.mesh("a").await;
    api.mesh("b").await;
    assert_eq!(api.get("/foo").await.json()["product"], "Kuma");
    let list = api.get("/foo/meshes?size=1").await.json();
    assert_eq!(list["next"], format!("http://{}/foo/meshes?offset=1&size=1", api.address));
    let outside = api.get("/meshes").await;
    assert_eq!((outside.status.as_u16(), outside.text.as_str()), (404, "404 page not found\n"));

    let from = |origin: &'static str| api.request(Method::GET, "/foo/meshes").header("origin", origin);
    let allowed = api.send(from("http://gui.example")).await;
    assert_eq!(allowed.headers["access-control-allow-origin"], "http://gui.example");
    let other = api.send(from("http://evil.example")).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    let preflight = api
        .request(Method::OPTIONS, "/foo/meshes")
        .header("origin", "http://gui.example")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "content-type");
    let preflight = api.send(preflight).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.headers["access-control-allow-headers"], "content-type");
}
