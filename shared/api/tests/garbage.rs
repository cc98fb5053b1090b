//! Requests that make no sense at all: whatever arrives, every request gets an answer, none of them a 5xx, and the API goes on.

mod support;

use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::{ALONE, Api, FEDERATED};
use tandem_model::{Kind, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Runs a property over the API in every mode.
fn in_all_modes<S: Strategy + Clone>(
    cases: u32,
    strategy: S,
    property: impl Fn(&Runtime, &Api, S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: Clone,
{
    let runtime = Runtime::new().expect("a runtime");
    for mode in [Mode::Global, ALONE, FEDERATED] {
        let api = runtime.block_on(prepared(mode));
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let outcome = TestRunner::new(config).run(&strategy, |value| property(&runtime, &api, value));
        if let Err(error) = outcome {
            panic!("{mode:?}: {error}");
        }
        runtime.block_on(async { assert_eq!(api.get("/meshes/default").await.status, 200, "the API goes on") });
    }
}

async fn prepared(mode: Mode) -> Api {
    let api = Api::start(mode).await;
    api.mesh("default").await;
    for body in [
        json!({ "type": "Dataplane", "mesh": "default", "name": "web", "networking": { "address": "10.0.0.1", "inbound": [
            { "port": 80, "tags": { "kuma.io/service": "web", "kuma.io/protocol": "http" } }] } }),
        json!({ "type": "DataplaneInsight", "mesh": "default", "name": "web" }),
        json!({ "type": "Zone", "name": "web" }),
        json!({ "type": "MeshTimeout", "mesh": "default", "name": "web", "spec": {
            "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "idleTimeout": "1s" } }] } }),
        json!({ "type": "MeshService", "mesh": "default", "name": "web", "spec": { "ports": [{ "port": 80 }] } }),
        json!({ "type": "ServiceInsight", "mesh": "default", "name": "all-services-default", "services": { "web": {} } }),
    ] {
        api.load(body).await;
    }
    api
}

/// Sends bytes over a connection of their own; returns the status, or `None` when the server only closed it. A request that is
/// not `whole` ends with the connection.
async fn status_of(api: &Api, bytes: &[u8], whole: bool) -> Option<u16> {
    let mut stream = TcpStream::connect(api.address).await.expect("the server listens");
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    if !whole {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let line = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

fn expect_answer(status: Option<u16>, request: &[u8]) -> Result<(), TestCaseError> {
    let is_fine = status.is_some_and(|status| (200..500).contains(&status));
    prop_assert!(is_fine, "{status:?} to {:?}", String::from_utf8_lossy(request));
    Ok(())
}

fn method() -> impl Strategy<Value = &'static str> + Clone {
    select(vec!["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"])
}

fn content_type() -> impl Strategy<Value = &'static str> + Clone {
    select(vec![
        "application/json",
        "application/yaml",
        "text/yaml",
        "application/json; charset=latin1",
        "text/plain",
        "",
    ])
}

/// Segments of paths: those that routes have, and others.
fn segment() -> impl Strategy<Value = String> + Clone {
    let known: Vec<String> = Kind::all()
        .filter_map(|kind| kind.descriptor().path)
        .chain([
            "meshes",
            "default",
            "web",
            "_overview",
            "_kri",
            "_rules",
            "_policies",
            "_config",
            "_history",
            "_layout",
        ])
        .chain([
            "_hostnames",
            "_resources",
            "dataplanes",
            "tokens",
            "user",
            "zone",
            "xds",
            "stats",
            "_apply",
            "_validate",
        ])
        .map(str::to_owned)
        .collect();
    prop_oneof![
        4 => select(known),
        1 => "kri_[a-z]{0,4}_[a-z_]{0,20}",
        1 => vec(any::<u8>(), 0..12).prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02x}")).collect()),
        1 => "[!-~]{0,12}".prop_map(|text: String| text.replace(['?', '#'], "")),
        1 => select(vec!["", ".", "..", "%", "%2", "%zz", "%2F", "%00", "{name}", "*", "%ff%fe", "+"]).prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = String> + Clone {
    vec(segment(), 0..7).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn query() -> impl Strategy<Value = String> + Clone {
    let name = select(vec![
        "size",
        "offset",
        "name",
        "tag",
        "gateway",
        "format",
        "type",
        "filter[labels.team]",
        "filter[",
        "filter[x",
        "shadow",
        "include",
        "dry-run",
        "to",
        "watch_",
        "namespace",
        "%",
        "",
    ]);
    let value = prop_oneof![
        3 => select(vec!["0", "-1", "1", "1000", "1001", "99999999999999999999", "9223372036854775807", "true", "builtin", ":", "a:b"])
            .prop_map(str::to_owned),
        1 => vec(any::<u8>(), 0..8).prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02X}")).collect()),
        1 => "[!-~]{0,10}".prop_map(|text: String| text.replace('#', "")),
    ];
    vec((name, value), 0..4).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    })
}

/// JSON of any shape, often with members that bodies have.
fn value() -> impl Strategy<Value = Value> + Clone {
    let name = select(vec![
        "type",
        "mesh",
        "name",
        "labels",
        "spec",
        "networking",
        "inbound",
        "tags",
        "port",
        "targetRef",
        "to",
        "default",
        "conf",
        "mtls",
        "backends",
        "kind",
        "status",
        "a.b",
        "",
        "kuma.io/service",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec!["Mesh", "Dataplane", "MeshTimeout", "default", "web", "10s", "", "builtin"]).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((name.clone(), inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// Addresses that take bodies.
fn writable_path() -> impl Strategy<Value = String> + Clone {
    let paths: Vec<String> = Kind::all()
        .filter_map(|kind| {
            let path = kind.descriptor().path?;
            Some(if kind.is_mesh_scoped() { format!("/meshes/default/{path}/web") } else { format!("/{path}/web") })
        })
        .chain(["/tokens/dataplane", "/tokens/zone", "/tokens/user", "/_apply", "/_validate"].map(str::to_owned))
        .collect();
    select(paths)
}

#[test]
fn bodies_of_bytes() {
    let strategy = (method(), writable_path(), query(), content_type(), vec(any::<u8>(), 0..400));
    in_all_modes(400, strategy, |runtime, api, (method, path, query, content_type, body)| {
        let mut request = format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        if !content_type.is_empty() {
            request += &format!("content-type: {content_type}\r\n");
        }
        let bytes = [request.as_bytes(), b"\r\n", &body].concat();
        expect_answer(runtime.block_on(status_of(api, &bytes, true)), &bytes)
    });
}

#[test]
fn bodies_of_any_shape() {
    let strategy = (select(vec!["PUT", "POST"]), writable_path(), query(), content_type(), value());
    in_all_modes(400, strategy, |runtime, api, (method, path, query, content_type, body)| {
        let body = if content_type.contains("yaml") {
            serde_norway::to_string(&body).expect("YAML")
        } else {
            body.to_string()
        };
        let method: Method = method.parse().expect("a method");
        let request = api.request(method, "/").build().expect("a request");
        let text = format!(
            "{} {path}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            request.method(),
            body.len()
        );
        expect_answer(runtime.block_on(status_of(api, text.as_bytes(), true)), text.as_bytes())
    });
}

#[test]
fn paths_and_queries() {
    in_all_modes(1500, (method(), path(), query()), |runtime, api, (method, path, query)| {
        let request = format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        expect_answer(runtime.block_on(status_of(api, request.as_bytes(), true)), request.as_bytes())
    });
}

#[test]
fn headers() {
    let name = select(vec![
        "accept",
        "content-type",
        "authorization",
        "host",
        "origin",
        "x-forwarded-for",
        "if-match",
        "if-none-match",
        "range",
        "accept-encoding",
        "transfer-encoding",
        "content-length",
        "expect",
        "x-any",
        "upgrade",
        "connection",
    ]);
    let value = prop_oneof![
        vec(any::<u8>().prop_filter("line ends end headers", |byte| !b"\r\n".contains(byte)), 0..40),
        select(vec!["Bearer x.y.z", "Bearer ", "chunked", "*/*;q=x", "100-continue", "\"1\"", "W/\"x\"", "*"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let strategy = (method(), path(), vec((name, value), 0..6));
    in_all_modes(200, strategy, |runtime, api, (method, path, headers)| {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").into_bytes();
        for (name, value) in headers {
            request.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        // Headers may be such that the server cannot tell where the request ends; then closing is an answer, too.
        let status = runtime.block_on(status_of(api, &request, false));
        prop_assert!(status.is_none_or(|status| status < 500), "{status:?} to {:?}", String::from_utf8_lossy(&request));
        Ok(())
    });
}

#[test]
fn bytes_that_are_no_http() {
    in_all_modes(100, vec(any::<u8>(), 0..300), |runtime, api, bytes| {
        let status = runtime.block_on(status_of(api, &bytes, false));
        prop_assert!(status.is_none_or(|status| status < 500), "{status:?} to {bytes:?}");
        Ok(())
    });
}
