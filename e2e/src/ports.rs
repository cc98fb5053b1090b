//! Free ports on loopback.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;

use anyhow::{Result, bail};
use rand::Rng as _;

/// Where ports are looked for: below those that systems give to outgoing connections, one of which could otherwise take a
/// port between the moment it is handed out and the moment its process listens on it.
const RANGE: Range<u16> = 10_000..32_768;

/// How many ports are tried.
const ATTEMPTS: usize = 1_000;

/// Ports handed out by this process, so that none is handed out twice while nobody listens on it yet.
static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that nobody listens on at this moment.
///
/// # Errors
/// When none was found.
pub fn free() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        // At random, so that other processes that look for ports meanwhile find others.
        let port = rand::rng().random_range(RANGE);
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err() {
            continue;
        }
        let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if taken.get_or_insert_default().insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port found between {} and {}", RANGE.start, RANGE.end)
}
