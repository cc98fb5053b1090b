//! Questions to stand-ins of Envoy on real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tandem_api::EnvoyAdminError;
use tandem_auth::envoy_admin;
use tandem_kds::admin::{AdminExecutor as _, AdminRequest};
use tandem_model::rest::{Unknown, from_json};
use tandem_model::{AdminOperation, Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::{MemoryStore, SharedStore, Write};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::client::{AdminLimits, EnvoyClient};

const CLUSTERS: AdminOperation = AdminOperation::Clusters { json: true };
const DUMP: AdminOperation = AdminOperation::ConfigDump { include_eds: false };
/// An address of this host that is not the one that is asked in plain text.
const OTHER: &str = "127.0.0.2";

/// What a stand-in does once it has a request.
#[derive(Clone)]
enum Act {
    /// Answers 200 with this, and the line of the request instead of `{}`.
    Answer(&'static str),
    /// Answers this, as it stands.
    Raw(&'static str),
    /// Says nothing.
    Hang,
    /// Begins an answer that never ends.
    Endless,
    /// Answers a moment later, and counts how many wait for that.
    Count(Arc<Crowd>),
    /// Says nothing from the beginning, not even of TLS.
    Silent,
    /// Answers what is no request, as plain servers do when they are spoken to in TLS.
    BadRequest,
}

/// How many requests there are at a time.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// How a stand-in speaks TLS.
enum Tls {
    Plain,
    /// With a certificate of the authority for this address, to clients with a certificate of the authority.
    Of(String, &'static str),
}

/// A stand-in at an address; returns its port.
async fn envoy(address: &str, tls: Tls, act: Act) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.expect("some port is free");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = match tls {
        Tls::Plain => None,
        Tls::Of(authority, name) => Some(TlsAcceptor::from(server_tls(&authority, name))),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, act) = (acceptor.clone(), act.clone());
            tokio::spawn(async move {
                match (act, acceptor) {
                    (Act::Silent, _) => {
                        let _stream = stream;
                        std::future::pending::<()>().await;
                    }
                    (act, None) => talk(stream, act).await,
                    (act, Some(acceptor)) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            talk(stream, act).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, act: Act) {
    if matches!(act, Act::BadRequest) {
        let _ = stream.read(&mut [0; 16]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        return;
    }
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let line = request.lines().next().unwrap_or_default();
    match act {
        Act::Answer(text) => {
            let body = text.replace("{}", line);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Act::Count(crowd) => {
            let now = crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
            crowd.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            crowd.now.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1").await;
        }
        Act::Raw(answer) => drop(stream.write_all(answer.as_bytes()).await),
        Act::Hang | Act::Silent | Act::BadRequest => std::future::pending().await,
        Act::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        }
    }
    let _ = stream.shutdown().await;
}

fn server_tls(authority: &str, name: &str) -> Arc<ServerConfig> {
    let signer = envoy_admin::load(authority.as_bytes()).expect("an authority");
    let pair = envoy_admin::server_certificate(&signer, &[name]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(signer.root_pem().as_bytes()).expect("PEM")).expect("a root");
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("there is a root");
    let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("PEM");
    let config = ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key);
    Arc::new(config.expect("the key is that of the certificate"))
}

/// A zone with its authority.
struct Zone {
    client: EnvoyClient,
    store: SharedStore,
    authority: String,
}

impl Zone {
    async fn new() -> Self {
        Self::with(AdminLimits { connect: Duration::from_millis(300), total: Duration::from_millis(600), ..limits() })
            .await
    }

    async fn with(limits: AdminLimits) -> Self {
        // As the program does; tests that come later find it done.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let authority = envoy_admin::generate().expect("randomness");
        let key = ResourceKey::global(Kind::GlobalSecret, envoy_admin::SECRET_NAME);
        let secret = Resource::from_proto(key, &Secret { data: Some(authority.clone().into_bytes()) });
        store.commit(vec![Write::Create(secret)]).await.expect("new");
        Self { client: EnvoyClient::with_limits(store.clone(), "east", limits), store, authority }
    }

    fn tls(&self, name: &'static str) -> Tls {
        Tls::Of(self.authority.clone(), name)
    }

    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<String, String> {
        let answer = tandem_api::EnvoyAdmin::ask(&self.client, proxy, operation).await;
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        answer.map(text).map_err(|error| match error {
            EnvoyAdminError::Failed(text) => text,
            other => panic!("{other:?}"),
        })
    }

    /// Asks a Dataplane at an address.
    async fn ask_at(&self, address: &str, port: u16, operation: AdminOperation) -> Result<String, String> {
        self.ask(&dataplane(json!({"address": address}), port), operation).await
    }

    async fn fails(&self, address: &str, port: u16, words: &[&str]) {
        let error = self.ask_at(address, port, CLUSTERS).await.expect_err("it fails");
        assert!(error.starts_with("unable to send GET to clusters?format=json: "), "{error}");
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error}");
        }
    }
}

/// Generous, so that a busy machine reaches none.
fn limits() -> AdminLimits {
    AdminLimits {
        connect: Duration::from_secs(60),
        total: Duration::from_secs(60),
        bytes: 100_000,
        bytes_to_global: 1_000,
        at_once: 2,
    }
}

fn proxy(kind: &str, networking: Value, port: u16) -> Resource {
    let mut networking = networking;
    networking["admin"] = json!({"port": port});
    let mut proxy = json!({"type": kind, "name": "p", "networking": networking});
    if kind == "Dataplane" {
        proxy["mesh"] = json!("default");
    }
    from_json(proxy, None, Unknown::Refuse).expect("a valid resource").resource
}

fn dataplane(networking: Value, port: u16) -> Resource {
    proxy("Dataplane", networking, port)
}

#[tokio::test]
async fn the_question_reaches_envoy_and_the_answer_comes_back() {
    let zone = Zone::with(limits()).await;
    let plain = envoy("127.0.0.1", Tls::Plain, Act::Answer("\"{}\"")).await;
    let secure = envoy(OTHER, zone.tls(OTHER), Act::Answer("\"{}\"")).await;
    for (operation, path) in [
        (AdminOperation::ConfigDump { include_eds: true }, "config_dump?include_eds=true"),
        (DUMP, "config_dump"),
        (AdminOperation::Stats { json: true, used_only: true }, "stats?format=json&usedonly="),
        (AdminOperation::Stats { json: false, used_only: false }, "stats"),
        (CLUSTERS, "clusters?format=json"),
        (AdminOperation::Clusters { json: false }, "clusters"),
    ] {
        let expected = Ok(format!("\"GET /{path} HTTP/1.1\""));
        assert_eq!(zone.ask_at("127.0.0.1", plain, operation).await, expected);
        assert_eq!(zone.ask_at(OTHER, secure, operation).await, expected, "over mutual TLS");
    }
}

#[tokio::test]
async fn each_kind_of_proxy_is_asked_where_it_can_be_reached() {
    let zone = Zone::with(limits()).await;
    let port = envoy(OTHER, zone.tls(OTHER), Act::Answer("1")).await;
    let advertised = json!({"address": "192.0.2.1", "advertisedAddress": OTHER});
    let ingress = json!({"address": OTHER, "port": 10001, "advertisedAddress": "192.0.2.1", "advertisedPort": 1});
    for proxy in [
        dataplane(advertised, port),
        proxy("ZoneIngress", ingress, port),
        proxy("ZoneEgress", json!({"address": OTHER, "port": 10002}), port),
    ] {
        assert_eq!(zone.ask(&proxy, CLUSTERS).await, Ok("1".to_owned()), "{}", proxy.key);
    }
}

#[tokio::test]
async fn credentials_are_not_handed_out() {
    let zone = Zone::with(limits()).await;
    let dump = r#"{"configs": [{"key": "authorization", "value": "a-token-of-the-proxy"}]}"#;
    let port = envoy("127.0.0.1", Tls::Plain, Act::Answer(dump)).await;
    let shown = zone.ask_at("127.0.0.1", port, DUMP).await;
    assert_eq!(shown, Ok(dump.replace("a-token-of-the-proxy", "[redacted]")));
    let port = envoy("127.0.0.1", Tls::Plain, Act::Answer("no JSON: a-token-of-the-proxy")).await;
    let error = zone.ask_at("127.0.0.1", port, DUMP).await.expect_err("no JSON");
    assert!(error.contains("is not JSON") && !error.contains("token"), "{error}");
}

#[tokio::test]
async fn who_is_not_of_the_zone_is_not_believed() {
    let zone = Zone::with(limits()).await;
    let foreign = envoy_admin::generate().expect("randomness");
    let stranger = envoy(OTHER, Tls::Of(foreign, OTHER), Act::Answer("1")).await;
    zone.fails(OTHER, stranger, &["127.0.0.2:", "TLS with the zone's authority", "certificate"]).await;
    let other_name = envoy(OTHER, zone.tls("127.0.0.3"), Act::Answer("1")).await;
    zone.fails(OTHER, other_name, &["certificate", "not valid for name"]).await;
    let plain = envoy(OTHER, Tls::Plain, Act::BadRequest).await;
    zone.fails(OTHER, plain, &["127.0.0.2:", "TLS with the zone's authority"]).await;
}

#[tokio::test]
async fn who_is_not_the_control_plane_is_not_answered() {
    let zone = Zone::with(limits()).await;
    let port = envoy(OTHER, zone.tls(OTHER), Act::Answer("1")).await;
    let other = Zone::with(limits()).await;
    other.fails(OTHER, port, &["certificate"]).await;
    // With the authority replaced, the client shows a certificate of the new one without being started again.
    assert_eq!(zone.ask_at(OTHER, port, CLUSTERS).await, Ok("1".to_owned()));
    let key = ResourceKey::global(Kind::GlobalSecret, envoy_admin::SECRET_NAME);
    let secret = Resource::from_proto(key, &Secret { data: Some(other.authority.clone().into_bytes()) });
    zone.store.commit(vec![Write::Put(secret)]).await.expect("valid");
    zone.fails(OTHER, port, &["certificate"]).await;
    let port = envoy(OTHER, other.tls(OTHER), Act::Answer("1")).await;
    assert_eq!(zone.ask_at(OTHER, port, CLUSTERS).await, Ok("1".to_owned()));
}

#[tokio::test]
async fn an_envoy_that_hangs_is_given_up() {
    let zone = Zone::new().await;
    for (address, secure) in [("127.0.0.1", false), (OTHER, true)] {
        let tls = || if secure { zone.tls(OTHER) } else { Tls::Plain };
        let port = envoy(address, tls(), Act::Hang).await;
        zone.fails(address, port, &["did not answer in time"]).await;
    }
    let port = envoy(OTHER, Tls::Plain, Act::Silent).await;
    zone.fails(OTHER, port, &["127.0.0.2:", "did not finish the TLS handshake in time"]).await;
}

#[tokio::test]
async fn answers_that_are_none_are_told() {
    let zone = Zone::with(limits()).await;
    for (answer, word) in [
        ("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n", "unexpected status code [503]"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc", "unexpected status code [404]"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n",
            "unexpected status code [302]",
        ),
        ("SSH-2.0-OpenSSH\r\n", "invalid HTTP version"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "end of file"),
        ("", "connection closed"),
    ] {
        let port = envoy("127.0.0.1", Tls::Plain, Act::Raw(answer)).await;
        zone.fails("127.0.0.1", port, &[word]).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    zone.fails("127.0.0.1", port, &[&format!("127.0.0.1:{port}"), "refused"]).await;
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let zone = Zone::with(limits()).await;
    let port = envoy("127.0.0.1", Tls::Plain, Act::Endless).await;
    zone.fails("127.0.0.1", port, &["more than 100000 bytes"]).await;
    // Of what goes to global, less may be sent in one message.
    let proxy = dataplane(json!({"address": "127.0.0.1"}), port);
    let request = AdminRequest { proxy: proxy.key.clone(), operation: CLUSTERS };
    let unknown = zone.client.execute(request.clone()).await.expect_err("not there yet");
    assert!(unknown.contains("resource not found"), "{unknown}");
    let mesh = from_json(json!({"type": "Mesh", "name": "default"}), None, Unknown::Refuse).expect("a mesh").resource;
    zone.store.commit(vec![Write::Create(mesh), Write::Create(proxy)]).await.expect("new");
    let error = zone.client.execute(request).await.expect_err("endless");
    assert!(
        error.contains("more than 1000 bytes; for answers to global raise multizone.zone.kds.maxMsgSize"),
        "{error}"
    );
}

#[tokio::test]
async fn only_some_are_asked_at_a_time() {
    let zone = Zone::with(limits()).await;
    let crowd = Arc::new(Crowd::default());
    let port = envoy("127.0.0.1", Tls::Plain, Act::Count(crowd.clone())).await;
    let asking = (0..6).map(|_| zone.ask_at("127.0.0.1", port, CLUSTERS));
    for answer in futures::future::join_all(asking).await {
        assert_eq!(answer, Ok("1".to_owned()), "the others wait for their turn");
    }
    assert_eq!(crowd.most.load(Ordering::SeqCst), 2);
}
