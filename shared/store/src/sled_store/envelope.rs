//! What is around the messages in the database: a checksum, or encryption.
//!
//! A value begins with one byte that tells its form. Plain ([`PLAIN`]): CRC-32 of the message (little endian), message.
//! Encrypted ([`ENCRYPTED`]): 24 random bytes from which the key of the record follows, the message encrypted with
//! AES-256-GCM, and its tag. The tag covers the id of the store, the tree and the key of the record as well, so that no record
//! passes for another one. The nonce is always zero, because every record has a key of its own.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use aws_lc_rs::rand;
use prost::Message;
use uuid::Uuid;

use crate::encryption::{Key, RecordKey};

const PLAIN: u8 = 1;
const ENCRYPTED: u8 = 2;
/// Length of the checksum of a plain value.
const CHECKSUM: usize = 4;
/// Length of what the key of a record follows from.
const RANDOM: usize = 24;
/// Length of the tag of an encrypted value.
const TAG: usize = 16;

/// How the values of one database are kept.
#[derive(Debug, Clone)]
pub(super) enum Envelope {
    /// As they are, with a checksum.
    Plain,
    /// Encrypted.
    Encrypted {
        /// With this key.
        key: Key,
        /// In this store.
        store: Uuid,
    },
}

impl Envelope {
    /// The value that is stored for a message under `key` of `tree`.
    pub(super) fn seal(&self, tree: &str, key: &[u8], message: &impl Message) -> Result<Vec<u8>, String> {
        self.seal_bytes(tree, key, &message.encode_to_vec())
    }

    /// The message that [`Envelope::seal`] made `value` of, or why there is none.
    pub(super) fn open<M: Message + Default>(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<M, String> {
        M::decode(&self.open_bytes(tree, key, value)?[..]).map_err(|error| error.to_string())
    }

    /// [`Envelope::seal`] for a message that is encoded.
    pub(super) fn seal_bytes(&self, tree: &str, key: &[u8], message: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Plain => {
                let mut value = Vec::with_capacity(1 + CHECKSUM + message.len());
                value.push(PLAIN);
                value.extend_from_slice(&crc32fast::hash(message).to_le_bytes());
                value.extend_from_slice(message);
                Ok(value)
            }
            Self::Encrypted { key: secret, store } => {
                let mut random = [0; RANDOM];
                rand::fill(&mut random).map_err(|_| "the system has no randomness".to_owned())?;
                let mut value = Vec::with_capacity(1 + RANDOM + message.len() + TAG);
                value.push(ENCRYPTED);
                value.extend_from_slice(&random);
                value.extend_from_slice(message);
                let RecordKey(record) = secret.of_record(&random)?;
                let tag = record
                    .seal_in_place_separate_tag(nonce(), place(*store, tree, key), &mut value[1 + RANDOM..])
                    .map_err(|_| "it cannot be encrypted".to_owned())?;
                value.extend_from_slice(tag.as_ref());
                Ok(value)
            }
        }
    }

    /// Size of a value that is `size` large in the envelope `from`.
    pub(super) fn resized(&self, from: &Self, size: u64) -> u64 {
        (size + self.overhead()).saturating_sub(from.overhead())
    }

    /// Bytes around a message.
    fn overhead(&self) -> u64 {
        let bytes = match self {
            Self::Plain => 1 + CHECKSUM,
            Self::Encrypted { .. } => 1 + RANDOM + TAG,
        };
        bytes as u64
    }

    /// The encoded message in a value, or why there is none.
    pub(super) fn open_bytes(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
        let too_short = || format!("record of {} bytes is too short", value.len());
        let (form, rest) = value.split_first().ok_or_else(too_short)?;
        match (self, *form) {
            (Self::Plain, PLAIN) => {
                let (checksum, message) = rest.split_first_chunk::<CHECKSUM>().ok_or_else(too_short)?;
                if u32::from_le_bytes(*checksum) != crc32fast::hash(message) {
                    return Err("checksum does not match".to_owned());
                }
                Ok(message.to_vec())
            }
            (Self::Encrypted { key: secret, store }, ENCRYPTED) => {
                let (random, sealed) = rest.split_first_chunk::<RANDOM>().ok_or_else(too_short)?;
                let RecordKey(record) = secret.of_record(random)?;
                let mut message = sealed.to_vec();
                let length = record
                    .open_in_place(nonce(), place(*store, tree, key), &mut message)
                    .map_err(|_| "it was changed, or belongs elsewhere: it cannot be decrypted".to_owned())?
                    .len();
                message.truncate(length);
                Ok(message)
            }
            (Self::Plain, ENCRYPTED) => Err("it is encrypted, and the store is not".to_owned()),
            (Self::Encrypted { .. }, PLAIN) => Err("it is not encrypted, but the store is".to_owned()),
            (_, other) => Err(format!("unknown record format {other}")),
        }
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Where a record is. Names of trees hold no NUL.
fn place(store: Uuid, tree: &str, key: &[u8]) -> Aad<Vec<u8>> {
    let mut bytes = Vec::with_capacity(17 + tree.len() + key.len());
    bytes.extend_from_slice(store.as_bytes());
    bytes.extend_from_slice(tree.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key);
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::Keys;

    fn encrypted(key: &str, store: Uuid) -> Envelope {
        let keys = Keys::parse(key, "a test").expect("valid");
        Envelope::Encrypted { key: keys.first().expect("one").clone(), store }
    }

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

    #[test]
    fn any_changed_byte_is_noticed() {
        for envelope in [Envelope::Plain, encrypted(KEY, Uuid::new_v4())] {
            for message in [&b"a secret message"[..], b""] {
                let value = envelope.seal_bytes("tree", b"key", message).expect("wrapped");
                assert_eq!(value.len() as u64, envelope.overhead() + message.len() as u64);
                assert_eq!(envelope.open_bytes("tree", b"key", &value).expect("as it was"), message);
                for index in 0..value.len() {
                    let mut changed = value.clone();
                    changed[index] ^= 0x40;
                    assert!(envelope.open_bytes("tree", b"key", &changed).is_err(), "byte {index}");
                }
                for length in 0..value.len() {
                    assert!(envelope.open_bytes("tree", b"key", &value[..length]).is_err(), "length {length}");
                }
            }
        }
    }

    #[test]
    fn an_encrypted_record_is_of_use_in_its_place_only() {
        let store = Uuid::new_v4();
        let envelope = encrypted(KEY, store);
        let value = envelope.seal_bytes("tree", b"key", b"secret").expect("wrapped");
        assert!(!value.windows(6).any(|window| window == b"secret"));
        assert_ne!(value, envelope.seal_bytes("tree", b"key", b"secret").expect("wrapped"), "never twice the same");
        for (envelope, tree, key) in [
            (&envelope, "tree", &b"other"[..]),
            (&envelope, "other", b"key"),
            (&envelope, "tre", b"e\0key"),
            (&encrypted(KEY, Uuid::new_v4()), "tree", b"key"),
            (&encrypted(OTHER, store), "tree", b"key"),
            (&Envelope::Plain, "tree", b"key"),
        ] {
            assert!(envelope.open_bytes(tree, key, &value).is_err());
        }
        let plain = Envelope::Plain.seal_bytes("tree", b"key", b"planted").expect("wrapped");
        let reason = envelope.open_bytes("tree", b"key", &plain).expect_err("refused");
        assert_eq!(reason, "it is not encrypted, but the store is");
    }
}
