//! Both control planes as processes with stores on disk, a network that fails in every way, and `kill -9` at random
//! moments, while clients write on all sides. At each quiet moment everything is where it belongs.
//!
//! `FAULTS_SEED` repeats the choices of a run (the seed is printed), `FAULTS_ROUNDS` sets how many rounds there are.

mod flow;

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tandem_e2e::ports;
use tandem_e2e::relay::{Blow, End, Link};
use tandem_e2e::wait;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::flow::{Flow, Place, Writers, api};
use crate::support::ledger::DATAPLANES;
use crate::support::{PATIENCE, Stage};

/// Rounds, unless `FAULTS_ROUNDS` says otherwise.
const ROUNDS: u64 = 50;

/// Zones connect again soon, so that many faults find a connection to hit.
const SETTINGS: [(&str, &str); 2] = [
    ("KUMA_GENERAL_RESILIENT_COMPONENT_BASE_BACKOFF", "200ms"),
    ("KUMA_GENERAL_RESILIENT_COMPONENT_MAX_BACKOFF", "400ms"),
];

/// What happens to the network of a zone.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Lasting(Link),
    Sudden(Blow),
}

/// One round.
#[derive(Debug)]
struct Plan {
    faults: Vec<(usize, Fault)>,
    killed: Option<Place>,
    /// Pauses: before the faults, before the kill, before the start, before the end.
    pauses: [Duration; 4],
}

impl Plan {
    fn choose(random: &mut StdRng) -> Self {
        let zones: &[usize] = [&[0][..], &[1], &[0, 1]].choose(random).expect("there are some");
        let killed = [None, Some(Place::Global), Some(Place::Zone(0)), Some(Place::Zone(1))];
        Self {
            faults: zones.iter().map(|&zone| (zone, fault(random))).collect(),
            killed: *killed.choose(random).expect("there are some"),
            pauses: [400, 400, 300, 700].map(|limit| Duration::from_millis(random.random_range(0..limit))),
        }
    }
}

fn fault(random: &mut StdRng) -> Fault {
    let faults = [
        Fault::None,
        Fault::Lasting(Link::Cut),
        Fault::Lasting(Link::Silent),
        Fault::Lasting(Link::Stalled),
        Fault::Lasting(Link::Slow { rate: random.random_range(1_000..200_000) }),
        Fault::Sudden(Blow::Truncate { after: random.random_range(1..20_000) }),
        Fault::Sudden(Blow::Reset),
        Fault::Sudden(Blow::Close),
        Fault::Sudden(Blow::HalfOpen { believer: End::Client }),
        Fault::Sudden(Blow::HalfOpen { believer: End::Server }),
    ];
    *faults.choose(random).expect("there are some")
}

/// Does what a plan says while clients write; gives the number of acknowledged writes.
async fn disturb(stage: &mut Stage, flows: &[Flow], plan: &Plan, random: &mut StdRng) -> Result<usize> {
    let (until, mut writers) = (CancellationToken::new(), Writers::new());
    for flow in flows {
        flow.spawn_writers(stage, random, &until, &mut writers);
    }
    sleep(plan.pauses[0]).await;
    for &(zone, fault) in &plan.faults {
        let network = &stage.zone(zone).network;
        match fault {
            Fault::None => {}
            Fault::Lasting(link) => network.set(link),
            Fault::Sudden(blow) => network.strike(blow),
        }
    }
    sleep(plan.pauses[1]).await;
    if let Some(killed) = plan.killed {
        let control_plane = match killed {
            Place::Global => &mut stage.world.global,
            Place::Zone(index) => &mut stage.zone_mut(index).control_plane,
        };
        control_plane.kill().await?;
        sleep(plan.pauses[2]).await;
        control_plane.start().await?;
    }
    sleep(plan.pauses[3]).await;
    until.cancel();
    let acknowledged = writers.join_all().await.into_iter().sum();
    for zone in 0..2 {
        stage.zone(zone).network.mend();
    }
    Ok(acknowledged)
}

fn number(variable: &str) -> Result<Option<u64>> {
    let value = env::var(variable).ok().map(|text| text.parse());
    value.transpose().with_context(|| format!("{variable} is not a number"))
}

