//! What a simulated Envoy holds and what it wants, whichever variant of the protocol brings it.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use prost::Message;

use super::endpoints;
use super::tally::Sign;
use super::wire::{self, RouteSpecifier, TransportSocket, TypedConfig};

/// A type of resource that proxies subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Cluster,
    Endpoint,
    Listener,
    Route,
    Secret,
}

impl Type {
    /// Types that are asked for by name, as other resources refer to them.
    pub(super) const NAMED: [Self; 3] = [Self::Endpoint, Self::Route, Self::Secret];
    /// Number of types.
    pub(super) const COUNT: usize = 5;
    /// In the order in which an Envoy subscribes to them for the first time, and therefore again on each new stream.
    pub(super) const SUBSCRIBED: [Self; Self::COUNT] =
        [Self::Cluster, Self::Endpoint, Self::Secret, Self::Listener, Self::Route];

    pub(super) fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    pub(super) fn from_url(url: &str) -> Option<Self> {
        Self::SUBSCRIBED.into_iter().find(|kind| kind.url() == url)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cluster {
    connect_timeout: Duration,
    /// Limit of connections, if it has one.
    max_connections: Option<u32>,
    /// Name of its endpoints, when they come by EDS.
    endpoints: Option<String>,
    secrets: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Listener {
    routes: Vec<String>,
    secrets: Vec<String>,
}

/// How the names of secrets begin that hold the certificate of the proxy.
const CERTIFICATE: &str = "identity_cert";

/// The resources of one simulated Envoy.
#[derive(Debug, Default)]
pub(super) struct Envoy {
    clusters: HashMap<String, Cluster>,
    listeners: HashMap<String, Listener>,
    has_clusters: bool,
    has_listeners: bool,
    endpoints: BTreeSet<String>,
    routes: BTreeSet<String>,
    secrets: BTreeSet<String>,
    /// Where the endpoint that moves was last.
    moved_to: Option<Ipv4Addr>,
}

impl Envoy {
    /// Takes resources in, and tells whether the certificate of the proxy is among them. With `complete`, those that are not among them
    /// are gone.
    pub(super) fn accept<'a>(
        &mut self,
        kind: Type,
        bodies: impl Iterator<Item = &'a Bytes>,
        complete: bool,
    ) -> Result<bool> {
        let mut certified = false;
        match kind {
            Type::Cluster => {
                if complete {
                    self.clusters.clear();
                }
                for body in bodies {
                    let (name, cluster) = cluster(body)?;
                    self.clusters.insert(name, cluster);
                }
                self.has_clusters = true;
            }
            Type::Listener => {
                if complete {
                    self.listeners.clear();
                }
                for body in bodies {
                    let (name, listener) = listener(body)?;
                    self.listeners.insert(name, listener);
                }
                self.has_listeners = true;
            }
            // Named resources that a response leaves out stay as they are, in both variants.
            Type::Endpoint | Type::Route | Type::Secret => {
                for body in bodies {
                    if kind == Type::Endpoint {
                        self.moved_to = endpoints::moved_to(body).or(self.moved_to);
                    }
                    let named = wire::Named::decode(body.clone()).with_context(|| format!("undecodable {kind:?}"))?;
                    certified |= kind == Type::Secret && named.name.starts_with(CERTIFICATE);
                    self.held(kind).insert(named.name);
                }
            }
        }
        Ok(certified)
    }

    /// Drops resources by name.
    pub(super) fn remove(&mut self, kind: Type, names: &[String]) {
        for name in names {
            match kind {
                Type::Cluster => drop(self.clusters.remove(name)),
                Type::Listener => drop(self.listeners.remove(name)),
                Type::Endpoint | Type::Route | Type::Secret => drop(self.held(kind).remove(name)),
            }
        }
    }

    fn held(&mut self, kind: Type) -> &mut BTreeSet<String> {
        match kind {
            Type::Endpoint => &mut self.endpoints,
            Type::Route => &mut self.routes,
            _ => &mut self.secrets,
        }
    }

    /// Names that the clusters and listeners refer to.
    pub(super) fn wanted(&self, kind: Type) -> BTreeSet<String> {
        let clusters = self.clusters.values();
        let listeners = self.listeners.values();
        match kind {
            Type::Endpoint => clusters.filter_map(|cluster| cluster.endpoints.clone()).collect(),
            Type::Route => listeners.flat_map(|listener| listener.routes.iter().cloned()).collect(),
            Type::Secret => clusters
                .flat_map(|cluster| &cluster.secrets)
                .chain(listeners.flat_map(|listener| &listener.secrets))
                .cloned()
                .collect(),
            Type::Cluster | Type::Listener => BTreeSet::new(),
        }
    }

    /// Clusters and their endpoints are there: an Envoy asks for listeners now.
    pub(super) fn clusters_complete(&self) -> bool {
        self.has_clusters && self.wanted(Type::Endpoint).is_subset(&self.endpoints)
    }

    /// All that was asked for is there: an Envoy would serve now.
    pub(super) fn complete(&self) -> bool {
        self.has_listeners
            && self.clusters_complete()
            && self.wanted(Type::Route).is_subset(&self.routes)
            && self.wanted(Type::Secret).is_subset(&self.secrets)
    }

    /// Whether it has the sign of a change.
    pub(super) fn has(&self, sign: Sign) -> bool {
        match sign {
            Sign::Timeout(timeout) => self.has_connect_timeout(timeout),
            Sign::Endpoint(address) => self.moved_to == Some(address),
            Sign::Connections(limit) => self.all_outbound(|cluster| cluster.max_connections == Some(limit)),
        }
    }

    fn has_connect_timeout(&self, timeout: Duration) -> bool {
        self.all_outbound(|cluster| cluster.connect_timeout == timeout)
    }

    /// Whether all clusters towards other proxies are so, and there is one.
    fn all_outbound(&self, are: impl Fn(&Cluster) -> bool) -> bool {
        let mut outbound = self.clusters.values().filter(|cluster| cluster.endpoints.is_some()).peekable();
        outbound.peek().is_some() && outbound.all(are)
    }
}

fn cluster(body: &Bytes) -> Result<(String, Cluster)> {
    let cluster = wire::Cluster::decode(body.clone()).context("undecodable cluster")?;
    let mut secrets = Vec::new();
    let nested = cluster.transport_socket_matches.iter().filter_map(|m| m.transport_socket.as_ref());
    for socket in cluster.transport_socket.iter().chain(nested) {
        collect_secrets(socket, &mut secrets)?;
    }
    let endpoints = (cluster.discovery_type == wire::EDS).then(|| match cluster.eds {
        Some(eds) if !eds.service_name.is_empty() => eds.service_name,
        _ => cluster.name.clone(),
    });
    let connect_timeout = cluster.connect_timeout.and_then(|timeout| timeout.try_into().ok()).unwrap_or_default();
    // The first threshold is that of the default priority.
    let thresholds = cluster.circuit_breakers.as_ref().and_then(|breakers| breakers.thresholds.first());
    let max_connections = thresholds.and_then(|threshold| threshold.max_connections);
    Ok((cluster.name, Cluster { connect_timeout, max_connections, endpoints, secrets }))
}

fn listener(body: &Bytes) -> Result<(String, Listener)> {
    let decoded = wire::Listener::decode(body.clone()).context("undecodable listener")?;
    let mut listener = Listener::default();
    for chain in decoded.filter_chains.iter().chain(&decoded.default_filter_chain) {
        if let Some(socket) = &chain.transport_socket {
            collect_secrets(socket, &mut listener.secrets)?;
        }
        for config in chain.filters.iter().filter_map(|filter| filter.typed_config.as_ref()) {
            if config.type_url.ends_with(".HttpConnectionManager") {
                let manager = wire::HttpConnectionManager::decode(config.value.clone());
                let manager = manager.context("undecodable HttpConnectionManager")?;
                listener.routes.extend(manager.routes.map(|RouteSpecifier::Rds(rds)| rds.name));
            }
        }
    }
    Ok((decoded.name, listener))
}

/// Names of the secrets that a TLS transport socket fetches.
fn collect_secrets(socket: &TransportSocket, names: &mut Vec<String>) -> Result<()> {
    let Some(TypedConfig { type_url, value }) = &socket.typed_config else { return Ok(()) };
    if !type_url.ends_with("TlsContext") {
        return Ok(());
    }
    let context = wire::TlsContext::decode(value.clone()).context("undecodable TLS context")?;
    let Some(common) = context.common else { return Ok(()) };
    let combined = common.combined_validation.and_then(|combined| combined.validation);
    let configs = common.certificates.into_iter().chain(common.validation).chain(combined);
    names.extend(configs.filter(|config| config.source.is_some()).map(|config| config.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;

    use super::super::fixtures::{bytes, inbound, outbound};
    use super::*;

    fn names(kind: Type, envoy: &Envoy) -> Vec<String> {
        envoy.wanted(kind).into_iter().collect()
    }

    #[test]
    fn complete_when_all_references_are_held() {
        let mut envoy = Envoy::default();
        let local = bytes(&Cluster { name: "local".into(), ..Default::default() });
        envoy.accept(Type::Cluster, [outbound(5), local].iter(), true).expect("clusters");
        assert_eq!(names(Type::Endpoint, &envoy), ["echo"]);
        assert_eq!(names(Type::Secret, &envoy), ["identity_cert", "mesh_ca"]);
        assert!(!envoy.clusters_complete());
        assert!(envoy.has_connect_timeout(Duration::from_secs(5)), "clusters without endpoints do not count");

        let endpoints = bytes(&ClusterLoadAssignment { cluster_name: "echo".into(), ..Default::default() });
        envoy.accept(Type::Endpoint, [endpoints].iter(), true).expect("endpoints");
        assert!(envoy.clusters_complete());

        envoy.accept(Type::Listener, [inbound()].iter(), true).expect("listeners");
        assert_eq!(names(Type::Route, &envoy), ["routes"]);
        assert_eq!(names(Type::Secret, &envoy), ["identity_cert", "mesh_ca", "other_cert"]);

        let routes = bytes(&wire::Named { name: "routes".into() });
        envoy.accept(Type::Route, [routes].iter(), true).expect("routes");
        for name in ["identity_cert", "mesh_ca"] {
            let secret = bytes(&Secret { name: name.into(), ..Default::default() });
            let certified = envoy.accept(Type::Secret, [secret].iter(), true).expect("secrets");
            assert_eq!(certified, name == "identity_cert");
        }
        assert!(!envoy.complete());
        let secret = bytes(&Secret { name: "other_cert".into(), ..Default::default() });
        envoy.accept(Type::Secret, [secret].iter(), true).expect("secrets");
        assert!(envoy.complete());

        envoy.remove(Type::Secret, &["mesh_ca".into()]);
        assert!(!envoy.complete());
    }

    #[test]
    fn a_changed_timeout_is_seen() {
        let mut envoy = Envoy::default();
        assert!(!envoy.has_connect_timeout(Duration::from_secs(5)), "no clusters yet");
        envoy.accept(Type::Cluster, [outbound(5)].iter(), false).expect("clusters");
        envoy.accept(Type::Cluster, [outbound(6)].iter(), false).expect("clusters");
        assert!(envoy.has_connect_timeout(Duration::from_secs(6)));
        envoy.remove(Type::Cluster, &["echo".into()]);
        assert!(!envoy.has_connect_timeout(Duration::from_secs(6)));
    }

    #[test]
    fn garbage_is_an_error() {
        let mut envoy = Envoy::default();
        assert!(envoy.accept(Type::Cluster, [Bytes::from_static(&[0xff])].iter(), true).is_err());
    }
}
