//! What was acknowledged is there after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;
use tandem_e2e::api::{self, Api};
use tandem_e2e::process::ControlPlane;
use tandem_e2e::wait;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::ledger::{DATAPLANES, Ledger, POLICIES, Subject};
use crate::support::{PATIENCE, Stage};

/// How often a control plane is killed.
const ROUNDS: usize = 4;

/// Clients that write at the same time.
const WRITERS: usize = 4;

/// A control plane is killed at a moment up to this long after it acknowledged the first write of a round.
const LATEST_KILL: Duration = Duration::from_millis(250);

/// Creates, changes and deletes the resources of one writer until the control plane is gone.
async fn write(api: Api, subject: Subject, writer: usize, round: usize, ledger: Arc<Ledger>) {
    for step in 0u64.. {
        // New resources all the time, with changes and deletions of earlier ones among them.
        let (name, wish) = match step % 5 {
            3 => (format!("w{writer}-r{round}-{}", step - 2), Some(step)),
            4 => (format!("w{writer}-r{round}-{}", step - 3), None),
            _ => (format!("w{writer}-r{round}-{step}"), Some(step)),
        };
        if !ledger.write(&api, subject, &name, wish).await {
            return;
        }
    }
}

/// Writes, and kills a control plane in the middle of it.
async fn crash(control_plane: &mut ControlPlane, subject: Subject, round: usize, ledger: &Arc<Ledger>) -> Result<()> {
    let api = Api::new(control_plane.api_url())?;
    let before = ledger.settled();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(api.clone(), subject, writer, round, ledger.clone()));
    }
    let started = || async { Ok((ledger.settled() > before).then_some(())) };
    wait::until("a write is acknowledged", PATIENCE, started).await?;
    let moment = rand::rng().random_range(Duration::ZERO..LATEST_KILL);
    sleep(moment).await;
    control_plane.kill().await?;
    writers.join_all().await;
    Ok(())
}

/// Compares what a control plane has with what the writers know.
async fn verify(api: &Api, subject: Subject, ledger: &Ledger) -> Result<()> {
    let names: Vec<_> = ledger.entries().keys().cloned().collect();
    for name in names {
        let path = subject.path(&name);
        let answer = api.send(reqwest::Method::GET, &path, None).await?;
        let there = match answer.status {
            reqwest::StatusCode::NOT_FOUND => None,
            status => {
                assert!(status.is_success(), "{path}: {status} {}", answer.body);
                let value = (subject.value)(&answer.body);
                assert!(value.is_some(), "{path} was stored in part: {}", answer.body);
                value
            }
        };
        ledger.entries().entry(name).or_default().settle(&path, there);
    }
    Ok(())
}

#[tokio::test]
async fn what_global_acknowledged_survives_crashes() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let ledger = Arc::new(Ledger::default());
    for round in 0..ROUNDS {
        crash(&mut stage.world.global, POLICIES, round, &ledger).await?;
        stage.world.global.start().await?;
        verify(stage.global(), POLICIES, &ledger).await?;
    }
    // The zone ends with the same, however often it was interrupted.
    let expected = ledger.present().len();
    assert!(expected > ROUNDS, "only {expected} writes were acknowledged");
    let zone = &stage.zone(0).api;
    let complete = || async {
        let list = zone.get("/meshes/default/meshtimeouts?name=w&size=1000").await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let synced: BTreeMap<_, _> = items
            .iter()
            .filter_map(|item| {
                let name = item["labels"]["kuma.io/display-name"].as_str().filter(|name| name.starts_with('w'))?;
                Some((name.to_owned(), (POLICIES.value)(item)?))
            })
            .collect();
        let wanted = ledger.present();
        anyhow::ensure!(synced == wanted, "the zone has {} of {} policies", synced.len(), wanted.len());
        Ok(Some(()))
    };
    wait::until("the zone has what global has", PATIENCE, complete).await?;
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn what_a_zone_acknowledged_survives_crashes() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let ledger = Arc::new(Ledger::default());
    for round in 0..ROUNDS {
        crash(&mut stage.zone_mut(0).control_plane, DATAPLANES, round, &ledger).await?;
        stage.zone_mut(0).control_plane.start().await?;
        verify(&stage.zone(0).api, DATAPLANES, &ledger).await?;
    }
    let expected = ledger.present().len();
    assert!(expected > ROUNDS, "only {expected} writes were acknowledged");
    let complete = || async {
        let list = stage.global().get("/meshes/default/dataplanes?size=1").await?;
        anyhow::ensure!(list["total"] == expected, "global has {} of {expected} Dataplanes", list["total"]);
        Ok(Some(()))
    };
    wait::until("global has what the zone has", PATIENCE, complete).await?;
    stage.passed();
    Ok(())
}
