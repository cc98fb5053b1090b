//! What only one of several instances of a control plane may do.
//!
//! Who leads is decided elsewhere; here it is told to those whom it concerns. Work that one instance does for all is given
//! to [`Leadership::run`], which starts it when this instance begins to lead and ends it when it stops.

use std::future::Future;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether this instance leads. Cheap to clone; all clones are told the same.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Of the only instance of a control plane: it leads as long as it lives.
    pub fn always() -> Self {
        Self(watch::Sender::new(true).subscribe())
    }

    /// Of an instance that leads while the watched value is true.
    pub fn of(leads: watch::Receiver<bool>) -> Self {
        Self(leads)
    }

    /// Whether this instance leads now.
    pub fn is_leader(&self) -> bool {
        *self.0.borrow()
    }

    /// Runs `work` whenever this instance leads, until `shutdown`. The token that `work` gets is cancelled when the
    /// instance stops to lead, and at shutdown; `work` is to end then. When it ends earlier, it is done until the
    /// instance leads anew.
    pub async fn run<Work: Future<Output = ()>>(
        mut self,
        shutdown: CancellationToken,
        mut work: impl FnMut(CancellationToken) -> Work,
    ) {
        while shutdown.run_until_cancelled(self.becomes(true)).await.is_some() {
            let end = shutdown.child_token();
            let lost = async {
                self.becomes(false).await;
                end.cancel();
            };
            tokio::join!(work(end.clone()), async {
                tokio::select! {
                    () = lost => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }

    async fn becomes(&mut self, wanted: bool) {
        if self.0.wait_for(|leads| *leads == wanted).await.is_err() && *self.0.borrow() != wanted {
            // Nobody is left to tell that it changed.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_runs_while_the_instance_leads() {
        let leads = watch::Sender::new(false);
        let shutdown = CancellationToken::new();
        let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let runner = {
            let (leadership, shutdown) = (Leadership::of(leads.subscribe()), shutdown.clone());
            let (started, ended) = (started.clone(), ended.clone());
            tokio::spawn(leadership.run(shutdown, move |end| {
                let (started, ended) = (started.clone(), ended.clone());
                async move {
                    started.fetch_add(1, Ordering::SeqCst);
                    end.cancelled().await;
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            }))
        };
        let counts = |wanted: (usize, usize)| {
            let (started, ended) = (started.clone(), ended.clone());
            async move {
                while (started.load(Ordering::SeqCst), ended.load(Ordering::SeqCst)) != wanted {
                    tokio::task::yield_now().await;
                }
            }
        };
        counts((0, 0)).await;
        leads.send_replace(true);
        counts((1, 0)).await;
        leads.send_replace(false);
        counts((1, 1)).await;
        leads.send_replace(true);
        counts((2, 1)).await;
        shutdown.cancel();
        runner.await.expect("ended");
        counts((2, 2)).await;
    }

    #[tokio::test]
    async fn the_only_instance_leads() {
        let leadership = Leadership::always();
        assert!(leadership.is_leader());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        leadership
            .run(shutdown, move |end| {
                stop.cancel();
                async move { end.cancelled().await }
            })
            .await;
    }
}
