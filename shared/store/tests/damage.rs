//! Stores that cannot be opened say so, name the path, and lose nothing silently.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{create, everything, files, key, policy, value};
use tandem_store::{Store, StoreError, Write};
use tempfile::TempDir;

const RESOURCES: u64 = 300;

/// A closed store with some history.
async fn closed_store() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = common::open(directory.path()).await.expect("an empty store");
    for n in 0..RESOURCES {
        create(&store, policy("m", &format!("p{n:03}"), n)).await;
    }
    drop(store);
    // sled writes a snapshot of its page table when it opens an existing database.
    drop(common::open(directory.path()).await.expect("intact"));
    directory
}

async fn refusal(directory: &Path) -> String {
    match common::open(directory).await {
        Ok(_) => panic!("the store at {} opened", directory.display()),
        Err(StoreError::Backend(text)) => {
            assert!(text.contains(&directory.display().to_string()), "does not name the path: {text}");
            text
        }
        Err(other) => panic!("{other}"),
    }
}

/// Where a store has its database. One without any is about to become a store of an earlier version.
fn database(directory: &Path) -> PathBuf {
    let first = directory.join("data-1");
    if first.exists() { first } else { directory.to_owned() }
}

/// Stores bytes under a key of a tree of a closed store.
fn tamper(directory: &Path, tree: &str, key: &[u8], value: Option<&[u8]>) {
    let db = sled::open(database(directory)).expect("a sled database");
    let tree = db.open_tree(tree).expect("a tree");
    match value {
        Some(value) => tree.insert(key, value).map(drop),
        None => tree.remove(key).map(drop),
    }
    .and_then(|()| db.flush().map(drop))
    .expect("writable");
}

#[tokio::test]
async fn an_intact_store_opens_again_and_again() {
    let directory = closed_store().await;
    for _ in 0..3 {
        let store = common::open(directory.path()).await.expect("intact");
        assert_eq!(store.revision(), RESOURCES);
        let values: Vec<_> = everything(&store).await.iter().map(|r| value(r)).collect();
        assert_eq!(values, (0..RESOURCES).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let _store = common::open(directory.path()).await.expect("an empty store");
    let text = refusal(directory.path()).await;
    assert!(text.contains("another process uses this directory"), "{text}");
}

#[tokio::test]
async fn a_path_that_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "text").expect("writable");
    refusal(&file).await;
    refusal(&file.join("below")).await;
}

#[tokio::test]
async fn an_unknown_format_is_refused() {
    let directory = closed_store().await;
    tamper(directory.path(), "meta", b"format", Some(b"99"));
    let text = refusal(directory.path()).await;
    assert!(text.contains(r#"its format is "99" and this version reads "1" and "2""#), "{text}");
    tamper(directory.path(), "meta", b"format", None);
    let text = refusal(directory.path()).await;
    assert!(text.contains("its format is not recorded"), "{text}");
    tamper(directory.path(), "meta", b"format", Some(b"2"));
    common::open(directory.path()).await.expect("as before");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    tamper(directory.path(), "users", b"root", Some(b"secret"));
    let text = refusal(directory.path()).await;
    assert!(text.contains("its format is not recorded"), "{text}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named() {
    let directory = closed_store().await;
    tamper(directory.path(), "resources", b"MeshTimeout\0m\0p007", Some(b"\x02garbage"));
    let text = refusal(directory.path()).await;
    let expected = r#"record of type="MeshTimeout" name="p007" mesh="m": record of 8 bytes is too short"#;
    assert!(text.contains(expected), "{text}");

    let directory = closed_store().await;
    tamper(directory.path(), "resources", b"MeshNovelty\0m\0x", Some(b""));
    let text = refusal(directory.path()).await;
    assert!(text.contains(r#"record "MeshNovelty/m/x": unknown resource type "MeshNovelty""#), "{text}");
}

#[tokio::test]
async fn missing_records_and_commits_are_noticed() {
    let directory = closed_store().await;
    tamper(directory.path(), "resources", b"MeshTimeout\0m\0p007", None);
    let text = refusal(directory.path()).await;
    assert!(text.contains("it holds 299 resources of 300"), "{text}");

    // An older state of the database, as a recovery that cuts off the end leaves it.
    let directory = closed_store().await;
    let backup = tempfile::tempdir().expect("a temporary directory");
    copy(directory.path(), backup.path());
    let store = common::open(directory.path()).await.expect("intact");
    store.commit(vec![Write::Delete { key: key("m", "p000"), expected: None }]).await.expect("valid");
    drop(store);
    fs::copy(directory.path().join("acknowledged"), backup.path().join("acknowledged")).expect("copied");
    let text = refusal(backup.path()).await;
    assert!(text.contains("revision 301 was acknowledged"), "{text}");
    assert!(text.contains("the database ends at revision 300"), "{text}");
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("below")).expect("created");
        fs::copy(&file, target).expect("copied");
    }
}

/// Damage of every file at several places: either it does not matter, or the store is refused with a clear text.
#[tokio::test]
async fn damaged_files_are_refused_or_harmless() {
    let original = closed_store().await;
    let mut refused = 0;
    let files = files(original.path());
    assert!(files.len() >= 4, "configuration, database, snapshot, witness: {files:?}");
    for file in files {
        let content = fs::read(&file).expect("readable");
        let length = content.len();
        let cut = |at: usize| content[..at].to_vec();
        let garbled = |from: usize, to: usize| {
            let mut content = content.clone();
            content[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
            content
        };
        let damages = [
            cut(0),
            cut(length / 3),
            cut(length - length.min(10)),
            garbled(0, length),
            garbled(0, length.min(16)),
            garbled(length / 4, length / 4 + length.min(64) / 2),
            garbled(length / 2, length),
        ];
        for (index, damage) in damages.into_iter().enumerate() {
            let directory = tempfile::tempdir().expect("a temporary directory");
            copy(original.path(), directory.path());
            let name = file.strip_prefix(original.path()).expect("below");
            fs::write(directory.path().join(name), damage).expect("writable");
            match common::open(directory.path()).await {
                Ok(store) => {
                    let values: Vec<_> = everything(&store).await.iter().map(|r| value(r)).collect();
                    assert_eq!(values, (0..RESOURCES).collect::<Vec<_>>(), "{} {index}", name.display());
                    create(&store, policy("m", "later", 1)).await;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(&directory.path().display().to_string()), "{text}");
                    refused += 1;
                    println!("{} {index}: {text}", name.display());
                }
            }
        }
    }
    assert!(refused > 5, "the damage does not reach anything that matters");
}

#[tokio::test]
async fn the_id_of_a_store_stays() {
    let directory = closed_store().await;
    let opened = || async { common::open(directory.path()).await.expect("intact").id() };
    let (first, second) = (opened().await, opened().await);
    assert_eq!(first.store, second.store);
    assert_ne!(first.opening, second.opening);

    tamper(directory.path(), "meta", b"id", Some(b"damaged"));
    let text = refusal(directory.path()).await;
    assert!(text.contains("its id is damaged"), "{text}");
    tamper(directory.path(), "meta", b"id", None);
    let text = refusal(directory.path()).await;
    assert!(text.contains("its id is missing"), "{text}");
}
