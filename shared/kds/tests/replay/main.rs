//! Recorded conversations between a global and zones of Kuma, with one side replaced by ours.
//!
//! The recorded peer says what it said then; stores on our side are brought step by step to the content that the replaced
//! side had. What ours says has to be what was recorded: types, names, labels, versions where the content is known, sizes
//! where only those are. A small recording of our own lies beside this file; the large one is read from the folder
//! `recordings` beside the one that `CONFORMANCE_DIR` names.

mod api;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod global;
mod recording;
mod zone;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use common::{RunningGlobal, RunningZone, delete, put, settings, store};
use tandem_kds::wire;
use tandem_model::kind::Encoding;
use tandem_model::{Kind, Resource, label, name};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::{SharedStore, Write};

use self::api::Api;
use self::compare::{
    all_are_answered, contains, global_has_what_came, global_introduces_itself, is_as_recorded, listed_alike,
    zone_introduces_itself,
};
use self::global::PlayedGlobal;
use self::recording::{Recording, Response, Step, Way};
use self::zone::{PlayedZone, State};

/// A folder with recordings.
struct Folder {
    zones: Vec<Recording>,
    api: Api,
}

impl Folder {
    fn read(folder: &Path, zones: &[&str]) -> Self {
        let zones = zones.iter().map(|zone| recording::read(&folder.join(format!("kds-{zone}.jsonl"))));
        Self { zones: zones.collect(), api: Api::read(&folder.join("api.json")) }
    }

    /// The one that comes with these tests.
    fn own() -> Self {
        Self::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay/fixtures"), &["east", "west"])
    }

