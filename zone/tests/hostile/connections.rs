//! Connections that are no use to anybody: garbage, silence, floods.

use bytes::Bytes;
use h2::client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::peer::{Peer, SOTW, tls};
use super::stage::{PATIENCE, Stage};

/// Half-open connections that are tried, if the system lets this process have as many files.
const HALF_OPEN: u64 = 10_000;

/// Files that this process needs besides.
const OTHER_FILES: u64 = 500;

/// Waits until the other side closes the connection, whatever it says before.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
}

async fn plain(stage: &Stage, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", stage.port)).await.expect("a connection");
    stream.write_all(bytes).await.expect("written");
    stream
}

#[tokio::test]
async fn garbage_is_refused_before_and_behind_the_handshake() {
    let stage = Stage::new().await;
    for garbage in [
        &b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
        b"POST /bootstrap HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // Records of a handshake: without a greeting in it, longer than any is, and one that is no end of another.
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff\x01\x00\x00\x02\x03\x03",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ] {
        let attempt = async {
            let mut stream = plain(&stage, garbage).await;
            stream.shutdown().await.expect("the end is sent");
            closed(stream).await;
        };
        stage.attempt("tls/handshake_failed", 1, attempt).await;
    }
    for garbage in
        [&b"nothing like HTTP\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let attempt = async {
            let mut stream = tls(stage.port).await;
            stream.write_all(garbage).await.expect("written");
            let mut rest = Vec::new();
            // A reset is as good as an end.
            let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
        };
        stage.attempt("http/protocol", 1, attempt).await;
    }
    // One that only looks whether the port is open, as load balancers do, is nothing to speak of.
    let before = stage.refusals().await;
    drop(plain(&stage, b"").await);
    stage.lets_in("newcomer").await;
    assert_eq!(stage.refusals().await, before);
}

#[tokio::test]
async fn connections_that_ask_for_nothing_are_closed() {
    let stage = Stage::with(&[
        ("KUMA_DP_SERVER_LIMITS_FIRST_REQUEST_TIMEOUT", "1s"),
        ("KUMA_DP_SERVER_LIMITS_IDLE_TIMEOUT", "1s"),
    ])
    .await;
    stage.attempt("http/no_first_request", 1, async { Peer::connect(stage.port).await.closed().await }).await;
    let attempt = async {
        let peer = Peer::connect(stage.port).await;
        peer.open("/nothing", &[]).await.refusal().await;
        peer.closed().await;
    };
    stage.attempts(&[("http/idle", 1), ("http/unknown_path", 1)], attempt).await;
    stage.lets_in("newcomer").await;
}

#[tokio::test]
async fn ten_thousand_half_open_connections_keep_nobody_out() {
    let files = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let files = if raised.is_ok() { files.maximum } else { files.current };
    // The program has as many files as this process; it takes half of them for connections that have not asked for anything.
    let count = files.map_or(HALF_OPEN, |files| HALF_OPEN.min(files.saturating_sub(OTHER_FILES)));
    println!("{count} half-open connections");
    let limit = count / 10;
    let stage = Stage::with(&[("KUMA_DP_SERVER_LIMITS_MAX_PENDING_CONNECTIONS", &limit.to_string())]).await;
    let mut open = Vec::new();
    for number in 0..count {
        // Half of them begin a greeting.
        open.push(plain(&stage, if number % 2 == 0 { b"" } else { b"\x16\x03\x01" }).await);
        if number == count / 2 {
            stage.works().await;
            stage.lets_in("in-between").await;
        }
    }
    stage.works().await;
    stage.lets_in("newcomer").await;
    // Those that did not have to give way are given up when their handshake takes too long.
    let given_up = async || {
        let evicted = stage.refused("http/too_many_connections").await;
        let late = stage.refused("tls/handshake_timeout").await;
        (evicted > 0 && evicted + late >= count - limit).then_some((evicted, late))
    };
    let (evicted, late) = stage.until("the oldest give way", given_up).await;
    println!("{evicted} gave way, {late} were too late");
    assert!(evicted + late <= count, "{evicted} and {late} of {count}");
    // The oldest are those that were closed.
    closed(open.remove(0)).await;
    drop(open);
    stage.lets_in("afterwards").await;
}

#[tokio::test]
async fn handshakes_that_stall_are_given_up_and_take_nobodys_turn() {
    let stage = Stage::new().await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let attempt = async {
        let mut stalled = Vec::new();
        for _ in 0..200 {
            stalled.push(plain(&stage, hello).await);
        }
        stage.works().await;
        stage.lets_in("meanwhile").await;
        for stream in stalled {
            closed(stream).await;
        }
    };
    stage.attempt("tls/handshake_timeout", 200, attempt).await;
    stage.lets_in("newcomer").await;
}

/// Opens a connection of HTTP/2 whose frames are not kept in order by anybody.
async fn http2(stage: &Stage) -> (client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (sender, connection) = client::handshake(tls(stage.port).await).await.expect("a connection");
    (sender, tokio::spawn(connection))
}

fn call(path: &str) -> http::Request<()> {
    let request = http::Request::post(format!("https://localhost{path}")).header("content-type", "application/grpc");
    request.body(()).expect("a request")
}

#[tokio::test]
async fn streams_that_are_opened_to_be_reset_cost_the_connection() {
    let stage = Stage::new().await;
    let before = stage.refusals().await;
    let (sender, connection) = http2(&stage).await;
    let flood = async move {
        let mut sender = sender;
        for _ in 0..100_000 {
            let Ok(ready) = sender.ready().await else { return };
            sender = ready;
            let Ok((_, mut stream)) = sender.send_request(call(SOTW), false) else { return };
            stream.send_reset(h2::Reason::CANCEL);
        }
    };
    timeout(PATIENCE, flood).await.expect("the connection takes no more");
    let ended = timeout(PATIENCE, connection).await.expect("the connection ends").expect("no panic");
    println!("{ended:?}");
    stage.works().await;
    stage.lets_in("newcomer").await;
    let more: Vec<_> = stage.refusals().await.into_iter().filter(|counted| !before.contains(counted)).collect();
    // The server takes in a thousand streams of a connection and no more; it is cut off before if they come faster than they go.
    assert!(more.iter().all(|(of, _)| of == "http/protocol"), "{more:?}");
    assert!(ended.is_err() || more.is_empty(), "{ended:?}, {more:?}");
}

#[tokio::test]
async fn a_connection_has_few_streams() {
    let stage = Stage::new().await;
    let (sender, connection) = http2(&stage).await;
    // What the server says, and keeps to.
    let told = async || (sender.current_max_send_streams() == 32).then_some(());
    stage.until("the client is told how many streams it may open", told).await;
    stage.works().await;
    connection.abort();
    stage.lets_in("newcomer").await;
}
