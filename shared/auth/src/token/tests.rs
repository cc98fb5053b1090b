mod rotation;
mod store_reads;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_runtime::config::PublicKey;
use tandem_store::{MemoryStore, Write};

use super::*;
use crate::keys::{SigningKey, generate_pem, zone_public_key};

const HOUR: Duration = Duration::from_secs(3600);

fn store() -> SharedStore {
    Arc::new(MemoryStore::new())
}

async fn put(store: &SharedStore, key: ResourceKey, data: &str) {
    let secret = Secret { data: Some(data.as_bytes().to_vec()) };
    store.commit(vec![Write::Put(Resource::from_proto(key, &secret))]).await.expect("stored");
}

fn mesh(name: &str) -> Realm {
    Realm::Dataplane { mesh: name.to_owned() }
}

fn claims() -> DataplaneClaims {
    DataplaneClaims {
        name: "dp-1".into(),
        mesh: "m".into(),
        tags: [("kuma.io/service".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
        r#type: "dataplane".into(),
        workload: "w".into(),
    }
}

/// A token with any header and claims, rightly signed by `key`.
fn forge(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes()).expect("signed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

fn refusal<T: std::fmt::Debug>(result: Result<T, TokenError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[tokio::test]
async fn all_kinds_of_tokens_go_round() {
    let store = store();
    for realm in [mesh("m"), Realm::Zone, Realm::User] {
        put(&store, realm.key(1), &generate_pem().expect("key")).await;
    }
    let tokens = Tokens::new(&store, Settings::default());

    let token = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    assert_eq!(tokens.check_dataplane(&token, "m").expect("valid"), claims());
    let zone = ZoneClaims { zone: "east".into(), scope: vec!["egress".into()] };
    let token = tokens.issue_zone(&zone, HOUR).expect("issued");
    assert_eq!(tokens.check_zone(&token).expect("valid"), zone);
    let user = UserClaims { name: "ann".into(), groups: vec!["ops".into()] };
    let token = tokens.issue_user(&user, HOUR).expect("issued");
    assert_eq!(tokens.check_user(&token).expect("valid"), user);
    let admin = tokens.check_user(&tokens.issue_admin(HOUR).expect("issued")).expect("valid");
    assert_eq!(
        (admin.name.as_str(), admin.groups.as_slice()),
        ("mesh-system:admin", ["mesh-system:admin".to_owned()].as_slice())
    );
}

#[tokio::test]
async fn tokens_have_kumas_form() {
    let store = store();
    put(&store, mesh("m").key(1), &generate_pem().expect("key")).await;
    let tokens = Tokens::new(&store, Settings::default());
    let token = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("header")).expect("base64");
    assert_eq!(header, br#"{"alg":"RS256","kid":"1","typ":"JWT"}"#);
    let claims = payload(&token);
    let names: Vec<&String> = claims.as_object().expect("object").keys().collect();
    assert_eq!(names, ["Name", "Mesh", "Tags", "Type", "Workload", "exp", "nbf", "iat", "jti"]);
    assert_eq!(claims["Tags"], json!({"kuma.io/service": ["a", "b"]}));
    let time = |name: &str| claims[name].as_i64().expect("seconds");
    assert_eq!(time("nbf"), time("iat"));
    assert!((3604..=3606).contains(&(time("exp") - time("nbf"))), "{claims}");
    assert_eq!(claims["jti"].as_str().map(str::len), Some(36));
}

#[tokio::test]
async fn the_newest_key_signs_and_older_ones_still_verify() {
    let store = store();
    put(&store, Realm::Zone.key(9), &generate_pem().expect("key")).await;
    let tokens = Tokens::new(&store, Settings::default());
    let old = tokens.issue_zone(&ZoneClaims::default(), HOUR).expect("issued");
    put(&store, Realm::Zone.key(10), &generate_pem().expect("key")).await;
    let new = tokens.issue_zone(&ZoneClaims::default(), HOUR).expect("issued");
    tokens.check_zone(&old).expect("valid");
    tokens.check_zone(&new).expect("valid");
    let delete = Write::Delete { key: Realm::Zone.key(9), expected: None };
    store.commit(vec![delete]).await.expect("deleted");
    tokens.check_zone(&new).expect("valid");
    assert_eq!(
        refusal(tokens.check_zone(&old)),
        "there is no signing key with KID 9. GlobalSecret of name \"zone-token-signing-key-9\" is not found. If signing key was \
         rotated, regenerate the token"
    );
}

#[tokio::test]
async fn unknown_meshes_have_no_key() {
    let tokens = Tokens::new(&store(), Settings::default());
    let error = tokens.issue_dataplane(&claims(), HOUR).expect_err("no key");
    assert!(matches!(error, IssueError::NoKey(_)));
    assert_eq!(
        error.to_string(),
        "there is no signing key with KID 1. Secret of name \"dataplane-token-signing-key-m-1\" in mesh \"m\" is not found. If \
         signing key was rotated, regenerate the token"
    );
}

#[tokio::test]
async fn tokens_of_one_mesh_are_refused_in_another() {
    let store = store();
    for name in ["m", "n"] {
        put(&store, mesh(name).key(1), &generate_pem().expect("key")).await;
    }
    let tokens = Tokens::new(&store, Settings::default());
    let token = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    assert_eq!(
        refusal(tokens.check_dataplane(&token, "n")),
        "could not parse token: token signature is invalid: crypto/rsa: verification error"
    );
    let memory = Tokens::new(&store, Settings { is_memory_store: true, ..Settings::default() });
    assert!(
        refusal(memory.check_dataplane(&token, "n"))
            .starts_with("could not parse token. kuma-cp runs with an in-memory database and its state")
    );
}

#[tokio::test]
async fn bad_tokens_are_refused_with_their_reason() {
    let store = store();
    let pem = generate_pem().expect("key");
    put(&store, Realm::Zone.key(1), &pem).await;
    put(&store, Realm::Zone.key(2), "no key").await;
    let tokens = Tokens::new(&store, Settings::default());
    let key = SigningKey::read(pem.as_bytes()).expect("key");
    let good = json!({"alg": "RS256", "kid": "1"});
    let now = Timestamp::now().as_second();
    let unverifiable = "token is unverifiable: error while executing keyfunc: ";
    for (header, claims, reason) in [
        (json!({"alg": "RS256"}), json!({}), format!("{unverifiable}JWT token must have kid header")),
        (json!({"alg": "RS256", "kid": 1}), json!({}), format!("{unverifiable}JWT token kid header must be a string")),
        (json!({"alg": "none", "kid": "1"}), json!({}), format!("{unverifiable}unsupported token alg none. Allowed")),
        (
            json!({"alg": "XX", "kid": "1"}),
            json!({}),
            "token is unverifiable: signing method (alg) is unavailable".into(),
        ),
        (json!({"kid": "1"}), json!({}), "token is unverifiable: signing method (alg) is unspecified".into()),
        (json!({"alg": "HS256", "kid": "0"}), json!({}), format!("{unverifiable}legacy key are not supported")),
        (json!({"alg": "RS256", "kid": "2"}), json!({}), format!("{unverifiable}not an RSA private key")),
        (good.clone(), json!({"exp": now - 1}), "token has invalid claims: token is expired".into()),
        (good.clone(), json!({"nbf": now + 60}), "token has invalid claims: token is not valid yet".into()),
        (
            good.clone(),
            json!({"Zone": 3}),
            "token is malformed: could not JSON decode claim: Zone is not a string".into(),
        ),
        (good.clone(), json!({"exp": "x"}), "token is malformed: could not JSON decode claim: exp".into()),
        (good.clone(), json!([]), "token is malformed: could not JSON decode claim".into()),
    ] {
        let text = refusal(tokens.check_zone(&forge(&key, &header, &claims)));
        assert!(text.starts_with(&format!("could not parse token: {reason}")), "{text}");
    }
    for (token, reason) in [
        ("", "token contains an invalid number of segments"),
        ("a.b", "token contains an invalid number of segments"),
        ("a.b.c.d", "token contains an invalid number of segments"),
        ("*.e30.x", "could not base64 decode header"),
        ("e30.e30.*", "could not base64 decode signature"),
        ("eA.e30.x", "could not JSON decode header"),
        ("\u{0}\u{ffff}", "token contains an invalid number of segments"),
    ] {
        let text = refusal(tokens.check_zone(token));
        assert!(text.starts_with(&format!("could not parse token: token is malformed: {reason}")), "{token}: {text}");
    }
    assert!(refusal(tokens.check_zone(&"a.".repeat(50_000))).contains("longer than"));
    let unknown = forge(&key, &json!({"alg": "RS256", "kid": "../x"}), &json!({}));
    assert!(
        refusal(tokens.check_zone(&unknown))
            .contains("GlobalSecret of name \"zone-token-signing-key-../x\" is not found")
    );
}

#[tokio::test]
async fn claims_are_found_in_any_letter_case_and_time_limits_may_be_missing() {
    let store = store();
    let pem = generate_pem().expect("key");
    put(&store, Realm::Zone.key(1), &pem).await;
    let tokens = Tokens::new(&store, Settings::default());
    let key = SigningKey::read(pem.as_bytes()).expect("key");
    let token =
        forge(&key, &json!({"alg": "RS256", "kid": "1"}), &json!({"zone": "east", "SCOPE": ["egress"], "exp": null}));
    assert_eq!(
        tokens.check_zone(&token).expect("valid"),
        ZoneClaims { zone: "east".into(), scope: vec!["egress".into()] }
    );
}

#[tokio::test]
async fn tokens_from_before_serials_are_verified_with_the_secret() {
    let store = store();
    let pem = generate_pem().expect("key");
    put(&store, Realm::User.key(0), &pem).await;
    let tokens = Tokens::new(&store, Settings::default());
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "kid": "0"})), part(json!({"Name": "old"})));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pem.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    assert_eq!(tokens.check_user(&token).expect("valid").name, "old");
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode("x"));
    assert_eq!(
        refusal(tokens.check_user(&forged)),
        "could not parse token: token signature is invalid: signature is invalid"
    );
}

