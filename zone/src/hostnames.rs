//! Looks up the host names that resources use in place of addresses.
//!
//! A name is looked up at once when it is new, and again when its address is older than the time to live. While no resource uses a
//! name, nothing runs. A name that cannot be looked up any more keeps its last address: names are not worth an outage.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Least time between two look-ups of a name.
const MIN_TIME_TO_LIVE: Duration = Duration::from_secs(1);

/// The host names in use, and what is known of them.
pub struct Hostnames {
    time_to_live: Duration,
    names: BTreeMap<String, Name>,
    lookups: JoinSet<(String, io::Result<Option<IpAddr>>)>,
}

#[derive(Default)]
struct Name {
    address: Option<IpAddr>,
    /// When to look it up again; `None` while it is being looked up.
    due: Option<Instant>,
    problem: Option<String>,
}

impl Hostnames {
    /// No names yet. `time_to_live` is `general.dnsCacheTTL`.
    pub fn new(time_to_live: Duration) -> Self {
        Self { time_to_live: time_to_live.max(MIN_TIME_TO_LIVE), names: BTreeMap::new(), lookups: JoinSet::new() }
    }

    /// Says which names are in use from now on.
    pub fn follow<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let used: BTreeSet<&str> = names.collect();
        self.names.retain(|name, _| used.contains(name.as_str()));
        for name in used {
            if !self.names.contains_key(name) {
                self.look_up(name.to_owned());
            }
        }
    }

    /// The names in use whose address is known.
    pub fn known(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.names.iter().filter_map(|(name, state)| Some((name.as_str(), state.address?)))
    }

    fn look_up(&mut self, name: String) {
        self.names.entry(name.clone()).or_default().due = None;
        self.lookups.spawn(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            // Several addresses come in any order; the choice must not depend on it.
            let address = found.map(|found| found.map(|address| address.ip()).min_by_key(ToString::to_string));
            (name, address)
        });
    }

    /// Waits until a name in use was looked up, and returns its address. Never resolves while there are no names. Cancellation
    /// safe.
    pub async fn next(&mut self) -> (String, IpAddr) {
        loop {
            let next = self.names.iter().filter_map(|(name, state)| Some((state.due?, name))).min();
            let next = next.map(|(due, name)| (due, name.clone()));
            let due = async {
                match next {
                    Some((due, name)) => {
                        sleep_until(due).await;
                        name
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(found) = self.lookups.join_next() => {
                    let Ok((name, address)) = found else { continue };
                    if let Some(address) = self.found(&name, address) {
                        return (name, address);
                    }
                }
                name = due => self.look_up(name),
            }
        }
    }

    /// Notes the result of a look-up; `None` when there is no address, or nobody uses the name any more.
    fn found(&mut self, name: &str, address: io::Result<Option<IpAddr>>) -> Option<IpAddr> {
        let state = self.names.get_mut(name)?;
        state.due = Some(Instant::now() + self.time_to_live);
        let problem = match address {
            Ok(Some(address)) => {
                state.problem = None;
                state.address = Some(address);
                return Some(address);
            }
            Ok(None) => "it has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        if state.problem.as_ref() != Some(&problem) {
            warn!(name, problem, "cannot look up a host name that resources use; its last address stays");
            state.problem = Some(problem);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_when_new_and_again_later() {
        let mut hostnames = Hostnames::new(Duration::ZERO);
        assert!(hostnames.next().now_or_never().is_none(), "there is no name");
        hostnames.follow(["localhost"].into_iter());
        let localhost = ("localhost".to_owned(), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(hostnames.next().await, localhost);
        let before = Instant::now();
        hostnames.follow(["localhost"].into_iter());
        assert_eq!(hostnames.next().await, localhost);
        assert!(before.elapsed() >= MIN_TIME_TO_LIVE / 2, "a known name is not looked up at once");
    }

    #[tokio::test]
    async fn names_that_nobody_uses_are_forgotten() {
        let mut hostnames = Hostnames::new(Duration::ZERO);
        hostnames.follow(["localhost"].into_iter());
        hostnames.follow([].into_iter());
        let waited = tokio::time::timeout(MIN_TIME_TO_LIVE * 2, hostnames.next()).await;
        assert!(waited.is_err(), "{waited:?}");
    }

    #[tokio::test]
    async fn a_failure_takes_no_address_away() {
        let mut hostnames = Hostnames::new(Duration::ZERO);
        hostnames.names.insert("name".to_owned(), Name::default());
        assert_eq!(hostnames.found("name", Err(io::Error::other("no server"))), None);
        let state = &hostnames.names["name"];
        assert!(state.due.is_some() && state.problem.as_deref() == Some("no server"));
        let address = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(hostnames.found("name", Ok(Some(address))), Some(address));
        assert_eq!(hostnames.found("name", Ok(None)), None);
        assert_eq!(hostnames.known().collect::<Vec<_>>(), [("name", address)]);
        assert_eq!(hostnames.found("other", Ok(Some(address))), None);
    }
}