async fn two_zones() -> Result<Stage> {
    let mut stage = Stage::with_global(&SETTINGS).await?;
    for zone in ["zone-1", "zone-2"] {
        stage.world.add_zone_with(zone, &SETTINGS).await?;
    }
    stage.mesh(&json!({"type": "Mesh", "name": "default", "skipCreatingInitialPolicies": ["*"]})).await?;
    Ok(stage)
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_returns_however_connections_and_processes_fail() -> Result<()> {
    let seed = number("FAULTS_SEED")?.unwrap_or_else(rand::random);
    let rounds = number("FAULTS_ROUNDS")?.unwrap_or(ROUNDS);
    eprintln!("faults: {rounds} rounds with FAULTS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let mut stage = two_zones().await?;
    let flows = Flow::all();
    let mut kept = Vec::new();
    for flow in &flows {
        for name in flow.kept() {
            ensure!(
                flow.ledger.write(api(&stage, flow.origin), flow.subject, &name, Some(1)).await,
                "{name} is refused"
            );
        }
    }
    for flow in &flows {
        flow.converge(&stage).await?;
        kept.push(flow.kept_since(&stage).await?);
    }

    let (mut slowest, mut acknowledged) = (Duration::ZERO, 0);
    for round in 0..rounds {
        let plan = Plan::choose(&mut random);
        let told = || format!("round {round} with FAULTS_SEED={seed}: {plan:?}");
        acknowledged += disturb(&mut stage, &flows, &plan, &mut random).await.with_context(told)?;
        let quiet = Instant::now();
        for flow in &flows {
            flow.settle(&stage).await.with_context(told)?;
        }
        for flow in &flows {
            flow.converge(&stage).await.with_context(told)?;
        }
        slowest = slowest.max(quiet.elapsed());
    }
    ensure!(acknowledged > 0, "nothing was written");
    eprintln!(
        "faults: {acknowledged} writes were acknowledged; all of them were everywhere at most {slowest:?} after the end of a \
         round"
    );

    // What nobody touched is still the same: it was not deleted and made again meanwhile.
    for (flow, kept) in flows.iter().zip(kept) {
        assert_eq!(flow.kept_since(&stage).await?, kept, "with FAULTS_SEED={seed}");
    }
    stage.passed();
    Ok(())
}

/// The network forgets a connection and tells neither end, for good. Each end has to find out by itself.
#[tokio::test]
async fn a_connection_that_only_one_end_believes_in_is_given_up_by_itself() -> Result<()> {
    let mut stage = two_zones().await?;
    let flow = &Flow::all()[0];
    for (zone, believer) in [(0, End::Client), (1, End::Server)] {
        stage.zone(zone).network.strike(Blow::HalfOpen { believer });
    }
    // One comes back as another process, while global still believes in the earlier one.
    let second = &mut stage.zone_mut(1).control_plane;
    second.kill().await?;
    second.start().await?;
    for name in flow.kept() {
        ensure!(flow.ledger.write(stage.global(), flow.subject, &name, Some(2)).await, "{name} is refused");
    }
    flow.converge(&stage).await?;
    stage.passed();
    Ok(())
}

/// Path at global of a Dataplane that a zone has under a name.
async fn at_global(stage: &Stage, name: &str) -> Result<String> {
    let arrived = || async {
        let list = stage.global().get(DATAPLANES.list).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let there = items.iter().find(|item| item["labels"]["kuma.io/display-name"] == name);
        Ok(there.and_then(|item| item["name"].as_str()).map(|name| DATAPLANES.path(name)))
    };
    wait::until(&format!("global knows {name}"), PATIENCE, arrived).await
}

/// Questions to Envoys that cannot be answered are refused with a reason, and nothing else happens.
#[tokio::test]
async fn questions_to_envoys_that_do_not_answer_are_errors_and_nothing_else() -> Result<()> {
    let mut stage = two_zones().await?;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let dataplane = |name: &str, admin: u16| {
        let mut body = (DATAPLANES.body)(name, 1);
        body["networking"]["address"] = json!("127.0.0.1");
        body["networking"]["admin"] = json!({"port": admin});
        body
    };
    let zone = &stage.zone(0).api;
    zone.put(&DATAPLANES.path("silent"), &dataplane("silent", silent.local_addr()?.port())).await?;
    zone.put(&DATAPLANES.path("absent"), &dataplane("absent", ports::free()?)).await?;
    let (silent_path, absent_path) = (at_global(&stage, "silent").await?, at_global(&stage, "absent").await?);
    let global = stage.global().clone();
    let ask = |path: String| {
        let global = global.clone();
        async move {
            let answer = global.send(reqwest::Method::GET, &path, None).await?;
            ensure!(answer.status == reqwest::StatusCode::BAD_REQUEST, "{}", answer.body);
            Ok((answer.body["title"].clone(), answer.body["detail"].as_str().unwrap_or_default().to_owned()))
        }
    };
    // The streams for questions are open a moment after the zone is known.
    let refused = || async {
        let (title, detail) = ask(format!("{absent_path}/xds")).await?;
        let expected = "could not send XDSConfigRequest: unable to send GET to config_dump";
        ensure!(title == "Could not execute admin operation" && detail.starts_with(expected), "{title} {detail}");
        Ok(Some(()))
    };
    wait::until("the Envoy that is not there is asked", PATIENCE, refused).await?;

    let mut questions = JoinSet::new();
    for index in 0..100 {
        let operation = ["xds", "stats", "clusters"][index % 3];
        questions.spawn(ask(format!("{silent_path}/{operation}")));
    }
    // Meanwhile synchronization goes on.
    let flow = &Flow::all()[0];
    for name in flow.kept() {
        ensure!(flow.ledger.write(stage.global(), flow.subject, &name, Some(1)).await, "{name} is refused");
        flow.converge(&stage).await?;
    }
    for answer in questions.join_all().await {
        let (_, detail) = answer?;
        let busy = "other proxies are being asked; try again";
        let expected = ["did not answer in time", "no answer within 8 s", "did not answer within 10 s", busy];
        ensure!(expected.iter().any(|text| detail.contains(text)), "{detail}");
    }

    stage.zone_mut(0).control_plane.kill().await?;
    let offline = || async {
        let (title, detail) = ask(format!("{absent_path}/clusters")).await?;
        let expected = "couldn't execute Clusters operation, zone is offline";
        ensure!(title == "Could not execute admin operation" && detail == expected, "{title} {detail}");
        Ok(Some(()))
    };
    wait::until("the zone is offline", PATIENCE, offline).await?;
    stage.zone_mut(0).control_plane.start().await?;
    wait::until("the Envoy that is not there is asked again", PATIENCE, refused).await?;
    stage.passed();
    Ok(())
}
