//! Settings inside settings: a free-form `conf` as the message it stands for.

use prost::{Message, Name};
use prost_types::Struct;

use super::{JsonError, Unknown, from_json, to_json};

const STRUCT: &str = "google.protobuf.Struct";

/// Reads a free-form `Struct` as a message.
///
/// # Errors
/// When a member is unknown or of another type.
pub fn from_struct<M: Message + Name + Default>(conf: &Struct) -> Result<M, JsonError> {
    let object = to_json(STRUCT, &conf.encode_to_vec())?;
    let bytes = from_json(&M::full_name(), &object, Unknown::Refuse)?;
    M::decode(bytes.as_slice()).map_err(malformed)
}

/// Writes a message as a free-form `Struct`.
///
/// # Errors
/// When the message is not one of this crate.
pub fn to_struct<M: Message + Name>(message: &M) -> Result<Struct, JsonError> {
    let object = to_json(&M::full_name(), &message.encode_to_vec())?;
    let bytes = from_json(STRUCT, &object, Unknown::Refuse)?;
    Struct::decode(bytes.as_slice()).map_err(malformed)
}

fn malformed(error: prost::DecodeError) -> JsonError {
    JsonError { path: String::new(), reason: error.to_string() }
}
