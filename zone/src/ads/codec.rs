//! gRPC codec of the discovery services: requests are decoded, responses are bytes that are encoded already.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Buffers start small because every connected proxy holds one of each for as long as it is connected.
fn buffers() -> BufferSettings {
    BufferSettings::new(1024, 32 * 1024)
}

/// Decodes messages of type `T` and sends [`Bytes`] as they are.
#[derive(Debug)]
pub struct PreEncoded<T>(PhantomData<T>);

impl<T> Default for PreEncoded<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: prost::Message + Default + 'static> Codec for PreEncoded<T> {
    type Encode = Bytes;
    type Decode = T;
    type Encoder = PreEncodedEncoder;
    type Decoder = MessageDecoder<T>;

    fn encoder(&mut self) -> Self::Encoder {
        PreEncodedEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// Encoder of [`PreEncoded`].
#[derive(Debug)]
pub struct PreEncodedEncoder;

impl Encoder for PreEncodedEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Decoder of [`PreEncoded`].
#[derive(Debug)]
pub struct MessageDecoder<T>(PhantomData<T>);

impl<T: prost::Message + Default> Decoder for MessageDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(buffer)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("undecodable discovery request: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
