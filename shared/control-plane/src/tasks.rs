//! The tasks of a control plane: when one fails, all end.

use std::future::Future;

use anyhow::{Context as _, Result, anyhow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Running tasks.
pub struct Tasks {
    set: JoinSet<(&'static str, Result<()>)>,
    shutdown: CancellationToken,
}

impl Tasks {
    /// No task yet. When one fails, `shutdown` is cancelled, which all others heed.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { set: JoinSet::new(), shutdown }
    }

    /// Starts a task. It is to end when the control plane is told to.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    /// That of the first task that failed, panicked, or ended while nobody had told it to.
    pub async fn finish(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(joined) = self.set.join_next().await {
            let result = match joined {
                Ok((name, Ok(()))) if !self.shutdown.is_cancelled() => Err(anyhow!("{name} ended unexpectedly")),
                Ok((name, result)) => result.with_context(|| format!("{name} failed")),
                Err(panic) => Err(anyhow!("a task panicked: {panic}")),
            };
            if result.is_err() && outcome.is_ok() {
                outcome = result;
                self.shutdown.cancel();
            }
        }
        outcome
    }
}
