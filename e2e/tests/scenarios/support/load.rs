//! Requests without pause, each of which has to be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tandem_e2e::wait;
use tokio::task::JoinHandle;

use super::PATIENCE;

/// Pause between two requests of a client.
const PAUSE: Duration = Duration::from_millis(3);

/// Clients that ask the same again and again: one that keeps its connection and one that opens a new one each time.
pub struct Load {
    name: String,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<Vec<String>>>>,
}

impl Load {
    /// Begins to ask `url`.
    pub fn start(name: &str, url: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |keep: bool| tokio::spawn(ask(url.to_owned(), keep, stop.clone(), answered.clone()));
        let clients = [true, false].map(client).into();
        Self { name: name.to_owned(), stop, answered, clients }
    }

    /// Waits until some more requests have been answered.
    pub async fn go_on(&self) -> Result<()> {
        let goal = self.answered.load(Ordering::Relaxed) + 50;
        let reached = || async { Ok((self.answered.load(Ordering::Relaxed) >= goal).then_some(())) };
        wait::until(&format!("50 more requests to {} are answered", self.name), PATIENCE, reached).await
    }

    /// Stops, and fails if a single request was not answered with success.
    pub async fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut dropped = Vec::new();
        for client in self.clients {
            dropped.extend(client.await.context("a client of the load gave up")??);
        }
        let answered = self.answered.load(Ordering::Relaxed);
        anyhow::ensure!(
            dropped.is_empty(),
            "{}: {} requests were dropped and {answered} answered: {:?}",
            self.name,
            dropped.len(),
            &dropped[..dropped.len().min(5)]
        );
        Ok(())
    }
}

async fn ask(url: String, keep: bool, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Result<Vec<String>> {
    let idle = if keep { usize::MAX } else { 0 };
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(idle).build()?;
    let mut dropped = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match http.get(&url).send().await {
            Ok(response) if response.status().is_success() => {
                response.bytes().await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(response) => {
                let status = response.status();
                dropped.push(format!("{status}: {}", response.text().await.unwrap_or_default()));
            }
            Err(error) => dropped.push(format!("{:#}", anyhow::Error::from(error))),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(dropped)
}
