//! A rough measure, not a check: `cargo test --release -p tandem-store --test throughput -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::{backends, policy};
use tandem_store::{Author, Write};

fn authors() -> [Author; 2] {
    [Author::ControlPlane, Author::User("user".to_owned())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure for people"]
async fn puts_per_second() {
    const PUTS: u64 = 5_000;
    // Updates of the control plane are in no history, those of users are.
    for (clients, author) in [1, 8, 128].into_iter().flat_map(|clients| authors().map(|author| (clients, author))) {
        for backend in backends().await {
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
