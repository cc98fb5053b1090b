//! Messages of gRPC statuses in the form that people read them in.
//!
//! Envoy logs the header `grpc-message` as it arrives. The protocol asks to percent-encode what is not printable ASCII, and `%`;
//! tonic encodes spaces and quotes as well, which makes the reason of a refusal unreadable where operators look for it.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

const MESSAGE: &str = "grpc-message";

/// Most bytes of a message that are told.
const LONGEST: usize = 4096;

/// What the protocol asks to encode; bytes beyond ASCII always are.
const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b'%');

/// The same response, with the message of its status encoded no more than needed.
pub async fn readable(response: Response) -> Response {
    let grpc = response.headers().get(http::header::CONTENT_TYPE);
    if !grpc.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc")) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    recode(&mut head.headers);
    let body = body.map_frame(|mut frame| {
        if let Some(trailers) = frame.trailers_mut() {
            recode(trailers);
        }
        frame
    });
    Response::from_parts(head, Body::new(body))
}

fn recode(headers: &mut HeaderMap) {
    let Some(message) = headers.get_mut(MESSAGE) else { return };
    let mut plain: Vec<u8> = percent_decode(message.as_bytes()).collect();
    // Part of a text may be what a peer sent; clients read no header that is much longer.
    plain.truncate(LONGEST);
    // What is encoded is printable, so this does not fail; if it did, the message would stay as it was.
    if let Ok(value) = HeaderValue::from_str(&percent_encode(&plain, UNPRINTABLE).to_string()) {
        *message = value;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Status;

    use super::*;

    #[tokio::test]
    async fn only_what_is_not_printable_is_encoded() {
        let status = Status::unknown("no member of mesh \"m\": 100 %\nétage");
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).expect("a header");
        let body = StreamBody::new(futures::stream::iter([
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"message"))),
            Ok(Frame::trailers(trailers)),
        ]));
        let response = Response::builder().header("content-type", "application/grpc").body(Body::new(body));
        let collected = readable(response.expect("a response")).await.into_body().collect().await.expect("a body");
        let trailers = collected.trailers().expect("trailers").clone();
        assert_eq!(collected.to_bytes(), "message");
        assert_eq!(trailers[MESSAGE], "no member of mesh \"m\": 100 %25%0A%C3%A9tage");
        let read = Status::from_header_map(&trailers).expect("a status");
        assert_eq!((read.code(), read.message()), (status.code(), status.message()));
    }

    #[tokio::test]
    async fn a_status_without_messages_before_it_is_in_the_head() {
        let response = readable(Status::unimplemented("not here").into_http::<Body>()).await;
        assert_eq!(response.headers()[MESSAGE], "not here");
        let plain = Response::builder().header(MESSAGE, "a%20b").body(Body::empty()).expect("a response");
        assert_eq!(readable(plain).await.headers()[MESSAGE], "a%20b");
    }
}
