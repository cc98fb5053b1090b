//! Host names in place of addresses.
//!
//! Envoy takes addresses of endpoints and listeners as numbers only. Names have to be looked up outside of this crate; until one is,
//! the resources with it are left out. Source: Kuma `pkg/xds/topology/dataplanes.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::{DecodeError, Resource, ResourceKey};

/// Host names that resources use, with what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Hostnames {
    known: BTreeMap<String, Hostname>,
}

#[derive(Debug, Default)]
struct Hostname {
    address: Option<IpAddr>,
    used_by: BTreeMap<ResourceKey, Arc<Resource>>,
}

/// Why a resource with addresses is left out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the host name {0:?} has no known address (yet)")]
    Unresolved(String),
}

impl Hostnames {
    /// Forgets that a resource uses names, but not yet the names.
    pub fn detach(&mut self, key: &ResourceKey) {
        for hostname in self.known.values_mut() {
            hostname.used_by.remove(key);
        }
    }

    /// Forgets the names that nobody uses.
    pub fn drop_unused(&mut self) {
        self.known.retain(|_, hostname| !hostname.used_by.is_empty());
    }

    /// Replaces an address by that of the host it names, and remembers who uses the name. Empty text stays.
    pub fn replace(&mut self, address: &mut String, user: &Arc<Resource>) -> Result<(), AddressError> {
        if address.is_empty() || address.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let hostname = self.known.entry(address.clone()).or_default();
        hostname.used_by.insert(user.key.clone(), user.clone());
        let known = hostname.address.ok_or_else(|| AddressError::Unresolved(address.clone()))?;
        *address = known.to_string();
        Ok(())
    }

    /// The names in use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Notes the address of a name; returns the resources for which that makes a difference.
    pub fn set(&mut self, name: &str, address: Option<IpAddr>) -> Vec<Arc<Resource>> {
        match self.known.get_mut(name) {
            Some(hostname) if hostname.address != address => {
                hostname.address = address;
                hostname.used_by.values().cloned().collect()
            }
            _ => Vec::new(),
        }
    }
}
