//! Synchronization over real connections.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use serde_json::json;
use tandem_model::{Kind, Resource, ResourceKey, Spec, label};
use tandem_proto::mesh::v1alpha1::{Dataplane, ZoneIngress};
use tandem_proto::system::v1alpha1::{Secret, Zone, ZoneInsight};

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_create_update_and_delete() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&global_store, mesh("default")).await;
    put(&global_store, timeout("t", "1s")).await;
    let zone = RunningZone::start("east", &zone_store, global.address);

    // Down: what was there before, then an update, then a removal.
    let there = synced_from_global(&timeout("t", "").key);
    wait_until_exists(&zone_store, &mesh("default").key).await;
    wait_for(&zone_store, &there, |resource| resource.is_some_and(|r| r.spec == timeout("", "1s").spec)).await;
    put(&global_store, timeout("t", "2s")).await;
    wait_for(&zone_store, &there, |resource| resource.is_some_and(|r| r.spec == timeout("", "2s").spec)).await;
    let received = zone_store.get(&there).await.expect("readable").expect("exists");
    assert_eq!(received.label(label::ORIGIN), Some("global"));
    assert_eq!(received.label(label::DISPLAY_NAME), Some("t"));
    assert_eq!(received.label(label::ZONE), None);
    delete(&global_store, &timeout("t", "").key).await;
    wait_until_gone(&zone_store, &there).await;

    // Up: the same with a Dataplane.
    let dataplane = |port| {
        let networking = tandem_proto::mesh::v1alpha1::dataplane::Networking {
            address: "10.0.0.1".into(),
            inbound: vec![tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound {
                port,
                tags: [("kuma.io/service".to_owned(), "web".to_owned())].into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let key = ResourceKey::new(Kind::Dataplane, "default", "web-1");
        Resource::from_proto(key, &Dataplane { networking: Some(networking), ..Default::default() })
    };
    let above = synced_from("east", &dataplane(1).key);
    put(&zone_store, dataplane(80)).await;
    wait_until_exists(&global_store, &above).await;
    put(&zone_store, dataplane(81)).await;
    wait_for(&global_store, &above, |resource| resource.is_some_and(|r| r.spec == dataplane(81).spec)).await;
    let received = global_store.get(&above).await.expect("readable").expect("exists");
    assert_eq!(received.label(label::ORIGIN), Some("zone"));
    assert_eq!(received.label(label::ZONE), Some("east"));
    assert_eq!(received.owner, Some(ResourceKey::global(Kind::Zone, "east")));
    delete(&zone_store, &dataplane(1).key).await;
    wait_until_gone(&global_store, &above).await;

    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_ingresses_cross_zones_while_their_zone_is_enabled() {
    let (global_store, east_store, west_store) = (store(), store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let mut redis = service("redis");
    redis.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
    put(&east_store, redis.clone()).await;
    let ingress = Resource::from_proto(
        ResourceKey::global(Kind::ZoneIngress, "zi"),
        &ZoneIngress {
            networking: Some(tandem_proto::mesh::v1alpha1::zone_ingress::Networking {
                address: "10.0.0.1".into(),
                port: 10001,
                ..Default::default()
            }),
            ..ZoneIngress::default()
        },
    );
    put(&east_store, ingress.clone()).await;
    let east = RunningZone::start("east", &east_store, global.address);
    let west = RunningZone::start("west", &west_store, global.address);

    let synced = synced_from("east", &redis.key);
    wait_until_exists(&west_store, &synced).await;
    let above = global_store.get(&synced).await.expect("readable").expect("passed through");
    assert_eq!(above.status, redis.status, "global has the status of the zone");
    let there = west_store.get(&synced).await.expect("readable").expect("exists");
    assert_eq!(there.spec, redis.spec, "unknown members included");
    assert_eq!(there.status, Some(json!({})), "each zone makes its own status");
    assert_eq!(there.label(label::ORIGIN), Some("global"));
    assert_eq!(there.label(label::ZONE), Some("east"));
    assert_eq!(there.label("team"), Some("a"));
    let synced_ingress = synced_from("east", &ingress.key);
    wait_for(&west_store, &synced_ingress, |resource| {
        resource.is_some_and(|r| r.proto::<ZoneIngress>().is_ok_and(|ingress| ingress.zone == "east"))
    })
    .await;
    let own = east_store.list(Kind::MeshService, None).await.expect("readable");
    assert_eq!(own.len(), 1, "a zone does not get its own back");

    // Disabling the zone withdraws what it offers, and only from others.
    let zone =
        |enabled| Resource::from_proto(ResourceKey::global(Kind::Zone, "east"), &Zone { enabled: Some(enabled) });
    put(&global_store, zone(false)).await;
    wait_until_gone(&west_store, &synced).await;
    wait_until_gone(&west_store, &synced_ingress).await;
    assert!(global_store.get(&synced).await.expect("readable").is_some());
    put(&global_store, zone(true)).await;
    wait_until_exists(&west_store, &synced).await;
    wait_until_exists(&west_store, &synced_ingress).await;

    east.stop().await;
    west.stop().await;
    global.stop().await;
}

/// A new RSA key as Kuma stores it, and its public half as zones get it.
fn signing_key() -> (String, String) {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::signature::KeyPair as _;

    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("randomness is available");
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().expect("encodable");
    let pem = |tag: &str, der: &[u8]| {
        pem::encode_config(&pem::Pem::new(tag, der), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
    };
    // PKCS#8 wraps the PKCS#1 key in an OCTET STRING that starts after 26 bytes of header.
    (pem("RSA PRIVATE KEY", &pkcs8.as_ref()[26..]), pem("RSA PUBLIC KEY", pair.public_key().as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_zones_without_what_is_only_for_global() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let secret = |name: &str, data: &str| {
        Resource::from_proto(ResourceKey::global(Kind::GlobalSecret, name), &Secret { data: Some(data.into()) })
    };
    let (private, expected) = signing_key();
    for resource in [
        secret("admin-user-token", "x"),
        secret("user-token-signing-key-1", "x"),
        secret("zone-token-signing-key-1", &private),
        secret("zone-token-signing-key-2", "no key at all"),
        secret("mine", "y"),
    ] {
        put(&global_store, resource).await;
    }
    put(
        &global_store,
        Resource::from_proto(
            ResourceKey::new(Kind::Secret, "default", "default.ca-builtin-key-ca-1"),
            &Secret { data: Some("z".into()) },
        ),
    )
    .await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&zone_store, &secret("mine", "").key).await;
    wait_until_exists(&zone_store, &ResourceKey::new(Kind::Secret, "default", "default.ca-builtin-key-ca-1")).await;
    let names: Vec<_> = zone_store
        .list(Kind::GlobalSecret, None)
        .await
        .expect("readable")
        .iter()
        .map(|resource| resource.key.name.clone())
        .collect();
    assert_eq!(names, ["mine", "zone-token-signing-public-key-1"]);
    let key = ResourceKey::global(Kind::GlobalSecret, "zone-token-signing-public-key-1");
    let public: Secret = zone_store.get(&key).await.expect("readable").expect("exists").proto().expect("a Secret");
    let public = String::from_utf8(public.data.expect("has data")).expect("text");
    assert_eq!(public, expected);

    // The key that is none is reported, and nothing else suffers.
    let left_out = &global.status.peer("east").expect("connected").sent[&Kind::GlobalSecret].left_out;
    let reasons: Vec<_> = left_out.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(reasons, ["zone-token-signing-key-2"]);
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_resource_stays_alone_and_is_reported_on_both_sides() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&global_store, timeout("good", "1s")).await;
    put(&global_store, timeout("bad", "1s")).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let (good, bad) = (synced_from_global(&timeout("good", "").key), synced_from_global(&timeout("bad", "").key));
    wait_until_exists(&zone_store, &bad).await;

    put(&global_store, timeout("bad", "2s").with_labels([("invalid", "spoiled")])).await;
    put(&global_store, timeout("good", "2s")).await;
    wait_for(&zone_store, &good, |resource| resource.is_some_and(|r| r.spec == timeout("", "2s").spec)).await;
    let sent = || global.status.peer("east").expect("connected").sent[&Kind::MeshTimeout].clone();
    eventually("global hears of it", || sent().rejected == 1).await;
    assert!(sent().error.is_some_and(|error| error.text.contains("spec: spoiled") && error.text.contains("bad")));
    let received = zone.status.peer("global").expect("connected").received[&Kind::MeshTimeout].clone();
    assert!(received.left_out[&bad].text.contains("spoiled"));
    let kept = zone_store.get(&bad).await.expect("readable").expect("the last good state stays");
    assert_eq!(kept.spec, timeout("", "1s").spec);

    put(&global_store, timeout("bad", "3s")).await;
    wait_for(&zone_store, &bad, |resource| resource.is_some_and(|r| r.spec == timeout("", "3s").spec)).await;
    eventually("it is forgotten", || {
        zone.status.peer("global").expect("connected").received[&Kind::MeshTimeout].left_out.is_empty()
    })
    .await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_resource_does_not_end_the_stream() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let broken =
        Resource::new(ResourceKey::new(Kind::Dataplane, "default", "broken"), Spec::Proto(b"\x0a\xff".to_vec().into()));
    let good = Resource::from_proto(
        ResourceKey::global(Kind::ZoneEgress, "egress"),
        &tandem_proto::mesh::v1alpha1::ZoneEgress {
            networking: Some(tandem_proto::mesh::v1alpha1::zone_egress::Networking {
                address: "10.0.0.1".into(),
                port: 10002,
                ..Default::default()
            }),
            ..Default::default()
        },
    );
    put(&zone_store, broken.clone()).await;
    put(&zone_store, good.clone()).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_until_exists(&global_store, &synced_from("east", &good.key)).await;
    let received = || {
        let peer = global.status.peer("east").expect("connected");
        peer.received.get(&Kind::Dataplane).cloned().unwrap_or_default()
    };
    eventually("it is reported", || !received().left_out.is_empty()).await;
    assert!(received().error.is_some_and(|error| error.text.contains("could not decode type=\"Dataplane\"")));
    assert!(global_store.list(Kind::Dataplane, None).await.expect("readable").is_empty());
    assert!(global.status.peer("east").expect("known").connected.is_some());
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_interruption_both_sides_catch_up() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let address = global.address;
    put(&global_store, timeout("kept", "1s")).await;
    put(&global_store, timeout("dropped", "1s")).await;
    put(&zone_store, service("old")).await;
    let zone = RunningZone::start("east", &zone_store, address);
    let in_zone = |name: &str| synced_from_global(&timeout(name, "").key);
    wait_until_exists(&zone_store, &in_zone("dropped")).await;
    wait_until_exists(&global_store, &synced_from("east", &service("old").key)).await;
    global.stop().await;
    eventually("the zone notices", || zone.status.peer("global").is_some_and(|peer| peer.connected.is_none())).await;

    put(&global_store, timeout("kept", "2s")).await;
    put(&global_store, timeout("new", "1s")).await;
    delete(&global_store, &timeout("dropped", "").key).await;
    delete(&zone_store, &service("old").key).await;
    put(&zone_store, service("young")).await;
    assert!(zone_store.get(&in_zone("dropped")).await.expect("readable").is_some(), "the zone keeps what it has");

    let global = RunningGlobal::start_at(&global_store, address, None).await;
    wait_until_exists(&zone_store, &in_zone("new")).await;
    wait_until_gone(&zone_store, &in_zone("dropped")).await;
    wait_for(&zone_store, &in_zone("kept"), |r| r.is_some_and(|r| r.spec == timeout("", "2s").spec)).await;
    wait_until_exists(&global_store, &synced_from("east", &service("young").key)).await;
    wait_until_gone(&global_store, &synced_from("east", &service("old").key)).await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_registered_and_its_presence_is_recorded() {
    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    let zone_key = ResourceKey::global(Kind::Zone, "east");
    wait_until_exists(&global_store, &zone_key).await;
    let created: Zone = global_store.get(&zone_key).await.expect("readable").expect("exists").proto().expect("a Zone");
    assert_eq!(created.enabled, Some(true));

    let key = ResourceKey::global(Kind::ZoneInsight, "east");
    let insight =
        |resource: Option<&Resource>| resource.and_then(|r| r.proto::<ZoneInsight>().ok()).unwrap_or_default();
    wait_for(&global_store, &key, |resource| {
        let insight = insight(resource);
        let streams = insight.kds_streams.unwrap_or_default();
        let all_streams =
            [streams.global_to_zone, streams.zone_to_global, streams.config_dump, streams.stats, streams.clusters];
        let acknowledged = insight.subscriptions.first().and_then(|s| s.status.as_ref()).and_then(|s| s.total.as_ref());
        insight.health_check.is_some()
            && all_streams.iter().all(|s| s.as_ref().is_some_and(|s| s.global_instance_id == "global-0001"))
            && acknowledged.is_some_and(|total| total.responses_acknowledged >= 43)
    })
    .await;
    let resource = global_store.get(&key).await.expect("readable").expect("exists");
    assert_eq!(resource.owner, Some(zone_key.clone()));
    let subscription = insight(Some(&resource)).subscriptions.remove(0);
    assert_eq!(subscription.zone_instance_id, "east-0001");
    assert_eq!(subscription.config, r#"{"store":{"type":"memory"}}"#);
    let version = subscription.version.and_then(|version| version.kuma_cp).expect("told");
    assert!(version.version == "2.13.10" && version.kuma_cp_global_compatible);
    assert!(subscription.disconnect_time.is_none());
    let status = subscription.status.expect("counted");
    assert_eq!(status.stat.len(), 43);

    // The zone keeps one about its own stream.
    wait_for(&zone_store, &key, |resource| {
        let insight = insight(resource);
        insight.subscriptions.first().is_some_and(|s| {
            s.global_instance_id == "global-0001"
                && s.zone_instance_id == "east-0001"
                && s.status.as_ref().is_some_and(|status| status.stat.len() == 29)
        })
    })
    .await;

    zone.stop().await;
    wait_for(&global_store, &key, |resource| {
        insight(resource).subscriptions.iter().all(|subscription| subscription.disconnect_time.is_some())
    })
    .await;
    eventually("the status says so too", || global.status.peer("east").is_some_and(|peer| peer.connected.is_none()))
        .await;
    delete(&global_store, &zone_key).await;
    wait_until_gone(&global_store, &key).await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_control_plane_under_the_same_name_is_refused_and_harms_nothing() {
    let (global_store, first_store, second_store) = (store(), store(), store());
    let global = RunningGlobal::start(&global_store).await;
    put(&first_store, service("first")).await;
    let first = RunningZone::start("east", &first_store, global.address);
    let above = synced_from("east", &service("first").key);
    wait_until_exists(&global_store, &above).await;

    put(&second_store, service("second")).await;
    let mut settings = settings("east", global.address);
    settings.common = common("other-0002");
    let second = RunningZone::start_with(settings, &second_store);
    let error = || second.status.peer("global").and_then(|peer| peer.error).map(|error| error.text).unwrap_or_default();
    // Each of its streams is refused; one of them tells who has the name.
    let told = ["zone name \"east\" is taken", "\"east-0001\"", "multizone.zone.name"];
    eventually("the second is told", || told.iter().all(|part| error().contains(part))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(global_store.get(&above).await.expect("readable").is_some());
    assert!(global_store.get(&synced_from("east", &service("second").key)).await.expect("readable").is_none());
    assert!(first.status.peer("global").expect("known").connected.is_some());

    // Once the first has left, the second may have the name.
    first.stop().await;
    wait_until_exists(&global_store, &synced_from("east", &service("second").key)).await;
    wait_until_gone(&global_store, &above).await;
    second.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_of_a_zone_can_be_asked() {
    use tandem_kds::global::AskError;
    use tandem_model::AdminOperation;

    let (global_store, zone_store) = (store(), store());
    let global = RunningGlobal::start(&global_store).await;
    let proxy = |name: &str| {
        Resource::new(ResourceKey::new(Kind::Dataplane, "default", "hashed"), Spec::Proto(Default::default()))
            .with_labels([(label::ZONE, "east"), (label::DISPLAY_NAME, name)])
    };
    let dump = AdminOperation::ConfigDump { include_eds: true };
    assert!(matches!(global.envoys.ask(&proxy("web"), dump).await, Err(AskError::Offline)));
    let zone = RunningZone::start("east", &zone_store, global.address);
    wait_for(&global_store, &ResourceKey::global(Kind::ZoneInsight, "east"), |resource| {
        let insight = resource.and_then(|r| r.proto::<ZoneInsight>().ok()).unwrap_or_default();
        let streams = insight.kds_streams.unwrap_or_default();
        streams.config_dump.is_some()
            && streams.stats.is_some()
            && streams.clusters.is_some()
            && insight.subscriptions.first().is_some_and(|s| !s.config.is_empty())
    })
    .await;
    let stats = AdminOperation::Stats { json: true, used_only: true };
    let clusters = AdminOperation::Clusters { json: false };
    for (operation, expected) in [
        (dump, "config_dump?include_eds=true web"),
        (stats, "stats?format=json&usedonly= web"),
        (clusters, "clusters web"),
    ] {
        let body = global.envoys.ask(&proxy("web"), operation).await.expect("answered");
        assert_eq!(body, expected.as_bytes());
    }
    let error = global.envoys.ask(&proxy("broken"), dump).await.expect_err("refused");
    assert_eq!(error.to_string(), "unable to send GET to config_dump");
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_zone_is_disconnected_when_health_checks_are_on() {
    let (global_store, zone_store) = (store(), store());
    let settings = tandem_kds::global::GlobalSettings {
        health_check_interval: Duration::from_secs(100),
        health_check_timeout: Duration::from_millis(300),
        ..tandem_kds::global::GlobalSettings::new(common("global-0001"))
    };
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_with(settings, &global_store, address, None).await;
    let zone = RunningZone::start("east", &zone_store, global.address);
    eventually("the zone is parted from", || {
        zone.status
            .peer("global")
            .and_then(|peer| peer.error)
            .is_some_and(|error| error.text.contains("zone hc failed"))
    })
    .await;
    zone.stop().await;
    global.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_against_the_configured_roots() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("generated");
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(certificate.signing_key.serialize_der().into()),
        )
        .expect("usable");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (global_store, zone_store) = (store(), store());
    let address = "127.0.0.1:0".parse().expect("an address");
    let global = RunningGlobal::start_at(&global_store, address, Some(Arc::new(tls))).await;
    put(&global_store, mesh("default")).await;

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), certificate.cert.pem()).expect("written");
    let with = |root_ca_file, skip_verify| {
        let mut settings = settings("east", global.address);
        settings.global.tls = true;
        settings.tls = tandem_kds::zone::ClientTls { root_ca_file, skip_verify, certificate: None };
        settings
    };
    for tls in [with(Some(file.path().to_owned()), false), with(None, true)] {
        let zone = RunningZone::start_with(tls, &zone_store);
        wait_until_exists(&zone_store, &mesh("default").key).await;
        zone.stop().await;
        delete(&zone_store, &mesh("default").key).await;
    }
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("generated");
    std::fs::write(file.path(), other.cert.pem()).expect("written");
    let zone = RunningZone::start_with(with(Some(file.path().to_owned()), false), &zone_store);
    eventually("the certificate is refused", || {
        zone.status.peer("global").and_then(|peer| peer.error).is_some_and(|error| error.text.contains("certificate"))
    })
    .await;
    assert!(zone_store.get(&mesh("default").key).await.expect("readable").is_none());
    zone.stop().await;
    global.stop().await;
}
