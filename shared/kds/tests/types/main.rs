//! Every type travels where it should, under the right name and with the right labels, and nowhere else.

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey, label, rest};
use tandem_proto::json::Unknown;
use tandem_store::SharedStore;

/// Where resources of a type go. Source: flags of the types, Kuma `pkg/core/resources/model/resource.go` and the generated
/// descriptors.
struct Travels {
    /// From global, when created there, to zones.
    down: bool,
    /// From a zone to global.
    up: bool,
    /// From a zone through global to other zones, whatever it says.
    across: bool,
    /// Under its own name.
    keeps_name: bool,
    /// With a status.
    status: bool,
}

/// Letters: `d`own, `u`p, `a`cross, keeps its `n`ame, `s`tatus.
const TABLE: [(&str, &str); 52] = [
    ("Mesh", "dn"),
    ("Config", "dn"),
    ("Secret", "dn"),
    ("GlobalSecret", "dn"),
    ("ServiceInsight", "d"),
    ("CircuitBreaker", "d"),
    ("ExternalService", "d"),
    ("FaultInjection", "d"),
    ("HealthCheck", "d"),
    ("MeshGatewayRoute", "d"),
    ("ProxyTemplate", "d"),
    ("RateLimit", "d"),
    ("Retry", "d"),
    ("Timeout", "d"),
    ("TrafficLog", "d"),
    ("TrafficPermission", "d"),
    ("TrafficRoute", "d"),
    ("TrafficTrace", "d"),
    ("VirtualOutbound", "d"),
    ("MeshMultiZoneService", "ds"),
    ("MeshGateway", "du"),
    ("MeshExternalService", "dus"),
    ("MeshIdentity", "dus"),
    ("MeshTrust", "dus"),
    ("HostnameGenerator", "du"),
    ("MeshAccessLog", "du"),
    ("MeshCircuitBreaker", "du"),
    ("MeshFaultInjection", "du"),
    ("MeshHealthCheck", "du"),
    ("MeshHTTPRoute", "du"),
    ("MeshLoadBalancingStrategy", "du"),
    ("MeshMetric", "du"),
    ("MeshPassthrough", "du"),
    ("MeshProxyPatch", "du"),
    ("MeshRateLimit", "du"),
    ("MeshRetry", "du"),
    ("MeshTCPRoute", "du"),
    ("MeshTimeout", "du"),
    ("MeshTLS", "du"),
    ("MeshTrace", "du"),
    ("MeshTrafficPermission", "du"),
    ("MeshService", "uas"),
    ("ZoneIngress", "ua"),
    ("Dataplane", "u"),
    ("DataplaneInsight", "u"),
    ("ZoneIngressInsight", "u"),
    ("ZoneEgress", "u"),
    ("ZoneEgressInsight", "u"),
    ("Workload", "us"),
    ("Zone", ""),
    ("ZoneInsight", ""),
    ("MeshInsight", ""),
];

fn table() -> BTreeMap<Kind, Travels> {
    let row = |(name, flags): (&str, &str)| {
        let has = |flag| flags.contains(flag);
        let travels =
            Travels { down: has('d'), up: has('u'), across: has('a'), keeps_name: has('n'), status: has('s') };
        (name.parse().expect("a known type"), travels)
    };
    TABLE.into_iter().map(row).collect()
}

fn examples() -> BTreeMap<Kind, Resource> {
    let documents = serde_norway::Deserializer::from_str(include_str!("examples.yaml"));
    let resources = documents.map(|document| {
        let document = Value::deserialize(document).expect("YAML");
        let resource = rest::from_json(document.clone(), None, Unknown::Refuse);
        resource.unwrap_or_else(|error| panic!("{document}: {error}")).resource
    });
    resources.map(|resource| (resource.kind(), resource)).collect()
}

/// The example of a type under another name, as a zone has it.
fn of_zone(example: &Resource, zone: &str) -> Resource {
    let mut resource = example.clone();
    resource.key.name = format!("{}-of-{zone}", example.key.name);
    if resource.status.is_some() {
        resource.status = Some(json!({"conditions": [{"type": zone, "status": "True", "reason": "x", "message": ""}]}));
    }
    resource.with_labels([("team", "a"), (label::ORIGIN, label::ORIGIN_ZONE), (label::ZONE, zone)])
}

