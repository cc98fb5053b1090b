use axum::routing::{get, post};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A time that is over soon.
const SHORT: Duration = Duration::from_millis(50);
/// Longest wait for what is expected to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own, and what its observer was told.
struct Running {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Refusal>>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(router: Router, limits: Limits) -> Self {
        let told: Arc<Mutex<Vec<Refusal>>> = Arc::default();
        let heard = told.clone();
        let limits = Limits { observer: Observer::new(move |refusal| heard.lock().push(refusal)), ..limits };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, None, router, limits, shutdown.clone()));
        Self { address, told, shutdown, task }
    }

    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// Stops, and what the observer was told.
    async fn stop(self) -> Vec<Refusal> {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.told.lock().clone()
    }
}

/// What the server says until it closes the connection.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("the connection is closed").expect("and not reset");
    answer
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let server = Running::start(Router::new(), Limits { first_request: SHORT, ..Limits::default() }).await;
    let mut stream = server.send("").await;
    assert_eq!(to_end(&mut stream).await, "");
    assert_eq!(server.stop().await, [Refusal::NoFirstRequest]);
}

#[tokio::test]
async fn a_connection_stays_as_long_as_a_request_is_open() {
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let handler = move || async move {
        let released = released.lock().take().expect("asked once");
        released.await.map_or("gone", |()| "done")
    };
    let router = Router::new().route("/", get(handler));
    let limits = Limits { first_request: PATIENCE, idle: SHORT, header: PATIENCE, ..Limits::default() };
    let server = Running::start(router, limits).await;
    let mut stream = server.send("GET / HTTP/1.1\r\nhost: here\r\n\r\n").await;
    tokio::time::sleep(SHORT * 4).await;
    assert_eq!(*server.told.lock(), [], "the request is still open");
    release.send(()).unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(server.stop().await, [Refusal::Idle]);
}

#[tokio::test]
async fn of_too_many_connections_without_a_request_the_oldest_gives_way() {
    let router = Router::new().route("/", get(|| async { "here" }));
    let server = Running::start(router, Limits { pending: 3, ..Limits::default() }).await;
    // One that has asked counts no more.
    let mut used = server.send("GET / HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let mut first = [0; 12];
    used.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut oldest = server.send("").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(server.send("").await);
    }
    assert_eq!(to_end(&mut oldest).await, "");
    let last = others.last_mut().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(to_end(last).await.ends_with("here"));
    used.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(to_end(&mut used).await.ends_with("here"));
    assert_eq!(server.stop().await, [Refusal::TooManyConnections]);
}

#[tokio::test]
async fn a_connection_is_good_for_a_number_of_requests() {
    let router = Router::new().route("/", get(|| async { "here" }));
    let server = Running::start(router, Limits { requests: 2, ..Limits::default() }).await;
    let request = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream.write_all(request).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert_eq!(server.stop().await, []);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let handler = |body: Body| async move {
        let error = axum::body::to_bytes(body, 1000).await.expect_err("not complete");
        if BodyTimeout::caused(&error) { "too slow".to_owned() } else { error.to_string() }
    };
    let router = Router::new().route("/", post(handler));
    let server = Running::start(router, Limits { body: SHORT, ..Limits::default() }).await;
    let head = "POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhalf";
    let mut stream = server.send(head).await;
    let answer = to_end(&mut stream).await;
    assert!(answer.ends_with("too slow"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_header_that_does_not_arrive_or_makes_no_sense_is_told_of() {
    let server = Running::start(Router::new(), Limits { header: SHORT, ..Limits::default() }).await;
    to_end(&mut server.send("GET / HTTP/1.1\r\nhost:").await).await;
    to_end(&mut server.send("nothing like HTTP\r\n\r\n").await).await;
    assert_eq!(server.stop().await, [Refusal::HeaderTimeout, Refusal::Protocol]);
}
