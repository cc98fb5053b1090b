use std::time::Duration;

use tandem_model::Resource;
use tandem_proto::system::v1alpha1::Config;
use tandem_store::{MemoryStore, Write};
use tokio::task::JoinHandle;

use super::*;
use crate::Instances;

const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    instances: Instances,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(store: &SharedStore, id: &str) -> Self {
        let shutdown = CancellationToken::new();
        let joined = Instances::join(store.clone(), InstanceSettings::new(id), shutdown.clone()).await;
        let (instances, task) = joined.expect("the store works");
        Self { instances, shutdown, task: tokio::spawn(task) }
    }

    fn leads(&self) -> bool {
        self.instances.leadership().is_leader()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("ended");
    }

    /// Ends without a word.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

fn store() -> SharedStore {
    Arc::new(MemoryStore::new())
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_the_next_follows_when_it_leaves() {
    let store = store();
    let first = Running::start(&store, "a-1").await;
    assert!(first.leads());
    let second = Running::start(&store, "b-2").await;
    assert!(!second.leads());
    assert!(second.instances.is_alive("a-1"), "told at once");
    first.until("the first hears of the second", |first| first.instances.is_alive("b-2")).await;
    assert_eq!(first.instances.get("b-2").map(|instance| instance.inter_cp_port), Some(5683));

    let began = Instant::now();
    first.stop().await;
    second.until("the second leads", Running::leads).await;
    assert!(began.elapsed() < Duration::from_secs(1), "told, not found out");
    assert!(!second.instances.is_alive("a-1"));
    second.stop().await;
    let left = store.get(&catalog::key()).await.expect("readable");
    assert_eq!(Catalog::read(left.as_deref()), Catalog::default());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_after_its_lease_and_no_earlier() {
    let store = store();
    let first = Running::start(&store, "a-1").await;
    let second = Running::start(&store, "b-2").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(first.leads() && !second.leads(), "nothing moves while both live");

    let began = Instant::now();
    first.kill().await;
    second.until("the second leads", Running::leads).await;
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(began.elapsed() <= Duration::from_secs(21), "{:?}", began.elapsed());
    assert!(!second.instances.is_alive("a-1"));
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_of_many_leads() {
    let store = store();
    let mut all = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        all.push(Running::start(&store, id).await);
    }
    while all.len() > 1 {
        assert_eq!(all.iter().filter(|one| one.leads()).count(), 1);
        let leader = all.iter().position(Running::leads).expect("one leads");
        all.remove(leader).kill().await;
        let began = Instant::now();
        while !all.iter().any(Running::leads) {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_others_took_for_dead_comes_back_without_the_lead() {
    let store = store();
    let first = Running::start(&store, "a-1").await;
    let mut catalog = Catalog::default();
    let other = catalog.entry("b-2");
    (other.leader, other.heartbeat) = (true, 1);
    let present = store.get(&catalog::key()).await.expect("readable");
    store.commit(vec![catalog.write(present.as_ref())]).await.expect("a valid write");
    first.until("it knows that it does not lead", |first| !first.leads()).await;
    first.until("it is back", |first| first.instances.watch().borrow().contains_key("a-1")).await;
    assert!(first.instances.is_alive("b-2"));
    first.until("it leads again when the other one stays silent", Running::leads).await;
    first.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_damaged_or_deleted_is_written_anew() {
    let store = store();
    let first = Running::start(&store, "a-1").await;
    let broken = Resource::from_proto(catalog::key(), &Config { config: "?".into() });
    store.commit(vec![Write::Put(broken)]).await.expect("a valid write");
    let second = Running::start(&store, "b-2").await;
    second.until("both are there", |second| second.instances.watch().borrow().len() == 2).await;
    store.commit(vec![Write::Delete { key: catalog::key(), expected: None }]).await.expect("it exists");
    second.until("both are there again", |second| second.instances.watch().borrow().len() == 2).await;
    assert_eq!([&first, &second].iter().filter(|one| one.leads()).count(), 1);
    first.stop().await;
    second.stop().await;
}
