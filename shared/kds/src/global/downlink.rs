//! A stream to a zone on the wire: gRPC messages whose resources are compressed once for all streams.
//!
//! Many zones are sent the same resources, in messages that differ in little else than the nonce. What DEFLATE makes of
//! the resources ends at a byte and refers to nothing before it, so that each stream can put it into a gzip member of its
//! own, followed by the rest of the message. Nothing of a message stays in memory after it was sent.
//!
//! Source of the formats: RFC 1951, RFC 1952, and gRPC's `PROTOCOL-HTTP2.md`.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use futures::Stream;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use parking_lot::Mutex;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::outbound::Outbound;
use crate::wire::DeltaResponse;

/// Field of the resources in a [`DeltaResponse`].
const RESOURCES: u32 = 2;
/// A gzip header without options: magic, DEFLATE, no flags, no time, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Most bytes of a block that is stored as it is.
const MAX_STORED: usize = 0xffff;
/// Parts that are larger are handed to the transport without copying them.
const COPY_LIMIT: usize = 16 * 1024;

/// Compressed resources, kept for the other streams that send the same: those of the last response of each type.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<HashMap<String, Arc<Part>>>);

/// The resources of a response, and what DEFLATE makes of them once somebody needs it.
#[derive(Debug)]
struct Part {
    resources: Vec<Bytes>,
    deflated: OnceLock<Deflated>,
}

#[derive(Debug)]
struct Deflated {
    bytes: Bytes,
    /// Of what was compressed.
    checksum: crc32fast::Hasher,
    /// Size of what was compressed.
    length: usize,
}

impl Shelf {
    /// The compressed form of resources: an encoded form that streams share is the same memory in all of them.
    fn part(&self, type_url: &str, resources: Vec<Bytes>) -> Arc<Part> {
        let mut parts = self.0.lock();
        if let Some(part) = parts.get(type_url)
            && part.resources.len() == resources.len()
            && part.resources.iter().zip(&resources).all(|(a, b)| a.as_ptr() == b.as_ptr() && a.len() == b.len())
        {
            return part.clone();
        }
        let part = Arc::new(Part { resources, deflated: OnceLock::new() });
        parts.insert(type_url.to_owned(), part.clone());
        part
    }
}

impl Part {
    fn deflated(&self) -> &Deflated {
        self.deflated.get_or_init(|| {
            let mut deflate = Compress::new(Compression::default(), false);
            let mut bytes = Vec::with_capacity(1024);
            let (mut checksum, mut length) = (crc32fast::Hasher::new(), 0);
            let mut header = Vec::with_capacity(8);
            for resource in &self.resources {
                header.clear();
                put_resource_header(resource, &mut header);
                for piece in [header.as_slice(), resource] {
                    checksum.update(piece);
                    length += piece.len();
                    compress(&mut deflate, piece, FlushCompress::None, &mut bytes);
                }
            }
            compress(&mut deflate, &[], FlushCompress::Full, &mut bytes);
            bytes.shrink_to_fit();
            Deflated { bytes: bytes.into(), checksum, length }
        })
    }
}

/// Feeds all of `input`, and with a flush gets all of the output.
fn compress(deflate: &mut Compress, mut input: &[u8], flush: FlushCompress, output: &mut Vec<u8>) {
    loop {
        if output.capacity() - output.len() < 64 {
            output.reserve(output.len().max(1024));
        }
        let before = deflate.total_in();
        deflate.compress_vec(input, output, flush).expect("compression of any bytes succeeds");
        let taken = usize::try_from(deflate.total_in() - before).expect("no more than there was");
        input = &input[taken..];
        // Room that is left over means that there is no more to be written.
        if input.is_empty() && output.len() < output.capacity() {
            return;
        }
    }
}

fn put_resource_header(resource: &Bytes, buffer: &mut impl BufMut) {
    encode_key(RESOURCES, WireType::LengthDelimited, buffer);
    encode_varint(resource.len() as u64, buffer);
}

