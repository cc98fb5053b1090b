//! Connections and calls without the care of a proper client.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tandem_auth::tls::{Trust, client_config};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::{Code, Status};

use super::stage::PATIENCE;

/// The state-of-the-world variant of discovery.
pub const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// The delta variant of discovery.
pub const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Health discovery.
pub const HEALTH: &str = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck";

type Frames = futures::stream::Map<
    futures::channel::mpsc::UnboundedReceiver<Bytes>,
    fn(Bytes) -> Result<Frame<Bytes>, std::convert::Infallible>,
>;

/// A TLS connection to a port of this host.
pub async fn tls(port: u16) -> TlsStream<TcpStream> {
    let config = Arc::new(client_config(Trust::Anyone).expect("settings"));
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(config).connect(name, stream).await.expect("a handshake")
}

/// An HTTP/2 connection.
pub struct Peer {
    port: u16,
    sender: SendRequest<StreamBody<Frames>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Peer {
    /// Connects to a port of this host.
    pub async fn connect(port: u16) -> Self {
        Self::with_window(port, 1 << 20).await
    }

    /// Connects, and takes as many bytes of each response as `window` before any is read.
    pub async fn with_window(port: u16, window: u32) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(window).max_header_list_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(tls(port).await)).await.expect("a connection");
        Self { port, sender, connection: tokio::spawn(connection) }
    }

    /// Begins a call whose messages come later.
    pub async fn open(&self, path: &str, credentials: &[&str]) -> Call {
        let mut request = Request::post(format!("https://localhost:{}{path}", self.port))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for credential in credentials {
            request = request.header("authorization", credential.as_bytes());
        }
        self.send(request).await
    }

    /// Begins a request.
    pub async fn send(&self, request: http::request::Builder) -> Call {
        let (sender, receiver) = unbounded();
        let frames: Frames = receiver.map((|data| Ok(Frame::data(data))) as fn(_) -> _);
        let request = request.body(StreamBody::new(frames)).expect("a request");
        let mut connection = self.sender.clone();
        connection.ready().await.expect("a connection that takes requests");
        let response = tokio::spawn(async move { connection.send_request(request).await });
        Call { sender: Some(sender), response: Answer::Coming(response), arrived: BytesMut::new() }
    }

    /// Waits until the server closes the connection.
    pub async fn closed(self) {
        let closed = timeout(PATIENCE, self.connection).await.expect("the connection is closed");
        // An error is as good as an end.
        let _ = closed.expect("no panic");
    }
}

enum Answer {
    Coming(JoinHandle<hyper::Result<Response<Incoming>>>),
    Here(Response<Incoming>),
    Ended,
}

/// A call of gRPC.
pub struct Call {
    sender: Option<UnboundedSender<Bytes>>,
    response: Answer,
    arrived: BytesMut,
}

impl Call {
    /// Sends a message.
    pub fn send(&self, message: &impl Message) {
        self.send_times(message, 1);
    }

    /// Sends a message several times in one go.
    pub fn send_times(&self, message: &impl Message, times: usize) {
        let encoded = message.encode_to_vec();
        let mut framed = BytesMut::with_capacity((encoded.len() + 5) * times);
        for _ in 0..times {
            framed.put_u8(0);
            framed.put_u32(u32::try_from(encoded.len()).expect("not that long"));
            framed.put_slice(&encoded);
        }
        self.send_raw(framed.freeze());
    }

    /// Sends bytes; nothing happens when the call is over.
    pub fn send_raw(&self, bytes: Bytes) {
        self.sender().send(bytes);
    }

    /// Sends bytes while somebody else waits for the end of the call.
    pub fn sender(&self) -> Sender {
        Sender(self.sender.clone())
    }

    /// Sends nothing more.
    pub fn finish(&mut self) {
        self.sender = None;
    }

    async fn head(&mut self) -> Result<&mut Response<Incoming>, Status> {
        if let Answer::Coming(response) = &mut self.response {
            let response = response.await.expect("no panic");
            self.response = Answer::Here(response.map_err(|error| Status::unavailable(format!("{error:?}")))?);
        }
        match &mut self.response {
            Answer::Here(response) => Ok(response),
            Answer::Coming(_) | Answer::Ended => Err(Status::ok("the call is over")),
        }
    }

    /// The next message of the server, or the status that the call ends with.
    pub async fn message<M: Message + Default>(&mut self) -> Result<M, Status> {
        let message = timeout(PATIENCE, self.next_message()).await;
        message.map_err(|_| Status::deadline_exceeded("nothing comes"))?
    }

    /// As [`Self::message`], however long it takes.
    pub async fn next_message<M: Message + Default>(&mut self) -> Result<M, Status> {
        self.next().await.map(|bytes| M::decode(bytes).expect("a message"))
    }

    async fn next(&mut self) -> Result<Bytes, Status> {
        loop {
            if self.arrived.len() >= 5 {
                let length = usize::try_from((&self.arrived[1..5]).get_u32()).expect("32 bits");
                if self.arrived.len() >= 5 + length {
                    let mut message = self.arrived.split_to(5 + length).freeze();
                    message.advance(5);
                    return Ok(message);
                }
            }
            let head = self.head().await?;
            if let Some(status) = status(head.headers()) {
                self.response = Answer::Ended;
                return Err(status);
            }
            match head.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        return Err(status(trailers).unwrap_or_else(|| Status::unknown("no status")));
                    }
                    if let Ok(data) = frame.into_data() {
                        self.arrived.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Status::unavailable(format!("{error:?}"))),
                None => return Err(Status::ok("the call ended without a status")),
            }
        }
    }

    /// The status that the call ends with, whatever comes before.
    pub async fn refusal(mut self) -> (Code, String) {
        loop {
            match timeout(PATIENCE, self.next()).await.expect("the call ends") {
                Ok(_) => {}
                Err(status) => return (status.code(), status.message().to_owned()),
            }
        }
    }
}

/// The sending half of a call.
pub struct Sender(Option<UnboundedSender<Bytes>>);

impl Sender {
    /// Sends bytes; nothing happens when the call is over.
    pub fn send(&self, bytes: Bytes) {
        if let Some(sender) = &self.0 {
            // The receiver is gone when the server ended the call; what it said is still to be read.
            let _ = sender.unbounded_send(bytes);
        }
    }
}

fn status(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers)
}

/// What a proxy says of itself.
pub fn node(mesh: &str, name: &str, resource: Option<&Value>) -> Node {
    let mut members = vec![("dataplane.readinessReporter.port".to_owned(), "9902".to_owned())];
    if let Some(resource) = resource {
        members.push(("dataplane.resource".to_owned(), resource.to_string()));
        let proxy_type = match resource["type"].as_str() {
            Some("ZoneIngress") => "ingress",
            Some("ZoneEgress") => "egress",
            _ => "dataplane",
        };
        members.push(("dataplane.proxyType".to_owned(), proxy_type.to_owned()));
    }
    let text = |text: String| ProtoValue { kind: Some(ValueKind::StringValue(text)) };
    let fields = members.into_iter().map(|(key, value)| (key, text(value))).collect();
    Node { id: format!("{mesh}.{name}"), metadata: Some(Struct { fields }), ..Node::default() }
}
