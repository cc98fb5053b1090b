//! A server that answers as the API of Kubernetes does, over TLS, and proxies that show it tokens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Long enough that nothing of a test is forgotten before its end.
const LONG: Duration = Duration::from_secs(600);

/// What the cluster has, and what it was asked.
#[derive(Default)]
struct Cluster {
    /// Service account by `namespace/pod`.
    pods: BTreeMap<&'static str, Option<&'static str>>,
    /// User by token.
    tokens: Mutex<BTreeMap<&'static str, &'static str>>,
    pods_read: AtomicUsize,
    reviews: AtomicUsize,
    /// Nothing is answered but this.
    broken: Mutex<Option<StatusCode>>,
    /// How long an answer takes.
    delay: Duration,
}

impl Cluster {
    fn new() -> Self {
        Self {
            pods: [("shop/web-1", Some("web")), ("shop/bare", None)].into(),
            tokens: Mutex::new(
                [
                    ("of-web", "system:serviceaccount:shop:web"),
                    ("of-default", "system:serviceaccount:shop:default"),
                    ("of-other", "system:serviceaccount:other:web"),
                    ("of-a-person", "anna"),
                ]
                .into(),
            ),
            ..Self::default()
        }
    }

    fn asked(&self) -> (usize, usize) {
        (self.pods_read.load(Ordering::SeqCst), self.reviews.load(Ordering::SeqCst))
    }

    /// The refusal of a request that the credential of the control plane does not allow, or of all requests.
    async fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        tokio::time::sleep(self.delay).await;
        let is_known = headers.get("authorization").is_some_and(|value| value == "Bearer control-plane");
        let code = if is_known { *self.broken.lock() } else { Some(StatusCode::UNAUTHORIZED) }?;
        Some(status(code, "not now"))
    }
}

fn status(code: StatusCode, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""), "code": code.as_u16(),
    });
    (code, Json(body)).into_response()
}

async fn pod(
    State(cluster): State<Arc<Cluster>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    cluster.pods_read.fetch_add(1, Ordering::SeqCst);
    if let Some(refusal) = cluster.refusal(&headers).await {
        return refusal;
    }
    match cluster.pods.get(format!("{namespace}/{name}").as_str()) {
        None => status(StatusCode::NOT_FOUND, &format!("pods {name:?} not found")),
        Some(account) => Json(json!({
            "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace},
            "spec": {"containers": [{"name": "app"}], "serviceAccountName": account},
        }))
        .into_response(),
    }
}

async fn review(State(cluster): State<Arc<Cluster>>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    cluster.reviews.fetch_add(1, Ordering::SeqCst);
    if let Some(refusal) = cluster.refusal(&headers).await {
        return refusal;
    }
    let token = asked["spec"]["token"].as_str().unwrap_or_default();
    let status = match cluster.tokens.lock().get(token) {
        Some(user) => json!({"authenticated": true, "user": {"username": user}}),
        None => json!({"authenticated": false, "error": "[invalid bearer token]", "user": {}}),
    };
    let kind = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}});
    let mut answer = kind;
    answer["spec"] = asked["spec"].clone();
    answer["status"] = status;
    (StatusCode::CREATED, Json(answer)).into_response()
}

/// Serves a cluster over TLS; returns where, and the certificate to trust.
async fn serve(cluster: Arc<Cluster>) -> (SocketAddr, Vec<u8>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a key");
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).expect("PKCS#8");
    let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(tls.expect("a certificate with its key")));
    let router = Router::new()
        .route("/api/v1/namespaces/{namespace}/pods/{name}", get(pod))
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
        .with_state(cluster);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let io = hyper_util::rt::TokioIo::new(stream);
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = builder.serve_connection(io, service).await;
            });
        }
    });
    (address, cert.der().to_vec())
}

fn config(address: SocketAddr, certificate: Vec<u8>) -> Config {
    let mut config = Config::new(format!("https://{address}").parse().expect("an address"));
    config.root_cert = Some(vec![certificate]);
    config.auth_info.token = Some("control-plane".to_owned().into());
    config.default_retry = false;
    config
}

async fn accounts(cluster: &Arc<Cluster>, kept: Duration) -> ServiceAccounts {
    let (address, certificate) = serve(cluster.clone()).await;
    ServiceAccounts::new(Client::try_from(config(address, certificate)).expect("a client"), kept)
}

