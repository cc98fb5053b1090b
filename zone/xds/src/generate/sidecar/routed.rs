//! Outbounds whose connections go where TrafficRoutes say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::Protocol;
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::label::MESH;
use tandem_model::tags::Tags;
use tandem_policy::access_log::TrafficDirection;
use tandem_policy::envoy::Origin;
use tandem_policy::legacy::source_tags::header_value;
use tandem_policy::legacy::traffic_route::{self, Share};
use tandem_policy::legacy::{Decoded, best_for_tags, traffic_permission};
use tandem_policy::trace::Tracing;
use tandem_proto::mesh::v1alpha1::TrafficRoute;

use super::super::collect::{encode_cluster, encode_listener};
use super::super::external::Outside;
use super::super::outbound::{Destination, direct_cluster};
use super::super::outbounds::{Outbound, Target};
use super::super::services::{self, Providers, ServiceRef, Viewer};
use super::super::shape::is_ipv6;
use super::super::shares::Shares;
use super::super::traffic_route::{
    ByPolicy, ClusterRules, RoutedClusterKey, RoutedListenerKey, RoutedSource, Way, cluster, listener, set_cluster,
};
use super::{Collector, Sidecar, infallible};
use crate::cache::ByAddress;
use crate::encoded::{Encoded, ResourceType};
use crate::index::{DataplaneView, ExternalView, MeshState, Service};

/// Which outbounds of a proxy go where TrafficRoutes say, and what they have in common.
#[derive(Debug)]
pub(super) struct Routing {
    requests: bool,
    connections: bool,
    /// The services that the default destinations of routes lead to. HealthCheck, CircuitBreaker and Retry are for these alone.
    reached: BTreeSet<String>,
    /// What requests tell of the proxy's tags.
    own_tags: Arc<str>,
}

impl Routing {
    /// True for an outbound to a service with this protocol. `split` tells whether a MeshTCPRoute is about it.
    pub fn concerns(&self, protocol: Protocol, split: bool) -> bool {
        if protocol.is_http_based() { self.requests && !split } else { self.connections }
    }
}

/// What a cluster is made of.
struct RoutedCluster {
    destination: Arc<Destination>,
    tags: Tags,
    rules: ClusterRules,
}

/// Clusters that routes lead to, by name. Of several outbounds that lead to one the last one decides how it is reached.
#[derive(Default)]
pub(super) struct RoutedClusters(BTreeMap<String, RoutedCluster>);

fn by_policy<S>(policy: Option<&Arc<Decoded<S>>>) -> ByPolicy<S> {
    policy.map(|policy| ByAddress(policy.clone()))
}

/// What requests tell of the proxy's tags, for inbounds that treat callers differently; `None` in meshes without such policies.
pub(super) fn tags_header(state: &MeshState, dataplane: &DataplaneView) -> Option<Arc<str>> {
    let older = state.legacy.policies();
    let is_used =
        !older.rate_limits.is_empty() || !older.fault_injections.is_empty() || state.compiled.tells_callers_apart();
    is_used.then(|| own_tags(dataplane))
}

fn own_tags(dataplane: &DataplaneView) -> Arc<str> {
    header_value(&dataplane.spec.all_tags()).into()
}

