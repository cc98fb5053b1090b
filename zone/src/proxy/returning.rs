//! What proxies leave behind for the time when they come back.
//!
//! A connection that breaks is opened again within seconds, mostly by the same Envoy with the same configuration. What its stream had
//! (certificates, configuration) is kept for as long as the proxy's resource is. Returning costs almost nothing then: no certificate, no
//! resource built anew, and nothing sent but what changed meanwhile. Who comes back is checked like anybody who comes.

use std::collections::HashMap;

use parking_lot::Mutex;
use tandem_model::ResourceKey;
use tandem_xds::{AdminTls, ProxyMetadata};

use super::session::{Certificates, Made};

/// Most proxies of which something is kept: each holds about as much as one that is connected.
const MOST: usize = 20_000;

/// What the stream of a proxy had.
#[derive(Debug)]
pub struct Left {
    /// What the proxy told of itself.
    pub(super) metadata: ProxyMetadata,
    /// Its certificates.
    pub(super) certificates: Certificates,
    /// Those of its admin port, and the addresses they are for.
    pub(super) admin: Option<(Vec<String>, AdminTls)>,
    /// Its configuration.
    pub(super) made: Option<Made>,
}

/// What proxies left, by proxy.
#[derive(Debug, Default)]
pub struct Returning {
    /// With the number of the connection that ended.
    left: Mutex<HashMap<ResourceKey, (u64, Left)>>,
}

impl Returning {
    /// Keeps what a connection had.
    pub fn keep(&self, proxy: &ResourceKey, connection: u64, left: Left) {
        let mut kept = self.left.lock();
        if kept.len() < MOST || kept.contains_key(proxy) {
            kept.insert(proxy.clone(), (connection, left));
        }
    }

    /// What a proxy left; given once.
    pub fn take(&self, proxy: &ResourceKey) -> Option<Left> {
        self.left.lock().remove(proxy).map(|(_, left)| left)
    }

    /// Drops what a connection had, unless a later one of the same proxy has left something.
    pub fn forget(&self, proxy: &ResourceKey, connection: u64) {
        let mut kept = self.left.lock();
        let left =
            if kept.get(proxy).is_some_and(|(number, _)| *number == connection) { kept.remove(proxy) } else { None };
        // What goes with it is dropped without the lock.
        drop(kept);
        drop(left);
    }

    /// Number of proxies of which something is kept.
    pub fn count(&self) -> usize {
        self.left.lock().len()
    }
}
