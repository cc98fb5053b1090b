//! How a stream hears that it has to end, and why.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Why a stream has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The zone has opened a newer one.
    Replaced,
    /// The zone has connected to another instance of global.
    TakenOver(String),
    /// The Zone was deleted.
    Deleted,
    /// The stream that decides about the name has ended.
    Closed,
}

impl End {
    fn status(&self) -> Status {
        Status::cancelled(match self {
            Self::Replaced => "stream canceled - the zone has opened a newer one".to_owned(),
            Self::TakenOver(instance) => format!("stream canceled - the zone is connected to {instance:?} now"),
            Self::Deleted => "stream canceled - the Zone was deleted".to_owned(),
            Self::Closed => "stream canceled - stream stopped".to_owned(),
        })
    }
}

/// Tells a stream that it has to end. All clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    token: CancellationToken,
    reason: Arc<OnceLock<End>>,
}

impl Ending {
    /// Tells the stream; the first reason counts.
    pub(super) fn end(&self, reason: End) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Waits until the stream has to end; its status then.
    pub(crate) async fn ended(&self) -> Status {
        self.token.cancelled().await;
        self.reason.get().unwrap_or(&End::Closed).status()
    }

    /// Whether both are those of one stream.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.reason, &other.reason)
    }

    /// Whether the stream has to end.
    #[cfg(test)]
    pub(super) fn has_ended(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Why the stream has to end, once it has to.
    pub(crate) fn reason(&self) -> Option<&End> {
        self.reason.get()
    }
}
