//! One test for each reason, and what is told of the result.

use serde_json::{Value, json};
use tandem_model::resource::{Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::gateway::GatewayType;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Gateway as GatewaySection, Inbound as InboundSection};
use tandem_proto::mesh::v1alpha1::mesh_gateway::{Conf, Listener};
use tandem_proto::mesh::v1alpha1::{MeshGateway, Selector};

use super::*;
use crate::subject::Gateway;
use crate::testing::{labelled, policy};

/// A proxy of mesh `default` in zone `east`.
struct Proxy {
    resource: Resource,
    spec: Dataplane,
    gateways: Vec<Gateway>,
}

fn tags(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
}

impl Proxy {
    fn new(networking: Networking) -> Self {
        let spec = Dataplane { networking: Some(networking), ..Dataplane::default() };
        let resource = Resource::from_proto(ResourceKey::new(Kind::Dataplane, "default", "web-1"), &spec);
        let labels =
            [("kuma.io/origin", "zone"), ("kuma.io/zone", "east"), ("k8s.kuma.io/namespace", "shop"), ("app", "web")];
        Self { resource: resource.with_labels(labels), spec, gateways: Vec::new() }
    }

    /// With an inbound `8080` of version 1, and one called `admin`.
    fn sidecar() -> Self {
        let inbound = |port, name: &str, version| InboundSection {
            port,
            name: name.to_owned(),
            tags: tags(&[("kuma.io/service", "web"), ("version", version)]),
            ..InboundSection::default()
        };
        let inbound = vec![inbound(8080, "", "1"), inbound(9090, "admin", "2")];
        Self::new(Networking { address: "10.0.0.1".into(), inbound, ..Networking::default() })
    }

