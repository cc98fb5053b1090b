//! The configuration of a proxy beside a workload.

mod observed;
pub(crate) mod outlook;
mod redirected;
mod routed;
mod ways;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use tandem_model::dataplane::{DataplaneExt as _, InboundInterface};
use tandem_model::{Kind, Protocol, ResourceKey, prometheus};
use tandem_policy::envoy::Origin;
use tandem_policy::http_route::RouteTable;
use tandem_policy::load_balancing::{Localities, Standpoint};
use tandem_policy::reporter::Reporter;
use tandem_policy::subject::Subject;
use tandem_policy::tls;
use tandem_policy::trace::Tracing;
use tandem_policy::{OutboundPolicies, OwnTags, ProxyPolicies, legacy};

use super::admin::admin;
use super::collect::{Collector, encode_cluster, encode_listener};
use super::credential::Credentials;
use super::external::Outside;
use super::http::internal_addresses;
use super::inbound::{self, InboundMode, InboundRules, InboundSource};
use super::names::Naming;
use super::observability::Reporting;
use super::outbound::{Destination, OutboundSource, Reference, direct_cluster, outbound_cluster, outbound_listener};
use super::outbounds::{Outbound, Target};
use super::shape::is_ipv6;
use super::transparent::Redirection;
use routed::{RoutedClusters, Routing};

use super::{Cache, secrets};
use crate::cache::ByAddress;
use crate::encoded::{Encoded, ResourceType};
use crate::index::{DataplaneView, MeshState, MeshView, Service, Snapshot};
use crate::input::{GenerateError, Generated, ProxyInput};
use crate::metadata::ProxyMetadata;
use crate::modifications::{Template, edits_of};

/// Everything the cluster of a destination is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterKey {
    destination: Arc<Destination>,
    policies: ByAddress<OutboundPolicies>,
    /// What health checks tell of the proxy's tags.
    told: Option<Arc<str>>,
}

/// Everything the listener of an outbound is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ListenerKey {
    source: OutboundSource,
    /// What logs and traces say of the proxy; `None` when there are none.
    reporter: Option<Arc<Reporter>>,
    policies: ByAddress<OutboundPolicies>,
}

/// One sidecar and its surroundings.
struct Sidecar<'a> {
    snapshot: &'a Snapshot,
    cache: &'a Cache,
    metadata: &'a ProxyMetadata,
    state: &'a Arc<MeshState>,
    mesh: &'a Arc<MeshView>,
    dataplane: &'a Arc<DataplaneView>,
    naming: Naming,
    credentials: Credentials,
    redirection: Redirection,
    policies: ProxyPolicies,
    /// What logs and traces say of the proxy.
    reporting: Reporting,
    /// Policies of the older generation.
    legacy: legacy::ProxyPolicies,
    outbound_policies: Arc<OutboundPolicies>,
    /// What of its tags these want to know.
    own_tags: OwnTags,
    /// What requests tell of its tags; `None` when nobody wants to know.
    tags_header: Option<Arc<str>>,
}

pub(crate) fn generate(
    snapshot: &Snapshot,
    input: &ProxyInput<'_>,
    cache: &Cache,
    mut collector: Collector<'_>,
) -> Result<Generated, GenerateError> {
    let ResourceKey { mesh, name, .. } = input.key;
    let dataplane = snapshot.dataplane(mesh, name).ok_or_else(|| GenerateError::ProxyNotFound(input.key.clone()))?;
    let no_mesh = || GenerateError::MeshNotFound(mesh.clone());
    let state = snapshot.meshes.get(mesh.as_str()).ok_or_else(no_mesh)?;
    let mesh = state.config.as_ref().ok_or_else(no_mesh)?;
    let metadata = input.metadata;
    let policies = state.compiled.for_proxy(&Subject::new(&dataplane.resource, &dataplane.spec, &[]));
    let naming = Naming::unified_if(metadata.features.unified_naming && mesh.exclusive());
    let workload = input.workload.map(|workload| &workload.name);
    let outbound_policies = cache.outbound_policies.of(&policies.outbound);
    let sidecar = Sidecar {
        snapshot,
        cache,
        metadata,
        state,
        mesh,
        dataplane,
        naming,
        credentials: Credentials::new(naming, &mesh.name, mesh.mtls.is_some(), workload, &state.trust),
        redirection: Redirection::of(&dataplane.spec, metadata),
        reporting: Reporting::of(mesh, dataplane, &policies, metadata, naming, &mut collector),
        own_tags: outbound_policies.own_tags(|| dataplane.spec.all_tags()),
        tags_header: routed::tags_header(state, dataplane),
        outbound_policies,
        policies,
        legacy: state.legacy.for_proxy(&dataplane.spec),
    };
    let template = sidecar.template(&mut collector);
    if template.as_ref().is_none_or(|template| template.imports_default) {
        sidecar.generate(&mut collector, input)?;
        sidecar.patch(&mut collector);
    }
    if let Some(template) = template {
        template.edits.apply(cache, &mut collector);
        collector.keep(template);
    }
    Ok(collector.finish())
}

