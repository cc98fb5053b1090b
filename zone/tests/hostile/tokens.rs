//! Tokens that do not hold, or not for the proxy that shows them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use serde_json::{Value, json};
use tandem_auth::keys::{self, SigningKey};
use tonic::Code;

use super::peer::{DELTA, Peer, node};
use super::stage::{CLUSTER, MESH, Stage, dataplane};

/// Name of the proxy that is not let in.
const NAME: &str = "mallory";

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

fn signed(key: &SigningKey, kid: &Value, claims: &Value) -> String {
    let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT"});
    token(&header, claims, |text| key.sign(text).expect("a signature"))
}

/// Claims of a token that would let the proxy in.
fn claims() -> Value {
    json!({"Name": NAME, "Mesh": MESH, "Tags": {}, "Type": "dataplane", "Workload": "", "jti": "some"})
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[member] = value;
    claims
}

/// The content of the key that signs tokens of a mesh, as administrators read it.
async fn signing_key(stage: &Stage, mesh: &str) -> Vec<u8> {
    let path = format!("/meshes/{mesh}/secrets/dataplane-token-signing-key-{mesh}-1");
    let secret = stage.until("there is a signing key", async || stage.get(&path).await).await;
    STANDARD.decode(secret["data"].as_str().expect("data")).expect("base64")
}

async fn refusal(stage: &Stage, credentials: &[&str]) -> (Code, String) {
    let request = DiscoveryRequest {
        node: Some(node(MESH, NAME, Some(&dataplane(NAME)))),
        type_url: CLUSTER.to_owned(),
        ..DiscoveryRequest::default()
    };
    stage.ask(credentials, request).await.refusal().await
}

/// The proxy is refused with this token for this reason, and leaves no trace.
async fn refused(stage: &Stage, what: &str, token: &str, reason: &str, told: &str) {
    let (code, text) = stage.attempt(&format!("ads/{reason}"), 1, refusal(stage, &[token])).await;
    assert_eq!(code, Code::Unknown, "{what}: {text}");
    assert!(text.starts_with("authentication failed: "), "{what}: {text}");
    assert!(text.contains(told), "{what}: {told:?} is not in {text:?}");
    assert!(!text.contains(token) || token.len() < 8, "{what}: the token is told: {text}");
    assert_eq!(stage.dataplanes(MESH).await, ["good"], "{what}");
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let stage = Stage::new().await;
    let pem = signing_key(&stage, MESH).await;
    let ours = SigningKey::read(&pem).expect("a key");
    let foreign = SigningKey::read(keys::generate_pem().expect("a key").as_bytes()).expect("a key");
    let one = json!("1");

    let unsigned =
        |algorithm: &str| token(&json!({"alg": algorithm, "kid": "1", "typ": "JWT"}), &claims(), |_| Vec::new());
    for algorithm in ["none", "None", "ES256", "RS512", "XS1"] {
        let told =
            if matches!(algorithm, "none" | "ES256" | "RS512") { "unsupported token alg" } else { "unavailable" };
        refused(&stage, algorithm, &unsigned(algorithm), "token_algorithm", told).await;
    }
    // The public key, which everybody may know, as the secret of an HMAC.
    let public = keys_public(&stage).await;
    let hmac = token(&json!({"alg": "HS256", "kid": "1", "typ": "JWT"}), &claims(), |text| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), text).as_ref().to_vec()
    });
    refused(&stage, "HS256", &hmac, "token_algorithm", "legacy key are not supported").await;

    let verification = "crypto/rsa: verification error";
    refused(&stage, "another key", &signed(&foreign, &one, &claims()), "token_signature", verification).await;
    let other = SigningKey::read(&signing_key(&stage, "other").await).expect("a key");
    refused(&stage, "key of another mesh", &signed(&other, &one, &claims()), "token_signature", verification).await;
    let tampered = {
        let good = signed(&ours, &one, &with("Name", json!("else")));
        let parts: Vec<&str> = good.split('.').collect();
        format!("{}.{}.{}", parts[0], encode(&claims()), parts[2])
    };
    refused(&stage, "other claims under a signature", &tampered, "token_signature", verification).await;

    for kid in ["2", "01", "../../../etc/passwd", "1/../1", "", "dataplane-token-signing-key-demo-1"] {
        refused(&stage, kid, &signed(&ours, &json!(kid), &claims()), "token_unknown_key", "there is no signing key")
            .await;
    }
    refused(&stage, "kid is a number", &signed(&ours, &json!(1), &claims()), "token_malformed", "must be a string")
        .await;
    let no_kid = token(&json!({"alg": "RS256", "typ": "JWT"}), &claims(), |text| ours.sign(text).expect("a signature"));
    refused(&stage, "no kid", &no_kid, "token_malformed", "must have kid header").await;
    refused(&stage, "garbage", "garbage", "token_malformed", "number of segments").await;
    refused(&stage, "dots", "...", "token_malformed", "token is malformed").await;
    refused(&stage, "claims are a list", &signed(&ours, &one, &json!([])), "token_malformed", "JSON decode").await;
    refused(&stage, "a long one", &"x".repeat(70_000), "token_malformed", "longer than").await;
    refused(&stage, "nothing", "", "token_missing", "").await;
    stage.lets_in("newcomer").await;
}

