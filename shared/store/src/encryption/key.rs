//! Keys, and what is derived from them.
//!
//! From a key of a store, HKDF-SHA-256 (RFC 5869) derives its public name and a key of its own for every record. The key of a
//! record follows from 24 random bytes that are kept with it, and is used once. Records therefore share no nonces whose
//! number would have to be counted: only when two records got the same 24 bytes could something be learned, and with 2⁶⁴ records that
//! has a chance of 2⁻⁶⁵.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Length of a key.
pub(super) const LENGTH: usize = 32;
/// Separates what is derived here from other uses of the same key.
const SALT: &[u8] = b"tandem store 1";
const NAME: &[u8] = b"name of the key";
const RECORD: &[u8] = b"key of a record";
/// Length of the name of a key.
const NAME_LENGTH: usize = 8;

/// The keys of a store: the first one encrypts, all decrypt.
#[derive(Debug, Clone)]
pub struct Keys {
    keys: Vec<Key>,
    origin: String,
}

impl Keys {
    /// Reads keys of 32 bytes in base64, separated by white space; a line that begins with `#` is a comment. `origin` is where
    /// the text comes from.
    ///
    /// # Errors
    /// What is wrong with the text, without quoting it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let mut keys: Vec<Key> = Vec::new();
        for (index, word) in lines.flat_map(str::split_whitespace).enumerate() {
            let wrong = |reason: String| format!("key {} of {origin} is unusable: {reason}", index + 1);
            let bytes = STANDARD.decode(word).map_err(|_| wrong("it is not written in base64".to_owned()))?;
            if bytes.len() != LENGTH {
                return Err(wrong(format!("it has {} bytes instead of {LENGTH}", bytes.len())));
            }
            let key = Key::of(&bytes)?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(wrong("it is there twice".to_owned()));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(format!("there is no key in {origin}"));
        }
        Ok(Self { keys, origin: origin.to_owned() })
    }

    /// No keys.
    pub(super) fn none() -> Self {
        Self { keys: Vec::new(), origin: "nothing".to_owned() }
    }

    /// The key that encrypts.
    pub(crate) fn first(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// The key with a name.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Where the keys come from.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The names of all keys.
    pub(super) fn ids(&self) -> String {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        if ids.is_empty() { "no key".to_owned() } else { ids.join(", ") }
    }
}

/// A key of a store.
#[derive(Clone)]
pub(crate) struct Key {
    id: String,
    secret: Prk,
}

/// Leaves the key out.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Numbers of bytes to derive.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// The only key of one record.
pub(crate) struct RecordKey(pub(crate) LessSafeKey);

impl Key {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(bytes);
        let name: [u8; NAME_LENGTH] = derive(&secret, &[NAME])?;
        let id = name.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, secret })
    }

    /// Name of the key, from which nothing follows about it: 16 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The key of the record that keeps these random bytes.
    pub(crate) fn of_record(&self, random: &[u8]) -> Result<RecordKey, String> {
        let bytes: [u8; LENGTH] = derive(&self.secret, &[RECORD, random])?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| "its key cannot be used".to_owned())?;
        Ok(RecordKey(LessSafeKey::new(key)))
    }
}

fn derive<const N: usize>(secret: &Prk, info: &[&[u8]]) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let derived = secret.expand(info, Bytes(N)).and_then(|derived| derived.fill(&mut bytes));
    derived.map_err(|_| "its key cannot be derived".to_owned())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        STANDARD.encode([byte; LENGTH])
    }

    #[test]
    fn keys_are_read_in_order() {
        let keys = Keys::parse(&format!("# of 2025\n  # and\n{}\n\n{} {}\n", text(1), text(2), text(3)), "f");
        let keys = keys.expect("three keys");
        let id = |byte| Keys::parse(&text(byte), "f").expect("one key").first().expect("one").id().to_owned();
        assert_eq!(keys.ids(), format!("{}, {}, {}", id(1), id(2), id(3)));
        assert_eq!(keys.first().map(Key::id), Some(id(1).as_str()));
        assert!(keys.by_id(&id(3)).is_some() && keys.by_id(&id(4)).is_none());
        assert_eq!(id(1).len(), 16);
        assert!(!format!("{keys:?}").contains(&text(1)));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let refused = |text: &str| Keys::parse(text, "FILE").expect_err("refused");
        assert_eq!(refused(""), "there is no key in FILE");
        assert_eq!(refused("# nothing\n"), "there is no key in FILE");
        assert_eq!(refused("hunter2!"), "key 1 of FILE is unusable: it is not written in base64");
        assert_eq!(refused("aHVudGVyMg=="), "key 1 of FILE is unusable: it has 7 bytes instead of 32");
        let twice = format!("{} {}", text(1), text(1));
        assert_eq!(refused(&twice), "key 2 of FILE is unusable: it is there twice");
    }
}