/// The pieces of a gRPC message: its prefix, and the response in the given encoding.
fn message(mut response: DeltaResponse, gzip: Option<&Shelf>) -> VecDeque<Bytes> {
    let resources = std::mem::take(&mut response.resources);
    let rest = response.encode_to_vec();
    match gzip {
        Some(_) if resources.is_empty() => compressed(None, &rest),
        Some(shelf) => compressed(Some(shelf.part(&response.type_url, resources).deflated()), &rest),
        None => plain(&resources, &rest),
    }
}

fn plain(resources: &[Bytes], rest: &[u8]) -> VecDeque<Bytes> {
    let sizes = resources.iter().map(|r| key_len(RESOURCES) + encoded_len_varint(r.len() as u64) + r.len());
    let length = sizes.sum::<usize>() + rest.len();
    let mut whole = BytesMut::with_capacity(5 + length);
    put_prefix(false, length, &mut whole);
    for resource in resources {
        put_resource_header(resource, &mut whole);
        whole.put_slice(resource);
    }
    whole.put_slice(rest);
    [whole.freeze()].into()
}

fn compressed(deflated: Option<&Deflated>, rest: &[u8]) -> VecDeque<Bytes> {
    let shared = deflated.map(|deflated| deflated.bytes.clone()).unwrap_or_default();
    let mut checksum = deflated.map(|deflated| deflated.checksum.clone()).unwrap_or_default();
    checksum.update(rest);
    let length = deflated.map_or(0, |deflated| deflated.length) + rest.len();

    let blocks = rest.len().div_ceil(MAX_STORED).max(1);
    let end = rest.len() + 5 * blocks + 8;
    let mut first = BytesMut::with_capacity(5 + GZIP_HEADER.len() + end + shared.len().min(COPY_LIMIT));
    put_prefix(true, GZIP_HEADER.len() + shared.len() + end, &mut first);
    first.put_slice(&GZIP_HEADER);
    let mut pieces = VecDeque::new();
    if shared.len() > COPY_LIMIT {
        pieces.push_back(first.split().freeze());
        pieces.push_back(shared);
    } else {
        first.put_slice(&shared);
    }
    for block in 0..blocks {
        let stored = &rest[block * MAX_STORED..rest.len().min((block + 1) * MAX_STORED)];
        let size = u16::try_from(stored.len()).expect("a block is no larger than this");
        first.put_u8(u8::from(block + 1 == blocks));
        first.put_u16_le(size);
        first.put_u16_le(!size);
        first.put_slice(stored);
    }
    first.put_u32_le(checksum.finalize());
    #[allow(clippy::cast_possible_truncation)] // the format keeps the size modulo 2^32
    first.put_u32_le(length as u32);
    pieces.push_back(first.freeze());
    pieces
}

fn put_prefix(compressed: bool, length: usize, buffer: &mut BytesMut) {
    buffer.put_u8(u8::from(compressed));
    buffer.put_u32(u32::try_from(length).expect("messages are limited to far less than 4 GB"));
}

/// The body of the answer to a zone: responses, and at last the status.
#[derive(Debug)]
struct Body {
    responses: Outbound<DeltaResponse>,
    shelf: Option<Arc<Shelf>>,
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.pieces.is_empty() {
            match ready!(Pin::new(&mut self.responses).poll_next(context)) {
                Some(Ok(response)) => self.pieces = message(response, self.shelf.as_deref()),
                Some(Err(status)) => return Poll::Ready(Some(Ok(self.end(&status)))),
                None => return Poll::Ready(Some(Ok(self.end(&Status::internal("stream failed"))))),
            }
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Body {
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Its text or details cannot be sent; the code can.
            trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
        }
        Frame::trailers(trailers)
    }
}

/// What the answer to a zone is made of, on its way from the service to [`attach`].
#[derive(Debug, Clone)]
pub(super) struct Downlink {
    responses: Arc<Mutex<Option<Outbound<DeltaResponse>>>>,
    shelf: Option<Arc<Shelf>>,
}

