//! Messages that are almost right, and some that are nothing at all, through decoding and through both loops.
//!
//! Whatever comes in, nothing panics or gets stuck, the loop goes on or ends with a status that blames the peer, and a good
//! message afterwards is taken. The seeds are messages made here and, where there are recordings of real control planes
//! beside the data that `CONFORMANCE_DIR` names, what those said.

mod mutation;
mod seeds;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::KdsSubscription;
use tandem_store::{MemoryStore, SharedStore, Write};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use self::mutation::{Mutation, RequestChange, ResponseChange};
use self::seeds::Seeds;
use super::*;
use crate::apply::{Applier, DeletionGuard};
use crate::catalogue::{Catalogue, Entry};
use crate::codec::{self, Encoded};
use crate::inlet::Inlet;
use crate::insight::{InsightSettings, Insights};
use crate::mapper;
use crate::node::Identity;
use crate::surroundings::Surroundings;
use crate::wire::{DeltaRequest, DeltaResponse};

const PATIENCE: Duration = Duration::from_secs(60);
const SENTINEL: &str = "sentinel";

fn seeds() -> &'static Seeds {
    static SEEDS: OnceLock<Seeds> = OnceLock::new();
    SEEDS.get_or_init(Seeds::collect)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn observer() -> Observer {
    Observer { peer: "east".into(), status: SyncStatus::new(), metrics: KdsMetrics::default() }
}

fn inlet(is_global: bool) -> Inlet {
    if is_global { Inlet::Global { zone: "east".into() } } else { Inlet::Zone }
}

fn service(name: &str) -> Resource {
    let spec = serde_json::json!({
        "selector": {"dataplaneTags": {"app": name}},
        "ports": [{"port": 80, "targetPort": 80, "appProtocol": "http"}],
    });
    Resource::from_json(ResourceKey::new(Kind::MeshService, "default", name), spec)
        .with_labels([("kuma.io/origin", "global"), ("kuma.io/zone", "west")])
}

/// Runs the receiving loop over some messages and a good one; how it ended if it did, and what it answered to the last.
async fn received(is_global: bool, messages: Vec<DeltaResponse>) -> Result<Option<String>, Status> {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let validate: crate::Validate = Arc::new(tandem_model::validate);
    let applier = Applier::new(store.clone(), inlet(is_global), validate, DeletionGuard::default());
    let (requests, mut answers) = mpsc::channel(SEND_AHEAD);
    let (sender, responses) = mpsc::channel(messages.len() + 1);
    let sentinel = DeltaResponse {
        type_url: Kind::MeshService.name().into(),
        nonce: SENTINEL.into(),
        resources: vec![seeds::encoded(&service(SENTINEL))],
        ..DeltaResponse::default()
    };
    for message in messages.into_iter().chain([sentinel]) {
        sender.send(Ok(message)).await.expect("room for all");
    }
    let pace = Pace { backoff: Duration::ZERO, pause: Pause::never(), most_kept: 1 << 20 };
    let identity = Identity::default();
    let stream = ReceiverStream::new(responses);
    let run = receive(stream, requests, applier.open(), "east", &identity, pace, observer());
    let answered = async {
        loop {
            let request: DeltaRequest = answers.recv().await.expect("the loop runs");
            if request.response_nonce == SENTINEL {
                return request.error_detail.map(|detail| detail.message);
            }
        }
    };
    let result = tokio::select! {
        ended = run => {
            ended?;
            Err(Status::internal("the loop ended without being told to"))
        }
        answer = answered => Ok(answer),
        () = tokio::time::sleep(PATIENCE) => Err(Status::internal("the loop is stuck")),
    };
    if let Ok(None) = &result {
        let key = ResourceKey::new(Kind::MeshService, "default", SENTINEL);
        assert!(store.get(&key).await.expect("readable").is_some(), "what was confirmed is stored");
    }
    result
}

fn check_received(is_global: bool, messages: Vec<DeltaResponse>) -> Result<(), TestCaseError> {
    match runtime().block_on(received(is_global, messages)) {
        Ok(complaint) => prop_assert_eq!(complaint, None, "a good response is taken"),
        // Texts that would be sent back are too long, or the store says that it goes backwards.
        Err(status) => prop_assert!(matches!(status.code(), Code::InvalidArgument | Code::Aborted), "{status}"),
    }
    Ok(())
}

/// Sends services under their own names.
struct Plain;

impl Outlet for Plain {
    fn identifier(&self) -> &str {
        "global"
    }

    fn sends(&self, kind: Kind) -> bool {
        kind.descriptor().direction.sent_to_zones()
    }

    fn admits(&self, _: &Resource, _: &BTreeSet<String>) -> bool {
        true
    }

    fn encode(&self, entry: &Entry) -> Result<Arc<Encoded>, Arc<str>> {
        entry.shared(false, |resource| mapper::encode_for_zones(resource, false, &[]))
    }
}

