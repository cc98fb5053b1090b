use serde_json::{Value, json};
use tandem_auth::ca::BuiltinAuthority;
use tandem_model::Spec;
use tandem_proto::mesh::v1alpha1::mesh::MeshServices;
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::MemoryStore;
use tokio::time::timeout;

use super::*;

struct Setup {
    store: SharedStore,
}

impl Setup {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let settings = MeshIdentitySettings { zone: "east".to_owned(), min_interval: Duration::from_millis(20) };
        tokio::spawn(run(store.clone(), settings, CancellationToken::new()));
        let setup = Self { store };
        setup.mesh(Mode::Exclusive).await;
        setup
    }

    async fn mesh(&self, mode: Mode) {
        let spec = Mesh { mesh_services: Some(MeshServices { mode: mode.into() }), ..Default::default() };
        self.put(Resource::from_proto(ResourceKey::global(Kind::Mesh, "demo"), &spec)).await;
    }

    async fn put(&self, resource: Resource) {
        self.store.commit(vec![Write::Put(resource)]).await.expect("valid");
    }

    async fn settle(&self) {
        let mut feed = self.store.changes(self.store.revision());
        while timeout(Duration::from_millis(300), feed.next()).await.is_ok() {}
    }

    async fn get(&self, kind: Kind, name: &str) -> Option<Arc<Resource>> {
        self.store.get(&ResourceKey::new(kind, "demo", name)).await.expect("readable")
    }

    /// Writes the provider of the MeshIdentity `id`, and gives type, status and reason of its conditions.
    async fn conditions(&self, provider: Value) -> Vec<String> {
        let mut spec = json!({"selector": {"dataplane": {}}});
        if !provider.is_null() {
            spec["provider"] = provider;
        }
        let key = ResourceKey::new(Kind::MeshIdentity, "demo", "id");
        let mut identity = Resource::from_json(key.clone(), spec);
        if let Some(stored) = self.store.get(&key).await.expect("readable") {
            identity.status.clone_from(&stored.status);
        }
        self.put(identity).await;
        self.told().await
    }

    /// The conditions once there are any; keys take their time.
    async fn told(&self) -> Vec<String> {
        for _ in 0..100 {
            self.settle().await;
            let identity = self.get(Kind::MeshIdentity, "id").await.expect("exists");
            let Some(conditions) = identity.status.as_ref().and_then(|status| status["conditions"].as_array()) else {
                continue;
            };
            let line = |condition: &Value| {
                let word = |member: &str| condition[member].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", word("type"), word("status"), word("reason"))
            };
            return conditions.iter().map(line).collect();
        }
        panic!("nobody looks at the MeshIdentity");
    }

    async fn message(&self) -> String {
        let identity = self.get(Kind::MeshIdentity, "id").await.expect("exists");
        identity.status.as_ref().expect("a status")["conditions"][0]["message"].as_str().unwrap_or_default().to_owned()
    }

    async fn trust(&self) -> Value {
        let trust = self.get(Kind::MeshTrust, "id").await.expect("a MeshTrust");
        let Spec::Json(spec) = &trust.spec else { panic!("a MeshTrust is JSON") };
        json!({"spec": spec, "status": trust.status})
    }
}

fn bundled(bundled: Value) -> Value {
    json!({"type": "Bundled", "bundled": bundled})
}

const READY: [&str; 3] =
    ["Provider True ProviderInitialized", "MeshTrustCreated True MeshTrustCreated", "Ready True Ready"];

#[tokio::test]
async fn the_mesh_has_to_have_mesh_services_only() {
    let setup = Setup::new().await;
    setup.mesh(Mode::Everywhere).await;
    let failed = ["DependenciesReady False MeshServicesDisabled", "Ready False Failure"];
    assert_eq!(setup.conditions(Value::Null).await, failed);
    setup.mesh(Mode::Exclusive).await;
    assert_eq!(setup.told().await, ["SpiffeIDProvider True SpiffeIDProvided", "Ready False PartiallyReady"]);
}

#[tokio::test]
async fn a_generated_authority_is_trusted() {
    let setup = Setup::new().await;
    let generated = bundled(json!({"autogenerate": {"enabled": true}, "insecureAllowSelfSigned": true}));
    assert_eq!(setup.conditions(generated).await, READY);
    let certificate = setup.get(Kind::Secret, "id-root-ca").await.expect("made");
    let key = setup.get(Kind::Secret, "id-private-key").await.expect("made");
    let identity = ResourceKey::new(Kind::MeshIdentity, "demo", "id");
    assert_eq!((&certificate.owner, &key.owner), (&Some(identity.clone()), &Some(identity)));
    let data = certificate.proto::<Secret>().expect("a Secret").data.expect("set");
    let pem = String::from_utf8(data).expect("PEM");
    assert_eq!(
        setup.trust().await,
        json!({
            "spec": {"trustDomain": "demo.east.mesh.local", "caBundles": [{"type": "Pem", "pem": {"value": pem}}]},
            "status": {"origin": {"kri": "kri_mid_demo___id_"}},
        })
    );
    let revision = setup.store.revision();
    setup.mesh(Mode::Exclusive).await;
    setup.settle().await;
    assert_eq!(setup.store.revision(), revision, "nothing is made again");

    // Half of the authority is lost: nothing is made that would not belong to the rest.
    setup.store.commit(vec![Write::Delete { key: key.key.clone(), expected: None }]).await.expect("exists");
    assert_eq!(setup.told().await, ["Provider False ProviderInitializationError", "Ready False Failure"]);
    assert!(setup.message().await.contains("id-private-key"), "{}", setup.message().await);
}

