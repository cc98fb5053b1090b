//! `rules`: the rules of a proxy by what they are attached to, as clients older than `_rules` ask for them.
//!
//! They know services by tags only: destinations that are resources have no part in it. Shape: Kuma
//! `pkg/api-server/types/inspect.go` (`RuleInspectEntry`) and `pkg/core/xds/inspect/rules.go`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tandem_model::Kind;
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _, OutboundExt as _};
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::Tags;
use tandem_policy::rules::{Rule, first_match, from_rules, single_item_rules, to_rules};
use tandem_policy::service_cluster;
use tandem_policy::subject::InboundKey;
use tandem_proto::mesh::v1alpha1::Dataplane;

use crate::context::SharedContext;
use crate::handlers::Place;
use crate::inspect::{MeshView, POLICY_ORDER, Proxy};
use crate::json;
use crate::problem::Problem;

const MESH_TITLE: &str = "Could not build MeshContext";
const TITLE: &str = "Could not get MatchedPolicies";

/// `GET` of the rules of a proxy. Rules that cannot be computed are left out, as upstream does.
pub async fn of_dataplane(State(context): State<SharedContext>, Path(place): Path<Place>) -> Result<Response, Problem> {
    let mesh = MeshView::load(&*context.store, place.mesh.as_deref().unwrap_or_default(), MESH_TITLE).await?;
    let proxy = Proxy::load(&*context.store, &place.key(Kind::Dataplane), TITLE).await?;
    let proxy = proxy.at_virtual_addresses(&mesh, context.settings.service_vip_port);
    let items = attachments(&mesh, &proxy);
    Ok(json::ok(&json!({"total": items.len(), "items": items})))
}

/// A rule and the part of the proxy that it is attached to.
struct Attachment<'a> {
    kind: &'static str,
    /// Name of the service with its tags; empty for the proxy itself.
    name: String,
    addresses: Vec<String>,
    service: &'a str,
    tags: Option<&'a Tags>,
    policy: Kind,
    rule: Rule,
}

impl Attachment<'_> {
    fn show(&self) -> Value {
        let mut object = Map::new();
        let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
        add("type", self.kind.into());
        if !self.name.is_empty() {
            add("name", self.name.as_str().into());
        }
        if !self.addresses.is_empty() {
            add("addresses", json!(self.addresses));
        }
        if !self.service.is_empty() {
            add("service", self.service.into());
        }
        if let Some(tags) = self.tags.filter(|tags| !tags.is_empty()) {
            add("tags", json!(tags));
        }
        add("policyType", self.policy.name().into());
        let condition = |tag: &tandem_policy::TagCondition| {
            let value = if tag.not { format!("!{}", tag.value) } else { tag.value.clone() };
            (tag.key.clone(), Value::from(value))
        };
        add("subset", self.rule.subset.conditions().iter().map(condition).collect::<Map<_, _>>().into());
        add("conf", self.rule.conf.clone());
        let origin = |policy: &std::sync::Arc<tandem_policy::policy::Policy>| json!({"mesh": policy.resource.key.mesh, "name": policy.resource.key.name});
        add("origins", self.rule.origins.iter().map(origin).collect());
        Value::Object(object)
    }
}

/// All attachments, sorted by name and then type; rules of one attachment keep their order.
fn attachments(mesh: &MeshView, proxy: &Proxy) -> Vec<Value> {
    let subject = proxy.subject(mesh);
    let mut attachments = Vec::new();
    for kind in POLICY_ORDER {
        let matched = mesh.matched(kind, &subject, false);
        for (inbound, policies) in &matched.by_inbound {
            let rules = from_rules(policies).unwrap_or_default();
            attachments.extend(rules.into_iter().map(|rule| of_clients(&proxy.spec, inbound, kind, rule)));
        }
        let to = to_rules(&matched.policies, mesh.routes(), &mesh.destinations).unwrap_or_default();
        attachments.extend(of_destinations(&proxy.spec, kind, &to.rules));
        let own = single_item_rules(&matched.policies).unwrap_or_default().into_iter().next();
        attachments.extend(own.map(|rule| Attachment {
            kind: "SingleItem",
            name: String::new(),
            addresses: Vec::new(),
            service: "",
            tags: None,
            policy: kind,
            rule,
        }));
    }
    attachments.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.kind.cmp(b.kind)));
    attachments.iter().map(Attachment::show).collect()
}

fn of_clients<'a>(dataplane: &'a Dataplane, key: &InboundKey, policy: Kind, rule: Rule) -> Attachment<'a> {
    let is_it = |interface: tandem_model::dataplane::InboundInterface| {
        interface.address == key.address && interface.port == key.port
    };
    let inbound = dataplane.inbounds().iter().find(|inbound| is_it(dataplane.inbound_interface(inbound)));
    Attachment {
        kind: "ClientSubset",
        name: inbound.map(|inbound| service_cluster(&inbound.tags)).unwrap_or_default(),
        addresses: vec![key.to_string()],
        service: inbound.map(|inbound| inbound.service()).unwrap_or_default(),
        tags: inbound.map(|inbound| &inbound.tags),
        policy,
        rule,
    }
}

/// Outbounds with the same tags are one destination with several addresses.
fn of_destinations<'a>(dataplane: &'a Dataplane, policy: Kind, rules: &[Rule]) -> Vec<Attachment<'a>> {
    let mut attachments: Vec<Attachment<'a>> = Vec::new();
    for outbound in dataplane.outbounds().iter().filter(|outbound| outbound.tags.contains_key(SERVICE_TAG)) {
        let name = service_cluster(&outbound.tags);
        let interface = outbound.interface();
        let address = format!("{}:{}", interface.address, interface.port);
        if let Some(known) = attachments.iter_mut().find(|attachment| attachment.name == name) {
            if !known.addresses.contains(&address) {
                known.addresses.push(address);
            }
            continue;
        }
        let tags: BTreeMap<&str, &str> =
            outbound.tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect();
        let Some(rule) = first_match(rules, &tags) else { continue };
        attachments.push(Attachment {
            kind: "DestinationSubset",
            name,
            addresses: vec![address],
            service: outbound.service(),
            tags: Some(&outbound.tags),
            policy,
            rule: rule.clone(),
        });
    }
    attachments
}
