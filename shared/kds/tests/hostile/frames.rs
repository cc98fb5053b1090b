//! Streams of any bytes.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::common::PATIENCE;

pub const DOWN: &str = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync";
pub const UP: &str = "/kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync";

/// Messages as the bytes that they are.
#[derive(Debug, Default, Clone)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

pub async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("somebody listens")
}

/// One stream on which anything can be said.
pub struct Raw {
    sender: Option<mpsc::Sender<Bytes>>,
    answers: Streaming<Bytes>,
}

impl Raw {
    pub async fn open(channel: &Channel, method: &'static str, zone: &str) -> Self {
        Self::open_with(channel, method, zone, false).await.expect("opened")
    }

    pub async fn open_with(channel: &Channel, method: &'static str, zone: &str, gzip: bool) -> Result<Self, Status> {
        let (sender, receiver) = mpsc::channel(4);
        let mut request = Request::new(ReceiverStream::new(receiver));
        let metadata = request.metadata_mut();
        metadata.insert("client-id", zone.parse().expect("plain text"));
        metadata.append("features", "zone-ping-health".parse().expect("plain text"));
        metadata.append("features", "hash-suffix".parse().expect("plain text"));
        let mut client = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answers = client.streaming(request, PathAndQuery::from_static(method), Verbatim).await?;
        Ok(Self { sender: Some(sender), answers: answers.into_inner() })
    }

    pub async fn say(&mut self, message: &impl Message) {
        self.say_bytes(message.encode_to_vec()).await;
    }

    pub async fn say_bytes(&mut self, bytes: impl Into<Bytes>) {
        let sender = self.sender.as_ref().expect("not closed");
        // The other side may have ended the stream already; what it says about that is read later.
        let _ = tokio::time::timeout(PATIENCE, sender.send(bytes.into())).await.expect("what is said is taken");
    }

    /// Says nothing more, with the status OK.
    pub fn close(&mut self) {
        self.sender = None;
    }

    /// The next message.
    pub async fn hear<M: Message + Default>(&mut self) -> Result<M, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("something comes");
        let bytes = next?.ok_or_else(|| Status::ok("ended"))?;
        Ok(M::decode(bytes).expect("a message"))
    }

    /// How the stream ends, whatever comes before.
    pub async fn end(&mut self) -> Status {
        let end = async {
            loop {
                match self.answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok("ended"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("it ends")
    }
}
