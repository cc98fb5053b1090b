//! What a builtin gateway listens for, and which routes it follows.
//!
//! Source: Kuma `pkg/plugins/runtime/gateway/{generator,gateway_route_generator}.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::tags::{Tags, selects};
use tandem_proto::mesh::v1alpha1::MeshGatewayRoute;
use tandem_proto::mesh::v1alpha1::mesh_gateway::Listener as Specified;
use tandem_proto::mesh::v1alpha1::mesh_gateway::listener::Protocol;
use tandem_proto::mesh::v1alpha1::mesh_gateway_route::conf::Route;

use super::hostname::{ANY_HOST, by_exactness, covers, overlap};
use crate::legacy::Decoded;
use crate::legacy::selector::first_rank;
use crate::subject::{Gateway, listener_hostname, listener_tags};

/// A port of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The port.
    pub port: u32,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its host names, most exact first.
    pub groups: Vec<HostGroup>,
}

/// Host names that a listener tells apart only after the connection is made. With TLS each name of the MeshGateway is a group of
/// its own, without there is one group.
#[derive(Debug, Clone, PartialEq)]
pub struct HostGroup {
    /// Name in the client's TLS greeting; `*` when it is not looked at.
    pub server_name: String,
    /// The hosts, most exact first.
    pub hosts: Vec<VirtualHost>,
}

/// A host name with its routes.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualHost {
    /// The host name; `*` for all.
    pub hostname: String,
    /// Tags of the proxy, the gateway and the listener together, which select routes and policies.
    pub tags: Tags,
    /// Its routes, sorted by name.
    pub routes: Vec<Arc<Decoded<MeshGatewayRoute>>>,
}

/// The listeners of a MeshGateway on a proxy with these tags, by port. `routes` are the MeshGatewayRoutes of the mesh.
pub fn listeners(
    gateway: &Gateway,
    proxy_tags: Option<&Tags>,
    routes: &[Arc<Decoded<MeshGatewayRoute>>],
) -> Vec<Listener> {
    let mut by_port: BTreeMap<u32, Vec<&Specified>> = BTreeMap::new();
    for listener in gateway.spec.conf.iter().flat_map(|conf| &conf.listeners) {
        by_port.entry(listener.port).or_default().push(listener);
    }
    let listener = |(port, specified): (u32, Vec<&Specified>)| {
        // Validation keeps protocols on one port equal.
        let protocol = specified[0].protocol();
        let hosts = specified.into_iter().map(|listener| {
            let tags = listener_tags(proxy_tags, gateway, listener);
            let routes = matching(routes, &tags, protocol);
            VirtualHost { hostname: listener_hostname(listener).to_owned(), tags, routes }
        });
        Listener { port, protocol, groups: groups(protocol, hosts) }
    };
    by_port.into_iter().map(listener).collect()
}

fn matching(
    routes: &[Arc<Decoded<MeshGatewayRoute>>],
    tags: &Tags,
    protocol: Protocol,
) -> Vec<Arc<Decoded<MeshGatewayRoute>>> {
    let fits = |route: &MeshGatewayRoute| match route.conf.as_ref().and_then(|conf| conf.route.as_ref()) {
        Some(Route::Http(_)) => matches!(protocol, Protocol::Http | Protocol::Https),
        Some(Route::Tcp(_)) => matches!(protocol, Protocol::Tcp | Protocol::Tls),
        None => false,
    };
    let matches = |route: &&Arc<Decoded<MeshGatewayRoute>>| {
        fits(&route.spec) && first_rank(&route.spec.selectors, |selector| selects(selector, tags)).is_some()
    };
    routes.iter().filter(matches).cloned().collect()
}

fn groups(protocol: Protocol, hosts: impl Iterator<Item = VirtualHost>) -> Vec<HostGroup> {
    let mut by_name: BTreeMap<String, BTreeMap<String, VirtualHost>> = BTreeMap::new();
    for host in hosts {
        let server_name = match protocol {
            Protocol::Https | Protocol::Tls => host.hostname.clone(),
            _ => ANY_HOST.to_owned(),
        };
        by_name.entry(server_name).or_default().insert(host.hostname.clone(), host);
    }
    let mut groups: Vec<HostGroup> =
        by_name.into_iter().map(|(server_name, hosts)| HostGroup { server_name, hosts: distribute(hosts) }).collect();
    groups.sort_by(|a, b| by_exactness(&a.server_name, &b.server_name));
    groups
}

/// Gives the routes of the host `*` to the hosts they name, which come to be where there are none, and leaves out routes that name
/// other hosts only.
fn distribute(mut hosts: BTreeMap<String, VirtualHost>) -> Vec<VirtualHost> {
    if let Some(any) = hosts.get(ANY_HOST).cloned() {
        for hostname in any.routes.iter().flat_map(|route| hostnames(&route.spec)) {
            let named = || VirtualHost { hostname: hostname.clone(), tags: any.tags.clone(), routes: Vec::new() };
            hosts.entry(hostname.clone()).or_insert_with(named);
        }
        for (hostname, host) in &mut hosts {
            let named = any.routes.iter().filter(|route| {
                hostnames(&route.spec).iter().any(|wanted| wanted == hostname || covers(wanted, hostname))
            });
            host.routes.extend(named.cloned());
        }
        if let Some(any) = hosts.get_mut(ANY_HOST) {
            any.routes.retain(|route| {
                let hostnames = hostnames(&route.spec);
                hostnames.is_empty() || hostnames.iter().any(|hostname| hostname == ANY_HOST)
            });
        }
    }
    let mut hosts: Vec<VirtualHost> = hosts.into_values().collect();
    for host in &mut hosts {
        let VirtualHost { hostname, routes, .. } = host;
        routes.retain(|route| {
            let hostnames = hostnames(&route.spec);
            hostname == ANY_HOST || hostnames.is_empty() || hostnames.iter().any(|wanted| overlap(hostname, wanted))
        });
        routes.sort_by(|a, b| a.resource.key.cmp(&b.resource.key));
        routes.dedup_by(|a, b| a.resource.key == b.resource.key);
    }
    hosts.sort_by(|a, b| by_exactness(&a.hostname, &b.hostname));
    hosts
}

fn hostnames(route: &MeshGatewayRoute) -> &[String] {
    match route.conf.as_ref().and_then(|conf| conf.route.as_ref()) {
        Some(Route::Http(http)) => &http.hostnames,
        _ => &[],
    }
}
