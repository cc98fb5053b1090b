//! Global says at any time how far each zone is, whatever connections look like.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tandem_e2e::api::{Api, mesh};
use tandem_e2e::process::ControlPlane;
use tandem_e2e::relay::Link;
use tandem_e2e::wait;
use tokio::process::Command;

use crate::support::stage::programs;
use crate::support::{PATIENCE, Stage};

/// Waits until global says that a zone is in a state; gives what it says.
async fn until(global: &Api, zone: &str, state: &str) -> Result<Value> {
    let said = || async {
        let report = global.get(&format!("/zones/{zone}/_sync")).await?;
        Ok((report["state"] == state).then_some(report))
    };
    wait::until(&format!("global says that {zone} is {state}"), PATIENCE, said).await
}

/// What `global-cp zones` prints.
async fn zones(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(programs().await?.global);
    let output = command.arg("zones").args(arguments).stdin(Stdio::null()).output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{}: {}", output.status, text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

fn signal(control_plane: &ControlPlane, signal: Signal) -> Result<()> {
    let pid = control_plane.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    Ok(kill_process(pid.context("it does not run")?, signal)?)
}

#[tokio::test]
async fn a_zone_that_stands_still_is_seen_although_its_connection_lives() -> Result<()> {
    let mut stage = Stage::with_zones(&["east", "west"]).await?;
    stage.mesh(&mesh("first")).await?;
    for zone in ["east", "west"] {
        let report = until(stage.global(), zone, "in sync").await?;
        ensure!(report["pending"] == 0 && report["lagSeconds"] == 0.0, "{report}");
    }
    let url = stage.global().url().to_owned();
    let line = async |zone: &str| -> Result<String> {
        let table = zones(&["--url", &url]).await?;
        let line = table.lines().find(|line| line.starts_with(zone)).map(str::to_owned);
        line.with_context(|| format!("no {zone} in {table}"))
    };
    ensure!(line("east").await?.contains("in sync"));

    // The process stands still; the system goes on to keep its connection, and takes what is sent.
    signal(&stage.zone(1).control_plane, Signal::STOP)?;
    stage.global().put("/meshes/second", &mesh("second")).await?;
    let stalled = until(stage.global(), "west", "stalled").await?;
    ensure!(stalled["pending"].as_u64() > Some(0) && stalled["lagSeconds"].as_f64() >= Some(5.0), "{stalled}");
    ensure!(stalled["connectedSince"].is_string(), "{stalled}");
    until(stage.global(), "east", "in sync").await?;
    ensure!(line("west").await?.contains("stalled"));
    let overview = stage.global().get("/_sync").await?;
    ensure!(overview["total"]["states"]["stalled"] == 1, "{overview}");
    let metrics = format!("{}/metrics", stage.world.global.diagnostics_url());
    let metrics = reqwest::get(metrics).await?.text().await?;
    let series = |line: &&str| line.starts_with("kds_sync_state{") && line.contains("peer=\"west\",state=\"stalled\"");
    ensure!(
        metrics.lines().find(series).is_some_and(|line| line.ends_with(" 1") || line.ends_with(" 1.0")),
        "{metrics}"
    );
    let page = zones(&["west", "--url", &url]).await?;
    ensure!(page.lines().any(|line| line.starts_with("Mesh ") && line.contains("stalled")), "{page}");

    // A network that swallows everything.
    stage.zone(0).network.set(Link::Silent);
    stage.global().put("/meshes/third", &mesh("third")).await?;
    until(stage.global(), "east", "stalled").await?;

    stage.zone(0).network.set(Link::Open);
    signal(&stage.zone(1).control_plane, Signal::CONT)?;
    for zone in ["east", "west"] {
        until(stage.global(), zone, "in sync").await?;
    }

    // What waits for a zone that is away is counted, as long as this process knows what the zone had.
    stage.zone_mut(1).control_plane.kill().await?;
    until(stage.global(), "west", "offline").await?;
    stage.global().put("/meshes/fourth", &mesh("fourth")).await?;
    let away = until(stage.global(), "west", "offline").await?;
    ensure!(away["pending"].as_u64() > Some(0) && away["disconnectedSince"].is_string(), "{away}");
    stage.world.global.stop().await?;
    stage.world.global.start().await?;
    let away = until(stage.global(), "west", "offline").await?;
    ensure!(away["pending"].is_null() && away["disconnectedSince"].is_string(), "unknown, and not zero: {away}");
    stage.zone_mut(1).control_plane.start().await?;
    until(stage.global(), "west", "in sync").await?;

    let refused = zones(&["nowhere", "--url", &url]).await.expect_err("there is no such zone").to_string();
    ensure!(refused.contains("there is no zone \"nowhere\""), "{refused}");
    let nobody = zones(&["--url", "http://127.0.0.1:1"]).await.expect_err("nobody listens").to_string();
    ensure!(nobody.contains("no control plane answers at http://127.0.0.1:1"), "{nobody}");
    stage.passed();
    Ok(())
}
