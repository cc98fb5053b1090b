//! Folder `policy-matchers`: which policies and rules a proxy gets.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::kind::Kind;
use tandem_model::label::{K8S_NAMESPACE, POLICY_ROLE};
use tandem_model::resource::Resource;
use tandem_policy::destinations::Destinations;
use tandem_policy::egress::egress_rules;
use tandem_policy::matching::{Matched, match_policies};
use tandem_policy::policy::Policy;
use tandem_policy::rules::{from_rules, inbound_rules, to_rules};
use tandem_policy::subject::{Gateway, Subject};
use tandem_proto::mesh::v1alpha1::{Dataplane, ExternalService};

use crate::load;
use crate::meta::{Metas, Place, Rewritten, synced};
use crate::{Report, cases, folder, show};

/// A case: a proxy, and the resources around it.
struct Case {
    proxy: Arc<Resource>,
    resources: Vec<Arc<Resource>>,
    kind: Kind,
}

impl Case {
    fn load(folder: &Path, name: &str) -> Self {
        let resources = load::resources(&folder.join(format!("{name}.policies.yaml")));
        let kind = load::policy_kind(&resources);
        let proxy = load::resources(&folder.join(format!("{name}.dataplane.yaml"))).remove(0);
        Self { proxy, resources, kind }
    }

    fn routes(&self) -> Vec<Arc<Policy>> {
        load::policies(&self.resources, Kind::MeshHTTPRoute)
    }

    fn destinations(&self) -> Destinations {
        Destinations::new(self.resources.iter().cloned())
    }

    fn matched(&self, kind: Kind) -> Matched {
        let dataplane: Dataplane = self.proxy.proto().expect("a Dataplane");
        let gateways: Vec<Gateway> = self
            .resources
            .iter()
            .filter(|resource| resource.kind() == Kind::MeshGateway)
            .map(|resource| Gateway::decode(Arc::clone(resource)).expect("a MeshGateway"))
            .collect();
        let subject = Subject::new(&self.proxy, &dataplane, &gateways);
        match_policies(&load::policies(&self.resources, kind), &subject, &self.routes(), false)
    }

    fn to_rules(&self, policies: &[Arc<Policy>]) -> Value {
        let rules = to_rules(policies, &self.routes(), &self.destinations()).expect("resolvable routes");
        show::to_rules(&rules, &Metas::default())
    }
}

fn from(matched: &Matched) -> Value {
    let metas = Metas::default();
    json!({
        "Rules": show::by_key(&matched.by_inbound, |policies| {
            show::rules(&from_rules(policies).expect("kinds with tags"), &metas)
        }),
        "InboundRules": show::by_key(&matched.by_inbound, |policies| {
            show::inbound_rules(&inbound_rules(policies), &metas)
        }),
    })
}

#[test]
fn policies_of_a_dataplane() {
    let Some(folder) = folder("policy-matchers/matchedpolicies/dataplanepolicies") else { return };
    let mut report = Report::default();
    for (name, _) in cases(&folder, ".dataplane.yaml") {
        let case = Case::load(&folder, &name);
        let golden = folder.join(format!("{name}.golden.yaml"));
        report.compare(&golden, &show::list(&case.matched(case.kind).policies));
    }
    report.finish("dataplanepolicies", 10);
}

#[test]
fn from_rules_of_a_dataplane() {
    let Some(folder) = folder("policy-matchers/matchedpolicies/fromrules") else { return };
    let mut report = Report::default();
    for (name, _) in cases(&folder, ".dataplane.yaml") {
        let matched = Case::load(&folder, &name).matched(Kind::MeshTrafficPermission);
        report.compare(&folder.join(format!("{name}.golden.yaml")), &from(&matched));
    }
    report.finish("fromrules", 4);
}

#[test]
fn to_rules_of_a_dataplane() {
    let mut report = Report::default();
    for name in ["torules", "meshexternalservice"] {
        let Some(folder) = folder(&format!("policy-matchers/matchedpolicies/{name}")) else { return };
        for (name, _) in cases(&folder, ".dataplane.yaml") {
            let mut case = Case::load(&folder, &name);
            let services = folder.join(format!("{name}.mes.yaml"));
            if services.exists() {
                case.resources.extend(load::resources(&services));
            }
            let computed = case.to_rules(&case.matched(case.kind).policies);
            report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
        }
    }
    report.finish("torules", 9);
}

#[test]
fn rules_of_a_gateway() {
    let Some(folder) = folder("policy-matchers/matchedpolicies/meshgateways") else { return };
    let mut report = Report::default();
    for (name, _) in cases(&folder, ".dataplane.yaml") {
        let case = Case::load(&folder, &name);
        let matched = case.matched(Kind::MeshAccessLog);
        let from = from(&matched);
        let computed = json!({
            "FromRules": from["Rules"],
            "InboundRules": from["InboundRules"],
            "ToRules": {
                "ByListener": show::by_key(&matched.by_inbound, |policies| case.to_rules(policies)),
                "ByListenerAndHostname": show::by_key(&matched.by_listener, |policies| case.to_rules(policies)),
            },
        });
        report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
    }
    report.finish("meshgateways", 4);
}

