//! The proxies that are connected to this instance, and who has to look again when something changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use tandem_model::{Kind, ResourceKey};
use tandem_xds::Touched;
use tokio::sync::Notify;

use super::life::Life;

/// A service of a mesh.
pub type ServiceKey = (String, String);

/// Connected proxies by key.
#[derive(Debug, Default)]
pub struct Registry {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    connected: HashMap<ResourceKey, Entry>,
    /// Proxies that use the same services, by the address of these in memory.
    groups: HashMap<usize, Group>,
    /// The groups that use a service.
    users: HashMap<ServiceKey, HashSet<usize>>,
    /// Counts connections, so that a departure can tell whether its proxy came back in between.
    connections: u64,
    last_connection: HashMap<ResourceKey, u64>,
    /// Others than discovery streams who want to know of changes of a proxy's resource.
    watchers: HashMap<ResourceKey, Vec<Arc<Notify>>>,
}

/// A connected proxy.
#[derive(Debug)]
struct Entry {
    number: u64,
    dirty: Arc<Notify>,
    life: Arc<Life>,
}

/// Proxies that use the same services.
#[derive(Debug)]
struct Group {
    /// Kept, so that nothing else comes to their address.
    _services: Arc<BTreeSet<ServiceKey>>,
    /// By number of connection.
    members: HashMap<u64, Arc<Notify>>,
}

impl State {
    fn join(&mut self, services: &Arc<BTreeSet<ServiceKey>>, number: u64, dirty: &Arc<Notify>) {
        let id = Arc::as_ptr(services).addr();
        let group = self.groups.entry(id).or_insert_with(|| {
            for service in services.iter() {
                self.users.entry(service.clone()).or_default().insert(id);
            }
            Group { _services: services.clone(), members: HashMap::new() }
        });
        group.members.insert(number, dirty.clone());
    }

    fn leave(&mut self, services: &Arc<BTreeSet<ServiceKey>>, number: u64) {
        let id = Arc::as_ptr(services).addr();
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.members.remove(&number);
        if !group.members.is_empty() {
            return;
        }
        self.groups.remove(&id);
        for service in services.iter() {
            if let Some(users) = self.users.get_mut(service) {
                users.remove(&id);
                if users.is_empty() {
                    self.users.remove(service);
                }
            }
        }
    }
}

/// Another stream of the same proxy is open.
#[derive(Debug, thiserror::Error)]
#[error("there is already an active stream from this node, try again later")]
pub struct AlreadyConnected {
    /// Number of its connection.
    pub number: u64,
    /// Whether somebody is at its other end.
    pub life: Arc<Life>,
}

impl Registry {
    /// Notes that a proxy is connected. The returned handle ends the connection when dropped.
    ///
    /// # Errors
    /// When a stream of the same proxy is open.
    pub fn connect(self: &Arc<Self>, key: &ResourceKey) -> Result<Connection, AlreadyConnected> {
        self.connect_in(&mut self.state.write(), key)
    }

    fn connect_in(self: &Arc<Self>, state: &mut State, key: &ResourceKey) -> Result<Connection, AlreadyConnected> {
        if let Some(Entry { number, life, .. }) = state.connected.get(key) {
            return Err(AlreadyConnected { number: *number, life: life.clone() });
        }
        let (dirty, life) = (Arc::new(Notify::new()), Arc::new(Life::default()));
        state.connections += 1;
        let number = state.connections;
        state.connected.insert(key.clone(), Entry { number, dirty: dirty.clone(), life: life.clone() });
        Ok(Connection { registry: self.clone(), key: key.clone(), number, dirty, life, services: Arc::default() })
    }

    /// Takes its place from a connection at whose other end nobody is, and tells its stream to end.
    pub fn displace(&self, key: &ResourceKey, number: u64) {
        let mut state = self.state.write();
        if state.connected.get(key).is_some_and(|entry| entry.number == number)
            && let Some(entry) = state.connected.remove(key)
        {
            entry.life.displace();
        }
    }

