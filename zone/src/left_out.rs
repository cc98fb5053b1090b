//! Which resources are left out of configurations, of all proxies or of some: for those who tell it in the status of the resources.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tandem_model::ResourceKey;
use tandem_xds::Warning;
use tokio::sync::watch;

/// Reasons by resource.
pub type Reasons = BTreeMap<ResourceKey, BTreeSet<String>>;

/// Gathers what the index and the connected proxies leave out.
#[derive(Debug, Default)]
pub struct LeftOut {
    sources: Mutex<Sources>,
    all: watch::Sender<Reasons>,
}

#[derive(Debug, Default)]
struct Sources {
    of_all: Reasons,
    of_proxies: BTreeMap<ResourceKey, Vec<(ResourceKey, String)>>,
}

impl LeftOut {
    /// Takes notice of what no proxy can be sent, in the place of what was said before.
    pub fn of_all(&self, reasons: Reasons) {
        self.update(|sources| sources.of_all = reasons);
    }

    /// Takes notice of what one proxy is not sent, in the place of what was said before.
    pub fn of_proxy(&self, proxy: &ResourceKey, warnings: &[Warning]) {
        if warnings.is_empty() && !self.sources.lock().of_proxies.contains_key(proxy) {
            return;
        }
        let about = |warning: &Warning| Some((warning.resource.clone()?, warning.reason.clone()));
        let warnings: Vec<_> = warnings.iter().filter_map(about).collect();
        self.update(|sources| {
            if warnings.is_empty() {
                sources.of_proxies.remove(proxy);
            } else {
                sources.of_proxies.insert(proxy.clone(), warnings);
            }
        });
    }

    /// What is left out now, and every time that changes.
    pub fn follow(&self) -> watch::Receiver<Reasons> {
        self.all.subscribe()
    }

    fn update(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock();
        change(&mut sources);
        let mut reasons = sources.of_all.clone();
        for (resource, reason) in sources.of_proxies.values().flatten() {
            reasons.entry(resource.clone()).or_default().insert(reason.clone());
        }
        // Sent while the sources are held, so that the last state is the one that stays.
        self.all.send_if_modified(|all| {
            let differs = *all != reasons;
            *all = reasons;
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::Kind;

    use super::*;

    #[test]
    fn a_reason_lasts_as_long_as_somebody_tells_it() {
        let left_out = LeftOut::default();
        let service = ResourceKey::new(Kind::MeshService, "m", "s");
        let proxy = |name: &str| ResourceKey::new(Kind::Dataplane, "m", name);
        let warning = Warning { resource: Some(service.clone()), reason: "no port".to_owned() };
        let mut follower = left_out.follow();
        left_out.of_proxy(&proxy("a"), std::slice::from_ref(&warning));
        assert!(follower.has_changed().expect("it is there"));
        let expected = Reasons::from([(service.clone(), BTreeSet::from(["no port".to_owned()]))]);
        assert_eq!(*follower.borrow_and_update(), expected);
        left_out.of_proxy(&proxy("b"), &[warning, Warning { resource: None, reason: "its own".to_owned() }]);
        left_out.of_proxy(&proxy("a"), &[]);
        assert!(!follower.has_changed().expect("it is there"), "the other one still tells it");
        left_out.of_all(Reasons::from([(service.clone(), BTreeSet::from(["bad".to_owned()]))]));
        left_out.of_proxy(&proxy("b"), &[]);
        assert_eq!(follower.borrow_and_update()[&service], BTreeSet::from(["bad".to_owned()]));
        left_out.of_all(Reasons::new());
        assert!(follower.borrow_and_update().is_empty());
    }
}