#[tokio::test]
async fn authorities_are_added_to_those_that_are_trusted() {
    let setup = Setup::new().await;
    let certificate = |inline: &str| {
        let source = json!({"type": "InsecureInline", "insecureInline": {"value": inline}});
        bundled(json!({"insecureAllowSelfSigned": true, "ca": {"certificate": source, "privateKey": source}}))
    };
    let made = || BuiltinAuthority::for_trust_domain("td").expect("a trust domain").cert_pem;
    let (one, two) = (made(), made());
    assert_eq!(setup.conditions(certificate(&one)).await, READY);
    assert_eq!(setup.conditions(certificate(&two)).await, READY);
    assert_eq!(setup.conditions(certificate(&one)).await, READY);
    let bundle = |pem: &str| json!({"type": "Pem", "pem": {"value": pem}});
    assert_eq!(setup.trust().await["spec"]["caBundles"], json!([bundle(&one), bundle(&two)]));
    // Somebody deletes it.
    let key = ResourceKey::new(Kind::MeshTrust, "demo", "id");
    setup.store.commit(vec![Write::Delete { key, expected: None }]).await.expect("exists");
    setup.settle().await;
    assert_eq!(setup.trust().await["spec"]["caBundles"], json!([bundle(&one)]));
}

#[tokio::test]
async fn authorities_that_are_not_acceptable() {
    let setup = Setup::new().await;
    let invalid = ["Provider False ProviderValidationError", "Ready False Failure"];
    let from = |source: Value| bundled(json!({"ca": {"certificate": source, "privateKey": source}}));
    let own = BuiltinAuthority::for_trust_domain("td").expect("a trust domain").cert_pem;
    for (provider, message) in [
        (bundled(json!({"autogenerate": {"enabled": true}})), "self-signed certificates are not allowed"),
        (
            from(json!({"type": "InsecureInline", "insecureInline": {"value": own}})),
            "self-signed certificates are not allowed",
        ),
        (from(json!({"type": "InsecureInline", "insecureInline": {"value": "x"}})), "invalid CA certificate"),
        (from(json!({"type": "File", "file": {"path": "/does/not/exist"}})), "/does/not/exist"),
        (
            from(json!({"type": "EnvVar", "envVar": {"name": "TANDEM_NO_SUCH_VARIABLE"}})),
            "environment variable: TANDEM_NO_SUCH_VARIABLE is not defined",
        ),
        (from(json!({"type": "Secret", "secretRef": {"kind": "Secret", "name": "ca"}})), "\"ca\""),
    ] {
        assert_eq!(setup.conditions(provider.clone()).await, invalid, "{provider}");
        let told = setup.message().await;
        assert!(told.contains(message), "{told}");
    }
    // The Secret appears.
    let key = ResourceKey::new(Kind::Secret, "demo", "ca");
    let secret = Secret { data: Some(b"nonsense".to_vec()) };
    setup.put(Resource::from_proto(key, &secret)).await;
    setup.settle().await;
    assert!(setup.message().await.starts_with("invalid CA certificate"));
    assert!(setup.get(Kind::MeshTrust, "id").await.is_none());
    assert!(setup.get(Kind::Secret, "id-root-ca").await.is_none());
}

#[tokio::test]
async fn no_trust_is_made_that_is_not_wanted() {
    let setup = Setup::new().await;
    let ready = ["Provider True ProviderInitialized", "Ready True Ready"];
    let provider = bundled(json!({
        "autogenerate": {"enabled": true}, "insecureAllowSelfSigned": true, "meshTrustCreation": "Disabled"
    }));
    assert_eq!(setup.conditions(provider).await, ready);
    assert!(setup.get(Kind::MeshTrust, "id").await.is_none());
}

#[tokio::test]
async fn spire_is_not_there_and_the_status_says_so() {
    let setup = Setup::new().await;
    let failed = ["Provider False ProviderNotFoundError", "Ready False Failure"];
    assert_eq!(setup.conditions(json!({"type": "Spire", "spire": {}})).await, failed);
    assert!(setup.message().await.contains("Spire is not supported"));
}
