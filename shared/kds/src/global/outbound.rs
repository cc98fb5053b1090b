//! The answering half of a stream that a zone opened.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Messages to a zone, and at last the status with which the stream ends. Never ends with OK: Kuma's zones take that
/// as a lasting farewell.
#[derive(Debug)]
pub(crate) struct Outbound<M> {
    messages: mpsc::Receiver<M>,
    end: Option<oneshot::Receiver<Status>>,
}

/// The other end: where the task of the stream puts messages and the status.
#[derive(Debug)]
pub(crate) struct Inner<M> {
    pub(crate) messages: mpsc::Sender<M>,
    end: oneshot::Sender<Status>,
}

/// Both ends, with room for `ahead` messages.
pub(crate) fn outbound<M>(ahead: usize) -> (Inner<M>, Outbound<M>) {
    let (messages, received) = mpsc::channel(ahead);
    let (end, ended) = oneshot::channel();
    (Inner { messages, end }, Outbound { messages: received, end: Some(ended) })
}

impl<M> Inner<M> {
    /// Ends the stream.
    pub(crate) fn end(self, status: Status) {
        // The zone may be gone already.
        let _ = self.end.send(status);
    }
}

impl<M> Stream for Outbound<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.messages.poll_recv(context) {
            Poll::Ready(Some(message)) => return Poll::Ready(Some(Ok(message))),
            Poll::Ready(None) => {}
            Poll::Pending => return Poll::Pending,
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let status = match Pin::new(end).poll(context) {
            Poll::Ready(Ok(status)) => status,
            Poll::Ready(Err(_)) => Status::internal("stream failed"),
            Poll::Pending => return Poll::Pending,
        };
        self.end = None;
        Poll::Ready(Some(Err(status)))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn messages_come_first_and_then_the_status() {
        let (inner, outbound) = outbound::<u8>(2);
        inner.messages.send(1).await.expect("room");
        inner.messages.send(2).await.expect("room");
        inner.end(Status::unavailable("stream unavailable"));
        let all: Vec<_> = outbound.map(|item| item.map_err(|status| status.code())).collect().await;
        assert_eq!(all, [Ok(1), Ok(2), Err(Code::Unavailable)]);
    }

    #[tokio::test]
    async fn a_lost_task_is_no_clean_end() {
        let (inner, outbound) = outbound::<u8>(1);
        drop(inner);
        let all: Vec<_> = outbound.map(|item| item.map_err(|status| status.code())).collect().await;
        assert_eq!(all, [Err(Code::Internal)]);
    }
}
