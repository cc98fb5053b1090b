//! What exists after the first start, by role; and that a second start changes nothing.

mod support;

use support::{ALONE, FEDERATED, Plane};
use tandem_admission::AdmissionSettings;
use tandem_model::{Kind, Mode, Resource, ResourceKey, label};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::system::v1alpha1::{Config, KdsSubscription, Secret, Zone, ZoneInsight};
use tandem_store::Write;

async fn started(mode: Mode) -> Plane {
    let plane = Plane::new(mode);
    plane.admission.ensure_defaults().await.expect("created");
    let revision = plane.store.revision();
    plane.admission.ensure_defaults().await.expect("nothing to do");
    assert_eq!(plane.store.revision(), revision, "a second start changes nothing");
    plane
}

#[tokio::test]
async fn global() {
    let plane = started(Mode::Global).await;
    assert_eq!(plane.names(Kind::Mesh).await, ["default"]);
    assert_eq!(plane.names(Kind::MeshTimeout).await.len(), 2);
    assert!(plane.names(Kind::Zone).await.is_empty());
    assert_eq!(
        plane.names(Kind::GlobalSecret).await,
        ["admin-user-token", "user-token-signing-key-1", "zone-token-signing-key-1"]
    );
    assert_eq!(plane.names(Kind::HostnameGenerator).await.len(), 5);
    let id = plane.get(Kind::Config, "", "kuma-cluster-id").await.expect("created");
    let id = id.proto::<Config>().expect("decodes").config;
    assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
}

#[tokio::test]
async fn federated_zone() {
    let plane = started(FEDERATED).await;
    assert!(plane.names(Kind::Mesh).await.is_empty());
    assert!(plane.names(Kind::Config).await.is_empty());
    assert_eq!(plane.names(Kind::Zone).await, ["east"]);
    assert_eq!(
        plane.names(Kind::GlobalSecret).await,
        ["admin-user-token", "envoy-admin-ca", "user-token-signing-key-1"]
    );
    assert_eq!(
        plane.names(Kind::HostnameGenerator).await,
        ["local-mesh-external-service", "local-universal-mesh-service"]
    );
}

#[tokio::test]
async fn zone_on_its_own() {
    let plane = started(ALONE).await;
    assert_eq!(plane.names(Kind::Mesh).await, ["default"]);
    assert_eq!(plane.names(Kind::GlobalSecret).await.len(), 4);
    assert_eq!(plane.names(Kind::Config).await, ["kuma-cluster-id"]);
}

#[tokio::test]
async fn switches() {
    let base = || AdmissionSettings::new(Mode::Global, "");
    let plane = Plane::with(AdmissionSettings {
        skip_mesh_creation: true,
        skip_hostname_generators: true,
        user_tokens: false,
        ..base()
    });
    plane.admission.ensure_defaults().await.expect("created");
    assert!(plane.names(Kind::Mesh).await.is_empty());
    assert!(plane.names(Kind::HostnameGenerator).await.is_empty());
    assert_eq!(plane.names(Kind::GlobalSecret).await, ["zone-token-signing-key-1"]);

    let plane = Plane::with(AdmissionSettings { skip_tenant_resources: true, bootstrap_admin_token: false, ..base() });
    plane.admission.ensure_defaults().await.expect("created");
    assert_eq!(plane.names(Kind::GlobalSecret).await, ["user-token-signing-key-1"]);
}

#[tokio::test]
async fn a_rotated_key_is_not_created_again() {
    let plane = Plane::new(Mode::Global);
    let rotated = Secret { data: Some(b"x".to_vec()) };
    let key = ResourceKey::global(Kind::GlobalSecret, "zone-token-signing-key-7");
    plane.store.commit(vec![Write::Create(Resource::from_proto(key, &rotated))]).await.expect("stored");
    plane.admission.ensure_defaults().await.expect("created");
    let names = plane.names(Kind::GlobalSecret).await;
    assert!(!names.contains(&"zone-token-signing-key-1".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_zone_that_changed_its_name_forgets_the_old_one() {
    let plane = Plane::new(FEDERATED);
    let zone = Resource::from_proto(ResourceKey::global(Kind::Zone, "west"), &Zone::default());
    // The process was killed: its insight says that it is connected.
    let connection = KdsSubscription { connect_time: Some(prost_types::Timestamp::default()), ..Default::default() };
    let insight = ZoneInsight { subscriptions: vec![connection], ..ZoneInsight::default() };
    let mut insight = Resource::from_proto(ResourceKey::global(Kind::ZoneInsight, "west"), &insight);
    insight.owner = Some(zone.key.clone());
    plane.store.commit(vec![Write::Create(zone), Write::Create(insight)]).await.expect("stored");
    plane.admission.ensure_defaults().await.expect("created");
    assert_eq!(plane.names(Kind::Zone).await, ["east"]);
    assert!(plane.names(Kind::ZoneInsight).await.is_empty());
}

#[tokio::test]
async fn what_a_zone_created_is_renamed_with_it() {
    let plane = Plane::new(FEDERATED);
    let tags = |zone: &str| [(label::ZONE.to_owned(), zone.to_owned()), ("v".to_owned(), "1".to_owned())].into();
    let dataplane = |zone: &str| Dataplane {
        networking: Some(Networking {
            inbound: vec![Inbound { port: 80, tags: tags(zone), ..Inbound::default() }],
            ..Networking::default()
        }),
        ..Dataplane::default()
    };
    let key = |name: &str| ResourceKey::new(Kind::Dataplane, "default", name);
    let labelled = |name: &str, zone: &str, origin: &str| {
        Resource::from_proto(key(name), &dataplane(zone)).with_labels([(label::ZONE, zone), (label::ORIGIN, origin)])
    };
    let service = |name: &str, origin: &str| {
        Resource::from_json(ResourceKey::new(Kind::MeshService, "default", name), serde_json::json!({}))
            .with_labels([(label::ZONE, "west"), (label::ORIGIN, origin)])
    };
    let zone = Resource::from_proto(ResourceKey::global(Kind::Zone, "west"), &Zone::default());
    let resources = [
        zone,
        labelled("ours", "west", "zone"),
        labelled("strange", "north", "zone"),
        service("ours", "zone"),
        service("theirs", "global"),
    ];
    plane.store.commit(resources.into_iter().map(Write::Create).collect()).await.expect("stored");
    plane.admission.ensure_defaults().await.expect("created");

    let ours = plane.get(Kind::Dataplane, "default", "ours").await.expect("it stays");
    assert_eq!(ours.label(label::ZONE), Some("east"));
    assert_eq!(ours.proto::<Dataplane>().expect("decodes"), dataplane("east"));
    let zone_of = async |kind: Kind, name: &str| {
        plane.get(kind, "default", name).await.and_then(|resource| resource.label(label::ZONE).map(str::to_owned))
    };
    assert_eq!(zone_of(Kind::MeshService, "ours").await.as_deref(), Some("east"));
    // What global sent from a zone that is called so now, and what was never this zone's.
    assert_eq!(zone_of(Kind::MeshService, "theirs").await.as_deref(), Some("west"));
    assert_eq!(zone_of(Kind::Dataplane, "strange").await.as_deref(), Some("north"));
}

#[tokio::test]
async fn generators_pass_the_checks_of_their_kind() {
    for global in [true, false] {
        for generator in tandem_admission::hostname_generators(global) {
            let violations = tandem_model::validate(&generator);
            assert!(violations.is_empty(), "{}: {violations}", generator.key);
        }
    }
}
