//! Several instances of global over one store: a zone may connect to any of them.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use futures::FutureExt;
use tandem_auth::inter_cp;
use tandem_instances::{InstanceSettings, Instances};
use tandem_kds::KdsMetrics;
use tandem_kds::global::{AskError, Envoys, Forwarding, Global, GlobalSettings, serve_instances};
use tandem_kds::status::SyncStatus;
use tandem_kds::zone::Dial;
use tandem_model::{AdminOperation, Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::system::v1alpha1::ZoneInsight;
use tandem_store::SharedStore;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// An instance of global on a runtime of its own, so that it can die from one moment to the next.
struct Instance {
    address: SocketAddr,
    instances: Instances,
    status: SyncStatus,
    envoys: Envoys,
    runtime: Runtime,
}

impl Instance {
    async fn start(id: &str, store: &SharedStore) -> Self {
        Self::start_trusting(id, store, None).await
    }

    /// Starts an instance that passes questions to Envoys on to others with the same authority.
    async fn start_trusting(id: &str, store: &SharedStore, authority: Option<&str>) -> Self {
        const ADDRESS: &str = "127.0.0.1";
        let credentials = authority.map(|pem| inter_cp::credentials(pem.as_bytes(), ADDRESS).expect("an authority"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (id, store) = (id.to_owned(), store.clone());
        let started = runtime.spawn(async move {
            let others = TcpListener::bind((ADDRESS, 0)).await.expect("some port is free");
            let settings = InstanceSettings {
                address: ADDRESS.to_owned(),
                port: others.local_addr().expect("bound").port(),
                heartbeat: Duration::from_millis(200),
                lease: Duration::from_secs(4),
                ..InstanceSettings::new(id.as_str())
            };
            let shutdown = CancellationToken::new();
            let (instances, stay) = Instances::join(store.clone(), settings, shutdown.clone()).await.expect("joined");
            tokio::spawn(stay);
            let client = credentials.as_ref().map(|credentials| credentials.client.clone());
            let max_message_bytes = tandem_kds::wire::DEFAULT_MAX_MESSAGE_BYTES;
            let settings = GlobalSettings {
                instances: instances.clone(),
                forwarding: client.map(|tls| Forwarding { tls, max_message_bytes }),
                ..GlobalSettings::new(common(&id))
            };
            let global = Global::new(settings, store, KdsMetrics::default(), shutdown.clone()).await;
            let global = global.expect("the store works");
            if let Some(credentials) = credentials {
                let envoys = global.envoys();
                tokio::spawn(serve_instances(envoys, others, credentials.server, max_message_bytes, shutdown));
            }
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
            let address = listener.local_addr().expect("bound");
            let (status, envoys) = (global.status(), global.envoys());
            tokio::spawn(global.serve(tandem_runtime::http::accepted(listener), None));
            (address, instances, status, envoys)
        });
        let (address, instances, status, envoys) = started.await.expect("started");
        Self { address, instances, status, envoys, runtime }
    }

    fn holds(&self, zone: &str) -> bool {
        self.status.peer(zone).is_some_and(|peer| peer.connected.is_some())
    }

    /// Ends without a word to anybody.
    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// Connects to the first of several addresses that answers, as behind a load balancer.
fn any_of(addresses: Vec<SocketAddr>) -> Dial {
    Arc::new(move |_| {
        let addresses = addresses.clone();
        async move {
            let stream = TcpStream::connect(addresses.as_slice()).await?;
            Ok(Box::new(stream) as Box<dyn tandem_kds::zone::Transport>)
        }
        .boxed()
    })
}

/// Passes bytes on until it is frozen; then nothing moves, and nobody hears of a connection that ended.
struct Relay {
    address: SocketAddr,
    frozen: CancellationToken,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("bound");
        let frozen = CancellationToken::new();
        let freeze = frozen.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let freeze = freeze.clone();
                tokio::spawn(async move {
                    let Ok(mut to) = TcpStream::connect(to).await else { return };
                    let copy = tokio::io::copy_bidirectional(&mut from, &mut to);
                    if freeze.run_until_cancelled(copy).await.is_none() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, frozen }
    }
}

fn insight_key(zone: &str) -> ResourceKey {
    ResourceKey::global(Kind::ZoneInsight, zone)
}

/// Instances of global with an open connection of a zone.
fn holders(insight: Option<&Resource>) -> Vec<String> {
    let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
    let open = insight.subscriptions.into_iter().filter(|connection| connection.disconnect_time.is_none());
    open.map(|connection| connection.global_instance_id).collect()
}

async fn until_held_by(store: &SharedStore, zone: &str, holder: &str) {
    wait_for(store, &insight_key(zone), |insight| holders(insight) == [holder]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_at_one_instance_reaches_the_zones_of_the_other() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let (a, b) = (Instance::start("global-a", &global_store).await, Instance::start("global-b", &global_store).await);
    assert!(a.instances.leadership().is_leader() && !b.instances.leadership().is_leader());
    let east = RunningZone::start("east", &east_store, a.address);
    let west = RunningZone::start("west", &west_store, b.address);
    put(&global_store, timeout("t", "1s")).await;
    put(&east_store, service("redis")).await;
    for store in [&east_store, &west_store] {
        wait_until_exists(store, &synced_from_global(&timeout("t", "").key)).await;
    }
    let redis = synced_from("east", &service("redis").key);
    wait_until_exists(&west_store, &redis).await;
    let stored = global_store.get(&redis).await.expect("readable").expect("exists");
    assert_eq!(stored.owner, Some(ResourceKey::global(Kind::Zone, "east")));
    until_held_by(&global_store, "east", "global-a").await;
    until_held_by(&global_store, "west", "global-b").await;
    assert!(a.holds("east") && b.holds("west") && !a.holds("west") && !b.holds("east"));
    assert!(!exists_in(&west_store, "cp-catalog").await, "the list of instances stays at global");
    east.stop().await;
    wait_for(&global_store, &insight_key("east"), |insight| holders(insight).is_empty()).await;
    west.stop().await;
    a.kill();
    b.kill();
}

async fn exists_in(store: &SharedStore, config: &str) -> bool {
    store.get(&ResourceKey::global(Kind::Config, config)).await.expect("readable").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_at_all_instances() {
    let (global_store, first_store, second_store) = (store(), store(), store());
    let (a, b) = (Instance::start("global-a", &global_store).await, Instance::start("global-b", &global_store).await);
    put(&first_store, service("first")).await;
    put(&second_store, service("second")).await;
    let first = RunningZone::start("east", &first_store, a.address);
    let above = synced_from("east", &service("first").key);
    wait_until_exists(&global_store, &above).await;

    let mut other = settings("east", b.address);
    other.common = common("other-0002");
    let second = RunningZone::start_with(other, &second_store);
    let error = || second.status.peer("global").and_then(|peer| peer.error).map(|error| error.text).unwrap_or_default();
    eventually("the second is told", || error().contains("zone name \"east\" is taken")).await;
    assert!(error().contains("\"east-0001\""), "{}", error());
    assert!(a.holds("east"));
    assert!(global_store.get(&above).await.expect("readable").is_some());
    assert!(global_store.get(&synced_from("east", &service("second").key)).await.expect("readable").is_none());

    first.stop().await;
    wait_until_exists(&global_store, &synced_from("east", &service("second").key)).await;
    until_held_by(&global_store, "east", "global-b").await;
    second.stop().await;
    a.kill();
    b.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_comes_to_another_instance_takes_over_from_the_first() {
    let (global_store, zone_store) = (store(), store());
    let (a, b) = (Instance::start("global-a", &global_store).await, Instance::start("global-b", &global_store).await);
    let relay = Relay::start(a.address).await;
    put(&zone_store, service("redis")).await;
    let lost = RunningZone::start("east", &zone_store, relay.address);
    let above = synced_from("east", &service("redis").key);
    wait_until_exists(&global_store, &above).await;
    until_held_by(&global_store, "east", "global-a").await;
    relay.frozen.cancel();
    lost.stop().await;
    assert!(a.holds("east"), "nobody told it that the connection is gone");

    let zone = RunningZone::start("east", &zone_store, b.address);
    until_held_by(&global_store, "east", "global-b").await;
    eventually("the first lets go", || !a.holds("east")).await;
    let error = a.status.peer("east").and_then(|peer| peer.error).expect("it ended").text;
    assert!(error.contains("\"global-b\""), "{error}");
    delete(&zone_store, &service("redis").key).await;
    wait_until_gone(&global_store, &above).await;
    until_held_by(&global_store, "east", "global-b").await;
    assert!(b.holds("east"), "what the first wrote at its end changes nothing");
    zone.stop().await;
    a.kill();
    b.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_instance_dies_its_zones_and_the_lead_move() {
    let (global_store, east_store, north_store) = (store(), store(), store());
    let (a, b) = (Instance::start("global-a", &global_store).await, Instance::start("global-b", &global_store).await);
    let relay = Relay::start(a.address).await;
    let mut roaming = settings("east", a.address);
    roaming.dial = any_of(vec![a.address, b.address]);
    let east = RunningZone::start_with(roaming, &east_store);
    let north = RunningZone::start("north", &north_store, relay.address);
    until_held_by(&global_store, "east", "global-a").await;
    until_held_by(&global_store, "north", "global-a").await;

    // A zone that dies together with the instance that could have noticed.
    relay.frozen.cancel();
    north.stop().await;
    a.kill();
    until_held_by(&global_store, "east", "global-b").await;
    put(&global_store, mesh("later")).await;
    wait_until_exists(&east_store, &mesh("later").key).await;
    let leadership = b.instances.leadership();
    eventually("the other instance leads", || leadership.is_leader()).await;
    assert!(!b.instances.is_alive("global-a"));
    wait_for(&global_store, &insight_key("north"), |insight| holders(insight).is_empty()).await;
    assert!(b.holds("east"));
    east.stop().await;
    b.kill();
}

fn dataplane(name: &str) -> Resource {
    let inbound =
        Inbound { port: 80, tags: [("kuma.io/service".to_owned(), "web".to_owned())].into(), ..Inbound::default() };
    let networking = Networking { address: "10.0.0.1".to_owned(), inbound: vec![inbound], ..Networking::default() };
    let dataplane = Dataplane { networking: Some(networking), ..Dataplane::default() };
    Resource::from_proto(ResourceKey::new(Kind::Dataplane, "default", name), &dataplane)
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_reach_a_zone_through_any_instance() {
    let (global_store, zone_store) = (store(), store());
    let (authority, other) = (inter_cp::generate().expect("made"), inter_cp::generate().expect("made"));
    let a = Instance::start_trusting("global-a", &global_store, Some(&authority)).await;
    let b = Instance::start_trusting("global-b", &global_store, Some(&authority)).await;
    let alone = Instance::start("global-c", &global_store).await;
    let stranger = Instance::start_trusting("global-d", &global_store, Some(&other)).await;
    let zone = RunningZone::start("east", &zone_store, a.address);
    wait_for(&global_store, &insight_key("east"), |insight| {
        let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
        insight.kds_streams.is_some_and(|streams| {
            streams.clusters.is_some() && streams.stats.is_some() && streams.config_dump.is_some()
        })
    })
    .await;
    for name in ["web", "broken"] {
        put(&zone_store, dataplane(name)).await;
        wait_until_exists(&global_store, &synced_from("east", &dataplane(name).key)).await;
    }
    // What global has of them.
    let proxy = |name: &str| {
        Resource::new(synced_from("east", &dataplane(name).key), Spec::Proto(Default::default()))
            .with_labels([(label::ZONE, "east"), (label::DISPLAY_NAME, name)])
    };
    let clusters = AdminOperation::Clusters { json: false };
    assert_eq!(a.envoys.ask(&proxy("web"), clusters).await.expect("answered"), "clusters web");
    for (operation, expected) in [
        (AdminOperation::ConfigDump { include_eds: true }, "config_dump?include_eds=true web"),
        (AdminOperation::Stats { json: true, used_only: true }, "stats?format=json&usedonly= web"),
        (AdminOperation::Clusters { json: true }, "clusters?format=json web"),
    ] {
        assert_eq!(b.envoys.ask(&proxy("web"), operation).await.expect("answered"), expected);
    }
    let error = b.envoys.ask(&proxy("broken"), clusters).await.expect_err("refused").to_string();
    assert_eq!(error, "unable to send GET to config_dump");
    let error = b.envoys.ask(&proxy("absent"), clusters).await.expect_err("unknown").to_string();
    assert!(error.contains("global-a") && error.contains("not found"), "{error}");

    // Who cannot pass it on names the instance that has the stream; who is not trusted learns nothing.
    let error = alone.envoys.ask(&proxy("web"), clusters).await.expect_err("it has no stream of the zone");
    assert!(matches!(&error, AskError::Elsewhere { instance, .. } if instance == "global-a"), "{error}");
    let error = stranger.envoys.ask(&proxy("web"), clusters).await.expect_err("not trusted").to_string();
    assert!(error.contains("did not answer"), "{error}");
    zone.stop().await;
    for instance in [a, b, alone, stranger] {
        instance.kill();
    }
}
