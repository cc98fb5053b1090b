//! `cargo demo`: one mesh over two zones, shown step by step.
//!
//! Everything is real: the control planes are the programs of this workspace, the proxies are Envoys, the connections are TLS on
//! loopback. Only the client and the echo server live in the demo itself.

mod measure;
mod scene;
mod show;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;

use crate::process::Profile;
use crate::world::{Programs, World};
use scene::Scene;
use show::Show;

/// One mesh over two zones, with real Envoys, on this machine.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo", bin_name = "cargo demo --")]
pub struct Options {
    /// Leave after everything was shown, rather than stay up until Ctrl-C.
    #[arg(long)]
    pub once: bool,
    /// Print the results as one JSON object on the last line.
    #[arg(long)]
    pub json: bool,
    /// Keep the folder with logs, stores and Envoy configurations.
    #[arg(long)]
    pub keep: bool,
}

/// What the demo found out. Times are in milliseconds, from the write at global until the client felt it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The request reached the server in the other zone.
    pub cross_zone_request: bool,
    /// Until the client was denied after global forbade it.
    pub denied_after_ms: f64,
    /// Until the client was served after global allowed it again.
    pub allowed_after_ms: f64,
    /// Traffic went on while zone-2 was cut off from global, and zone-2 caught up afterwards.
    pub survives_global_loss: bool,
}

/// Runs the demo.
///
/// # Errors
/// When a step fails; the text says which and why.
pub async fn run(options: &Options) -> Result<()> {
    let mut folder = tempfile::Builder::new().prefix("tandem-demo-").tempdir()?;
    folder.disable_cleanup(options.keep);
    let show = Show::new();
    show.title();
    let step = show.step("looking for the programs");
    let programs = Programs::find(Profile::Dev, |what| step.detail(what)).await?;
    step.done(&format!("Envoy at {}", programs.envoy.display()));

    let step = show.step("starting global-cp");
    let mut world = World::start(programs, folder.path()).await?;
    step.done(&format!("global-cp   {}", world.global.api_url()));
    for name in ["zone-1", "zone-2"] {
        let step = show.step(&format!("starting {name}"));
        let zone = world.add_zone(name).await?;
        step.done(&format!("{name}      {}", zone.control_plane.api_url()));
    }
    let step = show.step("defining the mesh at global, starting six proxies");
    let scene = Scene::set(&world, |what| step.detail(what)).await?;
    step.done("Mesh default with mutual TLS, two zones, six Envoys");

    let outcome = perform(&show, &mut world, &scene).await?;
    if !options.once {
        show.stay(&world, &scene);
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    if options.keep {
        show.line(&format!("Kept: {}", folder.path().display()));
    }
    if options.json {
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}

async fn perform(show: &Show, world: &mut World, scene: &Scene) -> Result<Outcome> {
    show.topology(scene);

    let step = show.step("client calls echo");
    let journey = measure::journey(scene).await?;
    step.done("client called echo across zones");
    show.journey(&journey);

    let step = show.step("global forbids all traffic in the mesh");
    let denied = measure::policy_change(world, scene, "Deny").await?;
    step.done(&format!("denied {:.0} ms after the policy changed at global", millis(denied)));
    let step = show.step("global allows it again");
    let allowed = measure::policy_change(world, scene, "Allow").await?;
    step.done(&format!("allowed {:.0} ms after the policy changed at global", millis(allowed)));

    let step = show.step("zone-2 loses global");
    let loss = measure::global_loss(world, scene, |what| step.detail(what)).await?;
    step.done(&format!(
        "zone-2 was cut off from global: {} of {} requests served meanwhile, caught up {:.0} ms after the cut was mended",
        loss.served,
        loss.sent,
        millis(loss.caught_up)
    ));
    Ok(Outcome {
        cross_zone_request: true,
        denied_after_ms: rounded(denied),
        allowed_after_ms: rounded(allowed),
        survives_global_loss: loss.served == loss.sent,
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn rounded(duration: Duration) -> f64 {
    (millis(duration) * 10.0).round() / 10.0
}
