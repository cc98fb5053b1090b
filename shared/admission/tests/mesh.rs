//! Meshes: what they bring, what they refuse, and that nothing is half-done.

mod support;

use serde_json::{Value, json};
use support::{ALONE, FEDERATED, Plane};
use tandem_admission::{AdmissionSettings, Effect, Reason, Stage};
use tandem_model::{Kind, Mode, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::dataplane_insight::Mtls;
use tandem_proto::mesh::v1alpha1::{DataplaneInsight, DiscoverySubscription, Mesh};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::Write;
use x509_parser::public_key::PublicKey;

const DEFAULTS: [&str; 4] =
    ["mesh-circuit-breaker-all-m", "mesh-gateways-timeout-all-m", "mesh-retry-all-m", "mesh-timeout-all-m"];

fn mesh(members: Value) -> Value {
    let mut mesh = json!({ "type": "Mesh", "name": "m" });
    let (Value::Object(mesh_members), Value::Object(members)) = (&mut mesh, members) else { unreachable!() };
    mesh_members.extend(members);
    mesh
}

fn builtin(name: &str, enabled: &str) -> Value {
    mesh(json!({ "mtls": { "enabledBackend": enabled, "backends": [{ "name": name, "type": "builtin" }] } }))
}

async fn policies(plane: &Plane) -> Vec<String> {
    let mut names = Vec::new();
    for kind in
        [Kind::MeshTimeout, Kind::MeshCircuitBreaker, Kind::MeshRetry, Kind::TrafficRoute, Kind::TrafficPermission]
    {
        names.extend(plane.names(kind).await);
    }
    names.sort();
    names
}

#[tokio::test]
async fn a_new_mesh_brings_policies_and_key_in_one_transaction() {
    let plane = Plane::new(Mode::Global);
    let before = plane.store.revision();
    let outcome = plane.put(mesh(json!({}))).await.expect("admitted");
    assert!(outcome.effect == Effect::Created && outcome.warnings.is_empty());
    assert_eq!(plane.store.revision(), before + 1);
    assert_eq!(policies(&plane).await, DEFAULTS);
    assert_eq!(plane.names(Kind::Secret).await, ["dataplane-token-signing-key-m-1"]);
    let timeout = plane.get(Kind::MeshTimeout, "m", "mesh-timeout-all-m").await.expect("created");
    assert_eq!(timeout.owner, Some(ResourceKey::global(Kind::Mesh, "m")));
    assert!(timeout.labels.is_empty());

    let again = plane.put(mesh(json!({ "routing": { "localityAwareLoadBalancing": true } }))).await.expect("admitted");
    assert_eq!(again.effect, Effect::Updated);
}

#[tokio::test]
async fn default_policies_can_be_skipped_or_extended() {
    let plane = Plane::new(Mode::Global);
    plane.put(mesh(json!({ "skipCreatingInitialPolicies": ["MeshRetry"] }))).await.expect("admitted");
    assert_eq!(policies(&plane).await, [DEFAULTS[0], DEFAULTS[1], DEFAULTS[3]]);

    let plane = Plane::new(Mode::Global);
    plane.put(mesh(json!({ "skipCreatingInitialPolicies": ["*"] }))).await.expect("admitted");
    assert!(policies(&plane).await.is_empty());
    assert_eq!(plane.names(Kind::Secret).await.len(), 1, "the signing key is no policy");

    let settings =
        AdmissionSettings { create_mesh_routing_resources: true, ..AdmissionSettings::new(Mode::Global, "") };
    let plane = Plane::with(settings);
    plane.put(mesh(json!({}))).await.expect("admitted");
    assert!(policies(&plane).await.contains(&"route-all-m".to_owned()));
}

#[tokio::test]
async fn default_policies_pass_the_checks_they_spare_people() {
    let plane = Plane::new(Mode::Global);
    plane.put(mesh(json!({ "skipCreatingInitialPolicies": ["*"] }))).await.expect("admitted");
    for policy in tandem_admission::default_policies("m", &[], true) {
        let body = tandem_model::rest::to_json(&policy).expect("encodes");
        plane.put(body).await.unwrap_or_else(|error| panic!("{}: {error}", policy.key));
        let stored = plane.get(policy.kind(), "m", &policy.key.name).await.expect("stored");
        assert_eq!(stored.spec, policy.spec, "{} is in its final form", policy.key);
    }
}

#[tokio::test]
async fn authorities_are_made_once() {
    let plane = Plane::new(Mode::Global);
    plane.put(builtin("ca-1", "")).await.expect("admitted");
    let secret = || plane.get(Kind::Secret, "m", "m.ca-builtin-cert-ca-1");
    let first = secret().await.expect("made although not enabled");
    assert_eq!(first.owner, Some(ResourceKey::global(Kind::Mesh, "m")));
    assert!(plane.get(Kind::Secret, "m", "m.ca-builtin-key-ca-1").await.is_some());

    plane.put(builtin("ca-1", "ca-1")).await.expect("admitted");
    assert_eq!(secret().await.expect("kept").version, first.version);

    // Disabled first, the authority may change.
    let refused = plane.put(builtin("ca-2", "ca-2")).await.expect_err("a change of authority under way");
    assert_eq!(refused.stage, Stage::Update);
    assert_eq!(
        refused.to_string(),
        "mtls.enabledBackend: Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA"
    );
    assert!(plane.get(Kind::Secret, "m", "m.ca-builtin-cert-ca-2").await.is_none());
    plane.put(builtin("ca-1", "")).await.expect("disabled");
    plane.put(builtin("ca-2", "ca-2")).await.expect("enabled");
    assert!(plane.get(Kind::Secret, "m", "m.ca-builtin-cert-ca-2").await.is_some());
}

/// A mesh with builtin backends, of which the first one is enabled.
fn backends(names: &[&str]) -> Value {
    let backends: Vec<_> = names.iter().map(|name| json!({ "name": name, "type": "builtin" })).collect();
    mesh(json!({ "mtls": { "enabledBackend": names[0], "backends": backends } }))
}

/// Stores what is known of a proxy: who issued its certificate, and whose certificates it accepts.
async fn proxy(plane: &Plane, name: &str, issuer: &str, trusted: &[&str], is_connected: bool) {
    let time = |known: bool| known.then(prost_types::Timestamp::default);
    let subscription =
        DiscoverySubscription { connect_time: time(true), disconnect_time: time(!is_connected), ..Default::default() };
    let m_tls = Mtls {
        issued_backend: issuer.to_owned(),
        supported_backends: trusted.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    };
    let insight =
        DataplaneInsight { subscriptions: vec![subscription], m_tls: Some(m_tls), ..DataplaneInsight::default() };
    let key = ResourceKey::new(Kind::DataplaneInsight, "m", name);
    plane.store.commit(vec![Write::Put(Resource::from_proto(key, &insight))]).await.expect("stored");
}

#[tokio::test]
async fn an_authority_changes_in_steps_that_wait_for_the_proxies() {
    let plane = Plane::new(Mode::Global);
    plane.put(backends(&["old"])).await.expect("admitted");
    let refusal = async |body: Value| plane.put(body).await.expect_err("refused").to_string();
    let forbidden =
        "mtls.enabledBackend: Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA";
    assert_eq!(refusal(backends(&["new", "old"])).await, forbidden, "nobody trusts the new one");
    plane.put(backends(&["old", "new"])).await.expect("admitted");
    assert_eq!(refusal(backends(&["new"])).await, forbidden, "nobody would trust the old one");

    proxy(&plane, "a", "old", &["old", "new"], true).await;
    proxy(&plane, "b", "old", &["old"], true).await;
    proxy(&plane, "gone", "old", &["old"], false).await;
    proxy(&plane, "elsewhere", "kri_mid_m___i_", &["kri_mid_m___i_"], true).await;
    let text = refusal(backends(&["new", "old"])).await;
    assert!(text.starts_with("mtls.enabledBackend: 1 connected proxies, for example \"b\", do not trust"), "{text}");
    let mut forced = backends(&["new", "old"]);
    forced["mtls"]["skipValidation"] = json!(true);
    plane.put(forced).await.expect("the operator knows better");
    plane.put(backends(&["new", "old"])).await.expect("it is enabled already");

    proxy(&plane, "b", "new", &["new", "old"], true).await;
    let text = refusal(backends(&["new"])).await;
    assert!(text.starts_with("mtls.backends: 1 connected proxies, for example \"a\", still have"), "{text}");
    proxy(&plane, "a", "new", &["new", "old"], true).await;
    plane.put(backends(&["new"])).await.expect("nobody needs the old one");
}

#[tokio::test]
async fn a_builtin_authority_is_as_long_and_as_lasting_as_asked_for() {
    let plane = Plane::new(Mode::Global);
    let conf = json!({ "caCert": { "RSAbits": 3072, "expiration": "2d" } });
    let backend = json!({ "name": "ca", "type": "builtin", "conf": conf });
    plane.put(mesh(json!({ "mtls": { "backends": [backend] } }))).await.expect("admitted");
    let secret = plane.get(Kind::Secret, "m", "m.ca-builtin-cert-ca").await.expect("made");
    let text = secret.proto::<Secret>().expect("a secret").data.expect("a certificate");
    let (_, block) = x509_parser::pem::parse_x509_pem(&text).expect("PEM");
    let certificate = block.parse_x509().expect("a certificate");
    let PublicKey::RSA(key) = certificate.public_key().parsed().expect("a key") else { panic!("it is no RSA key") };
    assert_eq!(key.key_size(), 3072);
    let life = certificate.validity().not_after - certificate.validity().not_before;
    let hours = life.expect("it ends after it begins").whole_hours();
    assert_eq!(hours, 48);
}

#[tokio::test]
async fn half_an_authority_is_not_completed() {
    let plane = Plane::new(Mode::Global);
    plane.put(mesh(json!({}))).await.expect("admitted");
    let secret = json!({ "type": "Secret", "mesh": "m", "name": "m.ca-builtin-key-ca-1", "data": "eA==" });
    plane.put(secret).await.expect("admitted");
    let refused = plane.put(builtin("ca-1", "ca-1")).await.expect_err("certificate and key would not match");
    assert!(refused.to_string().contains("m.ca-builtin-cert-ca-1"), "{refused}");
}

#[tokio::test]
async fn a_refused_mesh_leaves_nothing() {
    for (body, field) in [
        (
            json!({ "mtls": { "backends": [{ "name": "CA_1!", "type": "builtin" }] } }),
            "mtls.backends[0].conf.mtls.backends.name",
        ),
        (json!({ "mtls": { "backends": [{ "name": "x", "type": "vault" }] } }), "mtls.backends[0].type"),
        (json!({ "mtls": { "backends": [{ "name": "x", "type": "provided" }] } }), "mtls.backends[0].conf.cert"),
        (
            json!({ "mtls": { "backends": [{ "name": "x", "type": "builtin", "conf": { "caCert": { "RSAbits": 17 } } }] } }),
            "mtls.backends[0].conf",
        ),
        (
            json!({ "mtls": { "backends": [{ "name": "x", "type": "builtin", "conf": { "caCrt": {} } }] } }),
            "mtls.backends[0].conf",
        ),
        (json!({ "mtls": { "enabledBackend": "nope" } }), "mtls.enabledBackend"),
    ] {
        let plane = Plane::new(Mode::Global);
        let refused = plane.put(mesh(body.clone())).await.expect_err("invalid");
        let Reason::Invalid(violations) = &refused.reason else { panic!("{body}: {refused:?}") };
        assert!(violations.iter().any(|violation| violation.field == field), "{body}: {violations}");
        assert_eq!(plane.store.revision(), 0, "{body}");
    }
    let plane = Plane::new(Mode::Global);
    let long = json!({ "type": "Mesh", "name": "m".repeat(64) });
    assert_eq!(plane.put(long).await.expect_err("too long").to_string(), "name: cannot be longer than 63 characters");
}

#[tokio::test]
async fn skipped_validation_still_needs_a_known_type() {
    let plane = Plane::new(Mode::Global);
    let skipping =
        |kind: &str| mesh(json!({ "mtls": { "skipValidation": true, "backends": [{ "name": "x", "type": kind }] } }));
    plane.put(skipping("provided")).await.expect("not looked at");
    plane.put(skipping("vault")).await.expect_err("unknown");
}

#[tokio::test]
async fn prometheus_backends_are_completed() {
    let plane = Plane::new(Mode::Global);
    let backend = json!({ "name": "p", "type": "prometheus", "conf": { "port": 1234 } });
    let body = mesh(json!({ "metrics": { "enabledBackend": "p", "backends": [backend] } }));
    let outcome = plane.put(body).await.expect("admitted");
    let shown = tandem_model::rest::to_json(&outcome.resource).expect("encodes");
    let conf = &shown["metrics"]["backends"][0]["conf"];
    assert_eq!(conf["port"], json!(1234), "{conf}");
    assert_eq!(conf["path"], json!("/metrics"));
    assert_eq!(conf["tags"]["kuma.io/service"], json!("dataplane-metrics"));
}

#[tokio::test]
async fn each_side_refuses_what_the_other_writes() {
    let dataplane = json!({ "type": "Dataplane", "mesh": "m", "name": "dp" });
    let refused = Plane::new(Mode::Global).put(dataplane).await.expect_err("written in zones");
    assert!(
        matches!(&refused.reason, Reason::ReadOnly(text) if text.starts_with("On global control plane you can not"))
    );
    let refused = Plane::new(FEDERATED).put(mesh(json!({}))).await.expect_err("written on global");
    assert!(matches!(&refused.reason, Reason::ReadOnly(text) if text.ends_with("global control plane.\n")));
    Plane::new(ALONE).put(mesh(json!({}))).await.expect("a zone that stands alone writes everything");
    let settings = AdmissionSettings { read_only: true, ..AdmissionSettings::new(ALONE, "east") };
    Plane::with(settings).put(mesh(json!({}))).await.expect_err("read-only");
}

#[tokio::test]
async fn names_that_are_no_dns_labels_are_warned_about() {
    let plane = Plane::new(Mode::Global);
    let outcome = plane.put(json!({ "type": "Mesh", "name": "aa.a" })).await.expect("admitted");
    assert_eq!(outcome.warnings.len(), 1);
    assert!(outcome.warnings[0].starts_with("Invalid Mesh resource name: 'aa.a'."), "{:?}", outcome.warnings);
}

#[tokio::test]
async fn deleting_a_mesh_waits_for_its_proxies_and_takes_its_policies() {
    let plane = Plane::new(ALONE);
    plane.put(mesh(json!({}))).await.expect("admitted");
    let dataplane = json!({ "type": "Dataplane", "mesh": "m", "name": "dp", "networking": {
        "address": "10.0.0.1", "inbound": [{ "port": 80, "tags": { "kuma.io/service": "web" } }],
    } });
    plane.put(dataplane).await.expect("admitted");
    let refused = plane.delete(Kind::Mesh, "", "m").await.expect_err("in use");
    assert_eq!(refused.to_string(), "mesh: unable to delete mesh, there are still some dataplanes attached");
    assert_eq!(refused.stage, Stage::Delete);
    plane.delete(Kind::Dataplane, "m", "dp").await.expect("deleted");
    plane.delete(Kind::Mesh, "", "m").await.expect("deleted");
    assert!(policies(&plane).await.is_empty());
    assert!(plane.names(Kind::Secret).await.is_empty());
    plane.delete(Kind::Mesh, "", "m").await.expect_err("gone");
}

#[tokio::test]
async fn writers_at_the_same_time_do_not_lose_each_other() {
    let plane = std::sync::Arc::new(Plane::new(Mode::Global));
    let writers = (0..8).map(|n| {
        let plane = plane.clone();
        tokio::spawn(async move {
            let body = mesh(json!({ "routing": { "zoneEgress": false, "localityAwareLoadBalancing": n % 2 == 0 } }));
            plane.put(body).await.expect("retried until it fits").effect == Effect::Created
        })
    });
    let mut created = 0;
    for writer in writers.collect::<Vec<_>>() {
        created += usize::from(writer.await.expect("no panic"));
    }
    assert_eq!(created, 1);
    let stored = plane.get(Kind::Mesh, "", "m").await.expect("stored");
    stored.proto::<Mesh>().expect("decodes");
}
