//! The configuration of a proxy beside a workload.

mod observed;
pub(crate) mod outlook;
mod redirected;
mod routed;

use std::convert::Infallible;
use std::sync::Arc;

use tandem_model::dataplane::{DataplaneExt as _, InboundInterface};
use tandem_model::{Protocol, ResourceKey, prometheus};
use tandem_policy::envoy::Origin;
use tandem_policy::legacy::traffic_trace::Tracing;
use tandem_policy::subject::Subject;
use tandem_policy::tls;
use tandem_policy::{OutboundPolicies, ProxyPolicies, legacy};

use super::admin::admin;
use super::collect::{Collector, encode_cluster, encode_listener};
use super::credential::Credentials;
use super::external::Outside;
use super::http::internal_addresses;
use super::inbound::{self, InboundMode, InboundRules, InboundSource};
use super::names::Naming;
use super::outbound::{Destination, OutboundSource, direct_cluster, outbound_cluster, outbound_listener};
use super::outbounds::{Outbound, Target};
use super::real::PortRef;
use super::services::{self, ServiceRef, Viewer};
use super::shape::is_ipv6;
use super::transparent::Redirection;
use routed::RoutedClusters;

use super::{Cache, secrets};
use crate::cache::ByAddress;
use crate::encoded::{Encoded, ResourceType};
use crate::index::{DataplaneView, MeshState, MeshView, Service, Snapshot};
use crate::input::{GenerateError, Generated, ProxyInput};
use crate::metadata::ProxyMetadata;
use crate::modifications::Template;

/// Everything the cluster of a destination is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterKey {
    destination: Arc<Destination>,
    policies: ByAddress<OutboundPolicies>,
}