#[tokio::test]
async fn revoked_tokens_are_refused_in_both_places() {
    let store = store();
    put(&store, mesh("m").key(1), &generate_pem().expect("key")).await;
    let tokens = Tokens::new(&store, Settings::default());
    let token = tokens.issue_dataplane(&claims(), HOUR).expect("issued");
    let id = payload(&token)["jti"].as_str().expect("id").to_owned();
    for key in mesh("m").revocations() {
        put(&store, key.clone(), &format!("other,{id}\n")).await;
        assert_eq!(refusal(tokens.check_dataplane(&token, "m")), "token is revoked");
        put(&store, key, "other").await;
        tokens.check_dataplane(&token, "m").expect("no longer revoked");
    }
    let names: Vec<_> = mesh("m").revocations().iter().map(|key| key.kind).collect();
    assert_eq!(names, [Kind::Secret, Kind::GlobalSecret]);
}

#[tokio::test]
async fn federated_zones_verify_with_the_public_half() {
    let global = store();
    let pem = generate_pem().expect("key");
    put(&global, Realm::Zone.key(1), &pem).await;
    let token = Tokens::new(&global, Settings::default()).issue_zone(&ZoneClaims::default(), HOUR).expect("issued");

    let zone = store();
    let tokens = Tokens::new(&zone, Settings { is_federated_zone: true, ..Settings::default() });
    assert!(
        refusal(tokens.check_zone(&token))
            .contains("GlobalSecret of name \"zone-token-signing-public-key-1\" is not found")
    );
    put(&zone, zone_public_key("1"), &public_pem(&pem)).await;
    tokens.check_zone(&token).expect("valid");
    let error = tokens.issue_zone(&ZoneClaims::default(), HOUR).expect_err("no private key");
    assert!(error.to_string().contains("zone-token-signing-key-1"), "{error}");
}

