//! A store whose key changes loses nothing when the process is killed meanwhile.
//!
//! A child process, this test binary again, opens the store with another key, which writes it anew. It is killed while it
//! does.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{everything, keys, policy, value};
use rand::Rng;
use tandem_store::{Author, Encryption, SledStore, Store, Write};

const DIRECTORY: &str = "TANDEM_REWRITING_TEST_DIRECTORY";
const KEYS: &str = "TANDEM_REWRITING_TEST_KEYS";
const POLICIES: u64 = 6_000;
/// Waiting for the child takes at most this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "the child process of the test below"]
async fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("set by the parent");
    let bytes = std::env::var(KEYS).expect("set by the parent");
    let store = SledStore::open(directory, &Encryption::with(keys(bytes.as_bytes()))).await.expect("an intact store");
    std::mem::drop(store);
}

/// Whether a database is being made in the directory.
fn is_rewriting(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".new"))
}

/// Starts a child and kills it soon after it began to write the store anew, or when it is through. Returns whether it was
/// still at it.
fn rewrite_and_kill(directory: &Path, keys: &str, delay: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().expect("the test binary"))
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(KEYS, keys)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test binary starts");
    let start = Instant::now();
    while !is_rewriting(directory) && child.try_wait().expect("a child").is_none() {
        assert!(start.elapsed() < PATIENCE, "the child never begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().expect("reaped");
    is_rewriting(directory)
}

#[tokio::test]
async fn nothing_is_lost_when_a_rewrite_is_killed() {
    const ROUNDS: u64 = 8;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let writes = (0..POLICIES).map(|n| Write::Put(policy("m", &format!("p{n:05}"), n))).collect();
    let store = SledStore::open(directory.path(), &Encryption::with(keys(b"a"))).await.expect("an empty store");
    store.commit_as(Author::User("tester".to_owned()), writes).await.expect("valid");
    let (id, revision) = (store.id().store, store.revision());
    drop(store);
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        // Each round asks for the other key.
        let order = if round % 2 == 0 { "ba" } else { "ab" };
        let delay = Duration::from_millis(rand::rng().random_range(0..=40 * round));
        interrupted += u64::from(rewrite_and_kill(directory.path(), order, delay));
        let store = SledStore::open(directory.path(), &Encryption::with(keys(order.as_bytes()))).await;
        let store = store.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!((store.id().store, store.revision()), (id, revision), "round {round}");
        let values: Vec<_> = everything(&store).await.iter().map(|resource| value(resource)).collect();
        assert!(values.into_iter().eq(0..POLICIES), "round {round}");
        let history = store.history(&common::key("m", "p00042")).await.expect("readable");
        assert_eq!((history.len(), history[0].author.as_str()), (1, "tester"), "round {round}");
        drop(store);
        assert!(!is_rewriting(directory.path()), "round {round}: what was left behind is gone");
        let only = Encryption::with(keys(&order.as_bytes()[..1]));
        SledStore::open(directory.path(), &only).await.expect("the other key is not needed any more");
    }
    assert!(interrupted > 0, "every rewrite was through before it was killed");
}