    fn gateway(kind: GatewayType) -> Self {
        let gateway = GatewaySection { r#type: kind.into(), tags: tags(&[("kuma.io/service", "edge")]) };
        Self::new(Networking { address: "10.0.0.2".into(), gateway: Some(gateway), ..Networking::default() })
    }

    /// A builtin gateway with a listener at port 80.
    fn builtin() -> Self {
        let mut proxy = Self::gateway(GatewayType::Builtin);
        let spec = MeshGateway {
            selectors: vec![Selector { r#match: tags(&[("kuma.io/service", "edge")]) }],
            conf: Some(Conf {
                listeners: vec![Listener { port: 80, tags: tags(&[("port", "http")]), ..Listener::default() }],
            }),
            ..MeshGateway::default()
        };
        let key = ResourceKey::new(Kind::MeshGateway, "default", "edge");
        let gateway = Gateway::decode(Arc::new(Resource::from_proto(key, &spec))).expect("a gateway");
        proxy.gateways.push(gateway);
        proxy
    }

    fn explained(&self, policies: Vec<Policy>, routes: Vec<Policy>, services: &[&str]) -> KindExplanation {
        self.explained_if(true, policies, routes, services)
    }

    fn explained_if(
        &self,
        enabled: bool,
        policies: Vec<Policy>,
        routes: Vec<Policy>,
        services: &[&str],
    ) -> KindExplanation {
        let policies: Vec<Arc<Policy>> = policies.into_iter().map(Arc::new).collect();
        let routes: Vec<Arc<Policy>> = routes.into_iter().map(Arc::new).collect();
        let mesh = Resource::from_proto(
            ResourceKey::global(Kind::Mesh, "default"),
            &tandem_proto::mesh::v1alpha1::Mesh::default(),
        );
        let ports = json!({"ports": [{"name": "http", "port": 80}]});
        let service = Resource::from_json(ResourceKey::new(Kind::MeshService, "default", "backend"), ports);
        let destinations = Destinations::new([Arc::new(mesh), Arc::new(service)]);
        let subject = Subject::new(&self.resource, &self.spec, &self.gateways);
        let mut outbounds: Vec<Outbound> =
            services.iter().map(|service| Outbound::Service((*service).to_owned())).collect();
        outbounds.push(Outbound::Port("kri_msvc_default___backend_http".parse().expect("an identifier")));
        let scene = Scene {
            kind: policies[0].kind(),
            policies: &policies,
            routes: &routes,
            destinations: &destinations,
            is_service: &|name| services.contains(&name),
            subject: &subject,
            outbounds: &outbounds,
            enabled,
        };
        explain(&scene).expect("there are policies")
    }

    /// Why a MeshTimeout with this `targetRef` is left out.
    fn refusal(&self, target: Value) -> (Reason, String) {
        self.refusal_of(timeout("p", target, json!({"idleTimeout": "1s"})), Vec::new())
    }

    fn refusal_of(&self, policy: Policy, routes: Vec<Policy>) -> (Reason, String) {
        let explained = self.explained(vec![policy], routes, &[]);
        assert_eq!((explained.selected.len(), explained.left_out_total), (0, 1), "{explained:?}");
        (explained.left_out[0].reason, explained.left_out[0].message.clone())
    }
}

/// A MeshTimeout about all destinations.
fn timeout(name: &str, target: Value, conf: Value) -> Policy {
    let to = json!([{"targetRef": {"kind": "Mesh"}, "default": conf}]);
    policy(Kind::MeshTimeout, name, json!({"targetRef": target, "to": to}))
}

fn everywhere() -> Value {
    json!({"kind": "Mesh"})
}

#[test]
fn another_zone() {
    let policy = labelled(timeout("p", everywhere(), json!({})), "kuma.io/origin", "zone");
    let refusal = Proxy::sidecar().refusal_of(labelled(policy, "kuma.io/zone", "west"), Vec::new());
    assert_eq!(refusal, (Reason::Zone, "it is of zone \"west\", the proxy of \"east\"".to_owned()));
}

#[test]
fn another_namespace() {
    let policy = labelled(timeout("p", everywhere(), json!({})), "kuma.io/policy-role", "consumer");
    let refusal = Proxy::sidecar().refusal_of(labelled(policy, "k8s.kuma.io/namespace", "blog"), Vec::new());
    let text = "as consumer policy it stays in its namespace \"blog\"; the proxy is in \"shop\"";
    assert_eq!(refusal, (Reason::Namespace, text.to_owned()));
}

#[test]
fn another_type_of_proxy() {
    let refusal = Proxy::sidecar().refusal(json!({"kind": "Mesh", "proxyTypes": ["Gateway"]}));
    let text = "targetRef.proxyTypes is [Gateway], the proxy is a Sidecar";
    assert_eq!(refusal, (Reason::ProxyType, text.to_owned()));
}

#[test]
fn other_tags() {
    let (reason, text) = Proxy::sidecar().refusal(json!({"kind": "MeshSubset", "tags": {"version": "3", "env": "x"}}));
    assert_eq!(reason, Reason::Tags);
    assert_eq!(
        text,
        "inbound 8080 lacks env=x and has version=1, not 3; inbound admin lacks env=x and has version=2, not 3"
    );
    let (reason, text) = Proxy::gateway(GatewayType::Delegated).refusal(json!({"kind": "MeshService", "name": "web"}));
    assert_eq!((reason, text.as_str()), (Reason::Tags, "gateway has kuma.io/service=edge, not web"));
    let (reason, text) =
        Proxy::builtin().refusal(json!({"kind": "MeshGateway", "name": "edge", "tags": {"port": "tcp"}}));
    assert_eq!((reason, text.as_str()), (Reason::Tags, "listener 80 has port=http, not tcp"));
}

#[test]
fn another_name() {
    let (reason, text) = Proxy::sidecar().refusal(json!({"kind": "Dataplane", "name": "api-1"}));
    assert_eq!(reason, Reason::Name);
    assert!(text.contains("api-1") && text.contains("kri_dp_default_east_shop_web-1_"), "{text}");
}

#[test]
fn other_labels() {
    let (reason, text) = Proxy::sidecar().refusal(json!({"kind": "Dataplane", "labels": {"app": "api", "team": "x"}}));
    assert_eq!(reason, Reason::Labels);
    assert_eq!(text, "the proxy has app=web, targetRef asks for api; the proxy lacks the label team=x");
}

#[test]
fn another_section() {
    let refusal = Proxy::sidecar().refusal(json!({"kind": "Dataplane", "sectionName": "metrics"}));
    assert_eq!(refusal, (Reason::Section, "the proxy has no inbound \"metrics\", it has [8080, admin]".to_owned()));
}

#[test]
fn gateways() {
    assert_eq!(Proxy::builtin().refusal(json!({"kind": "Dataplane"})).0, Reason::BuiltinGateway);
    let (reason, text) = Proxy::builtin().refusal(json!({"kind": "MeshGateway", "name": "other"}));
    assert_eq!(reason, Reason::Gateway);
    assert_eq!(text, "targetRef names the MeshGateway \"other\", the proxy is one of \"edge\"");
    assert_eq!(Proxy::sidecar().refusal(json!({"kind": "MeshGateway", "name": "edge"})).0, Reason::Gateway);
}

#[test]
fn nothing_to_select() {
    assert_eq!(Proxy::new(Networking::default()).refusal(everywhere()).0, Reason::Empty);
}

#[test]
fn on_trial() {
    let shadow = |target: Value| labelled(timeout("p", target, json!({})), "kuma.io/effect", "shadow");
    assert_eq!(Proxy::sidecar().refusal_of(shadow(everywhere()), Vec::new()).0, Reason::Shadow);
    // What would not select the proxy in earnest either says so.
    let refusal = Proxy::sidecar().refusal_of(shadow(json!({"kind": "Dataplane", "name": "x"})), Vec::new());
    assert_eq!(refusal.0, Reason::Name);
}

#[test]
fn a_kind_that_is_switched_off() {
    let policies = vec![timeout("p", everywhere(), json!({"idleTimeout": "1s"}))];
    let explained = Proxy::sidecar().explained_if(false, policies, Vec::new(), &[]);
    assert_eq!(explained.left_out[0].reason, Reason::KindDisabled);
    assert!(explained.left_out[0].message.contains("policies.pluginPoliciesEnabled"));
    assert_eq!(explained.outcomes().count(), 0);
}

#[test]
fn routes() {
    let about =
        || timeout("p", json!({"kind": "MeshHTTPRoute", "name": "r"}), json!({"http": {"requestTimeout": "1s"}}));
    let explained = Proxy::sidecar().explained(vec![about()], Vec::new(), &[]);
    assert_eq!(explained.left_out[0].reason, Reason::RouteMissing);
    assert_eq!(explained.problems[0].policy, "p", "it is a problem of the policy");

    let route = |target: Value| {
        let rules = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "default": {}}]);
        let to = json!([{"targetRef": {"kind": "MeshService", "name": "api"}, "rules": rules}]);
        policy(Kind::MeshHTTPRoute, "r", json!({"targetRef": target, "to": to}))
    };
    let (reason, text) =
        Proxy::sidecar().refusal_of(about(), vec![route(json!({"kind": "Dataplane", "name": "api-1"}))]);
    assert_eq!(reason, Reason::Name);
    assert!(text.starts_with("the MeshHTTPRoute \"r\" that it is about: targetRef names"), "{text}");

