//! What policies are attached to: parts of a sidecar, or the whole of it.
//!
//! Source of the names: Kuma `pkg/core/xds/inspect/attachments.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _, OutboundExt as _};
use tandem_model::{Kind, Resource, prometheus};
use tandem_policy::legacy::{LegacyPolicies, MatchedPolicies};
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;

use super::{MeshView, Proxy};

/// What part of a proxy something is attached to. In the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Dataplane,
    Inbound,
    Outbound,
    Service,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Service => "service",
        }
    }
}

/// Something of a proxy that policies are attached to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    part: Part,
    /// Address and ports, or a service; empty for the proxy itself.
    name: String,
    /// The service; empty for the proxy itself and for inbounds that it does not list.
    service: String,
}

impl Attachment {
    fn new(part: Part, name: impl Into<String>, service: impl Into<String>) -> Self {
        Self { part, name: name.into(), service: service.into() }
    }

    /// Its JSON form: `{"type","name"?,"service"?}`.
    pub fn show(&self) -> Map<String, Value> {
        let members = [("type", self.part.name()), ("name", &self.name), ("service", &self.service)];
        let set = members.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(member, value)| (member.to_owned(), value.into())).collect()
    }
}

/// The policies of a sidecar by what they are attached to: those of the older generation, and of those selected by `targetRef` the
/// ones of the `kinds` given, which are all attached to the proxy. The proxy is seen [at virtual addresses](Proxy::at_virtual_addresses).
pub fn attachments(
    mesh: &MeshView,
    proxy: &Proxy,
    legacy: &LegacyPolicies,
    kinds: &[Kind],
) -> BTreeMap<Attachment, Vec<Arc<Resource>>> {
    let mut attachments = of_legacy(&matched(mesh, proxy, legacy), proxy);
    let subject = proxy.subject(mesh);
    let policies = kinds.iter().flat_map(|kind| mesh.matched(*kind, &subject, false).policies);
    let mut policies = policies.map(|policy| Arc::clone(&policy.resource)).peekable();
    if policies.peek().is_some() {
        attachments.entry(Attachment::new(Part::Dataplane, "", "")).or_default().extend(policies);
    }
    attachments
}

/// The policies of the older generation that apply to a proxy.
pub fn matched(mesh: &MeshView, proxy: &Proxy, legacy: &LegacyPolicies) -> MatchedPolicies {
    let metrics = prometheus::settings(&mesh.spec, &proxy.spec).unwrap_or_else(|error| {
        tracing::warn!(proxy = %proxy.resource.key, %error, "inspection passes over settings of metrics that do not decode");
        None
    });
    let additional: Vec<Inbound> = metrics.iter().map(|metrics| prometheus::inbound(metrics, &proxy.spec)).collect();
    MatchedPolicies::of(legacy, &proxy.spec, proxy.spec.outbounds(), &additional)
}

fn of_legacy(matched: &MatchedPolicies, proxy: &Proxy) -> BTreeMap<Attachment, Vec<Arc<Resource>>> {
    let mut attachments: BTreeMap<Attachment, Vec<Arc<Resource>>> = BTreeMap::new();
    let mut attach = |attachment: Attachment, resource: &Arc<Resource>| {
        attachments.entry(attachment).or_default().push(Arc::clone(resource));
    };

    let services: BTreeMap<_, _> = proxy
        .spec
        .inbounds()
        .iter()
        .map(|inbound| (proxy.spec.inbound_interface(inbound), inbound.service()))
        .collect();
    let permissions = matched.traffic_permissions.iter().map(|(inbound, policy)| (inbound, &policy.resource));
    let faults = matched.fault_injections.iter();
    let faults = faults.flat_map(|(inbound, policies)| policies.iter().map(move |policy| (inbound, &policy.resource)));
    let limits = matched.inbound_rate_limits.iter();
    let limits = limits.flat_map(|(inbound, policies)| policies.iter().map(move |policy| (inbound, &policy.resource)));
    for (inbound, resource) in permissions.chain(faults).chain(limits) {
        let name = format!("{}:{}:{}", inbound.address, inbound.port, inbound.workload_port);
        let service = services.get(inbound).copied().unwrap_or_default();
        attach(Attachment::new(Part::Inbound, name, service), resource);
    }

    let services: BTreeMap<_, _> =
        proxy.spec.outbounds().iter().map(|outbound| (outbound.interface(), outbound.service())).collect();
    let timeouts = matched.timeouts.iter().map(|(outbound, policy)| (outbound, &policy.resource));
    let limits = matched.outbound_rate_limits.iter().map(|(outbound, policy)| (outbound, &policy.resource));
    let routes = matched.traffic_routes.iter().map(|(outbound, policy)| (outbound, &policy.resource));
    for (outbound, resource) in timeouts.chain(limits).chain(routes) {
        let name = match outbound.address.contains(':') {
            true => format!("[{}]:{}", outbound.address, outbound.port),
            false => format!("{}:{}", outbound.address, outbound.port),
        };
        let service = services.get(outbound).copied().unwrap_or_default();
        attach(Attachment::new(Part::Outbound, name, service), resource);
    }

    let logs = matched.traffic_logs.iter().map(|(service, policy)| (service, &policy.resource));
    let checks = matched.health_checks.iter().map(|(service, policy)| (service, &policy.resource));
    let breakers = matched.circuit_breakers.iter().map(|(service, policy)| (service, &policy.resource));
    let retries = matched.retries.iter().map(|(service, policy)| (service, &policy.resource));
    for (service, resource) in logs.chain(checks).chain(breakers).chain(retries) {
        attach(Attachment::new(Part::Service, service, service), resource);
    }

    let trace = matched.traffic_trace.iter().map(|policy| &policy.resource);
    for resource in trace.chain(matched.proxy_template.iter().map(|policy| &policy.resource)) {
        attach(Attachment::new(Part::Dataplane, "", ""), resource);
    }
    attachments
}
