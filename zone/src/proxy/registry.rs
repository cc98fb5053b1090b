//! The proxies that are connected to this instance, and who has to look again when something changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use tandem_model::{Kind, ResourceKey};
use tandem_xds::Touched;
use tokio::sync::Notify;

/// A service of a mesh.
pub type ServiceKey = (String, String);

/// Connected proxies by key.
#[derive(Debug, Default)]
pub struct Registry {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    connected: HashMap<ResourceKey, Arc<Notify>>,
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
pub struct AlreadyConnected;

impl Registry {
    /// Notes that a proxy is connected. The returned handle ends the connection when dropped.
    ///
    /// # Errors
    /// When a stream of the same proxy is open.
    pub fn connect(self: &Arc<Self>, key: &ResourceKey) -> Result<Connection, AlreadyConnected> {
        let mut state = self.state.write();
        if state.connected.contains_key(key) {
            return Err(AlreadyConnected);
        }
        let dirty = Arc::new(Notify::new());
        state.connections += 1;
        let number = state.connections;
        state.connected.insert(key.clone(), dirty.clone());
        state.last_connection.insert(key.clone(), number);
        drop(state);
        Ok(Connection { registry: self.clone(), key: key.clone(), number, dirty, services: Arc::default() })
    }

    /// Wakes the streams of the proxies that a change concerns; a stream that is busy finds the wake-up when it is done, and
    /// several wake-ups are one.
    pub fn wake(&self, touched: &Touched) {
        let state = self.state.read();
        if touched.everything {
            state.connected.values().chain(state.watchers.values().flatten()).for_each(|dirty| dirty.notify_one());
            return;
        }
        let watchers = touched.proxies.iter().filter_map(|key| state.watchers.get(key)).flatten();
        watchers.for_each(|watcher| watcher.notify_one());
        let concerns_group = |key: &ResourceKey| match key.kind {
            Kind::Dataplane => touched.meshes.contains(&key.mesh),
            _ => touched.zone_proxies,
        };
        if !touched.meshes.is_empty() || touched.zone_proxies {
            state.connected.iter().filter(|(key, _)| concerns_group(key)).for_each(|(_, dirty)| dirty.notify_one());
        }
        touched.proxies.iter().filter_map(|key| state.connected.get(key)).for_each(|dirty| dirty.notify_one());
        let users = touched.services.iter().filter_map(|service| state.users.get(service)).flatten();
        let groups: HashSet<&usize> = users.collect();
        let members = groups.into_iter().filter_map(|id| state.groups.get(id)).flat_map(|group| group.members.values());
        members.for_each(|dirty| dirty.notify_one());
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

    /// Forgets a proxy that is gone, unless it has connected again after connection `number`. True when it is forgotten.
    pub fn forget(&self, key: &ResourceKey, number: u64) -> bool {
        let mut state = self.state.write();
        let gone = !state.connected.contains_key(key) && state.last_connection.get(key) == Some(&number);
        if gone {
            state.last_connection.remove(key);
        }
        gone
    }
}

/// An open stream of a proxy.
#[derive(Debug)]
pub struct Connection {
    registry: Arc<Registry>,
    key: ResourceKey,
    number: u64,
    dirty: Arc<Notify>,
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

    /// Resolves when something changed for the proxy since the last call.
    pub fn dirty(&self) -> &Arc<Notify> {
        &self.dirty
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
        state.connected.remove(&self.key);
        state.leave(&self.services, self.number);
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
    fn only_users_of_a_service_are_woken() {
        let registry = Arc::new(Registry::default());
        let mut user = registry.connect(&proxy("user")).unwrap();
        let other = registry.connect(&proxy("other")).unwrap();
        let service = ("default".to_owned(), "backend".to_owned());
        user.use_services(&Arc::new(BTreeSet::from([service.clone()])));
        let touched = Touched { services: BTreeSet::from([service]), ..Touched::default() };
        registry.wake(&touched);
        assert!(woken(&user));
        assert!(!woken(&other));
        user.use_services(&Arc::default());
        registry.wake(&touched);
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
        registry.wake(&Touched { services: BTreeSet::from([service]), ..Touched::default() });
        assert!(woken(&second));
        drop(second);
        let state = registry.state.read();
        assert!(state.users.is_empty() && state.groups.is_empty() && state.connected.is_empty());
    }

    #[test]
    fn a_proxy_that_came_back_is_not_forgotten() {
        let registry = Arc::new(Registry::default());
        let number = registry.connect(&proxy("a")).unwrap().number();
        let again = registry.connect(&proxy("a")).unwrap();
        assert!(!registry.forget(&proxy("a"), number));
        drop(again);
        assert!(!registry.forget(&proxy("a"), number));
    }
}