    let explained = Proxy::sidecar().explained(vec![about()], vec![route(everywhere())], &["api"]);
    let destination = &explained.outbound[0].destinations[0];
    assert_eq!((destination.kind.as_str(), destination.name.as_str()), ("kuma.io/service", "api"));
    assert!(destination.route.is_some(), "{explained:?}");
    assert_eq!(explained.outbound[0].outcome.merged[0].entry, "to[0]");
}

#[test]
fn what_is_overridden_is_told_field_by_field() {
    let policies = vec![
        timeout("hidden", everywhere(), json!({"idleTimeout": "1s"})),
        timeout("all", json!({"kind": "MeshSubset"}), json!({"idleTimeout": "2s", "http": {"requestTimeout": "2s"}})),
        timeout("own", json!({"kind": "MeshSubset", "tags": {"version": "1"}}), json!({"idleTimeout": "3s"})),
    ];
    let explained = Proxy::sidecar().explained(policies, Vec::new(), &["api"]);
    let effects: Vec<_> =
        explained.selected.iter().map(|selected| (selected.policy.name.as_str(), selected.effect)).collect();
    assert_eq!(
        effects,
        [("hidden", Effect::Overridden), ("own", Effect::Overridden), ("all", Effect::Contributes)],
        "of two equal references the name that sorts first is stronger"
    );
    assert_eq!(explained.selected[1].selects, ["8080"]);
    assert_eq!(explained.selected[1].stronger_by.as_deref(), Some("targetRef MeshSubset is narrower than Mesh"));
    let rule = &explained.outbound[0];
    let names: Vec<&str> = rule.destinations.iter().map(|destination| destination.name.as_str()).collect();
    assert_eq!(names, ["api", "kri_msvc_default___backend_http", "default"], "one rule holds for all");
    let field = &rule.outcome.configurations[0].fields[0];
    assert_eq!((field.path.as_str(), &field.value, field.policy.as_str()), ("/idleTimeout", &json!("2s"), "all"));
    let overridden: Vec<_> = field.overrides.iter().map(|weaker| (weaker.policy.as_str(), &weaker.value)).collect();
    assert_eq!(overridden, [("hidden", &json!("1s")), ("own", &json!("3s"))]);
}

