//! What connections of workloads need, made once for all sidecars that see their mesh alike.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tandem_policy::reporter::Reporter;
use tandem_policy::trace::Tracing;
use tandem_policy::{OutboundPolicies, OwnTags};

use super::super::collect::{Collector, Gathered};
use super::super::credential::Credentials;
use super::super::dns::Records;
use super::super::names::Naming;
use super::super::outbounds::{self, Address, Selection};
use super::super::shape::is_ipv6;
use super::super::transparent::Redirection;
use super::Sidecar;
use crate::cache::ByAddress;
use crate::index::MeshState;

/// All that the outbounds of a sidecar follow from, besides the state of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Standpoint {
    mesh: Arc<str>,
    naming: Naming,
    credentials: Credentials,
    redirection: Redirection,
    bind_outbounds: bool,
    /// The host has IPv6.
    ipv6: bool,
    /// The Dataplane has an IPv6 address.
    at_ipv6: bool,
    /// Names of virtual addresses are published.
    has_names: bool,
    policies: ByAddress<OutboundPolicies>,
    own_tags: OwnTags,
    /// What requests tell of the proxy's tags; `None` when they tell nothing.
    tags_header: Option<Arc<str>>,
    /// What logs and traces say of the proxy; `None` when there are none.
    reporter: Option<Arc<Reporter>>,
    selection: Selection,
}

/// What is made of the outbounds of a sidecar.
#[derive(Debug)]
pub(crate) struct Outlook {
    /// Resources and what goes with them.
    pub gathered: Arc<Gathered>,
    /// Addresses of the outbounds, sorted.
    pub addresses: Vec<Address>,
    /// Names that lead to them; empty where they are not published.
    pub records: Records,
    /// Fingerprint of the names.
    pub names: u64,
    /// Names that are claimed twice, for a person.
    pub clashes: Vec<String>,
}

impl Outlook {
    fn has(&self, address: &(&str, u32)) -> bool {
        self.addresses.binary_search_by(|(host, port)| (host.as_str(), *port).cmp(address)).is_ok()
    }
}

/// Outlooks in use, the newest one of each standpoint.
#[derive(Debug, Default)]
pub(crate) struct Outlooks(Mutex<HashMap<Standpoint, Seen, RandomState>>);

/// An outlook and the state of which it is. The weak reference keeps another state from coming to its address.
#[derive(Debug)]
struct Seen {
    state: Weak<MeshState>,
    topology: u64,
    outlook: Weak<Outlook>,
}

impl Outlooks {
    /// The outlook on a state, built when nobody has it. One that is as it was before is the same value in memory.
    fn of(
        &self,
        standpoint: Standpoint,
        state: &Arc<MeshState>,
        topology: u64,
        build: impl FnOnce() -> Outlook,
    ) -> Arc<Outlook> {
        let mut before = None;
        if let Some(seen) = self.0.lock().get(&standpoint) {
            before = seen.outlook.upgrade();
            let is_current = std::ptr::eq(Weak::as_ptr(&seen.state), Arc::as_ptr(state)) && seen.topology == topology;
            if let Some(outlook) = before.as_ref().filter(|_| is_current) {
                return outlook.clone();
            }
        }
        let mut built = build();
        if let (Some(before), Some(gathered)) = (&before, Arc::get_mut(&mut built.gathered)) {
            gathered.share(&before.gathered);
        }
        let outlook = match before.filter(|before| before.is_same(&built)) {
            Some(before) => before,
            None => Arc::new(built),
        };
        let seen = Seen { state: Arc::downgrade(state), topology, outlook: Arc::downgrade(&outlook) };
        let mut all = self.0.lock();
        if all.insert(standpoint, seen).is_none() {
            all.retain(|_, seen| seen.outlook.strong_count() > 0);
        }
        outlook
    }
}

impl Outlook {
    fn is_same(&self, other: &Self) -> bool {
        self.gathered.is_same(&other.gathered)
            && self.addresses == other.addresses
            && self.names == other.names
            && self.clashes == other.clashes
    }
}

impl Sidecar<'_> {
    /// What connections of the workload to its destinations need.
    pub(super) fn outlook(&self, tracing: Option<&Arc<Tracing>>) -> Arc<Outlook> {
        let taken = outbounds::own_addresses(self.dataplane);
        if self.is_like_others(tracing) {
            let build = || self.look(&BTreeSet::new(), tracing);
            let (snapshot, state) = (self.snapshot, self.state);
            let outlook = self.cache.outlooks.of(self.standpoint(), state, snapshot.topology_revision, build);
            if !taken.iter().any(|address| outlook.has(address)) {
                return outlook;
            }
        }
        Arc::new(self.look(&taken, tracing))
    }

    /// False when the outbounds depend on more of the proxy than its standpoint: on its name, or policies of the older generation that
    /// select it.
    fn is_like_others(&self, tracing: Option<&Arc<Tracing>>) -> bool {
        tracing.is_none() && self.state.legacy.policies().traffic_routes.is_empty()
    }

    fn standpoint(&self) -> Standpoint {
        Standpoint {
            mesh: self.mesh.name.clone(),
            naming: self.naming,
            credentials: self.credentials.clone(),
            redirection: self.redirection,
            bind_outbounds: self.metadata.features.bind_outbounds,
            ipv6: self.metadata.ipv6_enabled,
            at_ipv6: is_ipv6(self.dataplane.address()),
            has_names: self.has_names(),
            policies: ByAddress(self.outbound_policies.clone()),
            own_tags: self.own_tags.clone(),
            tags_header: self.tags_header.clone(),
            reporter: self.reporting.outgoing.clone(),
            selection: Selection::of(self.dataplane),
        }
    }

    fn look(&self, taken: &BTreeSet<(&str, u32)>, tracing: Option<&Arc<Tracing>>) -> Outlook {
        let Self { cache, state, dataplane, redirection, metadata, .. } = *self;
        let mut collector = Collector::new(cache, None);
        let outbounds = outbounds::of(state, dataplane, &redirection, metadata, taken);
        for services in outbounds::watched(state, dataplane, &redirection, metadata) {
            collector.uses(&self.mesh.name, &services);
        }
        self.outbounds(&mut collector, &outbounds, tracing);
        let (records, clashes) = match self.has_names() {
            true => outbounds::records(state, &outbounds, redirection.ipv6),
            false => Default::default(),
        };
        let mut addresses: Vec<_> = outbounds.into_iter().map(|outbound| (outbound.address, outbound.port)).collect();
        addresses.sort_unstable();
        let names = cache.fingerprints.of(&records);
        Outlook { gathered: Arc::new(collector.gather()), addresses, records, names, clashes }
    }
}
