//! Requests for bootstrap configurations that nobody should answer, or not all at once.

use std::time::Duration;

use futures::TryStreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::peer::tls;
use super::stage::{MESH, PATIENCE, Stage, dataplane};

/// Requests of a flood.
const REQUESTS: usize = 10_000;
/// How many of these are open at a time.
const AT_ONCE: usize = 500;

/// A client that asks on a connection for each request that is open, as many kuma-dp do.
fn client() -> reqwest::Client {
    reqwest::Client::builder().http1_only().danger_accept_invalid_certs(true).build().expect("a client")
}

fn request(name: &str) -> Value {
    json!({
        "mesh": MESH, "name": name, "proxyType": "dataplane", "dataplaneToken": "some",
        "dataplaneResource": dataplane(name).to_string(), "workdir": "/run"
    })
}

fn with(member: &str, value: Value) -> Vec<u8> {
    let mut request = request("web");
    request[member] = value;
    request.to_string().into_bytes()
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_so() {
    let stage = Stage::new().await;
    let (http, url) = (client(), format!("https://localhost:{}/bootstrap", stage.port));
    let long_name = format!("x{}", "/..".repeat(20_000));
    let bomb = format!("a: &a [{}]\nb: [{}]", "x,".repeat(20_000), "*a,".repeat(20_000));
    let anchors = format!("type: Dataplane\nx: &x {}\ny: [{}]", "x".repeat(100_000), "*x,".repeat(50_000));
    let other = json!({"type": "ZoneIngress", "name": "web"}).to_string();
    for (what, body, status, reason, told) in [
        ("nothing", Vec::new(), 400, "message_malformed", ""),
        ("no JSON", b"{".to_vec(), 400, "message_malformed", ""),
        ("no UTF-8", vec![0xff, 0xfe], 400, "message_malformed", ""),
        ("deep", "[".repeat(500_000).into_bytes(), 400, "message_malformed", ""),
        (
            "deep in a member",
            format!("{{\"dataplaneConfig\": {}", "[".repeat(500_000)).into_bytes(),
            400,
            "message_malformed",
            "",
        ),
        ("wrong types", with("name", json!(7)), 400, "message_malformed", ""),
        ("no token", with("dataplaneToken", json!("")), 422, "token_missing", "Dataplane Token is required."),
        ("unknown type of proxy", with("proxyType", json!("router")), 500, "node_invalid", ""),
        ("another resource", with("dataplaneResource", json!(other)), 500, "resource_mismatch", ""),
        (
            "no such mesh",
            with("dataplaneResource", json!(dataplane("web").to_string().replace(MESH, "none"))),
            422,
            "resource_invalid",
            "mesh: mesh \"none\" does not exist",
        ),
        ("unknown proxy", with("dataplaneResource", json!("")), 404, "resource_not_found", ""),
        ("a name of 60 KB", with("name", json!(long_name)), 422, "resource_invalid", "name: "),
        (
            "a bomb of aliases",
            with("dataplaneResource", json!(bomb)),
            422,
            "resource_invalid",
            "much larger than its text",
        ),
        (
            "a bomb of text",
            with("dataplaneResource", json!(anchors)),
            422,
            "resource_invalid",
            "much larger than its text",
        ),
        ("deep YAML", with("dataplaneResource", json!("[".repeat(100_000))), 422, "resource_invalid", ""),
        ("no certificate", with("caCert", json!("-----BEGIN")), 400, "authority_invalid", ""),
        (
            "2 MB",
            with("workdir", json!("x".repeat(2 << 20))),
            413,
            "message_too_large",
            "bootstrapServer.maxRequestSize",
        ),
    ] {
        let attempt = async {
            let sent = http.post(&url).header("accept", "application/json").body(body).send();
            let answer = timeout(PATIENCE, sent).await.expect("an answer").expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a text"))
        };
        let (code, text) = stage.attempt(&format!("bootstrap/{reason}"), 1, attempt).await;
        assert_eq!(code, status, "{what}: {text}");
        assert!(text.contains(told) && text.len() < 5_000, "{what}: {text}");
    }
    // A host that the certificate is not for.
    let send = http.post(&url).header("host", "evil.example").body(request("web").to_string()).send();
    let answer = stage.attempt("bootstrap/host_mismatch", 1, send).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 400);
    let text = answer.text().await.expect("a text");
    assert!(text.contains("using \"evil.example\" address"), "{text}");
    // A path where there is nothing.
    let send = http.get(format!("https://localhost:{}/../etc/passwd", stage.port)).send();
    let answer = stage.attempt("http/unknown_path", 1, send).await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.expect("a text")),
        (404, "404 page not found\n".to_owned())
    );

    // A body that comes slowly under the name of a stream is not waited for.
    let send = http.post(&url).header("content-type", "application/grpc").body("x").send();
    let answer = stage.attempt("http/unknown_path", 1, send).await.expect("an answer");
    assert_eq!(answer.headers()["grpc-status"], "12");

    let fine = http.post(&url).body(request("web").to_string()).send().await.expect("an answer");
    assert_eq!(fine.status().as_u16(), 200);
    assert_eq!(stage.dataplanes(MESH).await, ["good"]);
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let stage = Stage::new().await;
    let attempt = async {
        let mut stream = tls(stage.port).await;
        let head = "POST /bootstrap HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(stage.attempt("bootstrap/message_timeout", 1, attempt).await, "HTTP/1.1 408");
    let attempt = async {
        let mut stream = tls(stage.port).await;
        stream.write_all(b"POST /bootstrap HTTP/1.1\r\nhost: ").await.expect("written");
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
    };
    stage.attempt("http/message_timeout", 1, attempt).await;
    stage.lets_in("newcomer").await;
}