impl Downlink {
    /// Responses for a zone with these request headers.
    pub(super) fn new(responses: Outbound<DeltaResponse>, headers: &MetadataMap, shelf: &Arc<Shelf>) -> Self {
        let accepted = headers.get("grpc-accept-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let gzip = accepted.split(',').any(|encoding| encoding.trim() == "gzip");
        let shelf = gzip.then(|| shelf.clone());
        Self { responses: Arc::new(Mutex::new(Some(responses))), shelf }
    }
}

/// Gives an answer that carries a [`Downlink`] its body.
pub(super) async fn attach(mut answer: Response) -> Response {
    let Some(downlink) = answer.extensions_mut().remove::<Downlink>() else { return answer };
    let Some(responses) = downlink.responses.lock().take() else { return answer };
    if downlink.shelf.is_some() {
        answer.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    let body = Body { responses, shelf: downlink.shelf, pieces: VecDeque::new(), ended: false };
    answer.map(|_| axum::body::Body::new(body))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::wire::ControlPlane;

    fn response(nonce: &str, resources: &[Bytes], removed: usize) -> DeltaResponse {
        DeltaResponse {
            resources: resources.to_vec(),
            type_url: "MeshTimeout".into(),
            nonce: nonce.into(),
            removed_resources: (0..removed).map(|index| format!("policy-{index}.default")).collect(),
            control_plane: Some(ControlPlane { identifier: "global".into() }),
            ..DeltaResponse::default()
        }
    }

    fn resources(count: usize) -> Vec<Bytes> {
        (0..count).map(|index| Bytes::from(format!("resource {index} {}", "x".repeat(index % 700)))).collect()
    }

    /// What the peer reads.
    fn read(pieces: VecDeque<Bytes>) -> DeltaResponse {
        let whole: Vec<u8> = pieces.into_iter().flatten().collect();
        let length = u32::from_be_bytes(whole[1..5].try_into().expect("four bytes"));
        assert_eq!(length as usize, whole.len() - 5);
        let mut plain = Vec::new();
        match whole[0] {
            0 => plain.extend_from_slice(&whole[5..]),
            1 => _ = GzDecoder::new(&whole[5..]).read_to_end(&mut plain).expect("a valid gzip member"),
            flag => panic!("flag {flag}"),
        }
        DeltaResponse::decode(plain.as_slice()).expect("a response")
    }

    #[test]
    fn a_peer_reads_what_was_sent() {
        let shelf = Shelf::default();
        for (count, removed) in [(0, 0), (1, 0), (3, 2), (5_000, 0), (0, 10_000), (5_000, 10_000)] {
            let sent = response("7", &resources(count), removed);
            assert!(read(message(sent.clone(), Some(&shelf))) == sent, "gzip, {count} resources, {removed} removed");
            assert!(read(message(sent.clone(), None)) == sent, "identity, {count} resources, {removed} removed");
        }
    }

    #[test]
    fn resources_are_compressed_once_for_all_streams() {
        let (shelf, shared) = (Shelf::default(), resources(100));
        let first = shelf.part("MeshTimeout", shared.clone());
        let pointer = first.deflated().bytes.as_ptr();
        assert_eq!(shelf.part("MeshTimeout", shared.clone()).deflated().bytes.as_ptr(), pointer);
        let one = read(message(response("1", &shared, 0), Some(&shelf)));
        let other = read(message(response("2", &shared, 1), Some(&shelf)));
        assert_eq!((one.nonce.as_str(), other.nonce.as_str()), ("1", "2"));
        assert_eq!(one.resources, other.resources);

        let changed: Vec<Bytes> = shared.iter().map(|resource| Bytes::copy_from_slice(resource)).collect();
        assert!(!Arc::ptr_eq(&shelf.part("MeshTimeout", changed), &first), "other memory may be another resource");
        assert!(!Arc::ptr_eq(&shelf.part("MeshTimeout", shared[1..].to_vec()), &first));
    }
}
