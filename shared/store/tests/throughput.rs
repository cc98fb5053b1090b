//! A rough measure, not a check: `cargo test --release -p tandem-store --test throughput -- --ignored --nocapture`.

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Backend, backends, policy};
use tandem_store::{Author, Encryption, KeySource, SledStore, Store as _, Write};

fn plain() -> Encryption {
    Encryption { enabled: false, keys: KeySource::Given(common::keys(&[1, 2])) }
}

fn authors() -> [Author; 2] {
    [Author::ControlPlane, Author::User("user".to_owned())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure for people"]
async fn puts_per_second() {
    const PUTS: u64 = 5_000;
    // Updates of the control plane are in no history, those of users are.
    for (clients, author) in [1, 8, 128].into_iter().flat_map(|clients| authors().map(|author| (clients, author))) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = SledStore::open(directory.path(), &plain()).await.expect("an empty store");
        let plain = Backend { name: "plain", store: Arc::new(store), directory: Some(directory) };
        for backend in backends().await.into_iter().chain([plain]) {
            let start = Instant::now();
            let tasks: Vec<_> = (0..clients)
                .map(|client| {
                    let (store, author) = (backend.store.clone(), author.clone());
                    tokio::spawn(async move {
                        for n in 0..PUTS / clients {
                            let put = Write::Put(policy("m", &format!("c{client}-{}", n % 100), n));
                            store.commit_as(author.clone(), vec![put]).await.expect("durable");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
            let rate = PUTS as f64 / start.elapsed().as_secs_f64();
            println!("{:>8} {clients:>4} clients {rate:>8.0} PUT/s by {author}", backend.name);
            assert_eq!(backend.store.revision(), PUTS / clients * clients);
        }
    }
}

/// How large the files of a store become while the same resources are written again and again, as insights are, and how much
/// of that is left when it is opened again. `TANDEM_OVERWRITES` and
/// `TANDEM_RESOURCES` set the numbers of commits and of resources.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure for people"]
async fn size_under_overwrites() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let commits = number("TANDEM_OVERWRITES").unwrap_or(20_000);
    let resources = number("TANDEM_RESOURCES").unwrap_or(2_000);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let size = || -> u64 {
        common::files(directory.path()).iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
    };
    let store = common::open(directory.path()).await.expect("an empty store");
    for n in 0..commits {
        // Some hundred insights of 2 KB at once.
        let puts = (0..100).map(|index| {
            let name = format!("p{:04}", (n * 100 + index) % resources);
            let spec = serde_json::json!({ "value": n, "padding": "x".repeat(2_000) });
            Write::Put(tandem_model::Resource::from_json(common::key("m", &name), spec))
        });
        store.commit_as(Author::ControlPlane, puts.collect()).await.expect("durable");
        if n.is_multiple_of(commits / 20) {
            println!("{n:>8} commits, {:>8} KB", size() / 1024);
        }
    }
    println!("written {} MB for {} MB of resources", commits * 200_000 / 1_000_000, resources * 2_000 / 1_000_000);
    drop(store);
    println!("closed {} KB", size() / 1024);
    drop(common::open(directory.path()).await.expect("intact"));
    println!("opened and closed {} KB", size() / 1024);
}

/// How long a store with many resources takes to open, as it is and when it has to be written anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure for people"]
async fn opening() {
    const RESOURCES: u64 = 100_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let encrypted = |keys: &[u8]| Encryption::with(common::keys(keys));
    let open = async |what: &str, encryption: &Encryption| {
        let start = Instant::now();
        let store = SledStore::open(directory.path(), encryption).await.expect("intact");
        println!("{what:>20} {:>6} ms", start.elapsed().as_millis());
        store
    };
    let store = open("empty", &encrypted(&[1])).await;
    for n in 0..RESOURCES / 1000 {
        let puts = (0..1000).map(|index| {
            let spec = serde_json::json!({ "value": n, "padding": "x".repeat(500) });
            Write::Put(tandem_model::Resource::from_json(common::key("m", &format!("p{n}-{index}")), spec))
        });
        store.commit_as(Author::User("user".to_owned()), puts.collect()).await.expect("durable");
    }
    drop(store);
    drop(open("as it is", &encrypted(&[1])).await);
    drop(open("another key", &encrypted(&[2, 1])).await);
    drop(open("turned off", &plain()).await);
    drop(open("plain, as it is", &plain()).await);
    drop(open("turned on", &encrypted(&[1])).await);
}