#[tokio::test]
async fn a_flood_of_requests_delays_nobody_else() {
    let stage = Stage::with(&[("KUMA_BOOTSTRAP_SERVER_MAX_MEMORY", "200000")]).await;
    let (http, url) = (client(), format!("https://localhost:{}/bootstrap", stage.port));
    let body = request("web").to_string();
    let send = move || {
        let request = http.post(&url).body(body.clone());
        async move {
            let answer = request.send().await?;
            let retry = answer.headers().get("retry-after").map(|value| value.as_bytes().to_vec());
            let status = answer.status().as_u16();
            answer.bytes().await?;
            Ok::<_, reqwest::Error>((status, retry))
        }
    };
    let ask = send.clone();
    let flood = tokio::spawn(async move {
        let mut answers = Vec::new();
        let mut open: FuturesUnordered<_> = (0..AT_ONCE).map(|_| ask()).collect();
        let mut left = REQUESTS - AT_ONCE;
        while let Some(answer) = open.try_next().await.expect("an answer") {
            answers.push(answer);
            if left > 0 {
                left -= 1;
                open.push(ask());
            }
        }
        answers
    });
    let (mut slowest, mut changes) = (Duration::ZERO, 0);
    while !flood.is_finished() {
        let begin = Instant::now();
        stage.works().await;
        slowest = slowest.max(begin.elapsed());
        changes += 1;
    }
    let answers = flood.await.expect("no panic");
    println!("{changes} changes during the flood, the slowest after {slowest:?}");
    let served = answers.iter().filter(|(status, _)| *status == 200).count();
    let refused = answers.iter().filter(|(status, retry)| *status == 503 && retry.as_deref() == Some(b"3")).count();
    println!("{served} were served, {refused} told to come again");
    assert_eq!(served + refused, REQUESTS);
    assert!(served > 0, "nobody was served");
    let counted = stage.refused("bootstrap/overloaded").await;
    assert_eq!(usize::try_from(counted), Ok(refused));
    stage.until("served afterwards", async || send().await.ok().filter(|(status, _)| *status == 200)).await;
    stage.lets_in("newcomer").await;
}
