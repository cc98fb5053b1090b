//! Questions that are not answered with a configuration.
//!
//! Source of statuses and texts: Kuma `pkg/xds/bootstrap/{handler,generator}.go`.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Question, dataplane, own_certificate, sidecar};

fn mesh() -> Value {
    json!({"type": "Mesh", "name": "mesh"})
}

/// A question for the Dataplane `dp`, which is stored, with these members in addition.
fn question(more: Value) -> Question {
    let mut body = json!({"mesh": "mesh", "name": "dp", "workdir": "/tmp"});
    crate::support::merge(&mut body, more);
    Question::new([mesh(), dataplane("mesh", "dp", &sidecar(0))], &body)
}

fn is_empty(answer: &Answer, status: StatusCode) {
    assert_eq!((answer.status, answer.text.as_str()), (status, ""));
}

fn is_told(answer: &Answer, status: StatusCode, text: &str) {
    let expected = (status, "text/plain; charset=utf-8", text);
    assert_eq!((answer.status, answer.content_type.as_str(), answer.text.as_str()), expected);
}

#[tokio::test]
async fn a_proxy_that_is_not_known_is_told_nothing_so_that_it_tries_again() {
    is_empty(&question(json!({"name": "other"})).ask().await, StatusCode::NOT_FOUND);
    is_empty(&question(json!({"mesh": "other"})).ask().await, StatusCode::NOT_FOUND);
    for proxy_type in ["ingress", "egress"] {
        is_empty(&question(json!({"mesh": "", "proxyType": proxy_type})).ask().await, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    for body in ["", "{", "\"text\"", r#"{"mesh": 1}"#, r#"{"dnsPort": -1}"#] {
        let question = Question { body: body.to_owned(), ..question(json!({})) };
        is_empty(&question.ask().await, StatusCode::BAD_REQUEST);
    }
    let question = Question { method: Method::GET, body: String::new(), ..question(json!({})) };
    is_empty(&question.ask().await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn types_of_proxies_that_do_not_exist_or_do_not_fit_are_refused() {
    is_empty(&question(json!({"proxyType": "gateway"})).ask().await, StatusCode::INTERNAL_SERVER_ERROR);
    let ingress = json!({"type": "ZoneIngress", "name": "dp", "networking": {"address": "127.0.0.1", "port": 1}});
    let question = question(json!({"dataplaneResource": ingress.to_string()}));
    is_empty(&question.ask().await, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_token_has_to_be_named_where_one_is_needed() {
    let text = "Dataplane Token is required. Generate token using 'kumactl generate dataplane-token > /path/file' and provide it \
        via --dataplane-token-file=/path/file argument to Kuma DP";
    let ask = async |more: Value, dataplanes: bool, zone_proxies: bool| {
        let mut question = question(more);
        question.settings.dataplane_token_required = dataplanes;
        question.settings.zone_token_required = zone_proxies;
        question.ask().await
    };
    is_told(&ask(json!({}), true, false).await, StatusCode::UNPROCESSABLE_ENTITY, text);
    for proxy_type in ["ingress", "egress"] {
        let answer = ask(json!({"proxyType": proxy_type}), false, true).await;
        is_told(&answer, StatusCode::UNPROCESSABLE_ENTITY, text);
    }
    // Whether it is a good one is found out where it is used.
    for token in [json!({"dataplaneToken": "any"}), json!({"dataplaneTokenPath": "/token"})] {
        assert_eq!(ask(token, true, true).await.status, StatusCode::OK);
    }
    assert_eq!(ask(json!({}), false, true).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_host_that_the_certificate_does_not_name_is_refused() {
    let at = |host| {
        let mut question = Question { host, ..question(json!({})) };
        question.settings.xds_host.clear();
        question.ask()
    };
    let text = "A data plane proxy is trying to connect to the control plane using \"kuma.internal\" address, but the certificate \
        in the control plane has the following SANs [\"fd00:a123::1\" \"localhost\"]. Either change the --cp-address in kuma-dp to \
        one of those or execute the following steps:\n\
        1) Generate a new certificate with the address you are trying to use. It is recommended to use trusted Certificate \
        Authority, but you can also generate self-signed certificates using 'kumactl generate tls-certificate --type=server \
        --hostname=kuma.internal'\n\
        2) Set KUMA_GENERAL_TLS_CERT_FILE and KUMA_GENERAL_TLS_KEY_FILE or the equivalent in Kuma CP config file to the new \
        certificate.\n\
        3) Restart the control plane to read the new certificate and start kuma-dp.";
    is_told(&at("kuma.internal:5678").await, StatusCode::BAD_REQUEST, text);
    is_told(&at("kuma.internal").await, StatusCode::BAD_REQUEST, text);
    for host in ["localhost", "localhost:5678", "[fd00:a123::1]:5678"] {
        assert_eq!(at(host).await.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn a_trust_anchor_that_is_no_authority_is_refused() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let leaf = params.self_signed(&key).expect("a certificate").pem();
    let text = "A data plane proxy is trying to verify the control plane using the certificate which is not a certificate authority \
        (basic constraint 'CA' is set to 'false').\n\
        Provide CA that was used to sign a certificate used in the control plane by using 'kuma-dp run --ca-cert-file=file' or via \
        KUMA_CONTROL_PLANE_CA_CERT_FILE";
    is_told(&question(json!({"caCert": leaf})).ask().await, StatusCode::BAD_REQUEST, text);
    // One that does not say is taken for an authority, as is the certificate of the control plane itself.
    params.is_ca = rcgen::IsCa::NoCa;
    let silent = params.self_signed(&key).expect("a certificate").pem();
    let own = String::from_utf8(own_certificate().pem).expect("text");
    for authority in [silent, own] {
        assert_eq!(question(json!({"caCert": authority})).ask().await.status, StatusCode::OK);
    }
    assert_eq!(question(json!({"caCert": "garbage"})).ask().await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_resource_that_is_not_valid_is_refused_with_everything_that_is_wrong() {
    let ask = async |brought: Value, config: Value| {
        question(json!({"dataplaneResource": brought.to_string(), "dataplaneConfig": config})).ask().await
    };
    let empty = json!({"type": "Dataplane", "mesh": "mesh", "name": "dp", "networking": {}});
    let text = "networking: has to contain at least one inbound interface or gateway; networking.address: address can't be empty";
    is_told(&ask(empty, Value::Null).await, StatusCode::UNPROCESSABLE_ENTITY, text);
    let homeless = dataplane("nowhere", "dp", &sidecar(0));
    let text = "mesh: mesh \"nowhere\" does not exist";
    is_told(&ask(homeless, Value::Null).await, StatusCode::UNPROCESSABLE_ENTITY, text);

    let mut networking = sidecar(0);
    networking["outbound"] = json!([{"port": 1, "tags": {"kuma.io/service": "other"}}]);
    let calling = dataplane("mesh", "dp", &networking);
    let redirected = |outbound: bool| json!({"redirect": {"outbound": {"enabled": outbound, "port": 15001}}});
    let text = "outbound: should be empty since dataplane is in Transparent Proxying mode";
    is_told(&ask(calling.clone(), redirected(true)).await, StatusCode::UNPROCESSABLE_ENTITY, text);
    assert_eq!(ask(calling, redirected(false)).await.status, StatusCode::OK);
}