/// What of the metadata the administration part is built from.
#[derive(Debug)]
pub(crate) struct AdminInput<'a>(pub &'a ProxyMetadata);

impl std::hash::Hash for AdminInput<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let ProxyMetadata { admin_port, admin_address, readiness_port, features, workdir, ipv6_enabled, .. } = self.0;
        (admin_port, admin_address, readiness_port, features, workdir, ipv6_enabled).hash(state);
    }
}

impl Sidecar<'_> {
    /// The template that the proxy's configuration is made by; `None` for the usual one.
    fn template(&self, collector: &mut Collector<'_>) -> Option<Arc<Template>> {
        let template = self.legacy.proxy_template.as_ref().filter(|_| !self.dataplane.spec.is_builtin_gateway())?;
        Template::of(&self.cache.templates, template).map_err(|reason| collector.warn(&[reason])).ok()
    }

    /// Makes the modifications of MeshProxyPatches.
    fn patch(&self, collector: &mut Collector<'_>) {
        if let Some(patches) = &self.policies.own.patches {
            let patches = self.cache.patches.of(patches);
            edits_of(&self.cache.proxy_patches, &patches).apply(self.cache, collector);
            collector.keep(patches);
        }
    }

    /// Adds everything that is generated for a sidecar.
    fn generate(&self, collector: &mut Collector<'_>, input: &ProxyInput<'_>) -> Result<(), GenerateError> {
        let Self { dataplane, metadata, .. } = *self;
        collector.own(
            "admin",
            (dataplane.address(), AdminInput(metadata), input.admin_tls.map(|tls| &tls.certificate)),
            |set| admin(set, dataplane.address(), metadata, input.admin_tls),
        )?;
        for warning in self.policies.warnings.iter() {
            collector.left_out(&warning.policy, &warning.reason);
        }
        self.transparent(collector);
        let tracing = self.tracing(collector);
        self.collectors(collector);
        self.inbounds(collector, tracing.as_ref());
        let outlook = self.outlook(tracing.as_ref());
        collector.include(outlook.gathered.clone());
        self.direct_access(collector, &outlook.addresses);
        let metrics = self.metrics(collector, &outlook.addresses);
        self.probes(collector);
        self.dns(collector, &outlook);
        self.dynamic_config(collector, &outlook, metrics);
        collector.keep(outlook);
        self.secrets(collector, input)
    }

    fn internal_addresses(&self) -> Vec<tandem_policy::envoy::pb::core::CidrRange> {
        let ranges = self.snapshot.settings.internal_cidrs.iter().map(String::as_str);
        internal_addresses(ranges, self.metadata.ipv6_enabled)
    }

    /// How connections to the inbound at an index are secured.
    fn mode(&self, index: usize) -> InboundMode {
        if self.credentials.inbound().is_none() {
            return InboundMode::Plain;
        }
        let has_identity = self.credentials.workload.is_some();
        match self.policies.inbound(index).tls.as_ref().and_then(|conf| conf.mode) {
            Some(tls::Mode::Strict) => InboundMode::Strict,
            Some(tls::Mode::Permissive) => InboundMode::Permissive,
            None if !has_identity && self.mesh.permissive() => InboundMode::Permissive,
            None => InboundMode::Strict,
        }
    }

    /// True when redirected traffic may go to declared ports only.
    fn has_strict_ports(&self) -> bool {
        let inbounds = 0..self.dataplane.spec.inbounds().len();
        // With a MeshIdentity or a MeshTLS the proxy need not ask for it.
        let decided = self.credentials.workload.is_some()
            || inbounds.clone().any(|index| self.policies.inbound(index).tls.is_some());
        (decided || self.metadata.features.strict_inbound_ports)
            && inbounds.clone().all(|index| self.mode(index) == InboundMode::Strict)
    }

    /// Adds the certificates that something refers to, and whom to trust.
    fn secrets(&self, collector: &mut Collector<'_>, input: &ProxyInput<'_>) -> Result<(), GenerateError> {
        let Self { cache, state, mesh, naming, .. } = *self;
        let (identity, authority) = (naming.identity_secret(&mesh.name), naming.authority_secret(&mesh.name));
        let (needs_identity, needs_authority) = (collector.needs_secret(&identity), collector.needs_secret(&authority));
        if needs_identity || needs_authority {
            let material = secrets::credentials(state, &mesh.name, input)?;
            if needs_identity {
                secrets::add_identity(collector, "identity", identity, material.identity);
            }
            if needs_authority {
                secrets::add_authority(collector, cache, authority, material.root);
            }
        }
        if let Some(workload) = input.workload {
            secrets::add_workload(collector, workload);
            let request = super::workload_request(self.snapshot, input.key).filter(|_| state.trust.is_empty());
            if let Some(request) = request {
                let reason =
                    "there is no MeshTrust in the mesh, so the proxy trusts nobody: create one for its trust domain";
                collector.left_out(&request.identity.resource.key, reason);
            }
        }
        if input.workload.is_some() || !state.trust.is_empty() {
            secrets::add_trust(collector, cache, &state.trust);
        }
        Ok(())
    }

    /// True when a TrafficPermission selects an inbound, or the one at which metrics are fetched.
    fn has_traffic_permission(&self) -> bool {
        if self.state.legacy.policies().traffic_permissions.is_empty() {
            return false;
        }
        let permits = |policies: &Arc<legacy::InboundPolicies>| policies.traffic_permission.is_some();
        let metrics = || prometheus::settings(&self.mesh.spec, &self.dataplane.spec).ok().flatten();
        self.legacy.inbounds.iter().any(permits)
            || metrics().is_some_and(|metrics| permits(&self.state.legacy.inbound(&metrics.tags)))
    }

    /// Adds what connections to the workload need.
    fn inbounds(&self, collector: &mut Collector<'_>, tracing: Option<&Arc<Tracing>>) {
        let credential = self.credentials.inbound();
        if let Some(credential) = credential.filter(|_| !self.dataplane.spec.inbounds().is_empty()) {
            collector.secured_by(credential);
        }
        let template = InboundSource {
            mode: InboundMode::Plain,
            credential: credential.cloned(),
            interface: InboundInterface {
                address: String::new(),
                advertised_address: String::new(),
                port: 0,
                workload_address: String::new(),
                workload_port: 0,
            },
            section: String::new(),
            tags: Default::default(),
            protocol: Protocol::Unknown,
            redirected: self.redirection.enabled,
            naming: self.naming,
            reuse_port: self.metadata.features.reuse_port,
            ipv6: self.metadata.ipv6_enabled,
        };
        let has_traffic_permission = self.has_traffic_permission();
        for (index, mut source) in InboundSource::all(&self.dataplane.spec, &template) {
            source.mode = self.mode(index);
            let policies = self.cache.inbound_policies.of(self.policies.inbound(index));
            policies.problems().for_each(|(policy, reason)| collector.left_out(policy, reason));
            let rules = InboundRules {
                policies: ByAddress(policies),
                legacy: ByAddress(self.cache.legacy_inbounds.of(&self.legacy.inbounds[index])),
                has_traffic_permission,
                has_identity: credential.is_some(),
                tracing: tracing.cloned(),
                reporter: self.reporting.incoming(self.policies.inbound(index)),
            };
            let mut common = None;
            collector.own_encoded("inbound", (&source, &rules), || {
                let cache = &self.cache.inbounds;
                let (resources, of_others) = inbound::encoded(&source, || self.internal_addresses(), &rules, cache);
                common = Some(of_others);
                resources
            });
            // The result keeps the policies, so their address stands for their content.
            collector.keep(rules.policies.0);
            collector.keep(rules.legacy.0);
            if let Some(common) = common {
                collector.keep(common);
            }
        }
    }

    /// Adds what connections of the workload to its destinations need. Of the proxy this reads what its
    /// [`Standpoint`](outlook::Standpoint) has, and nothing else without making it unlike others.
    fn outbounds(&self, collector: &mut Collector<'_>, outbounds: &[Outbound<'_>], tracing: Option<&Arc<Tracing>>) {
        collector.keep(self.outbound_policies.clone());
        let (routing, mut routed) = (self.routing(outbounds), RoutedClusters::default());
        for outbound in outbounds {
            let own = match &outbound.target {
                Target::Tags(tags) => {
                    let own = self.reached_by_tags(collector, Cow::Borrowed(*tags));
                    let split = || self.outbound_policies.tcp_routes.of_service(Service::name_in(tags)).is_some();
                    let is_older = |of: &&Routing| of.concerns(own.destination.protocol, split());
                    if let Some(routing) = routing.as_ref().filter(is_older) {
                        self.add_routed(collector, outbound, tags, routing, tracing, &mut routed);
                        continue;
                    }
                    own
                }
                Target::Port(view, port) => self.reached_port(collector, view, port),
            };
            let Some((way, table)) = self.way(collector, &own) else { continue };
            let destination = own.destination;
            let source = OutboundSource {
                address: outbound.address.as_str().into(),
                port: outbound.port,
                tags_header: self.tags_header.clone().filter(|_| destination.protocol.is_http_based()),
                destination,
                way,
                redirected: self.redirection.enabled && !self.metadata.features.bind_outbounds,
                ipv6: self.metadata.ipv6_enabled,
            };
            self.add_listener(collector, source, table);
        }
        self.add_routed_clusters(collector, routed);
    }

    /// Adds the cluster of a service outside of the mesh, with those of its endpoints that can be configured.
    fn add_direct(&self, collector: &mut Collector<'_>, destination: &Destination, service: &str) {
        let externals = self.state.services.get(service).into_iter().flat_map(|service| service.external.values());
        let view = self.snapshot.viewpoint(self.mesh);
        let outside = Outside::of_externals(externals, &Default::default(), view, self.state, collector);
        let (name, protocol) = (&destination.cluster, destination.protocol);
        let localities = self.localities(destination);
        let built = outside.cluster(name, protocol, !is_ipv6(self.dataplane.address()), localities.as_deref());
        let mut draft = direct_cluster(destination, built.draft);
        tandem_policy::outbound_cluster(&self.outbound_policies, &self.own_tags, &mut draft);
        let message = [draft.value.encode(), built.rest].concat();
        collector.own_encoded("outside", (name, &message), || {
            let encoded = Encoded::new(ResourceType::Cluster, name.as_str(), &message).from_origin(Origin::Outbound);
            [(ResourceType::Cluster, Arc::new(encoded))]
        });
    }

    /// What policies make of the endpoints of a destination; `None` when they are left as they are.
    fn localities(&self, destination: &Destination) -> Option<Arc<Localities>> {
        let Self { snapshot, mesh, own_tags, .. } = self;
        let strategy = destination.conf(&self.outbound_policies.load_balancing)?;
        let is_port = matches!(destination.reference, Reference::Port(_));
        let localities = strategy.localities(Standpoint {
            zone: &snapshot.settings.zone,
            tags: &own_tags.affinity,
            through_egress: mesh.zone_egress && !is_port,
        });
        // Near endpoints of ports are preferred anyway, those of services where the mesh says so.
        let is_known = localities.is_default() && (is_port || mesh.locality_aware);
        (!is_known).then(|| Arc::new(localities))
    }

    /// What health checks of a destination tell of the proxy's tags.
    fn told(&self, destination: &Destination) -> Option<Arc<str>> {
        let told = self.own_tags.told.as_ref()?;
        if matches!(&destination.reference, Reference::Port(kri) if kri.kind == Kind::MeshExternalService) {
            // The egress checks it.
            return None;
        }
        let checks = destination.conf(&self.outbound_policies.health_checks)?;
        checks.tell_tags(destination.protocol).then(|| told.clone())
    }

    /// Adds the cluster of a destination whose endpoints are asked for on the stream.
    fn add_cluster(&self, collector: &mut Collector<'_>, destination: &Arc<Destination>) {
        let Self { cache, outbound_policies: policies, .. } = self;
        let key = ClusterKey {
            destination: destination.clone(),
            policies: ByAddress(policies.clone()),
            told: self.told(destination),
        };
        let build = || {
            let mut draft = outbound_cluster(destination);
            tandem_policy::outbound_cluster(policies, &self.own_tags, &mut draft);
            if destination.is_in_mesh() {
                tandem_policy::outbound_security(policies, &mut draft);
            }
            Ok(encode_cluster(&draft))
        };
        collector.add(ResourceType::Cluster, infallible(cache.clusters.get_or_build(key, build)));
        collector.keep(destination.clone());
    }

    /// Adds the listener of an outbound. `table` has the routes of requests.
    fn add_listener(&self, collector: &mut Collector<'_>, source: OutboundSource, table: Option<&RouteTable>) {
        let Self { cache, outbound_policies: policies, .. } = self;
        let destination = source.destination.clone();
        let reporter = self.reporting.outgoing.clone();
        let key =
            ListenerKey { source: source.clone(), reporter: reporter.clone(), policies: ByAddress(policies.clone()) };
        let build = || {
            let mut draft = outbound_listener(&source, table, &self.internal_addresses());
            tandem_policy::outbound_listener(policies, reporter.as_deref(), &mut draft);
            Ok(encode_listener(&draft))
        };
        collector.add(ResourceType::Listener, infallible(cache.listeners.get_or_build(key, build)));
        collector.keep(destination);
    }
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}
