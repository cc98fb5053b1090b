//! A mesh and its proxies as explanations see them.

use std::collections::BTreeSet;

use tandem_model::dataplane::{DataplaneExt as _, OutboundExt as _};
use tandem_model::label::ZONE;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::PolicySettings;
use tandem_policy::explain::{
    KindExplanation, Outbound, ProxyName, RuleChange, Scene, amount_to, changed_rules, explain,
};
use tandem_policy::matching::select;
use tandem_policy::reach::Reach;
use tandem_proto::mesh::v1alpha1::ServiceInsight;
use tandem_store::Store;

use crate::context::ApiContext;
use crate::inspect::{MeshView, POLICY_ORDER, Proxy};
use crate::problem::Problem;
use crate::query::parameters;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Kinds of policies that were named; empty for all that say something.
    pub kinds: Vec<Kind>,
    /// The destination: a value of `kuma.io/service`, or identifier or name of a resource.
    pub to: Option<String>,
}

/// Reads `policy`, once or more often or with commas, and `to`.
///
/// # Errors
/// 400 for a kind that is no policy selected by `targetRef`.
pub fn wanted(query: Option<&str>) -> Result<Wanted, Problem> {
    let mut wanted = Wanted { kinds: Vec::new(), to: None };
    for (name, value) in parameters(query) {
        match name.as_str() {
            "policy" => {
                for text in value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                    wanted.kinds.push(kind(text)?);
                }
            }
            "to" => wanted.to = Some(value).filter(|text| !text.is_empty()),
            _ => {}
        }
    }
    wanted.kinds.dedup();
    Ok(wanted)
}

/// A kind by name or path.
fn kind(text: &str) -> Result<Kind, Problem> {
    let known = POLICY_ORDER.into_iter().find(|kind| {
        let is = |name: &str| name.eq_ignore_ascii_case(text);
        is(kind.name()) || kind.descriptor().path.iter().any(|path| is(path))
    });
    known.ok_or_else(|| {
        let names: Vec<&str> = POLICY_ORDER.iter().map(|kind| kind.name()).collect();
        Problem::bad_request(format!("invalid parameter \"policy\": {text:?} is no policy selected by targetRef"))
            .with_parameter("policy", format!("must be one of {}", names.join(", ")))
    })
}

/// A mesh, and what of it explanations need besides.
pub struct Inspected {
    /// The mesh.
    pub mesh: MeshView,
    /// Values of `kuma.io/service`.
    services: BTreeSet<String>,
    settings: PolicySettings,
    service_vip_port: u16,
}

impl Inspected {
    /// Reads a mesh.
    ///
    /// # Errors
    /// Under `title`: 404 when there is no such mesh, 500 when the store cannot be read.
    pub async fn load(context: &ApiContext, mesh: &str, title: &str) -> Result<Self, Problem> {
        Ok(Self {
            mesh: MeshView::load(&*context.store, mesh, title).await?,
            services: services(&*context.store, mesh, title).await?,
            settings: context.settings.policies.clone(),
            service_vip_port: context.settings.service_vip_port,
        })
    }

    /// The same with another state of the mesh.
    pub fn with(&self, mesh: MeshView) -> Self {
        Self { mesh, services: self.services.clone(), settings: self.settings.clone(), ..*self }
    }

    /// A proxy as it reaches services.
    pub fn proxy(&self, proxy: Proxy) -> Proxy {
        proxy.at_virtual_addresses(&self.mesh, self.service_vip_port)
    }

    /// Why the policies of the wanted kinds have the effect on a proxy that they have.
    ///
    /// # Errors
    /// 404 under `title` when the wanted destination does not exist.
    pub fn explained(&self, proxy: &Proxy, wanted: &Wanted, title: &str) -> Result<Vec<KindExplanation>, Problem> {
        let mut outbounds = self.outbounds(proxy);
        let named = wanted.to.as_deref().map(|to| self.named(to, proxy));
        if let (Some(named), Some(to)) = (&named, &wanted.to) {
            if named.is_empty() {
                let mut problem = Problem::not_found(title);
                problem.detail = format!(
                    "there is no destination {to:?} in the mesh; name a value of kuma.io/service, or a MeshService, MeshExternalService or MeshMultiZoneService by name or identifier"
                );
                return Err(problem);
            }
            outbounds.clone_from(named);
        }
        let kinds: Vec<Kind> = if wanted.kinds.is_empty() { POLICY_ORDER.to_vec() } else { wanted.kinds.clone() };
        let mut explanations: Vec<KindExplanation> =
            kinds.iter().filter_map(|kind| self.scene(*kind, proxy, &outbounds, explain)).collect();
        if wanted.kinds.is_empty() {
            explanations.retain(KindExplanation::says_something);
        }
        if let Some(named) = named {
            explanations.iter_mut().for_each(|explanation| only_about(explanation, &named));
        }
        Ok(explanations)
    }

    /// What would hold for a proxy instead of what holds.
    pub fn changed(&self, after: &Self, proxy: &Proxy, kinds: &[Kind]) -> Vec<RuleChange> {
        let outbounds = self.outbounds(proxy);
        let amount = |of: &Self, kind| of.scene(kind, proxy, &outbounds, |scene| Some(amount_to(scene)));
        let changes = |kind: &Kind| changed_rules(amount(self, *kind).as_ref(), amount(after, *kind).as_ref());
        kinds.iter().flat_map(changes).collect()
    }