/// How many resources of a type came from global.
async fn received(store: &SharedStore, kind: Kind) -> usize {
    let all = store.list(kind, None).await.expect("readable");
    all.iter().filter(|resource| resource.label(label::ORIGIN) == Some(label::ORIGIN_GLOBAL)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_where_it_should_and_nowhere_else() {
    let (table, examples) = (table(), examples());
    assert_eq!(table.len(), Kind::all().count());
    assert_eq!(examples.len(), table.len(), "an example of each type");
    assert_eq!(table.values().filter(|travels| travels.down || travels.across).count(), 43);
    assert_eq!(table.values().filter(|travels| travels.up).count(), 29);

    let (global_store, east_store, west_store) = (store(), store(), store());
    for (kind, example) in &examples {
        put(&global_store, example.clone().with_labels([("team", "a")])).await;
        if !table[kind].keeps_name {
            put(&east_store, of_zone(example, "east")).await;
        }
    }
    let global = RunningGlobal::start(&global_store).await;
    let east = RunningZone::start("east", &east_store, global.address);
    let west = RunningZone::start("west", &west_store, global.address);

    for (kind, travels) in &table {
        let (made_on_global, made_in_east) = (&examples[kind], of_zone(&examples[kind], "east"));
        let below =
            if travels.keeps_name { made_on_global.key.clone() } else { synced_from_global(&made_on_global.key) };
        let above = synced_from("east", &made_in_east.key);
        if travels.down {
            for store in [&east_store, &west_store] {
                wait_until_exists(store, &below).await;
                let received = store.get(&below).await.expect("readable").expect("just seen");
                assert_eq!(received.spec, made_on_global.spec, "{kind}");
                let mut labels = vec![(label::ORIGIN, "global"), ("team", "a")];
                if !travels.keeps_name {
                    labels.insert(0, (label::DISPLAY_NAME, made_on_global.key.name.as_str()));
                }
                assert!(
                    received.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(labels),
                    "{kind}"
                );
                assert_eq!(received.status.is_some(), travels.status, "{kind}");
            }
        }
        if travels.up {
            wait_until_exists(&global_store, &above).await;
            let received = global_store.get(&above).await.expect("readable").expect("just seen");
            if !matches!(kind, Kind::ZoneIngress | Kind::ZoneEgress) {
                assert_eq!(received.spec, made_in_east.spec, "{kind}");
            }
            assert_eq!(received.status, made_in_east.status, "{kind}");
            assert_eq!(received.label(label::ZONE), Some("east"), "{kind}");
            assert_eq!(received.label(label::ORIGIN), Some("zone"), "{kind}");
            assert_eq!(received.label(label::DISPLAY_NAME), Some(made_in_east.key.name.as_str()), "{kind}");
            assert_eq!(received.owner, Some(ResourceKey::global(Kind::Zone, "east")), "{kind}");
        }
        if travels.across {
            wait_until_exists(&west_store, &above).await;
            let received = west_store.get(&above).await.expect("readable").expect("just seen");
            assert_eq!(received.label(label::ORIGIN), Some("global"), "{kind}");
            assert_eq!(received.label(label::ZONE), Some("east"), "{kind}");
            assert_eq!(received.status, travels.status.then(|| json!({})), "{kind}: the status stays with global");
        }
    }
    // Both streams have brought everything, so what is not there will not come: one last round trip in each direction.
    put(&global_store, timeout("last", "1s")).await;
    wait_until_exists(&west_store, &synced_from_global(&timeout("last", "").key)).await;
    wait_until_exists(&east_store, &synced_from_global(&timeout("last", "").key)).await;
    put(&east_store, service("last")).await;
    wait_until_exists(&west_store, &synced_from("east", &service("last").key)).await;
    for (kind, travels) in &table {
        let last = match kind {
            Kind::MeshTimeout => usize::from(travels.down),
            Kind::MeshService => usize::from(travels.across),
            _ => 0,
        };
        let expected = usize::from(travels.down) + usize::from(travels.across) + last;
        assert_eq!(received(&west_store, *kind).await, expected, "{kind} in west");
    }
    for zone in [east, west] {
        zone.stop().await;
    }
    global.stop().await;
}
