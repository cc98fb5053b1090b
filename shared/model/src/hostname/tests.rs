use serde_json::json;

use super::*;
use crate::resource::ResourceKey;

fn generator(
    name: &str,
    labels: &[(&str, &str)],
    created: i64,
    selector: serde_json::Value,
    template: &str,
) -> Generator {
    let spec = json!({ "selector": selector, "template": template });
    let mut resource = Resource::from_json(ResourceKey::global(Kind::HostnameGenerator, name), spec)
        .with_labels(labels.iter().copied());
    resource.created = at(created);
    Generator::decode(&resource).expect("a HostnameGenerator")
}

fn any(template: &str) -> Generator {
    generator("any", &[], 0, json!({"meshService": {}}), template)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time of our days")
}

fn service(kind: Kind, name: &str, created: i64, labels: &[(&str, &str)]) -> Resource {
    let key = ResourceKey::new(kind, "demo", name);
    let mut resource = Resource::from_json(key, json!({})).with_labels(labels.iter().copied());
    resource.created = at(created);
    resource
}

fn web(labels: &[(&str, &str)]) -> Resource {
    service(Kind::MeshService, "web-hash", 1, labels)
}

#[test]
fn every_field_of_a_template() {
    let template = "{{ .Name }}/{{ .DisplayName }}/{{ .Namespace }}/{{ .Mesh }}/{{ .Zone }}/{{ label \"team\" }}";
    let labels =
        [("kuma.io/display-name", "web"), ("k8s.kuma.io/namespace", "ns"), ("kuma.io/zone", "west"), ("team", "a")];
    assert_eq!(any(template).hostname(&web(&labels), "east"), Some(Ok("web-hash/web/ns/demo/west/a".into())));
    assert_eq!(
        any(template).hostname(&web(&[("team", "a")]), "east"),
        Some(Ok("web-hash/web-hash//demo/east/a".into()))
    );
}

#[test]
fn kinds_have_selectors_of_their_own() {
    for (member, selected) in [
        ("meshService", Kind::MeshService),
        ("meshExternalService", Kind::MeshExternalService),
        ("meshMultiZoneService", Kind::MeshMultiZoneService),
    ] {
        let generator = generator("g", &[], 0, json!({ member: {"matchLabels": {"a": "b"}} }), "{{ .Name }}.local");
        for kind in KINDS {
            let expected = (kind == selected).then(|| Ok("x.local".to_owned()));
            assert_eq!(generator.hostname(&service(kind, "x", 1, &[("a", "b"), ("c", "d")]), "east"), expected);
            assert_eq!(generator.hostname(&service(kind, "x", 1, &[("a", "c")]), "east"), None);
            assert_eq!(generator.is_for(kind), kind == selected);
        }
    }
}

#[test]
fn an_empty_name_is_none() {
    assert_eq!(any("{{ .Namespace }}").hostname(&web(&[]), "east"), None);
}

/// Name of the generator, status, reason and message.
fn conditions(hostnames: &Hostnames) -> Vec<(&str, ConditionStatus, &str, &str)> {
    hostnames
        .generators
        .iter()
        .map(|status| {
            let [condition] = status.conditions.as_slice() else { panic!("one condition, not {status:?}") };
            assert_eq!(condition.kind, "Generated");
            let name = status.hostname_generator_ref.core_name.as_str();
            (name, condition.status, condition.reason.as_str(), condition.message.as_str())
        })
        .collect()
}

fn names(hostnames: &Hostnames) -> Vec<(&str, &str)> {
    let addresses = hostnames.addresses.iter();
    addresses
        .map(|address| {
            assert_eq!(address.origin, "HostnameGenerator");
            (address.hostname_generator_ref.core_name.as_str(), address.hostname.as_str())
        })
        .collect()
}

use ConditionStatus::{False, True};

#[test]
fn wrong_templates_are_told_to_the_services() {
    let generators = [
        any("{{ .Name | upper }}"),
        generator("field", &[], 0, json!({"meshService": {}}), "{{ .Nope }}"),
        generator("label", &[], 0, json!({"meshService": {}}), "{{ label \"team\" }}"),
    ];
    let web = web(&[]);
    let assigned = assign(&generators, [&web], "east");
    let expected = [
        (
            "field",
            False,
            "TemplateError",
            r#"pre evaluation of template with parameters failed with error="template: :1:3: executing \"\" at <.Nope>: can't evaluate field Nope in type hostname.meshedName""#,
        ),
        (
            "label",
            False,
            "TemplateError",
            r#"pre evaluation of template with parameters failed with error="template: :1:3: executing \"\" at <label \"team\">: error calling label: label team not found""#,
        ),
    ];
    let conditions = conditions(&assigned["web-hash"]);
    assert_eq!(conditions[1..], expected);
    assert_eq!((conditions[0].0, conditions[0].1, conditions[0].2), ("any", False, "TemplateError"));
    assert!(conditions[0].3.starts_with("failed compiling gotemplate error="), "{}", conditions[0].3);
    assert!(assigned["web-hash"].addresses.is_empty());
}

#[test]
fn the_older_service_keeps_a_host_name() {
    let generator = any("{{ label \"host\" }}.local");
    let service = |name, created| service(Kind::MeshService, name, created, &[("host", "same")]);
    let (a, b, c) = (service("a", 3), service("b", 2), service("c", 2));
    let assigned = assign([&generator], [&a, &b, &c], "east");
    assert_eq!(names(&assigned["b"]), [("any", "same.local")]);
    assert_eq!(conditions(&assigned["b"]), [("any", True, "Generated", "")]);
    for name in ["a", "c"] {
        assert!(assigned[name].addresses.is_empty());
        let message = format!("Hostname collision with MeshService: {name}");
        assert_eq!(conditions(&assigned[name]), [("any", False, "Collision", message.as_str())]);
    }
}

#[test]
fn generators_of_the_zone_come_first_then_the_older_ones() {
    let selecting = |who: &str| json!({"meshService": {"matchLabels": {"who": who}}});
    let older = generator("older", &[], 1, selecting("one"), "same.local");
    let younger = generator("younger", &[], 2, selecting("two"), "same.local");
    let one = service(Kind::MeshService, "one", 1, &[("who", "one")]);
    let two = service(Kind::MeshService, "two", 2, &[("who", "two")]);
    let assigned = assign([&younger, &older], [&one, &two], "east");
    assert_eq!((assigned["one"].addresses.len(), assigned["two"].addresses.len()), (1, 0));

    let of_zone = generator("younger", &[("kuma.io/origin", "zone")], 2, selecting("two"), "same.local");
    let assigned = assign([&older, &of_zone], [&one, &two], "east");
    assert_eq!((assigned["one"].addresses.len(), assigned["two"].addresses.len()), (0, 1));
}

#[test]
fn generators_that_agree_do_not_collide() {
    let generators = ["z", "a"].map(|name| generator(name, &[], 0, json!({"meshService": {}}), "{{ .Name }}.local"));
    let web = web(&[]);
    let assigned = assign(&generators, [&web], "east");
    assert_eq!(names(&assigned["web-hash"]), [("a", "web-hash.local"), ("z", "web-hash.local")]);
    assert_eq!(conditions(&assigned["web-hash"]).len(), 2);
}

#[test]
fn services_that_nothing_selects_have_nothing() {
    let generator = generator("g", &[], 0, json!({"meshExternalService": {}}), "x");
    let web = web(&[]);
    assert_eq!(assign([&generator], [&web], "east")["web-hash"], Hostnames::default());
}