#[test]
fn destinations_that_do_not_exist() {
    let to = |target: Value| json!([{"targetRef": target, "default": {"idleTimeout": "1s"}}]);
    let about = |target: Value| policy(Kind::MeshTimeout, "p", json!({"to": to(target)}));
    let explained = |target| Proxy::sidecar().explained(vec![about(target)], Vec::new(), &["api"]);
    let gone = explained(json!({"kind": "MeshService", "name": "gone"}));
    assert_eq!(gone.selected[0].effect, Effect::Nothing);
    assert_eq!(
        gone.selected[0].notes,
        ["to[0] refers to the MeshService \"gone\", which does not exist: it has no effect"]
    );
    assert_eq!(gone.problems[0].policy, "p");
    let unlabelled = explained(json!({"kind": "MeshExternalService", "labels": {"team": "x"}}));
    assert!(unlabelled.problems[0].message.contains("a MeshExternalService with the labels team=x"));
    for there in ["backend", "api"] {
        let there = explained(json!({"kind": "MeshService", "name": there}));
        assert_eq!((there.problems.len(), there.selected[0].effect), (0, Effect::Contributes));
        assert_eq!(there.outbound.len(), 1);
    }
}

#[test]
fn entries_about_narrower_destinations_are_stronger() {
    let to = json!([
        {"targetRef": {"kind": "MeshService", "name": "backend", "sectionName": "http"}, "default": {"idleTimeout": "3s"}},
        {"targetRef": {"kind": "MeshService", "name": "backend"}, "default": {"idleTimeout": "2s"}},
        {"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}},
    ]);
    let explained = Proxy::sidecar().explained(vec![policy(Kind::MeshTimeout, "p", json!({"to": to}))], vec![], &[]);
    let merged: Vec<_> = explained.outbound[0]
        .outcome
        .merged
        .iter()
        .map(|entry| (entry.entry.as_str(), entry.stronger_by.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        merged,
        [
            ("to[2]", ""),
            ("to[1]", "it is about a MeshService, which is narrower than Mesh"),
            ("to[0]", "it is about the section \"http\""),
        ]
    );
}

#[test]
fn incoming_traffic_is_merged_or_kept_apart_by_kind() {
    let rules = json!([{"default": {"idleTimeout": "1s"}}]);
    let from = json!([{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "2s", "connectionTimeout": "3s"}}]);
    let admin = json!({"kind": "Dataplane", "sectionName": "admin"});
    let policies = vec![
        policy(Kind::MeshTimeout, "from", json!({"from": from})),
        policy(Kind::MeshTimeout, "rules", json!({"targetRef": admin, "rules": rules})),
    ];
    let explained = Proxy::sidecar().explained(policies, vec![], &[]);
    let shown: Vec<(&str, usize)> =
        explained.inbound.iter().map(|rule| (rule.inbounds[0].section.as_str(), rule.outcome.merged.len())).collect();
    assert_eq!(shown, [("8080", 1), ("admin", 2)]);
    let second = &explained.inbound[1].outcome.configurations[0];
    assert_eq!(second.conf, json!({"idleTimeout": "1s", "connectionTimeout": "3s"}));

    let by_identity = |action: &str, id: &str| {
        let matches = json!({action: [{"spiffeID": {"type": "Exact", "value": id}}]});
        json!({"rules": [{"default": matches}]})
    };
    let by_tags = json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]});
    let policies = vec![
        policy(Kind::MeshTrafficPermission, "a", by_identity("allow", "spiffe://default/a")),
        policy(Kind::MeshTrafficPermission, "b", by_identity("deny", "spiffe://default/b")),
        policy(Kind::MeshTrafficPermission, "tags", by_tags.clone()),
    ];
    let explained = Proxy::sidecar().explained(policies, vec![], &[]);
    assert_eq!(explained.inbound.len(), 2, "each entry by itself: {:?}", explained.inbound);
    let tags = explained.selected.iter().find(|selected| selected.policy.name == "tags").expect("it is selected");
    assert_eq!(tags.effect, Effect::Nothing);
    assert_eq!(tags.notes, ["`from` is ignored at inbounds that \"b\" selects, because that has `rules`"]);

    let policies = vec![policy(Kind::MeshTrafficPermission, "tags", by_tags)];
    let explained = Proxy::sidecar().explained(policies, vec![], &[]);
    assert_eq!(explained.inbound[0].inbounds.len(), 2);
    assert_eq!(explained.inbound[0].outcome.merged[0].entry, "from[0]");
}

