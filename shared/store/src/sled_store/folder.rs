//! The directory of a store: which database in it counts, and replacing it by another one at once.
//!
//! Every database is in a folder of its own, `data-<n>`; the one with the greatest number counts. A new one is made in
//! `data-<n>.new` and gets its name when it is complete and durable; then those before it are removed. So at any moment one
//! complete database is there, and what an interruption leaves behind is known by its name. Stores of earlier versions
//! have their database in the directory itself, which counts as number 0. The file `lock` keeps other processes out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOCK_FILE: &str = "lock";
const PREFIX: &str = "data-";
const UNFINISHED: &str = ".new";
/// What sled makes in its directory; files of snapshots begin with the last of these.
const DATABASE: [&str; 3] = ["conf", "db", "blobs"];
const SNAPSHOT: &str = "snap.";
/// How long to wait for another holder of the lock: a process that is about to end.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// A directory that belongs to this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Number of the database that counts.
    current: Option<u64>,
    _lock: File,
}

impl Folder {
    /// Takes a directory, which is made if needed, and removes what an interruption left behind in it.
    pub(super) fn take(path: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(path)
            .map_err(|error| format!("cannot create store directory {}: {error}", path.display()))?;
        let failed = |error: io::Error| format!("cannot use store directory {}: {error}", path.display());
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK_FILE));
        let lock = options.map_err(failed)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(in_use(path)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        let mut folder = Self { path: path.to_owned(), current: None, _lock: lock };
        folder.current = folder.numbers().map_err(failed)?.into_iter().max();
        folder.clean().map_err(failed)?;
        Ok(folder)
    }

    /// Where the database that counts is.
    pub(super) fn database(&self) -> Option<PathBuf> {
        self.current.map(|number| self.of(number))
    }

    /// Bytes that the files of the database that counts take.
    pub(super) fn size(&self) -> io::Result<u64> {
        self.database().map_or(Ok(0), |database| size(&database))
    }

    /// Whether the database is where earlier versions have it.
    pub(super) fn is_of_earlier_version(&self) -> bool {
        self.current == Some(0)
    }

    /// Where to make the next database: a folder that does not exist.
    pub(super) fn next(&self) -> PathBuf {
        let mut path = self.of(self.current.unwrap_or_default() + 1).into_os_string();
        path.push(UNFINISHED);
        path.into()
    }

    /// Makes what is in [`Folder::next`] the database that counts. Nobody may have it open, nor the one before it, which is
    /// removed.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        let next = self.next();
        sync(&next)?;
        let number = self.current.unwrap_or_default() + 1;
        std::fs::rename(&next, self.of(number))?;
        File::open(&self.path)?.sync_all()?;
        self.current = Some(number);
        self.clean()
    }

    fn of(&self, number: u64) -> PathBuf {
        if number == 0 { self.path.clone() } else { self.path.join(format!("{PREFIX}{number}")) }
    }

    /// The numbers of all databases.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(number) = entry.file_name().to_str().and_then(number) {
                numbers.push(number);
            }
        }
        if self.path.join(DATABASE[0]).exists() || self.path.join(DATABASE[1]).exists() {
            numbers.push(0);
        }
        Ok(numbers)
    }

    /// Removes unfinished databases, and those before the one that counts.
    fn clean(&self) -> io::Result<()> {
        let Some(current) = self.current else { return self.remove(is_unfinished) };
        self.remove(|name| {
            is_unfinished(name)
                || number(name).is_some_and(|number| number < current)
                || current > 0 && (DATABASE.contains(&name) || name.starts_with(SNAPSHOT))
        })
    }

    fn remove(&self, which: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(&which) {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())
            } else {
                std::fs::remove_file(entry.path())
            };
            match removed {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// What to say when somebody else has the directory.
pub(super) fn in_use(path: &Path) -> String {
    format!(
        "cannot open store at {}: another process uses this directory; stop it or configure another directory",
        path.display()
    )
}

fn number(name: &str) -> Option<u64> {
    let number: u64 = name.strip_prefix(PREFIX)?.parse().ok()?;
    // No other spelling of the number counts.
    (number > 0 && name.len() == PREFIX.len() + number.to_string().len()).then_some(number)
}

fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).and_then(number).is_some()
}

fn size(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // sled may remove one of its files meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Waits until everything in a directory is on the disk.
fn sync(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).expect("a directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn make(path: &Path) {
        std::fs::create_dir(path).expect("made");
        std::fs::write(path.join("db"), "data").expect("written");
    }

    #[test]
    fn the_last_complete_database_counts_and_the_others_go() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        assert_eq!(Folder::take(path).expect("free").database(), None);
        for file in ["conf", "db", "snap.1", "acknowledged", "mine", "data-x"] {
            std::fs::write(path.join(file), "").expect("written");
        }
        make(&path.join("blobs"));
        let mut folder = Folder::take(path).expect("free");
        assert!(folder.is_of_earlier_version());
        assert_eq!(folder.database().as_deref(), Some(path));
        make(&folder.next());
        drop(folder);
        // Interrupted before it was complete.
        folder = Folder::take(path).expect("free");
        assert!(folder.is_of_earlier_version());
        assert!(!folder.next().exists());
        make(&folder.next());
        folder.advance().expect("complete");
        assert_eq!(folder.database(), Some(path.join("data-1")));
        assert_eq!(names(path), ["acknowledged", "data-1", "data-x", "lock", "mine"]);
        drop(folder);
        // Interrupted before the earlier ones were removed.
        make(&path.join("data-10"));
        make(&path.join("data-9"));
        make(&path.join("data-11.new"));
        let folder = Folder::take(path).expect("free");
        assert_eq!(folder.database(), Some(path.join("data-10")));
        assert_eq!(names(path), ["acknowledged", "data-10", "data-x", "lock", "mine"]);
        assert!(Folder::take(path).expect_err("taken").contains("another process uses this directory"));
    }
}