    /// Wakes those whom a change of their own resource concerns, and returns the streams that are to be woken because of others. A
    /// stream that is busy finds the wake-up when it is done, and several wake-ups are one.
    #[must_use]
    pub fn wake(&self, touched: &Touched) -> Vec<Arc<Notify>> {
        let state = self.state.read();
        if touched.everything {
            state.watchers.values().flatten().for_each(|watcher| watcher.notify_one());
            return state.connected.values().map(|entry| entry.dirty.clone()).collect();
        }
        let watchers = touched.proxies.iter().filter_map(|key| state.watchers.get(key)).flatten();
        watchers.for_each(|watcher| watcher.notify_one());
        let proxies = touched.proxies.iter().filter_map(|key| state.connected.get(key));
        proxies.for_each(|entry| entry.dirty.notify_one());
        let mut others = Vec::new();
        let concerns_group = |key: &ResourceKey| match key.kind {
            Kind::Dataplane => touched.meshes.contains(&key.mesh),
            _ => touched.zone_proxies,
        };
        if !touched.meshes.is_empty() || touched.zone_proxies {
            let group = state.connected.iter().filter(|(key, _)| concerns_group(key));
            others.extend(group.map(|(_, entry)| entry.dirty.clone()));
        }
        let users = touched.services.iter().filter_map(|service| state.users.get(service)).flatten();
        let groups: HashSet<&usize> = users.collect();
        let members = groups.into_iter().filter_map(|id| state.groups.get(id)).flat_map(|group| group.members.values());
        others.extend(members.cloned());
        others
    }

    /// Watches the resource of a proxy, whether it is connected or not.
    pub fn watch(self: &Arc<Self>, key: &ResourceKey) -> Watch {
        let changed = Arc::new(Notify::new());
        self.state.write().watchers.entry(key.clone()).or_default().push(changed.clone());
        Watch { registry: self.clone(), key: key.clone(), changed }
    }

    /// True while a stream of the proxy is open.
    pub fn is_connected(&self, key: &ResourceKey) -> bool {
        self.state.read().connected.contains_key(key)
    }

    /// Takes the place of a proxy that is gone, so that nobody connects while its resource is deleted: who wants to waits until the
    /// place is given back. `None` when the proxy is connected or was let in after connection `number`.
    pub fn vacate(self: &Arc<Self>, key: &ResourceKey, number: Option<u64>) -> Option<Vacancy> {
        let was_last = |state: &State| number.is_none_or(|number| state.last_connection.get(key) == Some(&number));
        let connection = {
            let mut state = self.state.write();
            if !was_last(&state) {
                return None;
            }
            self.connect_in(&mut state, key).ok()?
        };
        // Nobody has to wait for a sign of life: the end comes soon.
        connection.life.serve();
        Some(Vacancy { connection })
    }
}

/// The place of a proxy that is gone; given back when dropped.
#[derive(Debug)]
pub struct Vacancy {
    connection: Connection,
}

impl Vacancy {
    /// Gives the place back, and forgets that the proxy was ever connected.
    pub fn forget(self) {
        let Connection { registry, key, .. } = &self.connection;
        registry.state.write().last_connection.remove(key);
    }
}

/// An open stream of a proxy.
#[derive(Debug)]
pub struct Connection {
    registry: Arc<Registry>,
    key: ResourceKey,
    number: u64,
    dirty: Arc<Notify>,
    life: Arc<Life>,
    services: Arc<BTreeSet<ServiceKey>>,
}

impl Connection {
    /// The proxy.
    pub fn key(&self) -> &ResourceKey {
        &self.key
    }

    /// Number of this connection among all of this instance.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Notes that the proxy is let in: departures of its earlier connections have nothing to remove any more.
    pub fn let_in(&self) {
        self.registry.state.write().last_connection.insert(self.key.clone(), self.number);
    }

    /// Resolves when something changed for the proxy since the last call.
    pub fn dirty(&self) -> &Arc<Notify> {
        &self.dirty
    }

    /// Whether somebody is at its other end.
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// True when no other connection of the proxy is open, and none took the place of this one.
    pub fn is_only(&self) -> bool {
        self.registry.state.read().connected.get(&self.key).is_none_or(|entry| entry.number == self.number)
    }

    /// Tells whose endpoints the proxy uses from now on. Proxies that share the value share what is noted about it.
    pub fn use_services(&mut self, services: &Arc<BTreeSet<ServiceKey>>) {
        if Arc::ptr_eq(&self.services, services) {
            return;
        }
        let mut state = self.registry.state.write();
        // First the new ones: a wake-up in between is not lost.
        state.join(services, self.number, &self.dirty);
        state.leave(&self.services, self.number);
        drop(state);
        self.services = services.clone();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.registry.state.write();
        // Another one may have taken its place.
        if state.connected.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            state.connected.remove(&self.key);
        }
        state.leave(&self.services, self.number);
        drop(state);
        self.life.end();
    }
}

