//! Keys that come and go, and tokens that are taken back.

use super::*;

/// Issues a token of a realm and a check for it.
fn issue(tokens: &Tokens, realm: &Realm) -> String {
    let issued = match realm {
        Realm::Dataplane { mesh } => {
            tokens.issue_dataplane(&DataplaneClaims { mesh: mesh.clone(), ..DataplaneClaims::default() }, HOUR)
        }
        Realm::Zone => tokens.issue_zone(&ZoneClaims::default(), HOUR),
        Realm::User => tokens.issue_user(&UserClaims::default(), HOUR),
    };
    issued.expect("issued")
}

fn check(tokens: &Tokens, realm: &Realm, token: &str) -> Result<(), TokenError> {
    match realm {
        Realm::Dataplane { mesh } => tokens.check_dataplane(token, mesh).map(drop),
        Realm::Zone => tokens.check_zone(token).map(drop),
        Realm::User => tokens.check_user(token).map(drop),
    }
}

fn kid(token: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("header")).expect("base64");
    serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].clone()
}

fn realms() -> [Realm; 3] {
    [mesh("m"), Realm::Zone, Realm::User]
}

#[tokio::test]
async fn every_kind_of_key_rotates() {
    let store = store();
    let tokens = Tokens::new(&store, Settings::default());
    for realm in realms() {
        put(&store, realm.key(1), &generate_pem().expect("key")).await;
        let old = issue(&tokens, &realm);
        put(&store, realm.key(2), &generate_pem().expect("key")).await;
        let new = issue(&tokens, &realm);
        assert_eq!((kid(&old), kid(&new)), (json!("1"), json!("2")), "the highest serial signs");
        for token in [&old, &new] {
            check(&tokens, &realm, token).expect("both keys are there");
        }
        let delete = Write::Delete { key: realm.key(1), expected: None };
        store.commit(vec![delete]).await.expect("deleted");
        check(&tokens, &realm, &new).expect("its key is there");
        assert!(matches!(check(&tokens, &realm, &old), Err(TokenError::UnknownKey(_))), "{realm:?}");
    }
}

#[tokio::test]
async fn every_kind_of_token_is_revoked() {
    let store = store();
    let tokens = Tokens::new(&store, Settings::default());
    for realm in realms() {
        put(&store, realm.key(1), &generate_pem().expect("key")).await;
        let (token, other) = (issue(&tokens, &realm), issue(&tokens, &realm));
        let id = payload(&token)["jti"].as_str().expect("id").to_owned();
        for list in realm.revocations() {
            for content in [id.clone(), format!("x,{id}\n"), format!("x, {id} ,y"), format!("x\r\n{id}\r\n")] {
                put(&store, list.clone(), &content).await;
                assert!(matches!(check(&tokens, &realm, &token), Err(TokenError::Revoked)), "{content:?}");
                check(&tokens, &realm, &other).expect("the other one is not listed");
            }
            let delete = Write::Delete { key: list, expected: None };
            store.commit(vec![delete]).await.expect("deleted");
            check(&tokens, &realm, &token).expect("no longer revoked");
        }
    }
}

#[tokio::test]
async fn a_list_of_one_realm_revokes_nothing_of_another() {
    let store = store();
    let tokens = Tokens::new(&store, Settings::default());
    let ids = async |realm: &Realm| {
        put(&store, realm.key(1), &generate_pem().expect("key")).await;
        issue(&tokens, realm)
    };
    let (m, n) = (ids(&mesh("m")).await, ids(&mesh("n")).await);
    let id = payload(&m)["jti"].as_str().expect("id").to_owned();
    for list in [mesh("n").revocations(), Realm::Zone.revocations(), Realm::User.revocations()].concat() {
        put(&store, list, &id).await;
    }
    check(&tokens, &mesh("m"), &m).expect("no list of its mesh names it");
    check(&tokens, &mesh("n"), &n).expect("not listed");
}

#[tokio::test]
async fn a_key_may_have_a_name_instead_of_a_serial() {
    let store = store();
    let pem = generate_pem().expect("key");
    put(&store, mesh("m").key_of("offline"), &pem).await;
    let tokens = Tokens::new(&store, Settings::default());
    let key = SigningKey::read(pem.as_bytes()).expect("key");
    let token = forge(&key, &json!({"alg": "RS256", "kid": "offline"}), &json!({"Name": "a"}));
    tokens.check_dataplane(&token, "m").expect("the key is there");
    assert!(matches!(tokens.check_dataplane(&token, "n"), Err(TokenError::UnknownKey(_))));
    let error = tokens.issue_dataplane(&claims(), HOUR).expect_err("no serial");
    assert!(error.to_string().contains("dataplane-token-signing-key-m-1"), "{error}");
}

#[tokio::test]
async fn nobody_signs_with_an_empty_secret() {
    let store = store();
    put(&store, Realm::User.key(0), "").await;
    let tokens = Tokens::new(&store, Settings::default());
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "kid": "0"})), part(json!({"Name": "mallory"})));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"");
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    let text = refusal(tokens.check_user(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))));
    assert!(text.contains("legacy key are not supported"), "{text}");
}

#[tokio::test]
async fn faults_are_told_apart() {
    let store = store();
    let pem = generate_pem().expect("key");
    put(&store, Realm::Zone.key(1), &pem).await;
    put(&store, Realm::Zone.key(2), "no key").await;
    let tokens = Tokens::new(&store, Settings::default());
    let key = SigningKey::read(pem.as_bytes()).expect("key");
    let stranger = SigningKey::read(generate_pem().expect("key").as_bytes()).expect("key");
    let by = |key, header: Value| forge(key, &header, &json!({}));
    for (token, expected) in [
        (String::new(), Fault::Missing),
        ("a.b".to_owned(), Fault::Malformed),
        (by(&key, json!({"alg": "RS256"})), Fault::Malformed),
        (forge(&key, &json!({"alg": "RS256", "kid": "1"}), &json!({"Zone": 1})), Fault::Malformed),
        (by(&key, json!({"alg": "none", "kid": "1"})), Fault::Algorithm),
        (by(&key, json!({"alg": "ES256", "kid": "1"})), Fault::Algorithm),
        (by(&key, json!({"alg": "HS256", "kid": "1"})), Fault::Algorithm),
        (by(&key, json!({"alg": "RS256", "kid": "2"})), Fault::Key),
        (by(&stranger, json!({"alg": "RS256", "kid": "1"})), Fault::Signature),
    ] {
        match tokens.check_zone(&token) {
            Err(TokenError::Invalid { fault, .. }) => assert_eq!(fault, expected, "{token}"),
            other => panic!("{token}: {other:?}"),
        }
    }
}
