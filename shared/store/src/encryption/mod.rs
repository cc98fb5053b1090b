//! How a store on disk is encrypted: whether, and where the keys are.

mod key;
mod key_file;

use std::path::PathBuf;

pub use key::Keys;
pub(crate) use key::{Key, RecordKey};

/// How a store on disk protects what it writes.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// Whether what is written is encrypted. A store that is not as it should be is rewritten when it is opened.
    pub enabled: bool,
    /// Where the keys are.
    pub keys: KeySource,
}

/// Where the keys of a store are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Here.
    Given(Keys),
    /// In a file that has to be there.
    File(PathBuf),
    /// In a file that is made, with a new key, when no store needs another one.
    FileOrNew(PathBuf),
}

impl Encryption {
    /// A store that is encrypted with the first of these keys.
    pub fn with(keys: Keys) -> Self {
        Self { enabled: true, keys: KeySource::Given(keys) }
    }

    /// The keys, for a store that is encrypted with the key `needed`, or is not encrypted. No keys where none are needed.
    ///
    /// # Errors
    /// When keys that are needed cannot be had; the text says what to do.
    pub(crate) fn keys(&self, needed: Option<&str>) -> Result<Keys, String> {
        let keys = match &self.keys {
            KeySource::Given(keys) => keys.clone(),
            KeySource::File(_) if !self.enabled && needed.is_none() => return Ok(Keys::none()),
            KeySource::File(path) => match key_file::read(path)? {
                Some(keys) => keys,
                None => return Err(missing(path, needed)),
            },
            KeySource::FileOrNew(path) => match (key_file::read(path)?, needed) {
                (Some(keys), _) => keys,
                (None, Some(_)) => return Err(missing(path, needed)),
                (None, None) if self.enabled => key_file::make(path)?,
                (None, None) => Keys::none(),
            },
        };
        if let Some(needed) = needed
            && keys.by_id(needed).is_none()
        {
            return Err(format!(
                "it is encrypted with the key {needed}, and {} holds {}; give it the key {needed} as well",
                keys.origin(),
                keys.ids()
            ));
        }
        Ok(keys)
    }
}

fn missing(path: &std::path::Path, needed: Option<&str>) -> String {
    let path = path.display();
    match needed {
        Some(needed) => {
            format!(
                "it is encrypted with the key {needed}, and {path} does not exist; put this file back from its backup"
            )
        }
        None => format!(
            "the file with its keys, {path}, does not exist; make it with `head -c 32 /dev/urandom | base64 > {path}`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TWO: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

    fn keys(text: &str) -> Keys {
        Keys::parse(text, "a test").expect("valid")
    }

    #[test]
    fn the_key_that_a_store_needs_has_to_be_there() {
        let (one, two) = (keys(ONE), keys(TWO));
        let id = one.first().expect("one").id().to_owned();
        let reason = Encryption::with(two).keys(Some(&id)).expect_err("another key");
        assert!(reason.contains(&format!("encrypted with the key {id}, and a test holds")), "{reason}");
        assert!(Encryption::with(one).keys(Some(&id)).is_ok());
        assert!(Encryption::with(keys(&format!("{TWO} {ONE}"))).keys(Some(&id)).is_ok());
    }

    #[test]
    fn a_key_is_made_only_where_none_is_needed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("store.key");
        let on = |keys| Encryption { enabled: true, keys };
        let off = |keys| Encryption { enabled: false, keys };
        let reason = on(KeySource::File(file.clone())).keys(None).expect_err("no file");
        assert!(reason.contains("store.key, does not exist; make it with"), "{reason}");
        let reason = on(KeySource::FileOrNew(file.clone())).keys(Some("1234")).expect_err("no file");
        assert!(reason.contains("encrypted with the key 1234") && reason.contains("put this file back"), "{reason}");
        for source in [KeySource::File(file.clone()), KeySource::FileOrNew(file.clone())] {
            assert!(off(source.clone()).keys(None).expect("none needed").first().is_none());
            assert!(off(source).keys(Some("1234")).is_err());
        }
        assert!(!file.exists(), "nothing was made so far");
        let made = on(KeySource::FileOrNew(file.clone())).keys(None).expect("made");
        let read = on(KeySource::File(file)).keys(None).expect("there");
        assert_eq!(made.ids(), read.ids());
    }
}
