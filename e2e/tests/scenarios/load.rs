//! Loads in small. What the load on synchronization measures is checked by the load itself, which compares what its simulated
//! zones have with what global lists.

use anyhow::Result;
use clap::Parser as _;
use serde_json::Value;
use tandem_e2e::load::{self, options::Options};

use super::support::stage::programs;

#[tokio::test(flavor = "multi_thread")]
async fn simulated_and_real_zones_get_what_global_has() -> Result<()> {
    let programs = programs().await?;
    let mut options = Options::try_parse_from(
        "load --kds --json --fresh-zones 1 --fresh-policies 50 --fan-out 3x20,2x40 --restart 3x40 --rounds 2 --idle 0"
            .split(' '),
    )?;
    options.global_binary = Some(programs.global);
    options.zone_binary = Some(programs.zone);
    let report: Value = serde_json::from_str(&load::run(&options).await?.report)?;

    let found = &report["tandem"];
    assert_eq!(found["failures"], Value::Array(Vec::new()), "{report}");
    assert_eq!((&found["fresh_zone"]["policies"], &found["fresh_zone"]["durable"]), (&50.into(), &true.into()));
    for (row, (zones, policies)) in [(3, 20), (2, 40)].into_iter().enumerate() {
        let row = &found["fan_out"][row];
        assert_eq!((&row["zones"], &row["policies"]), (&zones.into(), &policies.into()), "{report}");
        assert!(row["resources_per_zone"].as_u64().is_some_and(|count| count > policies), "{report}");
        assert_eq!(row["change_ms"]["rounds"], 2, "{report}");
        assert_eq!(row["failed_connections"], 0, "{report}");
    }
    assert_eq!(found["restart"]["broken_afterwards"], 0, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_endpoints_reach_the_proxies_that_use_them() -> Result<()> {
    let programs = programs().await?;
    let mut options = Options::try_parse_from(
        "load --start --json --mesh moves --mtls --transparent-proxy --proxies 6 --services 4 --reachable 2 --users 2,6 \
         --moves 2 --rounds 1 --idle 0 --ramp 0"
            .split_whitespace(),
    )?;
    options.global_binary = Some(programs.global);
    options.zone_binary = Some(programs.zone);
    let report: Value = serde_json::from_str(&load::run(&options).await?.report)?;

    assert_eq!(report["failed_connections"], 0, "{report}");
    for (row, users) in [2, 6].into_iter().enumerate() {
        let row = &report["moves"][row];
        assert_eq!((&row["users"], &row["arrival_ms"]["rounds"]), (&users.into(), &2.into()), "{report}");
    }
    Ok(())
}

/// A load of a few proxies with the further arguments.
async fn small(arguments: &str) -> Result<(Value, Vec<String>)> {
    let programs = programs().await?;
    let all = format!("load --start --json --mtls --rounds 0 --idle 0 --ramp 0 --services 4 {arguments}");
    let mut options = Options::try_parse_from(all.split_whitespace())?;
    options.global_binary = Some(programs.global);
    options.zone_binary = Some(programs.zone);
    let outcome = load::run(&options).await?;
    Ok((serde_json::from_str(&outcome.report)?, outcome.broken))
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_come_back_from_a_storm_while_the_configuration_changes() -> Result<()> {
    let (report, _) = small("--mesh storm --proxies 20 --storm 10 --storm-changes 0.1").await?;
    let storm = &report["storm"];
    assert_eq!((&storm["proxies"], &storm["of"], &storm["stale"]), (&10.into(), &20.into(), &false.into()), "{report}");
    assert!(storm["returned_ms"]["p50"].as_f64().is_some_and(|time| time > 0.0), "{report}");
    // What is current is not sent again: two answers without resources for each.
    assert!(storm["responses"].as_u64().is_some_and(|count| count >= 20), "{report}");
    assert!(storm["changes_before"]["arrivals"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert_eq!(storm["changes_during"]["late"], 0, "{report}");
    assert!(storm["all_afterwards_ms"].is_number(), "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_come_back_to_a_zone_that_was_killed() -> Result<()> {
    let (report, _) = small("--mesh restart --proxies 20 --storm-restart --sotw").await?;
    let storm = &report["storm"];
    assert_eq!((&storm["proxies"], &storm["stale"]), (&20.into(), &true.into()), "{report}");
    assert!(storm["zone_ready_seconds"].is_number() && storm["all_afterwards_ms"].is_number(), "{report}");
    assert!(storm["failed_attempts"].as_object().is_some_and(|kinds| !kinds.is_empty()), "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soak_watches_what_control_planes_hold_while_proxies_come_and_go() -> Result<()> {
    let (report, broken) = small(
        "--mesh soak --proxies 10 --soak 12s --soak-churn 400 --soak-changes 0.3 --certificates 10s \
         --env KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY=1s",
    )
    .await?;
    let soak = &report["soak"];
    assert!(soak["left"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert_eq!(soak["came_back"].as_u64().zip(soak["arrived"].as_u64()).map(|(a, b)| a + b), soak["left"].as_u64());
    // Each proxy has one when the soak begins.
    assert!(soak["certificates"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert_eq!((&soak["changes"]["late"], &soak["interrupted"]), (&0.into(), &false.into()), "{report}");
    let samples = soak["samples"].as_array().expect("a list");
    assert!(samples.len() >= 10, "{report}");
    for process in ["zone", "global"] {
        for what in ["rss_bytes", "files", "threads", "store_bytes"] {
            assert!(
                samples.iter().all(|sample| sample[process][what].as_u64() > Some(0)),
                "{process} {what}: {report}"
            );
        }
    }
    let bounds = soak["bounds"].as_array().expect("a list");
    assert_eq!(bounds.len(), 8, "four of each process: {report}");
    // So short a time says nothing about memory and store, but files and threads are few.
    assert!(!broken.iter().any(|line| line.contains("files") || line.contains("threads")), "{broken:?}");
    Ok(())
}