impl Sidecar<'_> {
    /// With TrafficRoutes in the mesh they decide, except where a MeshHTTPRoute or a MeshTCPRoute about destinations by tags selects the
    /// proxy: these decide for everything that speaks HTTP, or that does not.
    /// `None` when there is none for them to decide.
    pub(super) fn routing(&self, outbounds: &[Outbound<'_>]) -> Option<Routing> {
        if self.state.legacy.policies().traffic_routes.is_empty() {
            return None;
        }
        let newer = &self.outbound_policies;
        Some(Routing {
            requests: !newer.http_routes.has_tags(),
            connections: !newer.tcp_routes.has_tags(),
            reached: self.routed_services(outbounds),
            own_tags: own_tags(self.dataplane),
        })
    }

    fn route(&self, tags: &Tags) -> Option<&Arc<Decoded<TrafficRoute>>> {
        self.legacy.outbound.traffic_routes.of(Service::name_in(tags))
    }

    fn routed_services(&self, outbounds: &[Outbound<'_>]) -> BTreeSet<String> {
        let of_tags = |tags: &Tags| match self.route(tags) {
            Some(route) => route.spec.conf.as_ref().map_or_else(Vec::new, |conf| traffic_route::services(conf, tags)),
            None => vec![Service::name_in(tags).to_owned()],
        };
        let tags = outbounds.iter().filter_map(|outbound| match &outbound.target {
            Target::Tags(tags) => Some(of_tags(tags)),
            Target::Port(..) => None,
        });
        tags.flatten().collect()
    }

    /// Adds the listener of an outbound and notes the clusters it leads to.
    pub(super) fn add_routed(
        &self,
        collector: &mut Collector<'_>,
        outbound: &Outbound<'_>,
        tags: &Tags,
        routing: &Routing,
        tracing: Option<&Arc<Tracing>>,
        clusters: &mut RoutedClusters,
    ) {
        let policies = &self.legacy.outbound;
        let service = Service::name_in(tags);
        collector.uses(&self.mesh.name, service);
        let route = self.route(tags);
        let conf = route.and_then(|route| route.spec.conf.as_ref());
        let mut protocols = Vec::new();
        let mut ways = Vec::new();
        if let Some((route, conf)) = route.zip(conf) {
            let rules =
                conf.http.iter().enumerate().map(|(index, rule)| (Some(index), traffic_route::shares_of_rule(rule)));
            for (rule, shares) in rules.chain([(None, traffic_route::default_shares(conf))]) {
                let mut way = Way { rule, shares: Shares::default() };
                for Share { destination, weight } in shares {
                    let tags = traffic_route::with_outbound_tags(destination, tags);
                    let destination = self.routed_destination(&tags);
                    collector.uses(&self.mesh.name, Service::name_in(&tags));
                    protocols.push(destination.protocol);
                    way.shares.add(destination.cluster.clone(), weight, !destination.is_in_mesh());
                    let of_service = Service::name_in(&tags);
                    let is_reached = routing.reached.contains(of_service);
                    let rules = ClusterRules {
                        route: ByAddress(route.clone()),
                        timeout: by_policy(policies.timeouts.of(service)),
                        health_check: by_policy(policies.health_checks.of(of_service).filter(|_| is_reached)),
                        circuit_breaker: by_policy(policies.circuit_breakers.of(of_service).filter(|_| is_reached)),
                    };
                    clusters.0.insert(destination.cluster.clone(), RoutedCluster { destination, tags, rules });
                }
                if !way.shares.is_empty() {
                    ways.push(way);
                }
            }
        }
        let own = self.routed_destination(tags);
        let protocol = Protocol::common_of(protocols);
        let limit = policies.rate_limits.of(service).filter(|_| !self.mesh.zone_egress);
        let retry = policies.retries.of(service).filter(|_| routing.reached.contains(service));
        let published = tags.iter().filter(|(tag, _)| *tag != MESH);
        let source = RoutedSource {
            address: outbound.address.as_str().into(),
            port: outbound.port,
            tags: published.map(|(tag, value)| (tag.clone(), value.clone())).collect(),
            service: service.into(),
            service_protocol: own.protocol,
            protocol,
            ways,
            route: by_policy(route),
            timeout: by_policy(policies.timeouts.of(service)),
            retry: by_policy(retry),
            rate_limit: by_policy(limit),
            // As in Kuma, callers of HTTP services always tell.
            tags_header: match protocol {
                Protocol::Http | Protocol::Http2 => Some(routing.own_tags.clone()),
                Protocol::Grpc => self.tags_header.clone(),
                _ => None,
            },
            log: self.logging().of(service, service, TrafficDirection::Outbound, collector),
            tracing: tracing.map(|tracing| (tracing.clone(), self.dataplane.spec.identifying_service().to_owned())),
            redirected: self.redirection.enabled && !self.metadata.features.bind_outbounds,
            ipv6: self.metadata.ipv6_enabled,
        };
        let reporter = self.reporting.outgoing.clone();
        let key = RoutedListenerKey {
            source: source.clone(),
            reporter: reporter.clone(),
            policies: ByAddress(self.outbound_policies.clone()),
        };
        let build = || {
            let mut draft = listener(&source, &self.internal_addresses());
            tandem_policy::outbound_listener(&self.outbound_policies, reporter.as_deref(), &mut draft);
            Ok(encode_listener(&draft))
        };
        collector.add(ResourceType::Listener, infallible(self.cache.routed_listeners.get_or_build(key, build)));
    }

    /// ExternalServices of a service that the proxy may use without a ZoneEgress: those with a TrafficPermission for it.
    fn permitted_externals(&self, service: &str) -> Vec<&Arc<ExternalView>> {
        let permissions = &self.state.legacy.policies().traffic_permissions;
        let is_permitted = |external: &&Arc<ExternalView>| {
            let permission = best_for_tags(permissions, &external.tags);
            permission.is_some_and(|permission| traffic_permission::allows(permission, &self.dataplane.spec))
        };
        let service = self.state.services.get(service);
        service.into_iter().flat_map(|service| service.external.values()).filter(is_permitted).collect()
    }

    /// A destination. One outside of the mesh that the proxy may not use counts as one that nobody provides.
    fn routed_destination(&self, tags: &Tags) -> Arc<Destination> {
        let Self { snapshot, cache, state, mesh, naming, credentials, .. } = self;
        let of = ServiceRef::new(snapshot, state, mesh, Service::name_in(tags));
        let destination = |providers| of.destination(cache, tags, providers, *naming, credentials);
        let all = destination(Providers::All);
        if all.direct && self.permitted_externals(Service::name_in(tags)).is_empty() {
            return destination(Providers::OfMesh);
        }
        all
    }

    /// Adds the clusters that routes lead to, with their endpoints.
    pub(super) fn add_routed_clusters(&self, collector: &mut Collector<'_>, clusters: RoutedClusters) {
        let Self { snapshot, cache, state, mesh, outbound_policies: policies, .. } = self;
        for RoutedCluster { destination, tags, rules } in clusters.0.into_values() {
            let service = Service::name_in(&tags);
            if destination.direct {
                self.add_routed_direct(collector, &destination, service, &rules);
                continue;
            }
            if let Some(tls) = &destination.tls {
                collector.secured_by(&tls.credential);
            }
            let of = ServiceRef::new(snapshot, state, mesh, service);
            let localities = self.localities(&destination);
            let endpoints = services::endpoints(cache, of, Viewer::Sidecar, &destination.cluster, &tags, localities);
            collector.add(ResourceType::Endpoint, endpoints);
            let key = RoutedClusterKey {
                destination: destination.clone(),
                rules: rules.clone(),
                policies: ByAddress(policies.clone()),
                told: self.told(&destination),
            };
            let build = || {
                let mut draft = cluster(&destination, &rules);
                tandem_policy::outbound_cluster(policies, &self.own_tags, &mut draft);
                if destination.is_in_mesh() {
                    tandem_policy::outbound_security(policies, &mut draft);
                }
                Ok(encode_cluster(&draft))
            };
            collector.add(ResourceType::Cluster, infallible(cache.routed_clusters.get_or_build(key, build)));
            collector.keep(destination);
        }
    }

    fn add_routed_direct(
        &self,
        collector: &mut Collector<'_>,
        destination: &Destination,
        service: &str,
        rules: &ClusterRules,
    ) {
        let view = self.snapshot.viewpoint(self.mesh);
        let externals = self.permitted_externals(service);
        let outside = Outside::of_externals(externals, &Default::default(), view, self.state, collector);
        let name = &destination.cluster;
        let localities = self.localities(destination);
        let prefer_ipv4 = !is_ipv6(self.dataplane.address());
        let built = outside.cluster(name, destination.protocol, prefer_ipv4, localities.as_deref());
        let mut draft = direct_cluster(destination, built.draft);
        set_cluster(destination, rules, &mut draft.value);
        tandem_policy::outbound_cluster(&self.outbound_policies, &self.own_tags, &mut draft);
        let message = [draft.value.encode(), built.rest].concat();
        collector.own_encoded("outside", (name, &message), || {
            let encoded = Encoded::new(ResourceType::Cluster, name.as_str(), &message).from_origin(Origin::Outbound);
            [(ResourceType::Cluster, Arc::new(encoded))]
        });
    }
}