    fn scene(
        &self,
        kind: Kind,
        proxy: &Proxy,
        outbounds: &[Outbound],
        look: impl Fn(&Scene<'_>) -> Option<KindExplanation>,
    ) -> Option<KindExplanation> {
        let subject = proxy.subject(&self.mesh);
        look(&Scene {
            kind,
            policies: self.mesh.policies(kind),
            routes: self.mesh.routes(),
            destinations: &self.mesh.destinations,
            is_service: &|name| self.services.contains(name),
            subject: &subject,
            outbounds,
            enabled: self.settings.is_enabled(kind),
        })
    }

    /// True when the policy with this key, if there is one, selects a proxy. One on trial does not.
    pub fn selects(&self, key: &ResourceKey, proxy: &Proxy) -> bool {
        let subject = proxy.subject(&self.mesh);
        let policies = self.mesh.policies(key.kind).iter();
        let mut own = policies.filter(|policy| policy.resource.key == *key && !policy.is_shadow());
        own.any(|policy| select(policy, &subject, self.mesh.routes()).is_ok_and(|found| found.applies(&subject)))
    }

    /// True when a service has this value of `kuma.io/service`.
    pub fn is_service(&self, name: &str) -> bool {
        self.services.contains(name)
    }

    /// Where a proxy sends traffic, sorted.
    fn outbounds(&self, proxy: &Proxy) -> Vec<Outbound> {
        let reach = Reach::new(&proxy.resource, &proxy.spec, &self.mesh.destinations);
        let mut all: BTreeSet<Outbound> = BTreeSet::new();
        for outbound in proxy.spec.outbounds() {
            match &outbound.backend_ref {
                Some(reference) => all.extend(reach.outbound(reference).map(|backend| Outbound::Port(backend.kri()))),
                None if outbound.service().is_empty() => {}
                None => {
                    all.insert(Outbound::Service(outbound.service().to_owned()));
                }
            }
        }
        if is_redirected(proxy) {
            all.extend(reach.backends().into_keys().map(Outbound::Port));
        }
        all.into_iter().collect()
    }

    /// The destinations that a text names, whether the proxy reaches them or not.
    fn named(&self, text: &str, proxy: &Proxy) -> Vec<Outbound> {
        let mut named: BTreeSet<Outbound> = BTreeSet::new();
        let is_own = |outbound: &&Outbound| matches!(outbound, Outbound::Service(service) if service == text);
        if self.services.contains(text) || self.outbounds(proxy).iter().any(|outbound| is_own(&outbound)) {
            named.insert(Outbound::Service(text.to_owned()));
        }
        for kind in tandem_policy::reach::BACKEND_KINDS {
            for destination in self.mesh.destinations.of_kind(kind) {
                let resource = &destination.resource;
                let whole =
                    destination.kri.to_string() == text || resource.key.name == text || resource.display_name() == text;
                for port in destination.ports.iter().flatten() {
                    let kri = destination.kri.clone().with_section(port.section.clone());
                    if whole || kri.to_string() == text {
                        named.insert(Outbound::Port(kri));
                    }
                }
            }
        }
        named.into_iter().collect()
    }
}

/// Whether connections of the workload are redirected to the proxy.
fn is_redirected(proxy: &Proxy) -> bool {
    let networking = proxy.spec.networking.as_ref();
    let section = networking.and_then(|networking| networking.transparent_proxying.as_ref());
    section.is_some_and(|section| section.redirect_port_inbound > 0 || section.redirect_port_outbound > 0)
}

/// Leaves the rules about these destinations.
fn only_about(explanation: &mut KindExplanation, named: &[Outbound]) {
    let is_named = |name: &str| {
        named.iter().any(|outbound| match outbound {
            Outbound::Service(service) => service == name,
            Outbound::Port(kri) => kri.to_string() == name,
        })
    };
    for rule in &mut explanation.outbound {
        rule.destinations
            .retain(|destination| is_named(&destination.name) || destination.kind == Kind::MeshHTTPRoute.name());
    }
    explanation.outbound.retain(|rule| !rule.destinations.is_empty());
    explanation.inbound.clear();
    explanation.proxy = None;
}

/// The values of `kuma.io/service` that insights know.
async fn services(store: &dyn Store, mesh: &str, title: &str) -> Result<BTreeSet<String>, Problem> {
    let insights = store.list(Kind::ServiceInsight, Some(mesh)).await.map_err(|error| Problem::store(title, &error))?;
    let services = insights.iter().filter_map(|insight| insight.proto::<ServiceInsight>().ok());
    Ok(services.flat_map(|insight| insight.services.into_keys()).collect())
}

/// A proxy as explanations name it.
pub fn proxy_name(resource: &Resource) -> ProxyName {
    ProxyName {
        kind: resource.kind().name().to_owned(),
        mesh: resource.key.mesh.clone(),
        name: resource.key.name.clone(),
        zone: resource.label(ZONE).map(str::to_owned),
    }
}
