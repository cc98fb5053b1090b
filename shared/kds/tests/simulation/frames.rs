//! Where the frames of HTTP/2 begin in a sequence of bytes, to put one more between them.

use bytes::{BufMut, Bytes, BytesMut};

const HEADER: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM_AND_HEADERS: u8 = 0x5;
const CANCEL: u32 = 8;

/// Follows the bytes of one direction, from the server to the client.
#[derive(Debug, Default)]
pub struct Frames {
    header: Vec<u8>,
    /// Bytes left of the payload of the present frame.
    payload: usize,
    /// Put in at the next boundary.
    waiting: Option<Bytes>,
}

impl Frames {
    /// Ends a stream: with the trailers of a call that went well, or by a reset. Returns what is to be sent now; nothing if
    /// a frame is under way, after which it will follow.
    pub fn insert(&mut self, stream: u32, clean: bool) -> Option<Bytes> {
        let mut payload = BytesMut::new();
        if clean {
            // A literal field that enters no table.
            payload.put_slice(b"\x00\x0bgrpc-status\x010");
        } else {
            payload.put_u32(CANCEL);
        }
        let mut frame = BytesMut::new();
        frame.put_uint(payload.len() as u64, 3);
        frame.put_u8(if clean { HEADERS } else { RST_STREAM });
        frame.put_u8(if clean { END_STREAM_AND_HEADERS } else { 0 });
        frame.put_u32(stream);
        frame.put_slice(&payload);
        let frame = frame.freeze();
        if self.header.is_empty() && self.payload == 0 {
            return Some(frame);
        }
        self.waiting = Some(frame);
        None
    }

    /// What becomes of bytes that pass.
    pub fn pass(&mut self, data: &[u8]) -> Bytes {
        let mut boundary = None;
        let mut at = 0;
        while at < data.len() {
            if self.payload > 0 {
                let taken = self.payload.min(data.len() - at);
                self.payload -= taken;
                at += taken;
            } else {
                self.header.push(data[at]);
                at += 1;
                if self.header.len() == HEADER {
                    self.payload = usize::from(self.header[0]) << 16
                        | usize::from(self.header[1]) << 8
                        | usize::from(self.header[2]);
                    self.header.clear();
                }
            }
            if self.payload == 0 && self.header.is_empty() {
                boundary.get_or_insert(at);
            }
        }
        match (boundary, self.waiting.take()) {
            (Some(boundary), Some(frame)) => {
                let mut bytes = BytesMut::from(&data[..boundary]);
                bytes.put_slice(&frame);
                bytes.put_slice(&data[boundary..]);
                bytes.freeze()
            }
            (_, waiting) => {
                self.waiting = waiting;
                Bytes::copy_from_slice(data)
            }
        }
    }
}