/// Rewrites a resource as one variant of a case has it.
struct Variant {
    created: Place,
    /// Synchronized, and whether to Kubernetes.
    synced: Option<bool>,
    role: Option<&'static str>,
}

impl Variant {
    const fn new(created: Place, synced: Option<bool>) -> Self {
        Self { created, synced, role: None }
    }

    const fn with_role(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }

    fn of(&self, resource: &Resource) -> Resource {
        let created = self.created.created(resource);
        let Rewritten { mut resource, .. } = match self.synced {
            Some(to_k8s) => synced(&created, to_k8s),
            None => created,
        };
        if let Some(role) = self.role {
            resource.labels.insert(POLICY_ROLE.to_owned(), role.to_owned());
        }
        if self.role == Some("system") {
            resource.labels.insert(K8S_NAMESPACE.to_owned(), "kuma-system".to_owned());
        }
        resource
    }
}

/// Name of the variant, how the Dataplane is rewritten, how the policies are.
fn variants() -> Vec<(String, Variant, Variant)> {
    use Place::{GlobalK8s, GlobalUni, ZoneK8s, ZoneUni};
    let system = |created, synced| Variant::new(created, synced).with_role("system");
    let producer = |to_k8s| Variant::new(ZoneK8s, Some(to_k8s)).with_role("producer");
    let mut variants = vec![
        ("uni-zone".into(), Variant::new(ZoneUni, None), Variant::new(ZoneUni, None)),
        ("k8s-zone".into(), Variant::new(ZoneK8s, None), Variant::new(ZoneK8s, None)),
        ("policy-from-k8s-to-uni".into(), Variant::new(ZoneUni, None), producer(false)),
        ("policy-from-k8s-to-k8s".into(), Variant::new(ZoneK8s, None), producer(true)),
        ("policy-global-uni-dpp-k8s-on-zone".into(), Variant::new(ZoneUni, None), system(GlobalUni, Some(false))),
        ("policy-global-uni-dpp-k8s-on-global".into(), Variant::new(ZoneUni, Some(false)), system(GlobalUni, None)),
    ];
    for global in [GlobalUni, GlobalK8s] {
        for zone in [ZoneUni, ZoneK8s] {
            let name = format!("policy-from-{}-{}", global.name(), zone.name());
            variants.push((format!("{name}-on-zone"), Variant::new(zone, None), system(global, Some(zone.is_k8s()))));
            variants.push((
                format!("{name}-on-global"),
                Variant::new(zone, Some(global.is_k8s())),
                system(global, None),
            ));
        }
    }
    variants
}

#[test]
fn policies_by_kind_dataplane() {
    let Some(folder) = folder("policy-matchers/matchedpolicies/dataplane-kind") else { return };
    let mut report = Report::default();
    for (name, _) in cases(&folder, ".dataplane.yaml") {
        for (variant, of_proxy, of_policies) in variants() {
            let mut case = Case::load(&folder, &name);
            case.proxy = Arc::new(of_proxy.of(&case.proxy));
            for resource in case.resources.iter_mut().filter(|resource| resource.kind() == case.kind) {
                *resource = Arc::new(of_policies.of(resource));
            }
            let golden = folder.join(&name).join(format!("{variant}.golden.yaml"));
            report.compare(&golden, &show::list(&case.matched(case.kind).policies));
        }
    }
    report.finish("dataplane-kind", 112);
}

#[test]
fn rules_at_an_egress() {
    let mut report = Report::default();
    for (name, kind) in [
        ("fromrules", Kind::MeshTrafficPermission),
        ("fromtorules", Kind::MeshTimeout),
        ("torules", Kind::MeshLoadBalancingStrategy),
    ] {
        let Some(folder) = folder(&format!("policy-matchers/egressmatchedpolicies/{name}")) else { return };
        for (name, path) in cases(&folder, ".es.yaml") {
            let service: ExternalService = load::resources(&path)[0].proto().expect("an ExternalService");
            let resources = load::resources(&folder.join(format!("{name}.policies.yaml")));
            let policies = load::policies(&resources, kind);
            let destinations = Destinations::new(resources);
            let rules = egress_rules(&policies, &service.tags, &destinations).expect("kinds with tags");
            let metas = Metas::default();
            let computed = json!({
                "Rules": {":0": show::rules(&rules.rules, &metas)},
                "InboundRules": rules.inbound_rules.map(|rules| json!({":0": show::inbound_rules(&rules, &metas)})),
            });
            report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
        }
    }
    report.finish("egressmatchedpolicies", 4);
}