#[tokio::test]
async fn configured_keys_verify_what_was_issued_elsewhere() {
    let elsewhere = store();
    let pem = generate_pem().expect("key");
    put(&elsewhere, mesh("m").key(1), &pem).await;
    let token = Tokens::new(&elsewhere, Settings::default()).issue_dataplane(&claims(), HOUR).expect("issued");

    let mut file = tempfile::NamedTempFile::new().expect("file");
    std::io::Write::write_all(&mut file, public_pem(&pem).as_bytes()).expect("written");
    let inline = PublicKey { kid: "1".into(), key: public_pem(&pem), key_file: "".into(), mesh: "m".into() };
    let in_file = PublicKey { key: String::new(), key_file: file.path().into(), mesh: String::new(), ..inline.clone() };
    for key in [inline.clone(), in_file.clone()] {
        let public_keys = PublicKeys::read(std::slice::from_ref(&key)).expect("readable");
        let dataplane = TokenSettings { issue: false, use_secrets: false, public_keys };
        let tokens = Tokens::new(&store(), Settings { dataplane, ..Settings::default() });
        tokens.check_dataplane(&token, "m").expect("valid");
        let other = tokens.check_dataplane(&token, "n");
        assert_eq!(other.is_ok(), key.mesh.is_empty());
        let error = tokens.issue_dataplane(&claims(), HOUR).expect_err("off");
        assert_eq!(error.to_string(), "issuing tokens using the control plane is disabled.");
    }
    let missing = PublicKey { key_file: "/nope".into(), ..in_file };
    assert!(PublicKeys::read(&[missing]).expect_err("no file").to_string().contains("cannot read file '/nope'"));
    let garbage = PublicKey { key: "x".into(), ..inline };
    assert!(
        PublicKeys::read(&[garbage])
            .expect_err("no key")
            .to_string()
            .starts_with("public key with kid \"1\": not an RSA")
    );
}