    /// The large one, if it is there.
    fn large() -> Option<Self> {
        let Some(conformance) = std::env::var_os("CONFORMANCE_DIR") else {
            eprintln!("skipped: CONFORMANCE_DIR is not set");
            return None;
        };
        let folder = PathBuf::from(conformance).join("../recordings");
        if !folder.is_dir() {
            eprintln!("skipped: there is no {}", folder.display());
            return None;
        }
        Some(Self::read(&folder, &["zone1", "zone2"]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_zones_at_our_global() {
    zones_get_what_was_recorded(&Folder::own()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_zone_at_a_recorded_global() {
    global_gets_what_was_recorded(&Folder::own()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_of_kuma_at_our_global() {
    let Some(folder) = Folder::large() else { return };
    for session in folder.zones.iter().flat_map(|zone| &zone.sessions) {
        assert_eq!(session.subscriptions(Way::Down).len(), 43);
        assert_eq!(session.subscriptions(Way::Up).len(), 29);
    }
    zones_get_what_was_recorded(&folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_zone_at_a_global_of_kuma() {
    let Some(folder) = Folder::large() else { return };
    global_gets_what_was_recorded(&folder).await;
}

async fn zones_get_what_was_recorded(folder: &Folder) {
    for index in 0..folder.zones[0].sessions.len() {
        let store = store();
        let leading = &folder.zones[0].sessions[index];
        let mut known = known(&folder.api, "global");
        let mut sizes = BTreeMap::new();
        for response in leading.responses(Way::Down).filter(|response| response.first) {
            let resources = if response.content.is_some() { None } else { next_known(&mut known, response.kind) };
            if resources.is_some() {
                sizes.insert(response.kind, response.size());
            }
            bring(&store, response, resources.unwrap_or_default()).await;
        }
        let global = RunningGlobal::start(&store).await;
        let mut zones = Vec::new();
        for zone in &folder.zones {
            let session = &zone.sessions[index];
            let played = PlayedZone::connect(global.address, &zone.zone, session).await;
            global_introduces_itself(&zone.zone, session, &played.asked);
            all_are_answered(&played, session).await;
            zones.push((played, session));
        }
        for (kind, size) in sizes {
            assert_eq!(zones[0].0.inbox.of(kind)[0].size, size, "size of the first response of {kind}");
        }

        let mut expected = State::new();
        for response in leading.responses(Way::Down) {
            if !response.first {
                follow(&store, &zones[0].0, response, &mut known).await;
            }
            fold(&mut expected, response);
            zones[0].0.until(&format!("{} is as recorded", response.kind), |state| contains(state, &expected)).await;
        }
        for (zone, session) in &mut zones {
            for response in session.responses(Way::Up).filter(|response| response.content.is_some()) {
                assert_eq!(zone.offer(response).await, None, "{}", response.kind);
            }
        }
        for (zone, session) in &zones {
            let last = session.last_state(Way::Down);
            zone.until("all is as recorded", |state| {
                last.iter().all(|(kind, wired)| is_as_recorded(state, *kind, wired))
            })
            .await;
        }
        for (recording, (_, session)) in folder.zones.iter().zip(&zones) {
            global_has_what_came(&store, &recording.zone, session).await;
        }
        if index + 1 == folder.zones[0].sessions.len() {
            listed_alike(&store, &folder.api, "global", Way::Up).await;
        }
        global.stop().await;
    }
}

async fn global_gets_what_was_recorded(folder: &Folder) {
    let recording = &folder.zones[0];
    let sessions = recording.sessions.len();
    for (index, session) in recording.sessions.iter().enumerate() {
        let store = store();
        for response in session.responses(Way::Up).filter(|response| response.first) {
            let known = match &response.content {
                Some(_) => Vec::new(),
                None => folder.api.of_zone("global", response.kind, &recording.zone),
            };
            bring(&store, response, known).await;
        }
        let subscriptions = session.subscriptions(Way::Up).into_iter().cloned().collect();
        let global = PlayedGlobal::listen(&recording.zone, subscriptions).await;
        let zone = RunningZone::start_with(settings(&recording.zone, global.address), &store);
        global.until_asked(Kind::all().filter(|kind| kind.descriptor().direction.sent_to_zones()).count()).await;
        zone_introduces_itself(&recording.zone, session, &global).await;

        let mut expected = State::new();
        for (way, step) in &session.steps {
            let Step::Response(response) = step else { continue };
            if response.content.is_none() {
                continue;
            }
            match way {
                Way::Down => assert_eq!(global.offer(response).await, None, "{}", response.kind),
                Way::Up => {
                    if !response.first {
                        bring(&store, response, Vec::new()).await;
                    }
                    fold(&mut expected, response);
                    common::eventually(&format!("{} is as recorded", response.kind), || {
                        contains(&global.inbox().state(), &expected)
                    })
                    .await;
                }
            }
        }
        for response in session.responses(Way::Up).filter(|response| response.first) {
            common::eventually(&format!("{} is answered", response.kind), || {
                !global.inbox().of(response.kind).is_empty()
            })
            .await;
            if response.content.is_none() && !folder.api.of_zone("global", response.kind, &recording.zone).is_empty() {
                let size = global.inbox().of(response.kind)[0].size;
                assert_eq!(size, response.size(), "size of the first response of {}", response.kind);
            }
        }
        for (kind, wired) in session.last_state(Way::Down) {
            for wired in wired.values() {
                let stored = store.get(&wired.resource.key).await.expect("readable");
                let stored = stored.unwrap_or_else(|| panic!("{} is missing", wired.resource.key));
                assert_eq!((&stored.labels, &stored.spec), (&wired.resource.labels, &wired.resource.spec), "{kind}");
            }
        }
        if index + 1 == sessions {
            listed_alike(&store, &folder.api, &recording.zone, Way::Down).await;
        }
        zone.stop().await;
    }
}

/// Makes the change to the store that led to a response; `known` is the content of a response of which only the size is.
async fn bring(store: &SharedStore, response: &Response, known: Vec<Resource>) {
    for resource in known {
        put(store, at_home(resource)).await;
    }
    let Some(content) = &response.content else { return };
    for wired in content.resources.iter().filter(|wired| !came_from_elsewhere(wired)) {
        put(store, origin_of(wired)).await;
    }
    for name in &content.removed {
        if let Some(resource) = behind(store, response.kind, name).await {
            delete(store, &resource.key).await;
        }
    }
}

/// True for what global only passes on: it arrives there with the conversation of the other zone.
fn came_from_elsewhere(wired: &recording::Wired) -> bool {
    wired.resource.label(label::ORIGIN) == Some(label::ORIGIN_GLOBAL) && wired.is_passed_on()
}

/// The resource of the sender that a resource on the wire was made from.
fn origin_of(wired: &recording::Wired) -> Resource {
    let mut resource = wired.at_home();
    let public = "zone-token-signing-public-key";
    if resource.kind() == Kind::GlobalSecret && resource.key.name.starts_with(public) {
        resource.key.name = resource.key.name.replace(public, "zone-token-signing-key");
        resource.labels.remove(label::DISPLAY_NAME);
        let key = tandem_auth::keys::generate_pem().expect("randomness is available");
        let secret = Secret { data: Some(key.into_bytes()) };
        resource.spec = Resource::from_proto(resource.key.clone(), &secret).spec;
    }
    resource
}

fn at_home(mut resource: Resource) -> Resource {
    if let Some(display_name) = resource.labels.remove(label::DISPLAY_NAME) {
        resource.key.name = display_name;
    }
    resource
}

/// The resource that the peer knows as `name`.
async fn behind(store: &SharedStore, kind: Kind, name: &str) -> Option<Resource> {
    let (name, mesh) = wire::split_resource_name(name);
    let all = store.list(kind, None).await.expect("readable");
    let of = |resource: &&std::sync::Arc<Resource>| resource.key.mesh == mesh && name::synced(resource) == name;
    all.iter().find(of).map(|resource| (**resource).clone())
}

/// Content of responses of which only the size was recorded, as far as the HTTP API tells it: what global has by itself
/// comes with one response, what users created there with one each.
type Known = BTreeMap<Kind, VecDeque<Vec<Resource>>>;

fn known(api: &Api, control_plane: &str) -> Known {
    let kinds = Kind::all().filter(|kind| kind.descriptor().direction.sent_to_zones());
    let content = kinds.map(|kind| {
        let created: Vec<_> = api.created(control_plane, kind).into_iter().map(|resource| vec![resource]).collect();
        let own = if matches!(kind.descriptor().encoding, Encoding::Json { .. }) {
            api.own(control_plane, kind)
        } else {
            Vec::new()
        };
        (kind, [own].into_iter().filter(|own| !own.is_empty()).chain(created).collect())
    });
    content.collect()
}

fn next_known(known: &mut Known, kind: Kind) -> Option<Vec<Resource>> {
    known.get_mut(&kind)?.pop_front()
}

/// Repeats a later change at global. A response of which only the size was recorded has to be of this size.
async fn follow(store: &SharedStore, zone: &PlayedZone, response: &Response, known: &mut Known) {
    if response.content.is_some() {
        return bring(store, response, Vec::new()).await;
    }
    let Some(resources) = next_known(known, response.kind) else { return };
    let before = zone.inbox.of(response.kind).len();
    store.commit(resources.into_iter().map(Write::Put).collect()).await.expect("valid writes");
    common::eventually("a response", || zone.inbox.of(response.kind).len() > before).await;
    assert_eq!(zone.inbox.of(response.kind)[before].size, response.size(), "size of a response of {}", response.kind);
}

/// Adds what is known of a response.
fn fold(state: &mut State, response: &Response) {
    let Some(content) = &response.content else { return };
    let of_kind = state.entry(response.kind).or_default();
    for name in &content.removed {
        of_kind.remove(name);
    }
    for wired in content.resources.iter().filter(|wired| !came_from_elsewhere(wired)) {
        let version = if wired.exact { wired.version.clone() } else { String::new() };
        of_kind.insert(wired.name.clone(), version);
    }
}
