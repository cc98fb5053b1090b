//! Whether all parts of the process are ready to serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Ready when every component that announced itself has said so. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

impl Readiness {
    /// Announces a component; the process is not ready until the component is. To be called before serving starts.
    #[must_use]
    pub fn component(&self) -> Component {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Component { waiting: self.waiting.clone(), ready: false }
    }

    /// The process is ending: never ready again.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// True when all components are ready and the process is not ending.
    pub fn is_ready(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && !self.stopping.load(Ordering::SeqCst)
    }
}

/// The part of one component in [`Readiness`]. A component that drops this without being ready leaves the process
/// not ready.
#[derive(Debug)]
pub struct Component {
    waiting: Arc<AtomicUsize>,
    ready: bool,
}

impl Component {
    /// The component serves now.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_are_until_the_end() {
        let readiness = Readiness::default();
        let (mut one, mut two) = (readiness.component(), readiness.component());
        one.ready();
        one.ready();
        assert!(!readiness.is_ready());
        two.ready();
        assert!(readiness.is_ready());
        readiness.stop();
        assert!(!readiness.is_ready());
    }
}
