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
    let report: Value = serde_json::from_str(&load::run(&options).await?)?;

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
    let report: Value = serde_json::from_str(&load::run(&options).await?)?;

    assert_eq!(report["failed_connections"], 0, "{report}");
    for (row, users) in [2, 6].into_iter().enumerate() {
        let row = &report["moves"][row];
        assert_eq!((&row["users"], &row["arrival_ms"]["rounds"]), (&users.into(), &2.into()), "{report}");
    }
    Ok(())
}
