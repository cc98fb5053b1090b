//! Reading messages from the body of a request.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use super::PREFIX;

/// Most bytes set aside for a message before they have arrived.
const AHEAD: usize = 64 << 10;

/// The messages of a request as they arrive.
///
/// Between messages it keeps no memory, whatever their size was.
#[derive(Debug)]
pub struct Messages<T> {
    /// Never locked: a mutex is what makes it shareable between threads, which those who hold a stream across an await need.
    body: Mutex<Body>,
    /// Largest message, in bytes.
    limit: usize,
    /// What has arrived and was not handed out; without capacity when that is nothing.
    arrived: BytesMut,
    message: PhantomData<fn() -> T>,
}

/// Refuses a request whose messages are compressed: no way of it is read here.
///
/// # Errors
/// When they are.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    let Some(encoding) = headers.get("grpc-encoding").filter(|encoding| *encoding != "identity") else { return Ok(()) };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    Err(Status::unimplemented(format!(
        "messages compressed with {encoding:?} are not read here; send them as they are"
    )))
}

impl<T> Messages<T> {
    /// The messages in this body, each of at most `limit` bytes.
    pub(super) fn new(body: Body, limit: usize) -> Self {
        Self { body: Mutex::new(body), limit, arrived: BytesMut::new(), message: PhantomData }
    }
}

impl<T: Message + Default> Messages<T> {
    /// The next message; `None` when the client has ended the stream. A future that is dropped has lost nothing.
    ///
    /// # Errors
    /// When the connection breaks, or what arrived is no message or a too large one. The stream cannot be read on then.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        loop {
            if let Some(encoded) = self.complete()? {
                let message = T::decode(encoded);
                let undecodable = |error| Status::invalid_argument(format!("undecodable message: {error}"));
                return message.map(Some).map_err(undecodable);
            }
            let frame = match self.body.get_mut().frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(status)) if status.code() == Code::Cancelled => return Ok(None),
                Some(Err(status)) => return Err(status),
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(Status::invalid_argument("the stream ends within a message")),
            };
            // Trailers of a request mean nothing.
            if let Ok(data) = frame.into_data() {
                self.arrived.extend_from_slice(&data);
            }
        }
    }

    /// Takes the first message out of what has arrived, if the whole of it has.
    fn complete(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((mut prefix, _)) = self.arrived.split_at_checked(PREFIX) else { return Ok(None) };
        match prefix.get_u8() {
            0 => {}
            1 => return Err(Status::invalid_argument("a message is compressed, but no compression was agreed on")),
            flag => return Err(Status::invalid_argument(format!("{flag} is no flag that a message begins with"))),
        }
        // At least 32 bits wide everywhere that this runs; a length that were not would be too large as well.
        let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
        let limit = self.limit;
        if length > limit {
            let text = format!("a message of {length} bytes is larger than the limit of {limit} bytes");
            return Err(Status::out_of_range(text));
        }
        let whole = PREFIX + length;
        if self.arrived.len() < whole {
            self.arrived.reserve((whole - self.arrived.len()).min(AHEAD));
            return Ok(None);
        }
        let mut message = self.arrived.split_to(whole).freeze();
        message.advance(PREFIX);
        if self.arrived.is_empty() {
            // The rest of the buffer would keep the whole of it.
            self.arrived = BytesMut::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::super::framed;
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn messages(chunks: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>) -> Messages<String> {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
        Messages::new(Body::new(StreamBody::new(futures::stream::iter(frames))), LIMIT)
    }

    fn text(length: usize) -> String {
        "x".repeat(length)
    }

    #[tokio::test]
    async fn messages_are_put_together_however_they_arrive() {
        let sent = [text(0), text(70_000), text(1), text(300_000), text(9)];
        let bytes: Vec<u8> = sent.iter().flat_map(framed).collect();
        for size in [1, 3, 5, 6, 16_384, 70_010, bytes.len()] {
            let chunks: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
            let mut read = messages(chunks);
            for message in &sent {
                assert_eq!(read.message().await.expect("readable").as_ref(), Some(message), "chunks of {size}");
            }
            assert_eq!(read.message().await.expect("an end"), None);
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_between_messages() {
        let mut read = messages([framed(&text(100_000)), framed(&text(10))]);
        for length in [100_000, 10] {
            assert_eq!(read.message().await.expect("readable").map(|message| message.len()), Some(length));
            assert_eq!(read.arrived.capacity(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let mut compressed = framed(&text(3)).to_vec();
        compressed[0] = 1;
        let mut strange = compressed.clone();
        strange[0] = 7;
        let too_large = [&[0][..], &u32::try_from(LIMIT + 1).unwrap().to_be_bytes()].concat();
        let cut_short = framed(&text(10))[..8].to_vec();
        let garbage = vec![0, 0, 0, 0, 2, 0xff, 0xff];
        let cases = [
            (compressed, Code::InvalidArgument, "compressed"),
            (strange, Code::InvalidArgument, "7 is no flag"),
            (too_large, Code::OutOfRange, "limit of 1048576 bytes"),
            (cut_short, Code::InvalidArgument, "ends within"),
            (garbage, Code::InvalidArgument, "undecodable"),
        ];
        for (bytes, code, part) in cases {
            let status = messages([Bytes::from(bytes)]).message().await.expect_err(part);
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(part), "{status}");
        }
    }

    #[tokio::test]
    async fn little_is_set_aside_for_what_is_only_announced() {
        let announced = [&[0][..], &u32::try_from(LIMIT).unwrap().to_be_bytes()].concat();
        let mut read = messages([Bytes::from(announced)]);
        read.message().await.expect_err("it does not come");
        assert!(read.arrived.capacity() <= 2 * AHEAD, "{}", read.arrived.capacity());
    }

    #[test]
    fn compression_is_refused_before_anything_is_read() {
        let mut headers = HeaderMap::new();
        check_encoding(&headers).expect("nothing is compressed");
        headers.insert("grpc-encoding", "identity".parse().unwrap());
        check_encoding(&headers).expect("nothing is compressed");
        headers.insert("grpc-encoding", "gzip".parse().unwrap());
        assert_eq!(check_encoding(&headers).expect_err("refused").code(), Code::Unimplemented);
    }
}
