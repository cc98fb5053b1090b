//! Zones that rest: while a zone is disabled, nothing is sent to it and nothing that it sends is applied.
//!
//! The streams stay open, and go on where they were as soon as the zone is enabled. They are told, nothing is polled.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// What to do with zones that are disabled (`multizone.global.kds.disabledZones`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DisabledZones {
    /// Their synchronization rests in both directions.
    #[default]
    Pause,
    /// They are synchronized like others, as in Kuma.
    Sync,
}

/// The disabled zones; `None` while the store was not read yet.
pub(crate) type Disabled = Option<Arc<BTreeSet<String>>>;

/// Whether a stream rests.
#[derive(Debug)]
pub(crate) struct Pause {
    zone: String,
    disabled: Option<watch::Receiver<Disabled>>,
    resting: bool,
}

impl Pause {
    /// Of a stream that never rests.
    pub(crate) fn never() -> Self {
        Self { zone: String::new(), disabled: None, resting: false }
    }

    /// Of a stream that rests while `zone` is disabled, and until that is known.
    pub(crate) fn while_disabled(zone: &str, disabled: watch::Receiver<Disabled>) -> Self {
        let mut pause = Self { zone: zone.to_owned(), disabled: Some(disabled), resting: true };
        pause.resting = pause.look();
        pause
    }

    /// Whether the stream rests, as of the last [`Self::switched`].
    pub(crate) fn is_on(&self) -> bool {
        self.resting
    }

    /// Waits until the stream begins to rest, or to go on. Cancellation safe.
    pub(crate) async fn switched(&mut self) {
        loop {
            let resting = self.look();
            if resting != self.resting {
                self.resting = resting;
                return;
            }
            let told = match &mut self.disabled {
                Some(disabled) => disabled.changed().await.is_ok(),
                None => false,
            };
            if !told {
                return std::future::pending().await;
            }
        }
    }

    fn look(&mut self) -> bool {
        let Some(disabled) = &mut self.disabled else { return false };
        disabled.borrow_and_update().as_ref().is_none_or(|zones| zones.contains(&self.zone))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn zones(names: &[&str]) -> Disabled {
        Some(Arc::new(names.iter().map(|&name| name.to_owned()).collect()))
    }

    #[tokio::test]
    async fn a_stream_rests_while_its_zone_is_disabled() {
        let disabled = watch::Sender::new(None);
        let mut pause = Pause::while_disabled("east", disabled.subscribe());
        assert!(pause.is_on(), "nothing is known yet");
        disabled.send_replace(zones(&["west"]));
        pause.switched().await;
        assert!(!pause.is_on());
        disabled.send_replace(zones(&["east", "west"]));
        disabled.send_replace(zones(&["west"]));
        assert!(pause.switched().now_or_never().is_none(), "it is as before");
        disabled.send_replace(zones(&["east"]));
        pause.switched().await;
        assert!(pause.is_on());
        disabled.send_replace(zones(&[]));
        pause.switched().await;
        assert!(!pause.is_on());
    }

    #[tokio::test]
    async fn a_stream_without_zone_never_rests() {
        let mut pause = Pause::never();
        assert!(!pause.is_on());
        assert!(pause.switched().now_or_never().is_none());
    }
}
