//! What is on disk tells nobody without the key anything but names, and stays so when keys change.

mod common;

use std::fs;
use std::path::Path;

use common::{encryption, everything, files, keys};
use tandem_model::{Kind, Resource, ResourceKey, Spec};
use tandem_store::{Author, Encryption, HistoryEntry, KeySource, Keys, SledStore, Store, StoreError, Write};
use tempfile::TempDir;

/// What must not be found on disk, in two states.
const SECRETS: [&str; 2] = ["correct horse battery staple", "another very secret text"];
/// Part of the name of a resource, which may be found.
const NAME: &str = "name-of-the-secret";

fn off(keys: Keys) -> Encryption {
    Encryption { enabled: false, keys: KeySource::Given(keys) }
}

fn secret(name: &str, content: &str) -> Resource {
    Resource::new(ResourceKey::new(Kind::Secret, "m", name), Spec::Proto(content.as_bytes().to_vec().into()))
}

async fn commit(store: &SledStore, write: Write) {
    store.commit_as(Author::User("tester".to_owned()), vec![write]).await.expect("valid");
}

/// Secrets that are stored, were replaced, were deleted, and some that are too large for a page.
async fn fill(store: &SledStore) {
    commit(store, Write::Put(common::mesh("m"))).await;
    for content in SECRETS {
        for n in 0..20 {
            commit(store, Write::Put(secret(&format!("{NAME}-{n}"), &format!("{n} {content} {n}")))).await;
        }
        commit(store, Write::Put(secret("large", &content.repeat(40_000)))).await;
        commit(store, Write::Put(common::policy("m", content.split(' ').next().expect("a word"), 1))).await;
    }
    commit(store, Write::Delete { key: secret(&format!("{NAME}-7"), "").key, expected: None }).await;
}

/// How often a text is in the files of a directory, as it is or in base64.
fn occurrences(directory: &Path, text: &str) -> usize {
    let of = |file: &std::path::PathBuf| {
        let content = fs::read(file).expect("readable");
        content.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    };
    files(directory).iter().map(of).sum()
}

fn exposed(directory: &Path) -> usize {
    SECRETS.iter().map(|secret| occurrences(directory, secret)).sum()
}

/// Everything that a store tells.
#[derive(Debug, PartialEq)]
struct Content {
    resources: Vec<Resource>,
    histories: Vec<Vec<HistoryEntry>>,
    revision: u64,
    store: uuid::Uuid,
}

async fn content(store: &SledStore) -> Content {
    let mut histories = Vec::new();
    for name in ["large".to_owned(), format!("{NAME}-3"), format!("{NAME}-7")] {
        histories.push(store.history(&secret(&name, "").key).await.expect("readable"));
    }
    let resources = everything(store).await.iter().map(|resource| (**resource).clone()).collect();
    Content { resources, histories, revision: store.revision(), store: store.id().store }
}

async fn filled(directory: &Path, encryption: &Encryption) -> Content {
    let store = SledStore::open(directory, encryption).await.expect("an empty store");
    fill(&store).await;
    content(&store).await
}

async fn opened(directory: &Path, encryption: &Encryption) -> Content {
    content(&SledStore::open(directory, encryption).await.expect("an intact store")).await
}

async fn refusal(directory: &Path, encryption: &Encryption) -> String {
    match SledStore::open(directory, encryption).await {
        Ok(_) => panic!("the store at {} opened", directory.display()),
        Err(StoreError::Backend(text)) => {
            assert!(text.contains(&directory.display().to_string()), "does not name the path: {text}");
            text
        }
        Err(other) => panic!("{other}"),
    }
}

