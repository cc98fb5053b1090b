//! Encoding of discovery responses around resources that are encoded already, each with its prefix for the stream.
//!
//! Field numbers: `envoy/service/discovery/v3/discovery.proto`.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, string};
use tandem_xds::Encoded;

use crate::grpc::PREFIX;

/// Upper bound of what the members besides resources take, to size buffers.
const ENVELOPE: usize = 256;

fn put_length_delimited(tag: u32, body: &[u8], buffer: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(body.len() as u64, buffer);
    buffer.put_slice(body);
}

fn put_control_plane(tag: u32, identifier: &str, buffer: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(string::encoded_len(1, &identifier.to_owned()) as u64, buffer);
    put_length_delimited(1, identifier.as_bytes(), buffer);
}

/// A buffer for a message of at most so many bytes, behind room for the prefix.
fn buffer(size: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(PREFIX + size);
    buffer.put_bytes(0, PREFIX);
    buffer
}

/// The message in a buffer, once the prefix tells its length.
fn finished(mut buffer: BytesMut) -> Bytes {
    let length = u32::try_from(buffer.len() - PREFIX).expect("the configuration of a proxy is smaller than 4 GiB");
    // The first byte stays 0: not compressed.
    buffer[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    buffer.freeze()
}

/// A `DiscoveryResponse`.
pub fn state_of_the_world(
    version: &str,
    resources: &[&Arc<Encoded>],
    type_url: &str,
    nonce: &str,
    control_plane: &str,
) -> Bytes {
    let size: usize = resources.iter().map(|r| r.body.len() + 8).sum();
    let mut buffer = buffer(size + ENVELOPE);
    put_length_delimited(1, version.as_bytes(), &mut buffer);
    for resource in resources {
        put_length_delimited(2, &resource.body, &mut buffer);
    }
    put_length_delimited(4, type_url.as_bytes(), &mut buffer);
    put_length_delimited(5, nonce.as_bytes(), &mut buffer);
    put_control_plane(6, control_plane, &mut buffer);
    finished(buffer)
}

/// A `DeltaDiscoveryResponse`.
pub fn delta(
    version: &str,
    changed: &[Arc<Encoded>],
    removed: &[String],
    type_url: &str,
    nonce: &str,
    control_plane: &str,
) -> Bytes {
    let size: usize = changed.iter().map(|r| r.body.len() + r.name.len() + 64).sum();
    let mut buffer = buffer(size + ENVELOPE);
    put_length_delimited(1, version.as_bytes(), &mut buffer);
    for resource in changed {
        let version = resource.version_text();
        let field = |len: usize| 1 + encoded_len_varint(len as u64) + len;
        encode_key(2, WireType::LengthDelimited, &mut buffer);
        encode_varint(
            (field(version.len()) + field(resource.body.len()) + field(resource.name.len())) as u64,
            &mut buffer,
        );
        put_length_delimited(1, version.as_bytes(), &mut buffer);
        put_length_delimited(2, &resource.body, &mut buffer);
        put_length_delimited(3, resource.name.as_bytes(), &mut buffer);
    }
    put_length_delimited(4, type_url.as_bytes(), &mut buffer);
    put_length_delimited(5, nonce.as_bytes(), &mut buffer);
    for name in removed {
        put_length_delimited(6, name.as_bytes(), &mut buffer);
    }
    put_control_plane(7, control_plane, &mut buffer);
    finished(buffer)
}
