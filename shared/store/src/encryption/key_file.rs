//! The file with the keys of a store.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{Keys, LENGTH};

const COMMENT: &str = "# The key of the store of a control plane. Who has it can read the store; without it nobody can.\n\
                       # Keep a copy of this file apart from copies of the store.\n";

/// The keys in a file; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Keys>, String> {
    let unreadable = |error| format!("cannot read the keys of the store in {}: {error}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{mode:04o}"),
            "everybody on this host may read the keys of the store; chmod it to 0600"
        );
    }
    Keys::parse(&text, &path.display().to_string()).map(Some)
}

/// Makes a file with a new key; durable, and there as a whole or not at all. When another process was faster its key counts.
pub(super) fn make(path: &Path) -> Result<Keys, String> {
    let failed = |error: std::io::Error| format!("cannot make the key of the store in {}: {error}", path.display());
    let mut key = [0; LENGTH];
    rand::fill(&mut key).map_err(|_| failed(std::io::Error::other("the system has no randomness")))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(name);
    // Left behind by a process that was killed.
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    let written =
        file.write_all(format!("{COMMENT}{}\n", STANDARD.encode(key)).as_bytes()).and_then(|()| file.sync_all());
    // A link never replaces a file that is there.
    let linked = written.and_then(|()| std::fs::hard_link(&temporary, path));
    let removed = std::fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => other.map_err(failed)?,
    }
    removed.map_err(failed)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    let keys = read(path)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
    tracing::info!(
        file = %path.display(),
        key = keys.ids(),
        "made a key that encrypts the store, because none is configured; keep a copy of this file, apart from copies of the \
         store: without it nobody can read the store"
    );
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("below").join("store.key");
        assert!(read(&path).expect("no file").is_none());
        let made = make(&path).expect("made");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).expect("readable").expect("there").ids(), made.ids());
        assert_eq!(make(&path).expect("there already").ids(), made.ids());
        assert_eq!(std::fs::read_dir(path.parent().expect("below")).expect("a directory").count(), 1);
    }

    #[test]
    fn a_damaged_file_is_neither_used_nor_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store.key");
        for content in ["", "damaged"] {
            std::fs::write(&path, content).expect("writable");
            assert!(read(&path).is_err() && make(&path).is_err());
            assert_eq!(std::fs::read_to_string(&path).expect("readable"), content);
        }
    }
}
