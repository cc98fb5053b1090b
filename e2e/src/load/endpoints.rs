//! Endpoints that move, and how long it takes until the proxies that use them know.
//!
//! A Dataplane behind which there is no proxy is written over the API of the zone, each time with another address.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::definition::Definition;
use super::fleet::Fleet;
use super::options::{Options, WatchedPid};
use super::progress::Phase;
use super::report::{Moves, Propagation, round};
use super::rounds::{Arrival, LIMIT, pause};
use super::tally::{Sign, Tally};
use super::usage;
use crate::api::Api;

/// First of the addresses that endpoints move to (RFC 2544, for benchmarks): no other endpoint has one that begins so.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// How addresses of the network begin.
const BEGINNING: &[u8] = b"198.18.";

/// What follows from a change (counters, insights) is done after this time, and belongs to its price.
const AFTERMATH: Duration = Duration::from_secs(3);

/// Writes the Dataplanes whose endpoints are going to move, each for its number of users.
///
/// # Errors
/// When the zone refuses one.
pub(super) async fn prepare(zone: &Api, definition: &Definition, users: &[usize]) -> Result<()> {
    for count in users {
        move_to(zone, definition, *count, FIRST).await?;
    }
    Ok(())
}

/// Moves each endpoint as often as the options say.
///
/// # Errors
/// When the zone refuses a change, or the users do not get it in time.
pub(super) async fn run(
    zone: &Api,
    fleet: &Fleet,
    tally: &Tally,
    definition: &Definition,
    options: &Options,
    watched: &[WatchedPid],
) -> Result<Vec<Moves>> {
    let phase = Phase::counted("Moving endpoints", options.users.len() * options.moves);
    let mut results = Vec::new();
    let mut moves = 0;
    for users in &options.users {
        let before = usage::read_all(watched)?;
        let bytes = tally.bytes();
        let mut arrivals = Vec::with_capacity(options.moves);
        for _ in 0..options.moves {
            pause().await;
            moves += 1;
            let address = Ipv4Addr::from_bits(FIRST.to_bits() + moves);
            tally.begin_round(Sign::Endpoint(address));
            let start = Instant::now();
            move_to(zone, definition, *users, address).await?;
            fleet.all_seen(*users, LIMIT).await.with_context(|| format!("move {moves}, of {users} users"))?;
            arrivals.extend(Arrival::of(&tally.end_round(start)));
            phase.at(moves as usize);
        }
        sleep(AFTERMATH).await;
        let end = usage::read_all(watched)?;
        let rounds = options.moves.max(1);
        let cpu =
            |index: usize| end[index].cpu.saturating_sub(before[index].cpu).as_secs_f64() * 1_000.0 / rounds as f64;
        results.push(Moves {
            users: *users,
            arrival_ms: Propagation::of(&arrivals),
            bytes: (tally.bytes() - bytes) / rounds as u64,
            cpu_ms: watched
                .iter()
                .enumerate()
                .map(|(index, process)| (process.name.clone(), round(cpu(index))))
                .collect(),
        });
    }
    Ok(results)
}

async fn move_to(zone: &Api, definition: &Definition, users: usize, address: Ipv4Addr) -> Result<()> {
    let dataplane = definition.moving(users, address);
    let name = dataplane["name"].as_str().unwrap_or_default();
    zone.put(&format!("/meshes/{}/dataplanes/{name}", definition.mesh), &dataplane).await.map(drop)
}

/// The address of an endpoint that moves, if an encoded assignment has one.
pub(super) fn moved_to(assignment: &[u8]) -> Option<Ipv4Addr> {
    let start = memchr::memmem::find(assignment, BEGINNING)?;
    let rest = &assignment[start..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_assignments() {
        assert_eq!(moved_to(b"\x0a\x0b198.18.3.77\x18"), Some(Ipv4Addr::new(198, 18, 3, 77)));
        assert_eq!(moved_to(b"\x0a\x0810.0.0.1\x18"), None);
        assert_eq!(moved_to(b"198.18.x"), None);
    }
}
