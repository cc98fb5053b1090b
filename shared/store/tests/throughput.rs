//! A rough measure, not a check: `cargo test --release -p tandem-store --test throughput -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::{backends, policy};
use tandem_store::Write;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure for people"]
async fn puts_per_second() {
    const PUTS: u64 = 5_000;
    for clients in [1, 16, 128] {
        for backend in backends().await {
            let start = Instant::now();
            let tasks: Vec<_> = (0..clients)
                .map(|client| {
                    let store = backend.store.clone();
                    tokio::spawn(async move {
                        for n in 0..PUTS / clients {
                            let put = Write::Put(policy("m", &format!("c{client}-{}", n % 100), n));
                            store.commit(vec![put]).await.expect("durable");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
            let rate = PUTS as f64 / start.elapsed().as_secs_f64();
            println!("{:>8} {clients:>4} clients {rate:>8.0} PUT/s", backend.name);
            assert_eq!(backend.store.revision(), PUTS / clients * clients);
        }
    }
}
