//! Nothing acknowledged is lost when the process is killed.
//!
//! A child process, this test binary again, commits as fast as it can and reports every acknowledged transaction on
//! a pipe. It is killed without warning, the store is opened again, and what it holds is compared with the reports.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{key, policy, value};
use rand::Rng;
use tandem_model::ResourceKey;
use tandem_store::{Author, SledStore, Store, Write};

const DIRECTORY: &str = "TANDEM_CRASH_TEST_DIRECTORY";
const ROUND: &str = "TANDEM_CRASH_TEST_ROUND";
const WRITERS: usize = 8;
const KEYS: u64 = 7;

fn mesh(round: usize, writer: usize) -> String {
    format!("round-{round}-writer-{writer}")
}

/// What operation `n` of a writer leaves under the two keys it writes: a value, or nothing.
fn outcome(n: u64) -> Option<u64> {
    (n % 5 != 4).then_some(n)
}

fn names(n: u64) -> [String; 2] {
    [format!("left-{}", n % KEYS), format!("right-{}", n % KEYS)]
}

fn writes(mesh: &str, n: u64) -> Vec<Write> {
    let put = |name: &String| Write::Put(policy(mesh, name, n));
    let delete = |name: &String| Write::Delete { key: key(mesh, name), expected: None };
    let names = names(n);
    match outcome(n) {
        Some(_) => names.iter().map(put).collect(),
        // The put makes sure that there is something to delete.
        None => names.iter().map(put).chain(names.iter().map(delete)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("set by the parent");
    let round = std::env::var(ROUND).expect("set by the parent").parse().expect("a number");
    let store = std::sync::Arc::new(common::open(directory.as_ref()).await.expect("an intact store"));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mesh = mesh(round, writer);
                for n in 0.. {
                    let committed =
                        store.commit_as(Author::User("tester".to_owned()), writes(&mesh, n)).await.expect("durable");
                    let line = format!("{writer} {n} {}\n", committed.revision);
                    std::io::stderr().write_all(line.as_bytes()).expect("the parent reads");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("never ends");
    }
}

/// Runs the child until it is killed; returns the last acknowledged operation of each writer and the last revision.
fn run_and_kill(directory: &Path, round: usize, lifetime: Duration) -> (BTreeMap<usize, u64>, u64) {
    let mut child = Command::new(std::env::current_exe().expect("the test binary"))
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let reports = BufReader::new(child.stderr.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let (mut last, mut revision) = (BTreeMap::new(), 0);
        for line in reports.split(b'\n') {
            let line = String::from_utf8(line.expect("readable")).expect("text");
            let fields: Vec<u64> = line.split(' ').map_while(|field| field.parse().ok()).collect();
            let [writer, n, at] = fields[..] else { panic!("the child failed: {line}") };
            last.insert(usize::try_from(writer).expect("small"), n);
            revision = revision.max(at);
        }
        (last, revision)
    });
    std::thread::sleep(lifetime);
    child.kill().expect("killed");
    child.wait().expect("reaped");
    reader.join().expect("complete reports")
}

/// The history of a resource goes together with what is stored, and has no gaps.
async fn check_history(store: &SledStore, key: &ResourceKey) {
    let history = store.history(key).await.expect("readable");
    let stored = store.get(key).await.expect("readable");
    let last = history.last().expect("what was written has a history");
    assert_eq!(last.after, stored, "{key}: the history ends with what is stored");
    for pair in history.windows(2) {
        assert_eq!(pair[0].after, pair[1].before);
    }
    for entry in &history {
        let version = entry.after.as_ref().map_or(entry.revision, |after| after.version);
        assert_eq!(version, entry.revision, "{key}: what the entry led to was written with it");
        assert_eq!(entry.author, "tester");
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kill() {
    const ROUNDS: usize = 6;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    let mut total = 0;
    let mut id = None;
    for round in 0..ROUNDS {
        let lifetime = Duration::from_millis(rand::rng().random_range(150..700));
        let (last, revision) = run_and_kill(directory.path(), round, lifetime);
        for (writer, n) in last {
            acknowledged.insert(mesh(round, writer), n);
            total += n;
        }
        let store = common::open(directory.path()).await.expect("the store opens");
        assert_eq!(*id.get_or_insert(store.id().store), store.id().store, "round {round}");
        assert!(store.revision() >= revision, "round {round}: {} of {revision}", store.revision());
        for (mesh, last) in &acknowledged {
            for n in last.saturating_sub(KEYS - 1)..=*last {
                let mut allowed = vec![outcome(n)];
                // The operation after the last acknowledged one may have been durable without being acknowledged.
                if n + KEYS == last + 1 {
                    allowed.push(outcome(last + 1));
                }
                let mut found = Vec::new();
                for name in names(n) {
                    let stored = store.get(&key(mesh, &name)).await.expect("readable");
                    found.push(stored.as_deref().map(value));
                }
                assert!(allowed.contains(&found[0]), "{mesh} operation {n} of {last}: {found:?}, not {allowed:?}");
                assert_eq!(found[0], found[1], "{mesh} operation {n}: a half transaction");
                check_history(&store, &key(mesh, &names(n)[0])).await;
            }
        }
    }
    assert!(total > 0, "no round lived long enough to commit anything");
}
