//! gRPC streams that are open for as long as a proxy is connected.
//!
//! Tens of thousands of them are silent almost always, so what matters is what a stream keeps while nothing happens. The streams of
//! tonic keep a buffer for each direction, as large as the largest message that ever went through it: a node of 60 KB in one, the
//! whole configuration of a proxy in the other. These keep nothing between messages.
//!
//! Format: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

mod messages;
mod responses;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;

pub use messages::Messages;
pub use responses::framed;

/// Bytes before each message: whether it is compressed, and its length.
pub const PREFIX: usize = 5;

/// What is sent on a stream: messages, each with its prefix, and the status that ends it early.
pub type Responses = BoxStream<'static, Result<Bytes, Status>>;

/// Answers a request with the stream that `open` makes of its metadata and its messages, none of which may be larger than `limit` bytes.
pub fn serve<T>(
    request: Request<Body>,
    limit: usize,
    open: impl FnOnce(&MetadataMap, Messages<T>) -> Result<Responses, Status>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let opened = messages::check_encoding(&head.headers).and_then(|()| {
        let metadata = MetadataMap::from_headers(head.headers);
        open(&metadata, Messages::new(body, limit))
    });
    match opened {
        Ok(messages) => responses::respond(messages),
        Err(status) => status.into_http(),
    }
}