#[test]
fn a_policy_that_makes_no_rules_is_a_problem_of_its_own() {
    let from: Vec<Value> = (0..40)
        .map(|key| {
            let target = json!({"kind": "MeshSubset", "tags": {format!("key-{key}"): "x"}});
            json!({"targetRef": target, "default": {"action": "Allow"}})
        })
        .collect();
    let fine = json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]});
    let policies = vec![
        policy(Kind::MeshTrafficPermission, "fine", fine),
        policy(Kind::MeshTrafficPermission, "many", json!({"from": from})),
    ];
    let explained = Proxy::sidecar().explained(policies, vec![], &[]);
    assert_eq!(explained.problems.len(), 1, "once, not for each inbound");
    assert_eq!(explained.problems[0].policy, "many");
    assert!(explained.problems[0].message.contains("can be combined in more than"));
    assert_eq!(explained.inbound[0].outcome.merged[0].policy, "fine");
}

#[test]
fn the_proxy_itself() {
    let metric = |name: &str, port: u32| {
        policy(
            Kind::MeshMetric,
            name,
            json!({"default": {"backends": [{"type": "Prometheus", "prometheus": {"port": port}}]}}),
        )
    };
    let explained = Proxy::sidecar().explained(vec![metric("a", 1), metric("b", 2)], vec![], &[]);
    let rule = explained.proxy.as_ref().expect("there is one");
    assert_eq!(rule.outcome.merged[0].entry, "default");
    assert_eq!(explained.selected[0].effect, Effect::Overridden);
    assert!(explained.outbound.is_empty() && explained.inbound.is_empty());
}

#[test]
fn what_changes_between_two_explanations() {
    let conf = |seconds: u32| json!({"idleTimeout": format!("{seconds}s")});
    let proxy = Proxy::sidecar();
    let explained = |policies| proxy.explained(policies, vec![], &["api"]);
    let before = explained(vec![timeout("p", everywhere(), conf(1))]);
    let after = explained(vec![timeout("p", everywhere(), conf(1)), timeout("a", everywhere(), conf(2))]);
    let changes = changed_rules(Some(&before), Some(&after));
    let about: Vec<&str> = changes.iter().map(|change| change.about.as_str()).collect();
    assert_eq!(about, ["to Mesh default", "to MeshService kri_msvc_default___backend_http", "to kuma.io/service api"]);
    assert_eq!((&changes[0].before, &changes[0].after), (&Some(conf(1)), &Some(conf(2))));
    assert_eq!(changed_rules(Some(&after), Some(&after)), []);
    let gone = changed_rules(Some(&after), None);
    assert_eq!((gone.len(), &gone[0].before, &gone[0].after), (3, &Some(conf(2)), &None));

    let allow = |id: &str| {
        let matches = json!([{"spiffeID": {"type": "Exact", "value": id}}]);
        policy(Kind::MeshTrafficPermission, "p", json!({"rules": [{"default": {"allow": matches}}]}))
    };
    let (one, other) = (explained(vec![allow("spiffe://default/a")]), explained(vec![allow("spiffe://default/b")]));
    let changes = changed_rules(Some(&one), Some(&other));
    assert_eq!(
        changes.iter().map(|change| change.about.as_str()).collect::<Vec<_>>(),
        ["inbound 8080", "inbound admin"]
    );
}
