//! Attempts and connections that failed, by what was the matter.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::load::connection::NOT_CONNECTED;

/// Failures of a run.
#[derive(Debug, Default)]
pub(in crate::load) struct Failures(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    by_kind: BTreeMap<String, u64>,
    last: Option<String>,
}

impl Failures {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, error: &anyhow::Error) {
        let mut state = self.state();
        state.count += 1;
        *state.by_kind.entry(kind(error)).or_default() += 1;
        state.last = Some(format!("{error:#}"));
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.state().count
    }

    /// The text of the last one.
    pub(in crate::load) fn last(&self) -> Option<String> {
        self.state().last.clone()
    }

    /// How many there were of each kind.
    pub(in crate::load) fn by_kind(&self) -> BTreeMap<String, u64> {
        self.state().by_kind.clone()
    }
}

/// What is the matter, without names and numbers: a status code of gRPC, or an error of the connection.
fn kind(error: &anyhow::Error) -> String {
    if error.to_string() == NOT_CONNECTED {
        return NOT_CONNECTED.to_owned();
    }
    let status = error.chain().find_map(|cause| cause.downcast_ref::<tonic::Status>());
    if let Some(status) = status {
        return format!("gRPC {:?}", status.code());
    }
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match io {
        Some(io) => io.kind().to_string(),
        None => error.root_cause().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn failures_are_told_apart_by_what_was_the_matter() {
        let failures = Failures::default();
        let refused = || Err::<(), _>(tonic::Status::unavailable("proxy p-1 is too many"));
        failures.add(&refused().context("discovery stream").unwrap_err());
        failures.add(&refused().context("discovery stream").unwrap_err());
        let reset = Err::<(), _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        failures.add(&reset.context("TLS handshake").unwrap_err());
        failures.add(&anyhow!("late").context(NOT_CONNECTED));
        let expected = [("connection reset", 1), ("gRPC Unavailable", 2), (NOT_CONNECTED, 1)];
        let expected: BTreeMap<_, _> = expected.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
        assert_eq!((failures.by_kind(), failures.count()), (expected, 4));
    }
}