fn public_pem(private_pem: &str) -> String {
    use aws_lc_rs::signature::KeyPair as _;
    let der = pem::parse(private_pem).expect("PEM").into_contents();
    let pair = aws_lc_rs::rsa::KeyPair::from_der(&der).expect("key");
    crate::pkcs1::encode("RSA PUBLIC KEY", pair.public_key().as_ref().to_vec())
}

#[tokio::test]
async fn it_is_told_when_a_token_ends() {
    let store = store();
    let pem = generate_pem().expect("key");
    put(&store, Realm::Zone.key(1), &pem).await;
    let tokens = Tokens::new(&store, Settings::default());
    let zone = ZoneClaims { zone: "east".into(), scope: vec!["cp".into()] };
    let token = tokens.issue_zone(&zone, HOUR).expect("issued");
    let valid = tokens.check_zone_until(&token).expect("valid");
    let end = payload(&token)["exp"].as_i64().expect("seconds");
    assert_eq!((valid.claims, valid.expires.map(Timestamp::as_second)), (zone, Some(end)));

    let key = SigningKey::read(pem.as_bytes()).expect("key");
    let header = json!({"alg": "RS256", "kid": "1"});
    let forged = |claims: Value| tokens.check_zone_until(&forge(&key, &header, &claims));
    assert_eq!(forged(json!({"Zone": "east"})).expect("valid").expires, None);
    assert_eq!(forged(json!({"exp": 1e300})).expect("valid").expires, None, "beyond all time");
    for outside in [json!({"exp": 1}), json!({"nbf": 99_999_999_999_u64})] {
        assert!(matches!(forged(outside), Err(TokenError::OutOfTime { .. })));
    }
}
