//! Requests without pause while something else changes: none of them may fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use tandem_e2e::echo::Echo;
use tandem_e2e::wait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

/// Clients that send requests at the same time.
const CLIENTS: usize = 3;

/// Pause of a client between two requests, so that the proxies have time for something else.
const PAUSE: Duration = Duration::from_millis(10);

/// What became of requests.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// How many were answered, by the name of the server.
    pub answered: BTreeMap<String, usize>,
    /// What went wrong with the others.
    pub failed: Vec<String>,
}

impl Outcome {
    /// How many were answered.
    pub fn total(&self) -> usize {
        self.answered.values().sum()
    }

    fn note(&mut self, answer: Result<Echo>) {
        match answer {
            Ok(echo) => *self.answered.entry(echo.server).or_default() += 1,
            Err(error) => self.failed.push(format!("{error:#}")),
        }
    }
}

/// Clients that send requests through the outbound of a sidecar until they are stopped. Every request has a connection of its own, so
/// that a service that speaks TCP is reached with as many handshakes.
#[derive(Debug)]
pub struct Requests {
    outbound: u16,
    outcome: Arc<Mutex<Outcome>>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Requests {
    /// Starts the clients once a first request is answered.
    pub async fn start(outbound: u16) -> Result<Self> {
        super::answered(outbound, StatusCode::OK).await?;
        let (outcome, stop) = (Arc::<Mutex<Outcome>>::default(), CancellationToken::new());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (outcome, stop) = (outcome.clone(), stop.clone());
            clients.spawn(async move {
                while !stop.is_cancelled() {
                    let answer = one(outbound).await;
                    outcome.lock().unwrap_or_else(PoisonError::into_inner).note(answer);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(Self { outbound, outcome, stop, clients })
    }

    /// What became of the requests so far.
    pub fn so_far(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until some requests more are answered: what happened before is behind them.
    pub async fn go_on(&self) -> Result<()> {
        let before = self.so_far().total();
        let answered = || async {
            let now = self.so_far();
            ensure!(
                now.total() >= before + 10 * CLIENTS,
                "{} failed, the last one: {:?}",
                now.failed.len(),
                now.failed.last()
            );
            Ok(Some(()))
        };
        wait::until(&format!("requests to port {} are answered", self.outbound), PATIENCE, answered).await
    }

    /// Waits until some requests in a row were answered by `server`.
    pub async fn only(&self, server: &str) -> Result<()> {
        let condition = || async {
            let before = self.so_far();
            self.go_on().await?;
            let after = self.so_far();
            let of = |outcome: &Outcome| outcome.total() - outcome.answered.get(server).copied().unwrap_or_default();
            let failed = &after.failed[before.failed.len()..];
            ensure!(failed.is_empty(), "{} requests failed: {}", failed.len(), failed[0]);
            ensure!(of(&before) == of(&after), "others answer: {:?}", after.answered);
            Ok(Some(()))
        };
        wait::until(&format!("all requests to port {} are answered by {server}", self.outbound), PATIENCE, condition)
            .await
    }

    /// Stops the clients.
    ///
    /// # Errors
    /// When a request failed.
    pub async fn all_answered(mut self) -> Result<Outcome> {
        self.go_on().await?;
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        let outcome = self.so_far();
        let (failed, total) = (outcome.failed.len(), outcome.total());
        ensure!(failed == 0, "{failed} requests failed, {total} did not: {:?}", &outcome.failed[..failed.min(5)]);
        Ok(outcome)
    }
}

async fn one(outbound: u16) -> Result<Echo> {
    let (status, echo) = super::call(outbound).await?;
    ensure!(status == StatusCode::OK, "answered with {status}");
    echo.context("the answer is not echo's")
}