/// Everything the listener of an outbound is built from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ListenerKey {
    source: OutboundSource,
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
    policies: Arc<ProxyPolicies>,
    /// Policies of the older generation.
    legacy: legacy::ProxyPolicies,
    outbound_policies: Arc<OutboundPolicies>,
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
        outbound_policies: cache.outbound_policies.of(&policies.outbound),
        policies,
        legacy: state.legacy.for_proxy(&dataplane.spec),
    };
    let template = sidecar.template(&mut collector);
    if template.as_ref().is_none_or(|template| template.imports_default) {
        sidecar.generate(&mut collector, input)?;
    }
    if let Some(template) = template {
        template.apply(&cache.modified, &mut collector);
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

    /// Adds everything that is generated for a sidecar.
    fn generate(&self, collector: &mut Collector<'_>, input: &ProxyInput<'_>) -> Result<(), GenerateError> {
        let Self { dataplane, metadata, .. } = *self;
        collector.own(
            "admin",
            (dataplane.address(), AdminInput(metadata), input.admin_tls.map(|tls| &tls.certificate)),
            |set| admin(set, dataplane.address(), metadata, input.admin_tls),
        )?;
        collector.warn(&self.policies.warnings);
        self.transparent(collector);
        let tracing = self.tracing(collector);
        self.inbounds(collector, tracing.as_ref());
        let outlook = self.outlook(tracing.as_ref());
        collector.include(outlook.gathered.clone());
        self.direct_access(collector, &outlook.addresses);
        self.metrics(collector, &outlook.addresses);
        self.probes(collector);
        self.dns(collector, &outlook);
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
            let rules = InboundRules {
                policies: ByAddress(policies),
                legacy: ByAddress(self.cache.legacy_inbounds.of(&self.legacy.inbounds[index])),
                has_traffic_permission,
                has_identity: credential.is_some(),
                tracing: tracing.cloned(),
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
        let Self { snapshot, cache, state, mesh, naming, .. } = *self;
        let credentials = &self.credentials;
        collector.keep(self.outbound_policies.clone());
        let (routing, mut routed) = (self.routing(outbounds), RoutedClusters::default());
        let tags_header = self.tags_header();
        for outbound in outbounds {
            let (destination, endpoints) = match &outbound.target {
                Target::Tags(tags) => {
                    let destination = services::destination(cache, snapshot, state, mesh, tags, naming, credentials);
                    if let Some(routing) = routing.as_ref().filter(|of| of.concerns(destination.protocol)) {
                        self.add_routed(collector, outbound, tags, routing, tracing, &mut routed);
                        continue;
                    }
                    let name = Service::name_in(tags);
                    collector.uses(&mesh.name, name);
                    if destination.direct {
                        self.add_direct(collector, &destination, name);
                    }
                    let of = ServiceRef::new(snapshot, state, mesh, name);
                    let endpoints = || services::endpoints(cache, of, Viewer::Sidecar, &destination.cluster, tags);
                    let endpoints = (!destination.direct).then(endpoints);
                    (destination, endpoints)
                }
                Target::Port(view, port) => {
                    let of = PortRef { snapshot, state, mesh, view, port };
                    of.services().for_each(|(mesh, service)| collector.uses(&mesh, &service));
                    if let Some(Err(reason)) = state.outside_tls.get(&view.resource.key) {
                        collector.left_out(&view.resource.key, reason);
                    }
                    let destination = of.destination(cache, naming, credentials);
                    let endpoints = of.endpoints(cache, Viewer::Sidecar, &destination.cluster);
                    (destination, Some(endpoints))
                }
            };
            if let Some(endpoints) = endpoints {
                collector.add(ResourceType::Endpoint, endpoints);
            }
            if let Some(tls) = &destination.tls {
                collector.secured_by(&tls.credential);
            }
            let source = OutboundSource {
                address: outbound.address.as_str().into(),
                port: outbound.port,
                tags_header: tags_header.clone().filter(|_| destination.protocol.is_http_based()),
                destination,
                redirected: self.redirection.enabled && !self.metadata.features.bind_outbounds,
                ipv6: self.metadata.ipv6_enabled,
            };
            self.add_outbound(collector, source);
        }
        self.add_routed_clusters(collector, routed);
    }

    /// Adds the cluster of a service outside of the mesh, with those of its endpoints that can be configured.
    fn add_direct(&self, collector: &mut Collector<'_>, destination: &Destination, service: &str) {
        let externals = self.state.services.get(service).into_iter().flat_map(|service| service.external.values());
        let view = self.snapshot.viewpoint(self.mesh);
        let outside = Outside::of_externals(externals, &Default::default(), view, self.state, collector);
        let (name, protocol) = (&destination.cluster, destination.protocol);
        let built = outside.cluster(name, protocol, !is_ipv6(self.dataplane.address()));
        let mut draft = direct_cluster(destination, built.draft);
        tandem_policy::outbound_cluster(&self.outbound_policies, &mut draft);
        let message = [draft.value.encode(), built.rest].concat();
        collector.own_encoded("outside", (name, &message), || {
            let encoded = Encoded::new(ResourceType::Cluster, name.as_str(), &message).from_origin(Origin::Outbound);
            [(ResourceType::Cluster, Arc::new(encoded))]
        });
    }

    fn add_outbound(&self, collector: &mut Collector<'_>, source: OutboundSource) {
        let Self { cache, outbound_policies: policies, .. } = self;
        let destination = source.destination.clone();
        if !destination.direct {
            let key = ClusterKey { destination: destination.clone(), policies: ByAddress(policies.clone()) };
            let build = || {
                let mut draft = outbound_cluster(&destination);
                tandem_policy::outbound_cluster(policies, &mut draft);
                if destination.is_in_mesh() {
                    tandem_policy::outbound_security(policies, &mut draft);
                }
                Ok(encode_cluster(&draft))
            };
            collector.add(ResourceType::Cluster, infallible(cache.clusters.get_or_build(key, build)));
        }
        let key = ListenerKey { source: source.clone(), policies: ByAddress(policies.clone()) };
        let build = || {
            let mut draft = outbound_listener(&source, &self.internal_addresses());
            tandem_policy::outbound_listener(policies, &mut draft);
            Ok(encode_listener(&draft))
        };
        collector.add(ResourceType::Listener, infallible(cache.listeners.get_or_build(key, build)));
        collector.keep(destination);
    }
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}
