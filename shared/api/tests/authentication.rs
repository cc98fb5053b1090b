//! Who a client is, and what it may do.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use support::{ALONE, Answer, Api, FEDERATED, Setup};
use tandem_admission::{Admission, AdmissionSettings};
use tandem_api::{ApiSettings, Authentication};
use tandem_auth::keys::{Realm, generate_pem};
use tandem_auth::token::{DataplaneClaims, UserClaims};
use tandem_model::{Mode, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::Write;

const ANONYMOUS: &str = r#"user "mesh-system:anonymous/mesh-system:unauthenticated""#;

/// A control plane after its first start.
async fn started(mode: Mode) -> Api {
    started_with(Setup::new(mode)).await
}

async fn started_with(setup: Setup) -> Api {
    let settings: AdmissionSettings = setup.admission.clone();
    let api = setup.start().await;
    Admission::new(api.store.clone(), settings).ensure_defaults().await.expect("created");
    api
}

/// A request as it comes from another host: through a proxy on this one.
fn remote(api: &Api, method: Method, path: &str) -> reqwest::RequestBuilder {
    api.request(method, path).header("x-forwarded-for", "10.1.2.3").header("content-type", "application/json")
}

async fn with_token(api: &Api, path: &str, token: &str) -> Answer {
    api.send(remote(api, Method::GET, path).header("authorization", format!("Bearer {token}"))).await
}

#[tokio::test]
async fn secrets_are_for_administrators() {
    let api = started(ALONE).await;
    assert_eq!(api.get("/global-secrets").await.status, 200, "this host is the administrator");
    for (method, path, kind) in [
        (Method::GET, "/global-secrets", "GlobalSecret"),
        (Method::GET, "/globalsecrets/admin-user-token", "GlobalSecret"),
        (Method::GET, "/secrets", "Secret"),
        (Method::GET, "/meshes/default/secrets", "Secret"),
        (Method::GET, "/meshes/default/secrets/x", "Secret"),
        (Method::PUT, "/meshes/default/secrets/x", "Secret"),
        (Method::DELETE, "/meshes/default/secrets/x", "Secret"),
    ] {
        let answer = api.send(remote(&api, method.clone(), path).body("{}")).await;
        let detail = format!("{ANONYMOUS} cannot access the resource of type {kind:?}");
        assert_eq!(answer.problem(), (403, "Access Denied".to_owned(), detail), "{method} {path}");
    }
    for path in ["/meshes", "/config", "/", "/meshes/default/meshtimeouts"] {
        assert_eq!(api.send(remote(&api, Method::GET, path)).await.status, 200, "{path}");
    }
    let mut setup = Setup::new(ALONE);
    setup.settings = ApiSettings { localhost_is_admin: false, ..ApiSettings::default() };
    assert_eq!(setup.start().await.get("/secrets").await.status, 403);
}

#[tokio::test]
async fn user_tokens() {
    let api = started(ALONE).await;
    let issued = api.post("/tokens/user", &json!({ "name": "ann", "groups": ["ops"], "validFor": "1h" })).await;
    assert_eq!(
        (issued.status.as_u16(), &issued.headers["content-type"]),
        (200, &"text/plain".parse().expect("a value"))
    );
    let who = with_token(&api, "/who-am-i", &issued.text).await;
    assert_eq!(who.json(), json!({ "name": "ann", "groups": ["ops", "mesh-system:authenticated"] }));
    assert_eq!(with_token(&api, "/secrets", &issued.text).await.status, 403, "ann is no administrator");

    let secret = api.get("/global-secrets/admin-user-token").await.json();
    let admin = secret["data"].as_str().expect("base64");
    let admin = String::from_utf8(decode(admin)).expect("a token");
    assert_eq!(with_token(&api, "/secrets", &admin).await.status, 200);

    let (status, title, detail) = with_token(&api, "/meshes", "garbage").await.problem();
    assert_eq!((status, title.as_str(), detail.as_str()), (401, "Invalid authentication data", "Unauthenticated"));
    assert_eq!(with_token(&api, "/", "garbage").await.status, 200, "the index is for everybody");
    let basic = remote(&api, Method::GET, "/who-am-i").header("authorization", "Basic YTpi");
    assert_eq!(api.send(basic).await.json()["name"], "mesh-system:anonymous");
    let claims = UserClaims { name: "late".to_owned(), groups: Vec::new() };
    let expired = api.tokens.issue_user(&claims, Duration::ZERO).expect("issued");
    assert_eq!(with_token(&api, "/meshes", &expired).await.status, 401);
}

/// Puts a GlobalSecret into the store.
async fn put_secret(api: &Api, key: ResourceKey, data: &[u8]) {
    let secret = Secret { data: Some(data.to_vec()) };
    api.store.commit(vec![Write::Put(Resource::from_proto(key, &secret))]).await.expect("stored");
}

#[tokio::test]
async fn user_tokens_are_taken_back_one_by_one_or_with_their_key() {
    let api = started(ALONE).await;
    let issue = || async { api.post("/tokens/user", &json!({ "name": "ann", "validFor": "1h" })).await.text };
    let (first, second) = (issue().await, issue().await);
    let claims = first.split('.').nth(1).expect("claims").replace('-', "+").replace('_', "/");
    let claims: serde_json::Value = serde_json::from_slice(&decode(&claims)).expect("JSON");
    let list = Realm::User.revocations().remove(0);
    put_secret(&api, list, claims["jti"].as_str().expect("an id").as_bytes()).await;
    let refused = with_token(&api, "/who-am-i", &first).await.problem();
    assert_eq!(refused, (401, "Invalid authentication data".to_owned(), "Unauthenticated".to_owned()));
    assert_eq!(with_token(&api, "/who-am-i", &second).await.status, 200);

    put_secret(&api, Realm::User.key(2), generate_pem().expect("a key").as_bytes()).await;
    let third = issue().await;
    for token in [&second, &third] {
        assert_eq!(with_token(&api, "/who-am-i", token).await.status, 200, "both keys are there");
    }
    let delete = Write::Delete { key: Realm::User.key(1), expected: None };
    api.store.commit(vec![delete]).await.expect("deleted");
    assert_eq!(with_token(&api, "/who-am-i", &second).await.status, 401, "its key is gone");
    assert_eq!(with_token(&api, "/who-am-i", &third).await.status, 200);
}

#[tokio::test]
async fn tokens_that_are_issued_elsewhere_are_not_issued_here() {
    let mut setup = Setup::new(ALONE);
    for settings in [&mut setup.tokens.dataplane, &mut setup.tokens.zone, &mut setup.tokens.user] {
        settings.issue = false;
    }
    let api = started_with(setup).await;
    for (path, body) in [
        ("dataplane", json!({ "mesh": "default" })),
        ("zone", json!({ "zone": "z", "scope": ["ingress"] })),
        ("user", json!({ "name": "ann", "validFor": "1h" })),
    ] {
        let (status, _, detail) = api.post(&format!("/tokens/{path}"), &body).await.problem();
        assert_eq!((status, detail.as_str()), (400, "issuing tokens using the control plane is disabled."), "{path}");
    }
}

/// Base64 as secrets are shown, or without padding.
fn decode(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits = text.bytes().filter(|c| *c != b'=').flat_map(|c| (0..6).rev().map(move |bit| value(c) >> bit & 1));
    bits.collect::<Vec<_>>().chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
}

#[tokio::test]
async fn proxy_and_zone_tokens() {
    let api = started(ALONE).await;
    let body =
        json!({ "name": "dp", "mesh": "default", "tags": { "kuma.io/service": ["web"] }, "validFor": "24h0m0s" });
    let token = api.post("/tokens/dataplane", &body).await;
    assert_eq!(token.status, 200, "{}", token.text);
    let claims = api.tokens.check_dataplane(&token.text, "default").expect("valid");
    let tags = [("kuma.io/service".to_owned(), vec!["web".to_owned()])].into();
    assert_eq!(
        claims,
        DataplaneClaims { name: "dp".into(), mesh: "default".into(), tags, ..DataplaneClaims::default() }
    );
    let token = api.post("/tokens/zone", &json!({ "zone": "east", "scope": ["egress"], "validFor": "1h" })).await;
    assert_eq!(api.tokens.check_zone(&token.text).expect("valid").scope, ["egress"]);

    let missing = api.post("/tokens/dataplane", &json!({ "mesh": "nope" })).await;
    let detail = r#"there is no signing key with KID 1. Secret of name "dataplane-token-signing-key-nope-1" in mesh "nope" is not found. If signing key was rotated, regenerate the token"#;
    assert_eq!(missing.problem(), (404, "Signing Key not found".to_owned(), detail.to_owned()));
    let federated = started(FEDERATED).await;
    let answer = federated.post("/tokens/zone", &json!({ "scope": ["ingress"] })).await;
    assert_eq!(answer.problem().1, "Signing Key not found");
}

#[tokio::test]
async fn token_requests_that_make_no_sense() {
    let api = started(ALONE).await;
    for (path, body, field, reason) in [
        ("dataplane", json!({}), "mesh", "cannot be empty"),
        ("dataplane", json!({ "mesh": "m", "type": "foo" }), "type", "foo is not a valid proxy type"),
        (
            "dataplane",
            json!({ "mesh": "m", "validFor": "foo" }),
            "validFor",
            "is invalid: time: invalid duration \"foo\"",
        ),
        ("zone", json!({ "zone": "z" }), "scope", "cannot be empty"),
        ("user", json!({ "validFor": "1h" }), "name", "cannot be empty"),
        ("user", json!({ "name": "a" }), "validFor", "cannot be empty"),
        ("user", json!({ "name": "a", "validFor": "0s" }), "validFor", "cannot be empty or nil"),
    ] {
        let answer = api.post(&format!("/tokens/{path}"), &body).await;
        assert_eq!(answer.problem().1, "Invalid request", "{path} {body}");
        assert_eq!(answer.violations(), [(field.to_owned(), reason.to_owned())], "{path} {body}");
    }
    let answer = api.post("/tokens/dataplane", &json!({ "mesh": 4 })).await;
    assert_eq!((answer.problem().0, answer.violations()[0].0.as_str()), (400, "mesh"));
}

#[tokio::test]
async fn tokens_are_issued_to_administrators() {
    let api = started(ALONE).await;
    for (path, body, detail) in [
        ("dataplane", json!({ "mesh": "default" }), format!("{ANONYMOUS} cannot access generate dataplane token")),
        ("zone", json!({ "zone": "z" }), format!("{ANONYMOUS} cannot access generate zone token for zone 'z'")),
        ("user", json!({}), "action not allowed".to_owned()),
    ] {
        let answer = api.send(remote(&api, Method::POST, &format!("/tokens/{path}")).body(body.to_string())).await;
        assert_eq!(answer.problem(), (403, "Access Denied".to_owned(), detail), "{path}");
    }
}

#[tokio::test]
async fn this_host_is_the_administrator_in_both_versions_of_http() {
    let mut setup = Setup::new(ALONE);
    setup.tls = Some(Authority::new().server());
    let api = setup.start().await;
    let url = format!("https://{}/who-am-i", api.encrypted.expect("an encrypted listener"));
    let builder = || reqwest::Client::builder().use_rustls_tls().danger_accept_invalid_certs(true);
    for (client, version) in [(builder().http1_only(), http::Version::HTTP_11), (builder(), http::Version::HTTP_2)] {
        let answer = client.build().expect("a client").get(&url).send().await.expect("an answer");
        assert_eq!(answer.version(), version);
        let user: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(user["name"], "mesh-system:admin", "{version:?}");
    }
}

#[tokio::test]
async fn client_certificates() {
    let authority = Authority::new();
    let mut setup = Setup::new(ALONE);
    setup.tls = Some(authority.server());
    setup.settings = ApiSettings {
        localhost_is_admin: false,
        authentication: Authentication::AdminClientCerts,
        ..ApiSettings::default()
    };
    let api = started_with(setup).await;
    let url = format!("https://{}/secrets?size=1", api.encrypted.expect("an encrypted listener"));

    let client = |builder: reqwest::ClientBuilder| {
        builder.use_rustls_tls().danger_accept_invalid_certs(true).build().expect("a client")
    };
    let without = client(reqwest::Client::builder()).get(&url).send().await.expect("an answer");
    assert_eq!(without.status(), 403);
    let (chain, key) = authority.issue("client");
    let pem = format!("{}{}", chain.pem(), key.serialize_pem());
    let identity = reqwest::Identity::from_pem(pem.as_bytes()).expect("certificate and key");
    let with = client(reqwest::Client::builder().identity(identity)).get(&url).send().await.expect("an answer");
    assert_eq!(with.status(), 200);
    let list: serde_json::Value = with.json().await.expect("JSON");
    assert!(list["items"].as_array().is_some_and(|items| items.len() == 1), "{list}");
    assert_eq!(api.get("/secrets").await.status, 403, "no certificate on the plain listener");
    let tokens = api.post("/tokens/user", &json!({})).await;
    assert_eq!(tokens.status, 404, "user tokens are not in use");
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).expect("a certificate").der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// A server that takes both versions of HTTP, and client certificates of this authority where they are given.
    fn server(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let (chain, key) = self.issue("localhost");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().expect("roots are there"))
            .with_single_cert(vec![chain.der().clone()], key)
            .expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }
}