/// Runs the sending loop over some requests and a good one; how it ended if it did.
async fn sent(requests: Vec<DeltaRequest>) -> Result<(), Status> {
    let store: SharedStore = Arc::new(MemoryStore::new());
    for name in ["a", "b", "c"] {
        store.commit(vec![Write::Create(service(name))]).await.expect("a valid write");
    }
    let catalogue = Catalogue::new(|kind| kind.descriptor().direction.sent_to_zones());
    let follow = tokio::spawn({
        let (catalogue, feed) = (catalogue.clone(), store.changes(0));
        async move { catalogue.follow(feed).await }
    });
    let settings = InsightSettings {
        instance: "global-1".into(),
        flush_interval: Duration::from_secs(1),
        subscription_limit: 1,
        compact_finished: false,
        needs_zone: false,
    };
    let insights = Insights::new(store.clone(), settings, Surroundings::default());
    let connection = Arc::new(insights.connect("east", KdsSubscription::default()));
    let (sender, incoming) = mpsc::channel(requests.len() + 1);
    let sentinel = DeltaRequest { type_url: Kind::MeshService.name().into(), ..DeltaRequest::default() };
    for request in requests.into_iter().chain([sentinel]) {
        sender.send(Ok(request)).await.expect("room for all");
    }
    let (responses, mut outgoing) = mpsc::channel(SEND_AHEAD);
    let run = send(
        ReceiverStream::new(incoming),
        responses,
        DeltaSender::new(Plain, 1 << 20).of(store.id()),
        catalogue.subscribe(),
        connection,
        Pause::never(),
        observer(),
    );
    let mut names = BTreeSet::new();
    let complete =
        async {
            while names.len() < 3 {
                let response: DeltaResponse = outgoing.recv().await.expect("the loop runs");
                if response.type_url == Kind::MeshService.name() {
                    names.extend(response.resources.iter().map(|body| {
                        codec::decode(Kind::MeshService, body).expect("what is sent can be read").key.name
                    }));
                }
            }
        };
    let result = tokio::select! {
        ended = run => {
            ended?;
            Err(Status::internal("the loop ended without being told to"))
        }
        () = complete => Ok(()),
        () = tokio::time::sleep(PATIENCE) => Err(Status::internal("the loop is stuck")),
    };
    follow.abort();
    result
}

fn check_sent(requests: Vec<DeltaRequest>) -> Result<(), TestCaseError> {
    // Whoever says to have the right versions already is not sent them again.
    let requests = requests.into_iter().map(|mut request| {
        request.initial_resource_versions.retain(|name, _| !name.ends_with(".default"));
        request
    });
    if let Err(status) = runtime().block_on(sent(requests.collect())) {
        prop_assert!(matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted), "{status}");
    }
    Ok(())
}

fn decode_everything(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    // The results do not matter: there is one.
    let _ = DeltaRequest::decode(bytes.clone());
    let _ = DeltaResponse::decode(bytes.clone());
    for kind in Kind::all() {
        if let Ok(mut resource) = codec::decode(kind, &bytes) {
            let _ = tandem_model::validate(&resource);
            let _ = inlet(true).adapt(&mut resource);
        }
    }
}

fn pick<'a>(list: &'a [Bytes], index: &Index) -> &'a Bytes {
    index.get(list)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_can_be_decoded_or_not(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        decode_everything(&bytes);
    }

    #[test]
    fn bytes_that_are_almost_right_can_be_decoded_or_not(
        seed in any::<Index>(),
        changes in prop::collection::vec(Mutation::any(), 1..6),
    ) {
        for list in [&seeds().resources, &seeds().responses, &seeds().requests] {
            decode_everything(&mutation::mutated(pick(list, &seed), &changes));
        }
    }

    #[test]
    fn responses_of_changed_bytes_are_survived(
        is_global in any::<bool>(),
        picked in prop::collection::vec((any::<Index>(), prop::collection::vec(Mutation::any(), 0..4)), 1..5),
    ) {
        let mutated = picked.iter().map(|(seed, changes)| mutation::mutated(pick(&seeds().responses, seed), changes));
        check_received(is_global, mutated.filter_map(|bytes| DeltaResponse::decode(&*bytes).ok()).collect())?;
    }

    #[test]
    fn responses_with_changed_parts_are_survived(
        is_global in any::<bool>(),
        picked in prop::collection::vec((any::<Index>(), prop::collection::vec(ResponseChange::any(), 1..6)), 1..5),
    ) {
        let changed = picked.iter().map(|(seed, changes)| {
            let mut response = DeltaResponse::decode(&**pick(&seeds().responses, seed)).expect("a seed is a message");
            changes.iter().for_each(|change| change.apply(&mut response));
            response
        });
        check_received(is_global, changed.collect())?;
    }

    #[test]
    fn requests_of_changed_bytes_are_survived(
        picked in prop::collection::vec((any::<Index>(), prop::collection::vec(Mutation::any(), 0..4)), 1..8),
    ) {
        let mutated = picked.iter().map(|(seed, changes)| mutation::mutated(pick(&seeds().requests, seed), changes));
        check_sent(mutated.filter_map(|bytes| DeltaRequest::decode(&*bytes).ok()).collect())?;
    }

    #[test]
    fn requests_with_changed_parts_are_survived(
        picked in prop::collection::vec((any::<Index>(), prop::collection::vec(RequestChange::any(), 1..4)), 1..80),
    ) {
        let changed = picked.iter().map(|(seed, changes)| {
            let mut request = DeltaRequest::decode(&**pick(&seeds().requests, seed)).expect("a seed is a message");
            changes.iter().for_each(|change| change.apply(&mut request));
            request
        });
        check_sent(changed.collect())?;
    }
}
