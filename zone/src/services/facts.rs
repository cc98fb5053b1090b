//! What services follow from, for each mesh: the little that matters of Mesh, Dataplanes, their insights, MeshIdentities
//! and MeshTrusts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tandem_insights::is_online;
use tandem_model::core::mesh_identity::{self, ProviderType};
use tandem_model::core::{MeshIdentity, MeshTrust};
use tandem_model::dataplane::DataplaneExt;
use tandem_model::label::{PROTOCOL_TAG, SERVICE_TAG};
use tandem_model::mesh::MeshExt;
use tandem_model::tags::Tags;
use tandem_model::{DecodeError, Protocol, Resource};
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::State;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;
use tandem_proto::mesh::v1alpha1::{Dataplane, DataplaneInsight, Mesh};

/// A Mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MeshSettings {
    /// MeshServices are made from Dataplanes.
    pub(super) generates: bool,
    /// Mutual TLS is on.
    pub(super) mtls: bool,
}

impl MeshSettings {
    pub(super) fn of(resource: &Resource) -> Result<Self, DecodeError> {
        let mesh: Mesh = resource.proto()?;
        Ok(Self { generates: mesh.mesh_services_mode() != Mode::Disabled, mtls: mesh.mtls_enabled() })
    }
}

/// A Dataplane.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// For labels and time of creation.
    pub(super) resource: Arc<Resource>,
    pub(super) inbounds: Vec<Inbound>,
    /// All services that its tags name, those of a gateway too.
    pub(super) services: BTreeSet<String>,
}

/// An inbound of a Dataplane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inbound {
    pub(super) name: String,
    pub(super) port: u32,
    pub(super) tags: Tags,
    /// In the state `Ready`.
    pub(super) ready: bool,
}

impl Inbound {
    /// The service it belongs to; empty when its tags name none.
    pub(super) fn service(&self) -> &str {
        self.tags.get(SERVICE_TAG).map_or("", String::as_str)
    }

    /// The protocol its tags tell, TCP when they tell none.
    pub(super) fn protocol(&self) -> Protocol {
        match Protocol::parse(self.tags.get(PROTOCOL_TAG).map_or("", String::as_str)) {
            Protocol::Unknown => Protocol::Tcp,
            protocol => protocol,
        }
    }
}

impl Proxy {
    pub(super) fn of(resource: &Arc<Resource>) -> Result<Self, DecodeError> {
        let dataplane: Dataplane = resource.proto()?;
        let services = dataplane.tag_sets().filter_map(|tags| tags.get(SERVICE_TAG)).cloned().collect();
        let inbounds = dataplane.inbounds().iter().map(|inbound| Inbound {
            name: inbound.name.clone(),
            port: inbound.port,
            tags: inbound.tags.clone(),
            ready: inbound.state() == State::Ready,
        });
        Ok(Self { resource: resource.clone(), inbounds: inbounds.collect(), services })
    }

    /// Services of its inbounds.
    pub(super) fn provides(&self) -> BTreeSet<&str> {
        self.inbounds.iter().map(Inbound::service).filter(|service| !service.is_empty()).collect()
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.inbounds == other.inbounds
            && self.services == other.services
            && self.resource.labels == other.resource.labels
            && self.resource.created == other.resource.created
    }
}

/// What the insight of a Dataplane tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) online: bool,
    /// Has a certificate for mutual TLS.
    pub(super) certified: bool,
}

impl Connection {
    pub(super) fn of(resource: &Resource) -> Result<Self, DecodeError> {
        let insight: DataplaneInsight = resource.proto()?;
        let certified = insight.m_tls.is_some_and(|mtls| !mtls.issued_backend.is_empty());
        Ok(Self { online: is_online(&insight.subscriptions), certified })
    }
}

/// A MeshIdentity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identity {
    pub(super) spec: MeshIdentity,
    pub(super) status: mesh_identity::Status,
}

impl Identity {
    pub(super) fn of(resource: &Resource) -> Result<Self, DecodeError> {
        // A status that does not decode is one that nobody has written yet.
        let status = resource.status.clone().and_then(|status| serde_json::from_value(status).ok());
        Ok(Self { spec: resource.json()?, status: status.unwrap_or_default() })
    }

