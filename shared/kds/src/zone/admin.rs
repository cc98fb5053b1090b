//! Answers the questions of global to the Envoys of this zone.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;

use crate::admin::{AdminExecutor, AdminProtocol, TIMEOUT};

/// Questions of one stream answered at the same time; more of them wait.
const CONCURRENT: usize = 16;

/// Answers each question once, in any order, until global ends the stream.
pub(crate) async fn answer<P: AdminProtocol>(
    mut requests: impl Stream<Item = Result<P::Request, Status>> + Unpin,
    responses: mpsc::Sender<P::Response>,
    executor: Arc<dyn AdminExecutor>,
) -> Status {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            request = requests.next(), if running.len() < CONCURRENT => match request {
                None => return Status::unavailable("global ended a stream for questions to Envoys"),
                Some(Err(status)) => return status,
                Some(Ok(request)) => {
                    let (executor, responses) = (executor.clone(), responses.clone());
                    running.spawn(async move {
                        let (id, asked) = P::asked(request);
                        let result = match asked {
                            Err(text) => Err(text),
                            Ok(request) => tokio::time::timeout(TIMEOUT, executor.execute(request))
                                .await
                                .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs()))),
                        };
                        // Without the stream there is nobody to answer.
                        let _ = responses.send(P::answer(id, result)).await;
                    });
                }
            },
            Some(done) = running.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "answering a question to an Envoy failed");
                }
            }
        }
    }
}