/// Somebody who watches the resource of a proxy.
#[derive(Debug)]
pub struct Watch {
    registry: Arc<Registry>,
    key: ResourceKey,
    changed: Arc<Notify>,
}

impl Watch {
    /// Resolves when the resource was written since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.registry.state.write();
        let Some(watchers) = state.watchers.get_mut(&self.key) else { return };
        watchers.retain(|watcher| !Arc::ptr_eq(watcher, &self.changed));
        if watchers.is_empty() {
            state.watchers.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn proxy(name: &str) -> ResourceKey {
        ResourceKey::new(Kind::Dataplane, "default", name)
    }

    fn wake(registry: &Registry, touched: &Touched) {
        registry.wake(touched).iter().for_each(|stream| stream.notify_one());
    }

    fn woken(connection: &Connection) -> bool {
        connection.dirty().notified().now_or_never().is_some()
    }

    #[test]
    fn a_second_stream_is_refused_until_the_first_ends() {
        let registry = Arc::new(Registry::default());
        let first = registry.connect(&proxy("a")).unwrap();
        assert!(registry.connect(&proxy("a")).is_err());
        drop(first);
        assert!(registry.connect(&proxy("a")).is_ok());
    }

    #[test]
    fn a_displaced_connection_leaves_its_place_and_touches_it_no_more() {
        let registry = Arc::new(Registry::default());
        let first = registry.connect(&proxy("a")).unwrap();
        registry.displace(&proxy("a"), first.number() + 1);
        assert!(registry.connect(&proxy("a")).is_err(), "another one was meant");
        registry.displace(&proxy("a"), first.number());
        assert!(first.life().displaced().now_or_never().is_some());
        let second = registry.connect(&proxy("a")).unwrap();
        assert!(second.is_only() && !first.is_only());
        drop(first);
        assert!(registry.is_connected(&proxy("a")) && registry.connect(&proxy("a")).is_err());
        assert!(second.life().displaced().now_or_never().is_none());
    }

    #[test]
    fn only_users_of_a_service_are_woken() {
        let registry = Arc::new(Registry::default());
        let mut user = registry.connect(&proxy("user")).unwrap();
        let other = registry.connect(&proxy("other")).unwrap();
        let service = ("default".to_owned(), "backend".to_owned());
        user.use_services(&Arc::new(BTreeSet::from([service.clone()])));
        let touched = Touched { services: BTreeSet::from([service]), ..Touched::default() };
        wake(&registry, &touched);
        assert!(woken(&user));
        assert!(!woken(&other));
        user.use_services(&Arc::default());
        wake(&registry, &touched);
        assert!(!woken(&user));
    }

    #[test]
    fn proxies_that_use_the_same_services_leave_one_by_one() {
        let registry = Arc::new(Registry::default());
        let service = ("default".to_owned(), "backend".to_owned());
        let services = Arc::new(BTreeSet::from([service.clone()]));
        let [mut first, mut second] = ["a", "b"].map(|name| registry.connect(&proxy(name)).unwrap());
        first.use_services(&services);
        second.use_services(&services);
        drop(first);
        wake(&registry, &Touched { services: BTreeSet::from([service]), ..Touched::default() });
        assert!(woken(&second));
        drop(second);
        let state = registry.state.read();
        assert!(state.users.is_empty() && state.groups.is_empty() && state.connected.is_empty());
    }

    #[test]
    fn the_place_of_a_proxy_is_free_for_removal_unless_it_came_back() {
        let registry = Arc::new(Registry::default());
        let first = registry.connect(&proxy("a")).unwrap();
        first.let_in();
        let number = Some(first.number());
        assert!(registry.vacate(&proxy("a"), number).is_none(), "it is connected");
        drop(first);
        // One that was refused changes nothing.
        drop(registry.connect(&proxy("a")).unwrap());
        let vacancy = registry.vacate(&proxy("a"), number).expect("it is gone");
        let earlier = registry.connect(&proxy("a")).expect_err("the place is taken");
        drop(vacancy);
        assert!(earlier.life.ended().now_or_never().is_some(), "whoever waits is told");
        let again = registry.connect(&proxy("a")).unwrap();
        again.let_in();
        let second = Some(again.number());
        drop(again);
        assert!(registry.vacate(&proxy("a"), number).is_none(), "it came back and left again");
        registry.vacate(&proxy("a"), second).expect("it is gone").forget();
        let state = registry.state.read();
        assert!(state.connected.is_empty() && state.last_connection.is_empty());
    }
}