/// The public half of the key that signs tokens of the mesh.
async fn keys_public(stage: &Stage) -> Vec<u8> {
    let pem = String::from_utf8(signing_key(stage, MESH).await).expect("a PEM");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_der(&STANDARD.decode(body).expect("base64")).expect("a key");
    let public = STANDARD.encode(pair.public_key().as_ref());
    format!("-----BEGIN RSA PUBLIC KEY-----\n{public}\n-----END RSA PUBLIC KEY-----\n").into_bytes()
}

#[tokio::test]
async fn tokens_of_others_are_refused() {
    let stage = Stage::new().await;
    let ours = SigningKey::read(&signing_key(&stage, MESH).await).expect("a key");
    let one = json!("1");
    let at = |seconds: i64| json!(jiff::Timestamp::now().as_second() + seconds);

    let ended = signed(&ours, &one, &with("exp", at(-60)));
    refused(&stage, "expired", &ended, "token_expired", "token is expired").await;
    let later = signed(&ours, &one, &with("nbf", at(3600)));
    refused(&stage, "not valid yet", &later, "token_expired", "token is not valid yet").await;
    let revoked = with("jti", json!("revoked-1"));
    let list = json!({
        "type": "Secret", "mesh": MESH, "name": format!("dataplane-token-revocations-{MESH}"),
        "data": STANDARD.encode("revoked-0,revoked-1\n")
    });
    stage.put(&format!("/meshes/{MESH}/secrets/dataplane-token-revocations-{MESH}"), &list).await;
    refused(&stage, "revoked", &signed(&ours, &one, &revoked), "token_revoked", "token is revoked").await;

    let mismatch = "token_mismatch";
    let name = stage.dataplane_token(MESH, "good").await;
    refused(&stage, "another name", &name, mismatch, "proxy name from requestor: mallory is different than in token")
        .await;
    let mesh = signed(&ours, &one, &with("Mesh", json!("other")));
    refused(&stage, "another mesh", &mesh, mismatch, "proxy mesh from requestor").await;
    let tags = |tags: Value| signed(&ours, &one, &with("Tags", tags));
    let value = tags(json!({"kuma.io/service": ["web"]}));
    refused(&stage, "another service", &value, mismatch, "which is not allowed with this token").await;
    let tag = tags(json!({"team": ["a"]}));
    refused(&stage, "a tag", &tag, mismatch, "dataplane has no tag \"team\" required by the token").await;
    let workload = signed(&ours, &one, &with("Workload", json!("w")));
    refused(&stage, "a workload", &workload, mismatch, "no workload label required by the token").await;

    // Keys of each kind sign tokens of their kind.
    let signature = "token_signature";
    let of_other = stage.dataplane_token("other", NAME).await;
    refused(&stage, "a token of another mesh", &of_other, signature, "verification error").await;
    refused(&stage, "a token of a user", &stage.user_token().await, signature, "verification error").await;
    let zone = stage.zone_token("zone-1", &["ingress", "egress"]).await;
    refused(&stage, "a token of a zone", &zone, signature, "verification error").await;

    // The other way round.
    let ingress = json!({
        "type": "ZoneIngress", "name": "zi",
        "networking": {"address": "127.0.0.1", "advertisedAddress": "127.0.0.1", "port": 10001, "advertisedPort": 10001}
    });
    let own = stage.dataplane_token(MESH, "zi").await;
    let egress_only = stage.zone_token("zone-1", &["egress"]).await;
    let of_zone_2 = stage.zone_token("zone-2", &["ingress"]).await;
    for (token, reason, told) in [
        (own, signature, "verification error"),
        (egress_only, mismatch, "ingress is out of token's scope"),
        (of_zone_2, mismatch, "zone from requestor: zone-1 is different than in token: zone-2"),
    ] {
        let attempt = async { stage.connect(&ingress, &token).await.refusal().await };
        let (_, text) = stage.attempt(&format!("ads/{reason}"), 1, attempt).await;
        assert!(text.starts_with("authentication failed: ") && text.contains(told), "{text}");
    }
    assert_eq!(stage.get("/zoneingresses").await.expect("a list")["total"], 0);
    stage.lets_in("newcomer").await;
}

#[tokio::test]
async fn credentials_are_one_text_in_both_variants() {
    let stage = Stage::new().await;
    let token = stage.dataplane_token(MESH, NAME).await;
    let twice = [token.as_str(), token.as_str()];
    let (_, text) = stage.attempt("ads/token_malformed", 1, refusal(&stage, &twice)).await;
    assert_eq!(text, "request must have exactly 1 \"authorization\" header, got 2");
    let (code, _) = stage.attempt("ads/token_malformed", 1, refusal(&stage, &["t\u{f6}ken"])).await;
    assert_eq!(code, Code::Unauthenticated);
    let attempt = async {
        let call = Peer::connect(stage.port).await.open(DELTA, &["garbage"]).await;
        let node = node(MESH, NAME, Some(&dataplane(NAME)));
        call.send(&DeltaDiscoveryRequest { node: Some(node), type_url: CLUSTER.to_owned(), ..Default::default() });
        call.refusal().await
    };
    let (_, text) = stage.attempt("ads/token_malformed", 1, attempt).await;
    assert!(text.starts_with("authentication failed: "), "{text}");
    // Bearer is not what proxies write before their token.
    let bearer = format!("Bearer {token}");
    let (_, text) = stage.attempt("ads/token_malformed", 1, refusal(&stage, &[&bearer])).await;
    assert!(text.starts_with("authentication failed: "), "{text}");
    assert_eq!(stage.dataplanes(MESH).await, ["good"]);
    stage.lets_in("newcomer").await;
}
