//! Questions to Envoys beside synchronization.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tandem_kds::admin::{AdminExecutor, AdminRequest};
use tandem_kds::global::{AskError, Envoys};
use tandem_kds::status::SyncStatus;
use tandem_model::{AdminOperation, Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::system::v1alpha1::ZoneInsight;
use tandem_store::SharedStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::common::*;

const DUMP: AdminOperation = AdminOperation::ConfigDump { include_eds: false };

/// Holds back what Envoys answer.
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn closed() -> (Self, Arc<dyn AdminExecutor>) {
        let (open, state) = watch::channel(false);
        (Self(open), Arc::new(Gated(state)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

struct Gated(watch::Receiver<bool>);

#[async_trait]
impl AdminExecutor for Gated {
    async fn execute(&self, _: AdminRequest) -> Result<Bytes, String> {
        let _ = self.0.clone().wait_for(|open| *open).await;
        Ok(vec![b'x'; 10_000].into())
    }
}

/// Answers with as many bytes as the name of the proxy says.
struct Sized;

#[async_trait]
impl AdminExecutor for Sized {
    async fn execute(&self, request: AdminRequest) -> Result<Bytes, String> {
        Ok(vec![b'x'; request.proxy.name.parse().expect("a number")].into())
    }
}

fn proxy(name: &str) -> Resource {
    Resource::new(ResourceKey::new(Kind::Dataplane, "default", "hashed"), Spec::Proto(Default::default()))
        .with_labels([(label::ZONE, "east"), (label::DISPLAY_NAME, name)])
}

async fn until_askable(global_store: &SharedStore) {
    wait_for(global_store, &ResourceKey::global(Kind::ZoneInsight, "east"), |resource| {
        let insight = resource.and_then(|r| r.proto::<ZoneInsight>().ok()).unwrap_or_default();
        let described = insight.subscriptions.first().is_some_and(|s| !s.config.is_empty());
        described && insight.kds_streams.is_some_and(|streams| streams.config_dump.is_some())
    })
    .await;
}

/// Asks until there is an answer: a stream may be on its way to be opened again.
async fn answered(envoys: &Envoys, name: &str) -> Bytes {
    let began = tokio::time::Instant::now();
    loop {
        match envoys.ask(&proxy(name), DUMP).await {
            Ok(body) => return body,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn connected_since(status: &SyncStatus) -> Option<jiff::Timestamp> {
    status.peer("global").and_then(|peer| peer.connected)
}

async fn carries(global_store: &SharedStore, zone_store: &SharedStore, name: &str) {
    put(global_store, timeout(name, "1s")).await;
    wait_until_exists(zone_store, &synced_from_global(&timeout(name, "").key)).await;
    put(zone_store, service(name)).await;
    wait_until_exists(global_store, &synced_from("east", &service(name).key)).await;
}

// #18127: a configuration dump larger than a message may be stopped synchronization of its zone, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_dump_over_the_limit_is_an_error_for_who_asked_and_nothing_else() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let zone = RunningZone::start_answering(settings("east", global.address), &zone_store, Arc::new(Sized));
    until_askable(&global_store).await;
    carries(&global_store, &zone_store, "before").await;
    let since = connected_since(&zone.status);

    let error = global.envoys.ask(&proxy("20000000"), DUMP).await.expect_err("larger than a message may be");
    for part in ["20000", "10485760", "multizone.zone.kds.maxMsgSize", "multizone.global.kds.maxMsgSize"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(global.envoys.ask(&proxy("10"), DUMP).await.expect("the stream is the same").len(), 10);
    carries(&global_store, &zone_store, "after").await;
    assert_eq!(connected_since(&zone.status), since, "the connection is the same");
    zone.stop().await;
    global.stop().await;
}

// #18127, where the zone cannot know: global takes less than the zone sends.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_global_does_not_take_is_an_error_for_who_asked_and_nothing_else() {
    let (global_store, zone_store) = (store(), store());
    let mut smaller = global_settings();
    smaller.common.max_message_bytes = 100_000;
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_with(smaller, &global_store, address, None).await;
    let zone = RunningZone::start_answering(settings("east", global.address), &zone_store, Arc::new(Sized));
    until_askable(&global_store).await;
    carries(&global_store, &zone_store, "before").await;
    let since = connected_since(&zone.status);

    let error = global.envoys.ask(&proxy("5000000"), DUMP).await.expect_err("global does not take it");
    assert!(error.to_string().contains("the stream to zone east ended before the answer came"), "{error}");
    assert_eq!(answered(&global.envoys, "10").await.len(), 10);
    carries(&global_store, &zone_store, "after").await;
    assert_eq!(connected_since(&zone.status), since, "the connection is the same");
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_open_questions_do_not_hold_up_synchronization() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let (gate, executor) = Gate::closed();
    let zone = RunningZone::start_answering(settings("east", global.address), &zone_store, executor);
    until_askable(&global_store).await;
    let mut questions = JoinSet::new();
    for _ in 0..300 {
        let envoys = global.envoys.clone();
        questions.spawn(async move { envoys.ask(&proxy("web"), DUMP).await });
    }
    for index in 0..20 {
        carries(&global_store, &zone_store, &format!("r-{index}")).await;
    }
    gate.open();
    for answer in questions.join_all().await {
        match answer {
            Ok(body) => assert_eq!(body.len(), 10_000),
            // Only if all of the above took that long.
            Err(AskError::Refused(text)) => assert_eq!(text, "no answer within 8 s"),
            Err(AskError::Timeout { zone }) => assert_eq!(zone, "east"),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(answered(&global.envoys, "web").await.len(), 10_000);
    zone.stop().await;
    global.stop().await;
}
