//! Answers the questions of global to the Envoys of this zone.
//!
//! Each question is answered once, and soon: a Kuma global ends the stream for an answer that nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::admin::{AdminExecutor, AdminProtocol};
use crate::limits;

/// Questions of one stream that are worked on at the same time; it bounds the answers that are in memory.
const CONCURRENT: usize = 8;
/// Questions of one stream that may wait for their turn; no more than these are read.
const WAITING: usize = 1024;
/// Longest time from reading a question to its answer; global waits longer ([`crate::admin::TIMEOUT`]).
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Longest time that an answer waits to be sent; after that nobody waits for it.
const SEND_WITHIN: Duration = Duration::from_secs(1);

/// What answering takes.
#[derive(Clone)]
pub(crate) struct Answering {
    executor: Arc<dyn AdminExecutor>,
    limit: usize,
    turns: Arc<Semaphore>,
}

impl Answering {
    /// Answers come from `executor` and are sent if they have at most `limit` bytes.
    pub(crate) fn new(executor: Arc<dyn AdminExecutor>, limit: usize) -> Self {
        Self { executor, limit, turns: Arc::new(Semaphore::new(CONCURRENT)) }
    }

    /// Answers each question once, in any order, until the stream ends; tells why it ended.
    pub(crate) async fn run<P: AdminProtocol>(
        &self,
        mut requests: impl Stream<Item = Result<P::Request, Status>> + Unpin,
        responses: mpsc::Sender<P::Response>,
    ) -> Status {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(done) = running.join_next() => {
                    if let Err(error) = done {
                        tracing::error!(%error, "answering a question to an Envoy failed");
                    }
                }
                request = requests.next(), if running.len() < WAITING => match request {
                    None => return Status::unavailable("global ended the stream"),
                    Some(Err(status)) => return limits::clarified(status),
                    Some(Ok(request)) => {
                        running.spawn(self.clone().answer::<P>(request, responses.clone()));
                    }
                },
                () = responses.closed() => return Status::unavailable("global does not take answers any more"),
            }
        }
    }

    async fn answer<P: AdminProtocol>(self, request: P::Request, responses: mpsc::Sender<P::Response>) {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let (id, asked) = P::asked(request);
        // Held until the answer is handed over.
        let mut turn = None;
        let result = match asked {
            Err(text) => Err(text),
            Ok(request) => {
                let work = async {
                    turn = self.turns.acquire().await.ok();
                    self.executor.execute(request).await
                };
                let late = |_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
                timeout_at(deadline, work).await.unwrap_or_else(late)
            }
        };
        let answer = fitting::<P>(id, result, self.limit);
        // Without the stream there is nobody to answer.
        let _ = timeout_at(deadline + SEND_WITHIN, responses.send(answer)).await;
        drop(turn);
    }
}

/// The answer, or, when it is larger than a message may be, an error in its place: what cannot be sent would end the stream.
fn fitting<P: AdminProtocol>(id: String, result: Result<bytes::Bytes, String>, limit: usize) -> P::Response {
    let answer = P::answer(id.clone(), result);
    let bytes = answer.encoded_len();
    if bytes <= limit {
        return answer;
    }
    let text = format!(
        "the answer has {bytes} bytes, more than a message to global may have ({limit}); raise \
         multizone.zone.kds.maxMsgSize in the zone and multizone.global.kds.maxMsgSize at global"
    );
    P::answer(id, Err(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use tandem_model::{AdminOperation, Kind, ResourceKey};
    use tandem_proto::mesh::v1alpha1::{ClustersRequest, ClustersResponse};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::admin::{AdminRequest, Clusters};

    /// Answers after a time with as many bytes as the name of the proxy says, and counts.
    #[derive(Default)]
    struct Slow {
        takes: Duration,
        running: AtomicUsize,
        most: AtomicUsize,
    }

    #[async_trait]
    impl AdminExecutor for Slow {
        async fn execute(&self, request: AdminRequest) -> Result<Bytes, String> {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![b'x'; request.proxy.name.parse().expect("a number")].into())
        }
    }

    fn question(id: usize, bytes: usize) -> ClustersRequest {
        let proxy = ResourceKey::new(Kind::Dataplane, "m", bytes.to_string());
        Clusters::ask(id.to_string(), &AdminRequest { proxy, operation: AdminOperation::Clusters { json: false } })
    }

    /// Asks `count` questions at once, and gives what is answered until nothing more comes for a minute.
    async fn ask(executor: Arc<Slow>, count: usize, bytes: usize) -> Vec<(String, Result<Bytes, String>)> {
        let (ask, asked) = mpsc::channel::<Result<ClustersRequest, Status>>(count);
        let (answer, mut answered) = mpsc::channel::<ClustersResponse>(1);
        for id in 0..count {
            ask.send(Ok(question(id, bytes))).await.expect("room");
        }
        let answering = Answering::new(executor, 1000);
        let run = tokio::spawn(async move { answering.run::<Clusters>(ReceiverStream::new(asked), answer).await });
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout(Duration::from_secs(60), answered.recv()).await {
            answers.push(Clusters::answered(answer));
        }
        drop(ask);
        run.await.expect("ended");
        answers
    }

    #[tokio::test(start_paused = true)]
    async fn many_questions_are_answered_once_each_a_few_at_a_time() {
        let executor = Arc::new(Slow { takes: Duration::from_millis(100), ..Slow::default() });
        let answers = ask(executor.clone(), 300, 10).await;
        let ids: BTreeSet<_> = answers.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((answers.len(), ids.len()), (300, 300));
        assert!(answers.iter().all(|(_, result)| result.as_ref().is_ok_and(|body| body.len() == 10)));
        assert_eq!(executor.most.load(Ordering::SeqCst), CONCURRENT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_takes_too_long_is_answered_with_an_error_while_somebody_waits() {
        let began = Instant::now();
        let answers = ask(Arc::new(Slow { takes: Duration::from_secs(3600), ..Slow::default() }), 20, 10).await;
        assert!(began.elapsed() - Duration::from_secs(60) < crate::admin::TIMEOUT);
        assert_eq!(answers.len(), 20);
        assert!(answers.iter().all(|(_, result)| *result == Err("no answer within 8 s".into())), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_too_large_becomes_an_error_with_its_size_and_the_keys() {
        let answers = ask(Arc::new(Slow::default()), 1, 1000).await;
        let text = answers[0].1.clone().expect_err("too large");
        for part in ["1006 bytes", "(1000)", "multizone.zone.kds.maxMsgSize", "multizone.global.kds.maxMsgSize"] {
            assert!(text.contains(part), "{text}");
        }
        let answers = ask(Arc::new(Slow::default()), 1, 994).await;
        assert_eq!(answers[0].1.as_ref().map(Bytes::len), Ok(994));
    }
}
