//! Where what the workload sends to an outbound goes, as MeshHTTPRoutes and MeshTCPRoutes say.
//!
//! Source of the rules: Kuma `pkg/plugins/policies/core/xds/meshroute/listeners.go`,
//! `pkg/plugins/policies/{meshhttproute,meshtcproute}/plugin/v1alpha1`.

use std::borrow::Cow;
use std::sync::Arc;

use tandem_model::tags::Tags;
use tandem_model::{Kri, Protocol, ResourceKey};
use tandem_policy::ByDestination;
use tandem_policy::backend::{Backend, BackendTarget};
use tandem_policy::destinations::DestinationPort;
use tandem_policy::http_route::{Route, RouteTable};
use tandem_policy::tcp_route::Split;

use super::super::names::Naming;
use super::super::outbound::{Destination, Reference};
use super::super::real::PortRef;
use super::super::routes::{RequestRoute, Way};
use super::super::services::{self, Providers, ServiceRef, Viewer};
use super::super::shares::Shares;
use super::{Collector, Sidecar};
use crate::encoded::ResourceType;
use crate::index::{DestinationView, Service};

/// A destination and where its endpoints come from.
pub(super) struct Reached<'a> {
    pub destination: Arc<Destination>,
    source: Source<'a>,
}

enum Source<'a> {
    Tags(Cow<'a, Tags>),
    Port(&'a DestinationView, &'a DestinationPort),
}

impl Reached<'_> {
    /// What routes say about it: as a resource or, where nothing is said about that, as the service that has its name.
    fn routes<'c, C>(&self, routes: &'c ByDestination<C>) -> Option<&'c C> {
        if routes.is_empty() {
            return None;
        }
        let as_service = || match &self.source {
            Source::Port(view, port) if routes.has_tags() => routes.of_service(&view.port_name(port)),
            _ => None,
        };
        self.destination.conf(routes).or_else(as_service)
    }
}

/// Which protocols something can be handed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaking {
    Http,
    Anything,
}

