//! A small file beside the database that names the last acknowledged revision.
//!
//! The recovery of a damaged database may cut off its end and succeed. The witness tells then that commits are missing.
//! It is written after each durable commit without waiting for the disk: an older witness is harmless, and it is never
//! ahead of what was durable.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Revision;

const FILE: &str = "acknowledged";
const PREFIX: &str = "tandem-store revision ";

/// The open witness file of a store.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    path: PathBuf,
}

impl Witness {
    /// Opens or creates the file in the directory of the store, and reads the revision it names, if any.
    pub(super) fn open(directory: &Path) -> Result<(Self, Option<Revision>), String> {
        let path = directory.join(FILE);
        let problem = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(problem)?;
        let mut text = String::new();
        let revision = match file.read_to_string(&mut text) {
            Ok(_) => parse(&text),
            Err(error) if error.kind() == ErrorKind::InvalidData => None,
            Err(error) => return Err(problem(error)),
        };
        if revision.is_none() && !text.is_empty() {
            tracing::warn!(file = %path.display(), "cannot be read and is not used to check the store");
        }
        Ok((Self { file, path }, revision))
    }

    /// Path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names `revision` as acknowledged.
    pub(super) fn write(&mut self, revision: Revision) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(line(revision).as_bytes())
    }
}

/// Always of the same length, so that a new line covers the one before.
fn line(revision: Revision) -> String {
    let text = format!("{PREFIX}{revision:020}");
    format!("{text} checksum {:08x}\n", crc32fast::hash(text.as_bytes()))
}

fn parse(text: &str) -> Option<Revision> {
    let digits = text.strip_prefix(PREFIX)?.split(' ').next()?;
    let revision = digits.parse().ok()?;
    (line(revision) == text).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (mut witness, revision) = Witness::open(directory.path()).expect("a new file");
        assert_eq!(revision, None);
        witness.write(u64::MAX).expect("writable");
        witness.write(42).expect("writable");
        let (witness, revision) = Witness::open(directory.path()).expect("an existing file");
        assert_eq!(revision, Some(42));
        for garbage in [&b"\xff\xfe"[..], b"tandem-store revision 9", b""] {
            std::fs::write(witness.path(), garbage).expect("writable");
            assert_eq!(Witness::open(directory.path()).expect("readable").1, None);
        }
    }
}
