//! Whether the control plane that holds the name of a zone is still there, when another one asks for the name.
//!
//! A stream can outlive the control plane that opened it: a gateway in between may keep its connection open, and answer
//! pings of the connection by itself. So the holder is asked for a sign of life that only it can give: it has to confirm an
//! empty response.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::wire::{DeltaRequest, DeltaResponse};

/// How long the holder of a name has for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Nonce of the response that asks for it; others are numbers.
const NONCE: &str = "sign-of-life";

/// What is known of the holder.
#[derive(Debug, Default)]
pub(crate) struct Challenge {
    raised: Notify,
    heard: AtomicU64,
    /// A type whose first response is confirmed: for the holder, an empty one changes nothing any more.
    confirmed: OnceLock<String>,
}

impl Challenge {
    /// Another control plane has asked for the name.
    pub(crate) fn raise(&self) {
        self.raised.notify_one();
    }

    /// Takes note of a request of the holder; false when it is nothing but a sign of life.
    pub(crate) fn note(&self, request: &DeltaRequest) -> bool {
        self.heard.fetch_add(1, Ordering::Relaxed);
        if request.response_nonce == NONCE {
            return false;
        }
        if !request.response_nonce.is_empty() && self.confirmed.get().is_none() {
            // Only this stream sets it.
            let _ = self.confirmed.set(request.type_url.clone());
        }
        true
    }

    /// Waits until the holder was asked for a sign of life, through `messages`, and gave none in time.
    pub(crate) async fn lost(&self, messages: &mpsc::Sender<DeltaResponse>) {
        loop {
            self.raised.notified().await;
            let heard = self.heard.load(Ordering::Relaxed);
            if let Some(type_url) = self.confirmed.get() {
                let question =
                    DeltaResponse { type_url: type_url.clone(), nonce: NONCE.to_owned(), ..DeltaResponse::default() };
                // Without room, something is on its way already that the holder has to confirm.
                let _ = messages.try_send(question);
            }
            tokio::time::sleep(SIGN_OF_LIFE).await;
            if self.heard.load(Ordering::Relaxed) == heard {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    fn confirmation(nonce: &str) -> DeltaRequest {
        DeltaRequest { type_url: "Mesh".into(), response_nonce: nonce.into(), ..DeltaRequest::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn who_confirms_keeps_the_name_and_who_does_not_loses_it() {
        let challenge = Challenge::default();
        let (messages, mut sent) = mpsc::channel(1);
        assert!(challenge.note(&confirmation("")) && challenge.note(&confirmation("1")));
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, challenge.lost(&messages)).await.is_err(), "nobody asks for the name");

        challenge.raise();
        let alive = async {
            let question = sent.recv().await.expect("asked");
            assert_eq!((question.type_url.as_str(), question.resources.len()), ("Mesh", 0));
            assert!(!challenge.note(&confirmation(&question.nonce)), "nobody else has to know");
            std::future::pending::<()>().await;
        };
        let kept = async { tokio::join!(challenge.lost(&messages), alive) };
        assert!(timeout(hour, kept).await.is_err());

        challenge.raise();
        let began = Instant::now();
        challenge.lost(&messages).await;
        assert_eq!(began.elapsed(), SIGN_OF_LIFE);
    }

    #[tokio::test(start_paused = true)]
    async fn before_anything_is_confirmed_nothing_is_sent_but_anything_counts() {
        let challenge = Challenge::default();
        let (messages, mut sent) = mpsc::channel(1);
        challenge.raise();
        let subscribes = async {
            tokio::time::sleep(SIGN_OF_LIFE / 2).await;
            challenge.note(&confirmation(""));
            std::future::pending::<()>().await;
        };
        let kept = async { tokio::join!(challenge.lost(&messages), subscribes) };
        assert!(timeout(SIGN_OF_LIFE * 3, kept).await.is_err());
        assert!(sent.try_recv().is_err());
        challenge.raise();
        challenge.lost(&messages).await;
    }
}