#[tokio::test]
async fn a_proxy_shows_the_token_of_its_pods_service_account() {
    let cluster = Arc::new(Cluster::new());
    let accounts = accounts(&cluster, LONG).await;
    let no_pod = ServiceAccountError::NoPod { namespace: "shop".to_owned(), pod: "gone".to_owned() };
    let name = |text: &str| ServiceAccountError::Name(text.to_owned());
    for (proxy, token, expected) in [
        ("web-1.shop", "of-web", Ok(())),
        ("bare.shop", "of-default", Ok(())),
        ("web-1.shop", "of-default", Err(ServiceAccountError::OfAnother)),
        ("bare.shop", "of-web", Err(ServiceAccountError::OfAnother)),
        ("web-1.shop", "of-other", Err(ServiceAccountError::OfAnother)),
        ("web-1.shop", "of-a-person", Err(ServiceAccountError::OfAnother)),
        ("web-1.shop", "forged", Err(ServiceAccountError::NotAuthenticated)),
        ("web-1.shop", "", Err(ServiceAccountError::Missing)),
        ("gone.shop", "of-web", Err(no_pod)),
        ("web-1", "of-web", Err(name(r#"name "web-1" must include namespace after the dot, ex. "name.namespace""#))),
        ("web-1.", "of-web", Err(name("namespace must be non-empty"))),
        ("../../secrets/x.shop", "of-web", Err(name(r#"name "../../secrets/x.shop" names no pod"#))),
        ("Web?x.shop", "of-web", Err(name(r#"name "Web?x.shop" names no pod"#))),
    ] {
        assert_eq!(accounts.check(proxy, token).await, expected, "{proxy} {token}");
    }
    let long = "a".repeat(MAX_TOKEN + 1);
    assert_eq!(accounts.check("web-1.shop", &long).await, Err(ServiceAccountError::NotAuthenticated));
    let text = accounts.check("gone.shop", "of-web").await.expect_err("no such pod").to_string();
    assert_eq!(
        text,
        r#"could not retrieve Pod shop/gone to verify identity of a dataplane proxy: pods "gone" not found"#
    );
}

#[tokio::test]
async fn equal_questions_are_asked_once() {
    let cluster = Arc::new(Cluster { delay: Duration::from_millis(50), ..Cluster::new() });
    let accounts = accounts(&cluster, LONG).await;
    let many = (0..200).map(|_| accounts.check("web-1.shop", "of-web"));
    assert!(futures::future::join_all(many).await.iter().all(Result::is_ok));
    let forged = (0..200).map(|_| accounts.check("web-1.shop", "forged"));
    assert!(futures::future::join_all(forged).await.iter().all(Result::is_err));
    assert_eq!(cluster.asked(), (2, 2));
    accounts.check("web-1.shop", "of-web").await.expect("still known");
    assert_eq!(cluster.asked(), (2, 2));
}

#[tokio::test]
async fn what_kubernetes_takes_back_is_refused_when_the_answer_is_forgotten() {
    let cluster = Arc::new(Cluster::new());
    let accounts = accounts(&cluster, Duration::from_millis(100)).await;
    accounts.check("web-1.shop", "of-web").await.expect("valid");
    cluster.tokens.lock().remove("of-web");
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while accounts.check("web-1.shop", "of-web").await.is_ok() {
        assert!(tokio::time::Instant::now() < patience, "it is accepted for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_an_answer_nobody_is_admitted_and_nothing_is_remembered() {
    let cluster = Arc::new(Cluster::new());
    let accounts = accounts(&cluster, LONG).await;
    for code in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FORBIDDEN] {
        *cluster.broken.lock() = Some(code);
        assert_eq!(accounts.check("web-1.shop", "of-web").await, Err(ServiceAccountError::Unavailable));
    }
    assert!(accounts.failing.load(Ordering::SeqCst));
    *cluster.broken.lock() = None;
    accounts.check("web-1.shop", "of-web").await.expect("it answers again");
    assert!(!accounts.failing.load(Ordering::SeqCst));
    let nowhere = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let (_, certificate) = serve(cluster.clone()).await;
    let unreachable = ServiceAccounts::new(Client::try_from(config(nowhere, certificate)).expect("a client"), LONG);
    assert_eq!(unreachable.check("web-1.shop", "of-web").await, Err(ServiceAccountError::Unavailable));
}
