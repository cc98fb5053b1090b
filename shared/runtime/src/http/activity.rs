//! What goes on on a connection: how many requests are open, and how long their bodies may take.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::pending::Ticket;

/// What goes on on a connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// The place among those that have not asked for anything, until they do.
    ticket: Mutex<Option<Ticket>>,
    /// Requests whose responses are not complete.
    open: AtomicU32,
    /// Of these, how many are no streams, and since when there is one at least.
    brief: Mutex<(u32, Option<Instant>)>,
    /// Requests so far.
    seen: AtomicU32,
    /// The numbers changed in a way that matters for how long the connection may stay.
    changed: Notify,
}

impl Activity {
    pub(super) fn new(ticket: Ticket) -> Arc<Self> {
        let ticket = Mutex::new(Some(ticket));
        Arc::new(Self {
            ticket,
            open: AtomicU32::new(0),
            brief: Mutex::default(),
            seen: AtomicU32::new(0),
            changed: Notify::new(),
        })
    }

    /// A request begins, `brief` unless it is a stream; it ends when the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>, brief: bool) -> Open {
        if self.seen.fetch_add(1, Ordering::Relaxed) == 0 {
            *self.ticket.lock() = None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        if brief {
            let mut state = self.brief.lock();
            state.0 += 1;
            state.1.get_or_insert_with(Instant::now);
        }
        self.changed.notify_one();
        Open { activity: self.clone(), brief }
    }

    /// Requests whose responses are not complete.
    pub(super) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Since when there is a request that is no stream; `None` when there is none.
    pub(super) fn brief_since(&self) -> Option<Instant> {
        self.brief.lock().1
    }

    /// Requests so far.
    pub(super) fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Resolves when requests began or the last open one ended since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A request whose response is not complete.
#[derive(Debug)]
pub(super) struct Open {
    activity: Arc<Activity>,
    brief: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut changed = self.activity.open.fetch_sub(1, Ordering::Relaxed) == 1;
        if self.brief {
            let mut state = self.activity.brief.lock();
            state.0 -= 1;
            if state.0 == 0 {
                state.1 = None;
                changed = true;
            }
        }
        if changed {
            self.activity.changed.notify_one();
        }
    }
}

/// The body of a response, with what is to be dropped when it is complete.
pub(super) struct Guarded {
    pub(super) body: Body,
    pub(super) _open: Open,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request did not arrive within {0:?}")]
pub struct BodyTimeout(Duration);

impl BodyTimeout {
    /// True when this is why a body could not be read.
    pub fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Self>())
    }
}

/// The body of a request that has to arrive in time.
pub(super) struct Timed {
    body: Incoming,
    limit: Duration,
    end: Pin<Box<Sleep>>,
}

impl Timed {
    pub(super) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, end: Box::pin(sleep(limit)) }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let limit = self.limit;
        self.end.as_mut().poll(context).map(|()| Some(Err(BodyTimeout(limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
