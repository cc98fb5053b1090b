//! A peer writes and deletes what is its own, and nothing else.

use tandem_proto::mesh::v1alpha1::ZoneIngress;

use super::*;

/// A resource as `west` would send it.
fn of_zone(resource: &Resource) -> Bytes {
    mapper::encode_for_zones(resource, false, &[]).expect("encodable").body
}

#[tokio::test]
async fn a_name_of_somebody_else_is_refused_and_counted() {
    let global = applier(east());
    seed(&global, timeout("of-global", 1, &[])).await;
    seed(&global, timeout("of-west", 1, &[(label::ZONE, "west"), (label::ORIGIN, "zone")])).await;
    seed(&global, timeout("about-east", 1, &[(label::ZONE, "east"), (label::ORIGIN, "global")])).await;
    let before = stored(&global).await;
    let names = ["of-global", "of-west", "about-east"];
    let bodies = names.map(|name| of_zone(&timeout(name, 2, &[(label::ZONE, "east")])));
    let applied = full(&global, Kind::MeshTimeout, &bodies).await;
    assert_eq!(stored(&global).await, before);
    assert_eq!(applied.refused, 3);
    let complaint = applied.complaint().expect("all were left out");
    let mut lines: Vec<_> = complaint.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "resource already exists: type=\"MeshTimeout\" name=\"about-east\" mesh=\"default\"",
            "resource already exists: type=\"MeshTimeout\" name=\"of-global\" mesh=\"default\"",
            "resource already exists: type=\"MeshTimeout\" name=\"of-west\" mesh=\"default\"",
            "user error",
            "user error",
            "user error",
        ]
    );
    assert!(complaint.starts_with("user error\nuser error\nuser error\n"), "Kuma reads the cause from this");

    let removed = names.map(|name| format!("{name}.default"));
    let removed: Vec<_> = removed.iter().map(String::as_str).collect();
    let applied = later(&global, Kind::MeshTimeout, &[], &removed).await;
    assert_eq!((applied.deleted, applied.refused, applied.complaint()), (0, 3, None));
    assert_eq!(stored(&global).await, before);
}

#[tokio::test]
async fn false_claims_are_made_true_and_counted() {
    let global = applier(east());
    let honest = timeout("honest", 1, &[(label::ZONE, "east"), (label::ORIGIN, "zone")]);
    let honest = mapper::encode_for_global(&honest, "east", &[]).expect("encodable").body;
    let applied = full(&global, Kind::MeshTimeout, &[honest]).await;
    assert!(applied.relabelled.is_empty());

    let liar = mapper::encode_for_global(&timeout("liar", 1, &[]), "west", &[]).expect("encodable").body;
    let ruler = of_zone(&timeout("ruler", 1, &[(label::ZONE, "east")]));
    let applied = later(&global, Kind::MeshTimeout, &[liar, ruler], &[]).await;
    let claims: Vec<_> = applied.relabelled.iter().map(|(_, claims)| claims.join(",")).collect();
    assert_eq!(claims, ["kuma.io/zone=west", "kuma.io/origin=global"]);
    assert_eq!(applied.complaint(), None);
    for resource in global.store.list(Kind::MeshTimeout, None).await.expect("readable") {
        assert_eq!((resource.label(label::ZONE), resource.label(label::ORIGIN)), (Some("east"), Some("zone")));
    }

    let ingress = |zone: &str| {
        let spec = ZoneIngress { zone: zone.into(), ..ZoneIngress::default() };
        let resource = Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, zone), &spec);
        mapper::encode_for_global(&resource, "east", &[]).expect("encodable").body
    };
    let applied = full(&global, Kind::ZoneIngress, &[ingress(""), ingress("east"), ingress("west")]).await;
    assert_eq!(applied.relabelled.len(), 1);
    assert_eq!(applied.relabelled[0].1, ["zone=west"]);
    for resource in global.store.list(Kind::ZoneIngress, None).await.expect("readable") {
        assert_eq!(resource.proto::<ZoneIngress>().expect("decodable").zone, "east");
    }
}

#[tokio::test]
async fn global_cannot_send_a_zone_what_would_be_the_zones_own() {
    let zone = applier(Inlet::Zone);
    let own = mapper::encode_for_global(&timeout("t", 1, &[]), "west", &[]).expect("encodable").body;
    let applied = full(&zone, Kind::MeshTimeout, &[own]).await;
    assert_eq!((applied.created, applied.refused), (0, 1));
    let complaint = applied.complaint().expect("it was left out");
    assert!(complaint.contains("kuma.io/origin=\"zone\""), "{complaint}");
}

#[tokio::test]
async fn two_of_one_name_are_one_if_they_are_equal_and_none_if_not() {
    let zone = applier(Inlet::Zone);
    seed(&zone, timeout("torn", 1, &[(label::ORIGIN, "global")])).await;
    let body = |name: &str, value: u32| from_global(&timeout(name, value, &[]));
    let bodies = [body("twice", 1), body("torn", 2), body("twice", 1), body("torn", 3), body("torn", 2)];
    let applied = full(&zone, Kind::MeshTimeout, &bodies).await;
    let expected = [("torn", 1), ("twice", 1)].map(|(name, value)| (name.to_owned(), json!(value)));
    assert_eq!(stored(&zone).await, expected, "there is no order in a response");
    assert_eq!(applied.rejected.len(), 1);
    assert!(applied.complaint().is_some_and(|text| text.contains("\"torn\"") && text.contains("twice")));

    // One that is good and one that is not.
    let bodies = [body("torn", 4), from_global(&timeout("torn", 5, &[("invalid", "")]))];
    later(&zone, Kind::MeshTimeout, &bodies, &[]).await;
    assert_eq!(stored(&zone).await, expected);

    // What is in the response and named as removed is there.
    let applied = later(&zone, Kind::MeshTimeout, &[body("twice", 2)], &["twice.default"]).await;
    assert_eq!((applied.updated, applied.deleted), (1, 0));
}

#[tokio::test]
async fn a_complaint_has_an_end() {
    let rejection = |n: usize| Rejection { key: None, reason: n.to_string().repeat(200_000), conflict: n == 0 };
    let applied = Applied { rejected: (0..10).map(rejection).collect(), ..Applied::default() };
    let text = applied.complaint().expect("there is something to complain about");
    assert!(text.len() < MAX_COMPLAINT_BYTES + 100);
    assert!(text.starts_with("user error\n00"));
    assert!(text.ends_with("\nand 5 more"), "{}", &text[text.len() - 20..]);
}