fn snapshot(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(directory).into_iter().map(|file| (file.clone(), fs::read(file).expect("readable"))).collect()
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A store that is not encrypted, where earlier versions had it.
async fn of_earlier_version(directory: &Path) -> Content {
    let before = filled(directory, &off(keys(&[1]))).await;
    let database = directory.join("data-1");
    for entry in fs::read_dir(&database).expect("a directory") {
        let entry = entry.expect("readable");
        fs::rename(entry.path(), directory.join(entry.file_name())).expect("moved");
    }
    fs::remove_dir(&database).expect("empty");
    fs::remove_file(directory.join("lock")).expect("there");
    before
}

#[tokio::test]
async fn no_secret_is_found_on_disk() {
    let directory = temporary();
    let before = filled(directory.path(), &encryption(1)).await;
    assert_eq!(exposed(directory.path()), 0);
    assert!(occurrences(directory.path(), NAME) > 0, "names are there, so the search works");
    assert_eq!(before.histories[2].len(), 3, "created, changed and deleted");
    assert_eq!(opened(directory.path(), &encryption(1)).await, before);
    assert_eq!(exposed(directory.path()), 0);

    let plain = temporary();
    filled(plain.path(), &off(keys(&[1]))).await;
    assert!(exposed(plain.path()) > 0, "the same without encryption");
}

#[tokio::test]
async fn a_store_of_an_earlier_version_is_encrypted_and_nothing_plain_remains() {
    let directory = temporary();
    let before = of_earlier_version(directory.path()).await;
    assert!(exposed(directory.path()) > 0, "it is plain");
    assert_eq!(opened(directory.path(), &encryption(1)).await, before);
    assert_eq!(exposed(directory.path()), 0);
    assert_eq!(opened(directory.path(), &encryption(1)).await, before);

    let directory = temporary();
    let before = of_earlier_version(directory.path()).await;
    assert_eq!(opened(directory.path(), &off(keys(&[1]))).await, before, "it may stay plain");
}

#[tokio::test]
async fn a_store_of_an_earlier_version_without_id_gets_one() {
    let directory = temporary();
    of_earlier_version(directory.path()).await;
    let db = sled::open(directory.path()).expect("a sled database");
    db.open_tree("meta").expect("a tree").remove("id").expect("removed");
    drop(db);
    let id = opened(directory.path(), &encryption(1)).await.store;
    assert_eq!(opened(directory.path(), &encryption(1)).await.store, id);
}

#[tokio::test]
async fn another_key_takes_the_place_of_the_first() {
    let directory = temporary();
    let before = filled(directory.path(), &encryption(1)).await;
    let reason = refusal(directory.path(), &encryption(2)).await;
    assert!(reason.contains("it is encrypted with the key") && reason.contains("the test holds"), "{reason}");
    // Only the order of the keys tells which one encrypts.
    assert_eq!(opened(directory.path(), &Encryption::with(keys(&[1, 2]))).await, before);
    refusal(directory.path(), &encryption(2)).await;
    assert_eq!(opened(directory.path(), &Encryption::with(keys(&[2, 1]))).await, before);
    refusal(directory.path(), &encryption(1)).await;
    assert_eq!(opened(directory.path(), &encryption(2)).await, before);
    assert_eq!(exposed(directory.path()), 0);
}

#[tokio::test]
async fn encryption_is_turned_off_and_on_again() {
    let directory = temporary();
    let before = filled(directory.path(), &encryption(1)).await;
    refusal(directory.path(), &off(keys(&[2]))).await;
    assert_eq!(exposed(directory.path()), 0);
    assert_eq!(opened(directory.path(), &off(keys(&[1]))).await, before);
    assert!(exposed(directory.path()) > 0);
    assert_eq!(opened(directory.path(), &off(keys(&[2]))).await, before, "no key is needed any more");
    assert_eq!(opened(directory.path(), &encryption(2)).await, before);
    assert_eq!(exposed(directory.path()), 0);
}

#[tokio::test]
async fn a_lost_key_file_is_not_replaced() {
    let (directory, elsewhere) = (temporary(), temporary());
    let file = elsewhere.path().join("store.key");
    let default = Encryption { enabled: true, keys: KeySource::FileOrNew(file.clone()) };
    let before = filled(directory.path(), &default).await;
    assert_eq!(opened(directory.path(), &default).await, before);
    let kept = elsewhere.path().join("kept");
    fs::rename(&file, &kept).expect("moved");
    let files = snapshot(directory.path());
    let reason = refusal(directory.path(), &default).await;
    assert!(reason.contains("store.key does not exist; put this file back from its backup"), "{reason}");
    refusal(directory.path(), &Encryption { enabled: true, keys: KeySource::File(file.clone()) }).await;
    refusal(directory.path(), &Encryption { enabled: false, keys: KeySource::FileOrNew(file.clone()) }).await;
    assert!(!file.exists(), "no other key is made");
    let names = |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
    let data = |files: &[(std::path::PathBuf, Vec<u8>)]| {
        files.iter().filter(|(path, _)| path.ends_with("db")).cloned().collect::<Vec<_>>()
    };
    let now = snapshot(directory.path());
    assert_eq!(data(&now), data(&files));
    assert!(names(&now).iter().all(|path| !path.to_string_lossy().contains(".new")), "{:?}", names(&now));
    fs::rename(&kept, &file).expect("moved");
    assert_eq!(opened(directory.path(), &default).await, before);
}

/// Changes a tree of a closed store.
fn tamper(directory: &Path, tree: &str, change: impl FnOnce(&sled::Tree)) {
    let db = sled::open(directory.join("data-1")).expect("a sled database");
    change(&db.open_tree(tree).expect("a tree"));
    db.flush().expect("writable");
}

#[tokio::test]
async fn records_that_were_moved_or_planted_are_noticed() {
    let (one, two) = (format!("Secret\0m\0{NAME}-1"), format!("Secret\0m\0{NAME}-2"));
    let directory = temporary();
    filled(directory.path(), &encryption(1)).await;
    tamper(directory.path(), "resources", |tree| {
        let (a, b) = (tree.get(&one).expect("readable"), tree.get(&two).expect("readable"));
        tree.insert(&one, b.expect("there")).expect("written");
        tree.insert(&two, a.expect("there")).expect("written");
    });
    let reason = refusal(directory.path(), &encryption(1)).await;
    assert!(reason.contains(NAME) && reason.contains("it was changed, or belongs elsewhere"), "{reason}");

    // A record of another store with the same key and the same name.
    let (directory, other) = (temporary(), temporary());
    for directory in [&directory, &other] {
        filled(directory.path(), &encryption(1)).await;
    }
    let mut planted = None;
    tamper(other.path(), "resources", |tree| planted = tree.get(&one).expect("readable"));
    tamper(directory.path(), "resources", |tree| drop(tree.insert(&one, planted.expect("there")).expect("written")));
    let reason = refusal(directory.path(), &encryption(1)).await;
    assert!(reason.contains("it was changed, or belongs elsewhere"), "{reason}");

    // A plain record, as it would be in a store that is not encrypted.
    let (directory, plain) = (temporary(), temporary());
    filled(directory.path(), &encryption(1)).await;
    filled(plain.path(), &off(keys(&[1]))).await;
    let mut planted = None;
    tamper(plain.path(), "resources", |tree| planted = tree.get(&one).expect("readable"));
    tamper(directory.path(), "resources", |tree| drop(tree.insert(&one, planted.expect("there")).expect("written")));
    let reason = refusal(directory.path(), &encryption(1)).await;
    assert!(reason.contains("it is not encrypted, but the store is"), "{reason}");

    // The history of one secret as that of another one.
    let directory = temporary();
    filled(directory.path(), &encryption(1)).await;
    tamper(directory.path(), "history-keys", |tree| {
        let prefixes = (format!("{one}\0"), format!("{two}\0"));
        let positions = |prefix: &str| -> Vec<(sled::IVec, sled::IVec)> {
            tree.scan_prefix(prefix).map(|entry| entry.expect("readable")).collect()
        };
        for (at, _) in positions(&prefixes.0) {
            tree.remove(at).expect("removed");
        }
        for (at, size) in positions(&prefixes.1) {
            let moved = [prefixes.0.as_bytes(), &at[prefixes.1.len()..]].concat();
            tree.insert(moved, size).expect("written");
        }
    });
    let store = SledStore::open(directory.path(), &encryption(1)).await.expect("resources are intact");
    let refused = store.history(&secret(&format!("{NAME}-1"), "").key).await.expect_err("of another one");
    assert!(refused.to_string().contains("is about another resource"), "{refused}");
}

#[tokio::test]
async fn a_store_that_cannot_be_copied_stays_as_it_was() {
    let directory = temporary();
    filled(directory.path(), &off(keys(&[1]))).await;
    tamper(directory.path(), "resources", |tree| {
        drop(tree.insert(format!("Secret\0m\0{NAME}-4"), b"\x01damaged").expect("written"));
    });
    let reason = refusal(directory.path(), &encryption(1)).await;
    assert!(reason.contains(&format!("{NAME}-4")) && reason.contains("nothing was changed"), "{reason}");
    let left: Vec<_> = fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    assert!(left.contains(&"data-1".to_owned()) && !left.iter().any(|name| name.ends_with(".new")), "{left:?}");
}
