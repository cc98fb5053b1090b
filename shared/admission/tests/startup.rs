//! What exists after the first start, by role; and that a second start changes nothing.

mod support;

use support::{ALONE, FEDERATED, Plane};
use tandem_admission::AdmissionSettings;
use tandem_model::{Kind, Mode, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::{Config, Secret, Zone};
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
    let old = Resource::from_proto(ResourceKey::global(Kind::Zone, "west"), &Zone::default());
    plane.store.commit(vec![Write::Create(old)]).await.expect("stored");
    plane.admission.ensure_defaults().await.expect("created");
    assert_eq!(plane.names(Kind::Zone).await, ["east"]);
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
