//! Waiting for what another process does, which has no other way to tell.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value; an error or `None` means not yet.
///
/// # Errors
/// When the time is over; the text holds `what` and the last error.
pub async fn until<T, F>(what: &str, timeout: Duration, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + timeout;
    let mut last = None;
    loop {
        match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() >= deadline {
            match last {
                Some(error) => return Err(error.context(format!("{what}: not within {} s", timeout.as_secs()))),
                None => bail!("{what}: not within {} s", timeout.as_secs()),
            }
        }
        sleep(INTERVAL).await;
    }
}