    /// True when SPIRE knows which trust domains are trusted.
    pub(super) fn is_spire(&self) -> bool {
        self.spec.provider.as_ref().is_some_and(|provider| provider.kind == ProviderType::Spire)
    }
}

/// What is known of one mesh.
#[derive(Debug, Default)]
pub(super) struct MeshFacts {
    pub(super) settings: Option<MeshSettings>,
    proxies: BTreeMap<String, Proxy>,
    /// Names of the Dataplanes with an inbound of a service.
    providers: BTreeMap<String, BTreeSet<String>>,
    connections: BTreeMap<String, Connection>,
    pub(super) identities: BTreeMap<String, Identity>,
    /// Trust domain of each MeshTrust.
    trusts: BTreeMap<String, String>,
}

impl MeshFacts {
    /// A Dataplane with its name.
    pub(super) fn proxy(&self, name: &str) -> Option<(&str, &Proxy)> {
        self.proxies.get_key_value(name).map(|(name, proxy)| (name.as_str(), proxy))
    }

    pub(super) fn proxies(&self) -> impl Iterator<Item = (&str, &Proxy)> {
        self.proxies.iter().map(|(name, proxy)| (name.as_str(), proxy))
    }

    /// Services that have an inbound.
    pub(super) fn provided_services(&self) -> impl Iterator<Item = &String> {
        self.providers.keys()
    }

    /// The Dataplanes with an inbound of a service.
    pub(super) fn providers(&self, service: &str) -> impl Iterator<Item = (&str, &Proxy)> {
        let names = self.providers.get(service).into_iter().flatten();
        names.filter_map(|name| Some((name.as_str(), self.proxies.get(name)?)))
    }

    pub(super) fn connection(&self, proxy: &str) -> Connection {
        self.connections.get(proxy).copied().unwrap_or_default()
    }

    /// True when a MeshTrust trusts this domain.
    pub(super) fn trusts(&self, domain: &str) -> bool {
        self.trusts.values().any(|trusted| trusted == domain)
    }

    /// Replaces what is known of a Dataplane; returns what was known if that makes a difference.
    pub(super) fn set_proxy(&mut self, name: &str, new: Option<Proxy>) -> Option<Option<Proxy>> {
        if self.proxies.get(name) == new.as_ref() {
            return None;
        }
        let old = self.proxies.remove(name);
        for service in old.iter().flat_map(Proxy::provides) {
            if let Some(names) = self.providers.get_mut(service) {
                names.remove(name);
                if names.is_empty() {
                    self.providers.remove(service);
                }
            }
        }
        if let Some(new) = new {
            for service in new.provides() {
                self.providers.entry(service.to_owned()).or_default().insert(name.to_owned());
            }
            self.proxies.insert(name.to_owned(), new);
        }
        Some(old)
    }

    /// True when it makes a difference.
    pub(super) fn set_connection(&mut self, name: &str, new: Option<Connection>) -> bool {
        let new = new.filter(|connection| *connection != Connection::default());
        replace(&mut self.connections, name, new)
    }

    /// True when it makes a difference.
    pub(super) fn set_identity(&mut self, name: &str, new: Option<Identity>) -> bool {
        replace(&mut self.identities, name, new)
    }

    /// True when it makes a difference.
    pub(super) fn set_trust(&mut self, name: &str, new: Option<MeshTrust>) -> bool {
        replace(&mut self.trusts, name, new.map(|trust| trust.trust_domain))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settings.is_none()
            && self.proxies.is_empty()
            && self.connections.is_empty()
            && self.identities.is_empty()
            && self.trusts.is_empty()
    }
}

/// Orders Dataplanes as the generator does: the oldest first.
pub(super) fn age<'a>(name: &'a str, proxy: &Proxy) -> (Timestamp, &'a str) {
    (proxy.resource.created, name)
}

fn replace<V: PartialEq>(known: &mut BTreeMap<String, V>, name: &str, new: Option<V>) -> bool {
    if known.get(name) == new.as_ref() {
        return false;
    }
    match new {
        Some(new) => known.insert(name.to_owned(), new),
        None => known.remove(name),
    };
    true
}
