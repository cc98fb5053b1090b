//! Writing messages into the body of a response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use super::{PREFIX, Responses};

/// Encodes a message with what comes before it in a stream.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).expect("protobuf limits messages to 2 GiB"));
    message.encode(&mut buffer).expect("the buffer has room for it");
    buffer.freeze()
}

/// A response with these messages, each with its prefix, and the status that ends them. Messages are asked for one at a time, when the
/// connection has room, and each is sent from the memory it is in.
pub(super) fn respond(messages: Responses) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(ResponseBody { messages: Some(messages) }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The body of a response.
struct ResponseBody {
    /// `None` after the last one.
    messages: Option<Responses>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(None) };
        let status = match ready!(messages.as_mut().poll_next(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.messages = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;
    use tonic::Code;

    use super::*;

    async fn sent(messages: Vec<Result<Bytes, Status>>) -> (Bytes, Status) {
        let response = respond(futures::stream::iter(messages).boxed());
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        let collected = response.into_body().collect().await.expect("a body");
        let status = Status::from_header_map(collected.trailers().expect("trailers")).expect("a status");
        (collected.to_bytes(), status)
    }

    #[tokio::test]
    async fn messages_are_sent_with_their_length_and_a_status_in_the_end() {
        let (bytes, status) = sent(vec![Ok(framed(&"ab".to_owned())), Ok(framed(&String::new()))]).await;
        assert_eq!(&bytes[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b', 0, 0, 0, 0, 0]);
        assert_eq!(status.code(), Code::Ok);
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let refused = Err(Status::unknown("no"));
        let (bytes, status) = sent(vec![Ok(framed(&String::new())), refused, Ok(framed(&String::new()))]).await;
        assert_eq!((bytes.len(), status.code(), status.message()), (PREFIX, Code::Unknown, "no"));
    }
}