impl<'a> Sidecar<'a> {
    /// What has some tags.
    pub(super) fn reached_by_tags(&self, collector: &mut Collector<'_>, tags: Cow<'a, Tags>) -> Reached<'a> {
        let Self { snapshot, cache, state, mesh, naming, ref credentials, .. } = *self;
        let name = Service::name_in(&tags);
        collector.uses(&mesh.name, name);
        let of = ServiceRef::new(snapshot, state, mesh, name);
        let destination = of.destination(cache, &tags, Providers::All, naming, credentials);
        Reached { destination, source: Source::Tags(tags) }
    }

    /// A port of a resource.
    pub(super) fn reached_port(
        &self,
        collector: &mut Collector<'_>,
        view: &'a DestinationView,
        port: &'a DestinationPort,
    ) -> Reached<'a> {
        let of = self.port_ref(view, port);
        of.services().for_each(|(mesh, service)| collector.uses(&mesh, &service));
        if let Some(Err(reason)) = self.state.outside_tls.get(&view.resource.key) {
            collector.left_out(&view.resource.key, reason);
        }
        let destination = of.destination(self.cache, self.naming, &self.credentials);
        Reached { destination, source: Source::Port(view, port) }
    }

    fn port_ref(&self, view: &'a DestinationView, port: &'a DestinationPort) -> PortRef<'a> {
        PortRef { snapshot: self.snapshot, state: self.state, mesh: self.mesh, view, port }
    }

    /// Adds the cluster of a destination, with its endpoints.
    fn add_reached(&self, collector: &mut Collector<'_>, reached: &Reached<'a>) {
        let Self { snapshot, cache, state, mesh, .. } = *self;
        let destination = &reached.destination;
        let (cluster, localities) = (&destination.cluster, self.localities(destination));
        let endpoints = match &reached.source {
            Source::Tags(tags) if destination.direct => {
                return self.add_direct(collector, destination, Service::name_in(tags));
            }
            Source::Tags(tags) => {
                let of = ServiceRef::new(snapshot, state, mesh, Service::name_in(tags));
                services::endpoints(cache, of, Viewer::Sidecar, cluster, tags, localities)
            }
            Source::Port(view, port) => {
                self.port_ref(view, port).endpoints(cache, Viewer::Sidecar, cluster, localities)
            }
        };
        collector.add(ResourceType::Endpoint, endpoints);
        if let Some(tls) = &destination.tls {
            collector.secured_by(&tls.credential);
        }
        self.add_cluster(collector, destination);
    }

    /// Where what is sent to a destination goes, and the routes that say it. Adds the clusters. `None` when nobody is to listen for it.
    pub(super) fn way(&self, collector: &mut Collector<'_>, own: &Reached<'a>) -> Option<(Way, Option<&RouteTable>)> {
        let policies = &self.outbound_policies;
        let (table, split) = (own.routes(&policies.http_routes), own.routes(&policies.tcp_routes));
        let is_http = own.destination.protocol.is_http_based();
        if is_http && let Some(table) = table {
            let routes = self.request_routes(collector, own, table);
            return Some((Way::Requests(routes), Some(table)));
        }
        if let Some(table) = table.filter(|table| table.has_rules && own.destination.protocol != Protocol::Unknown) {
            let (host, protocol) = (&own.destination.host, own.destination.protocol.name());
            for origin in table.routes.iter().filter_map(|route| route.origin.as_ref()) {
                let reason = format!("its routes of requests to {host} have no effect: that speaks {protocol}");
                collector.left_out(&origin.key, reason);
            }
        }
        if is_http || split.is_none() {
            self.add_reached(collector, own);
        }
        let shares = split.map(|split| self.connection_shares(collector, own, split));
        match shares {
            Some(Some(shares)) => Some((Way::Connections(shares), None)),
            Some(None) if !is_http => None,
            _ => Some((Way::Destination, None)),
        }
    }

    fn request_routes(
        &self,
        collector: &mut Collector<'_>,
        own: &Reached<'a>,
        table: &RouteTable,
    ) -> Vec<RequestRoute> {
        for (key, reason) in &table.problems {
            collector.left_out(key, reason);
        }
        let mut routes = Vec::new();
        for (index, route) in table.routes.iter().enumerate() {
            let key = route.origin.as_ref().map(|origin| &origin.key);
            let shares = self.shares(collector, own, &route.backends, Speaking::Http, key);
            if shares.is_empty() && route.is_forwarding() {
                if let Some(key) = key {
                    let reason = "a rule is left out, so that the next one that matches decides: none of its \
                                  backendRefs can be used";
                    collector.left_out(key, reason);
                }
                continue;
            }
            let name = self.route_name(own, route);
            let mut copies = Vec::new();
            for (index, mirror) in route.mirrors.iter().enumerate() {
                let backends = std::slice::from_ref(&mirror.backend);
                let copied = self.shares(collector, own, backends, Speaking::Http, key);
                copies.extend(copied.clusters.into_iter().map(|(cluster, _)| (index, cluster)));
            }
            routes.push(RequestRoute { index, name, shares, copies });
        }
        routes
    }

    fn route_name(&self, own: &Reached<'_>, route: &Route) -> String {
        match own.destination.reference {
            Reference::Service(_) => route.hash().to_owned(),
            Reference::Port(_) => route.name(self.naming == Naming::Unified),
        }
    }

    /// `None` when the policy leads nowhere because nothing has the labels it asks for.
    fn connection_shares(&self, collector: &mut Collector<'_>, own: &Reached<'a>, split: &Split) -> Option<Shares> {
        for reason in &split.problems {
            collector.left_out(&split.key, reason);
        }
        if split.backends.is_empty() {
            return None;
        }
        Some(self.shares(collector, own, &split.backends, Speaking::Anything, Some(&split.key)))
    }

    /// The clusters of destinations, which are added; of none those of the outbound's own one. `policy` is who asks for them.
    fn shares(
        &self,
        collector: &mut Collector<'_>,
        own: &Reached<'a>,
        backends: &[Backend],
        speaking: Speaking,
        policy: Option<&ResourceKey>,
    ) -> Shares {
        let mut shares = Shares::default();
        let mut add = |collector: &mut Collector<'_>, reached: &Reached<'a>, weight| {
            self.add_reached(collector, reached);
            let Destination { cluster, rewrite_host, .. } = &*reached.destination;
            shares.add(cluster.clone(), weight, *rewrite_host);
        };
        if backends.is_empty() {
            // As much as Kuma gives to what stands alone.
            add(collector, own, 100);
        }
        for Backend { target, weight } in backends.iter().filter(|backend| backend.weight > 0) {
            match self.reached(collector, target, speaking) {
                Ok(reached) => add(collector, &reached, *weight),
                Err(reason) => {
                    if let Some(policy) = policy {
                        collector.left_out(policy, format!("the backendRef {target} is left out: {reason}"));
                    }
                }
            }
        }
        shares
    }

    /// What a reference leads to.
    ///
    /// # Errors
    /// When it leads nowhere, with the reason.
    fn reached(
        &self,
        collector: &mut Collector<'_>,
        target: &BackendTarget,
        speaking: Speaking,
    ) -> Result<Reached<'a>, String> {
        let reached = match target {
            BackendTarget::Tags(tags) => self.reached_by_tags(collector, Cow::Owned(tags.clone())),
            BackendTarget::Port { destination, port } => {
                let (view, port) = self.port(destination, port)?;
                self.reached_port(collector, view, port)
            }
        };
        match reached.destination.protocol {
            protocol if speaking == Speaking::Anything || protocol.is_http_based() => Ok(reached),
            Protocol::Unknown => Err("nobody provides it, or it does not tell that it speaks HTTP".to_owned()),
            protocol => Err(format!("it speaks {}, not HTTP", protocol.name())),
        }
    }

    fn port(&self, destination: &Kri, port: &str) -> Result<(&'a DestinationView, &'a DestinationPort), String> {
        let view = self.state.views.get(destination).ok_or("it does not exist")?;
        let found = view.port_of(port).ok_or_else(|| format!("it has no port {port:?}"))?;
        Ok((view, found))
    }
}
