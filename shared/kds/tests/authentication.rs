//! Zones that prove who they are, and others that try to pass for them.

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use futures::StreamExt;
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tandem_auth::keys::{Realm, generate_pem};
use tandem_auth::tls::{ClientAuth, ClientTrust, client_roots, server_config};
use tandem_auth::token::{Settings as TokenSettings, Tokens, ZoneClaims};
use tandem_kds::KdsMetrics;
use tandem_kds::global::{GlobalSettings, ZoneAuthentication};
use tandem_kds::rpc::global_k_d_s_service_client::GlobalKDSServiceClient;
use tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use tandem_kds::zone::{ClientTls, CpToken, ZoneSettings};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::ZoneHealthCheckRequest;
use tandem_proto::system::v1alpha1::{Secret, ZoneInsight};
use tandem_runtime::config::Tls;
use tandem_store::SharedStore;
use time::OffsetDateTime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const HOUR: Duration = Duration::from_secs(3600);

/// A global that lets zones in by some proof.
struct Guarded {
    running: RunningGlobal,
    store: SharedStore,
    registry: Registry,
}

impl Guarded {
    async fn start(
        store: SharedStore,
        authentication: ZoneAuthentication,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        put(&store, mesh("default")).await;
        let mut registry = Registry::default();
        let settings = GlobalSettings { authentication, ..GlobalSettings::new(common("global-0001")) };
        let address = "127.0.0.1:0".parse().expect("an address");
        let metrics = KdsMetrics::register(&mut registry);
        let running = RunningGlobal::start_measured(settings, &store, address, tls, metrics).await;
        Self { running, store, registry }
    }

    /// How many calls were refused for a reason.
    fn refused(&self, reason: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodable");
        let name = format!("kds_authentication_failures_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a number"))
    }
}

async fn secret(store: &SharedStore, key: ResourceKey, data: &str) {
    put(store, Resource::from_proto(key, &Secret { data: Some(data.as_bytes().to_vec()) })).await;
}

/// A global that asks for tokens, and what issues them.
async fn asking_for_tokens() -> (Guarded, Arc<Tokens>) {
    let store = store();
    secret(&store, Realm::Zone.key(1), &generate_pem().expect("a key")).await;
    let tokens = Arc::new(Tokens::new(&store, TokenSettings::default()));
    (Guarded::start(store, ZoneAuthentication::Token(tokens.clone()), None).await, tokens)
}

fn token_for(tokens: &Tokens, zone: &str, scope: &str, valid_for: Duration) -> String {
    let claims = ZoneClaims { zone: zone.to_owned(), scope: vec![scope.to_owned()] };
    tokens.issue_zone(&claims, valid_for).expect("issued")
}

/// Id of a token, by which it is revoked.
fn id_of(token: &str) -> String {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("has an id").to_owned()
}

fn with_token(zone: &str, global: SocketAddr, token: &str) -> ZoneSettings {
    ZoneSettings { token: CpToken::Inline(token.to_owned()), ..settings(zone, global) }
}

async fn joined(zone: &RunningZone) {
    wait_until_exists(&zone.store, &mesh("default").key).await;
}

/// Waits until the zone says why it is not connected, in these words.
async fn parted(zone: &RunningZone, parts: &[&str]) {
    let error = || zone.status.peer("global").and_then(|peer| peer.error).map(|error| error.text).unwrap_or_default();
    let mut last = String::new();
    let began = tokio::time::Instant::now();
    while !parts.iter().all(|part| last.contains(part)) {
        assert!(began.elapsed() < PATIENCE, "the zone says {last:?}, not {parts:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        last = error();
    }
}

fn connected(global: &Guarded, zone: &str) -> bool {
    global.running.status.peer(zone).is_some_and(|peer| peer.connected.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_token_lets_a_zone_in() {
    let (global, tokens) = asking_for_tokens().await;
    let address = global.running.address;
    let other_store = store();
    secret(&other_store, Realm::Zone.key(1), &generate_pem().expect("a key")).await;
    let foreign = Tokens::new(&other_store, TokenSettings::default());

    let bad = [
        (String::new(), "missing", vec!["has no token", "multizone.global.kds.auth.type", "cpTokenPath"]),
        ("nonsense".to_owned(), "invalid", vec!["could not parse token", "invalid number of segments"]),
        (token_for(&foreign, "east", "cp", HOUR), "invalid", vec!["token signature is invalid"]),
        (token_for(&tokens, "east", "ingress", HOUR), "scope", vec!["[ingress]", "not for a control plane"]),
        (token_for(&tokens, "west", "cp", HOUR), "zone", vec!["\"west\"", "\"east\"", "multizone.zone.name"]),
        (token_for(&tokens, "", "cp", HOUR), "zone", vec!["for zone \"\""]),
        (token_for(&tokens, "east", "cp", Duration::ZERO), "expired", vec!["token is expired"]),
    ];
    for (token, reason, parts) in bad {
        let before = global.refused(reason);
        let zone_store = store();
        put(&zone_store, service("smuggled")).await;
        let token = if token.is_empty() { CpToken::None } else { CpToken::Inline(token) };
        let zone = RunningZone::start_with(ZoneSettings { token, ..settings("east", address) }, &zone_store);
        parted(&zone, &parts).await;
        parted(&zone, &["Unauthenticated"]).await;
        assert!(global.refused(reason) > before, "{reason} is counted");
        assert!(zone_store.get(&mesh("default").key).await.expect("readable").is_none());
        zone.stop().await;
    }
    for kind in [Kind::Zone, Kind::ZoneInsight, Kind::MeshService] {
        assert!(global.store.list(kind, None).await.expect("readable").is_empty(), "{kind} of a zone that was refused");
    }

    let zone_store = store();
    put(&zone_store, service("honest")).await;
    let right = with_token("east", address, &token_for(&tokens, "east", "cp", HOUR));
    let zone = RunningZone::start_with(right, &zone_store);
    joined(&zone).await;
    wait_until_exists(&global.store, &synced_from("east", &service("honest").key)).await;
    wait_for(&global.store, &ResourceKey::global(Kind::ZoneInsight, "east"), |insight| {
        let insight = insight.and_then(|insight| insight.proto::<ZoneInsight>().ok()).unwrap_or_default();
        insight.subscriptions.first().is_some_and(|subscription| subscription.auth_token_provided)
    })
    .await;
    zone.stop().await;
    global.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_streams_and_no_others() {
    let (global, tokens) = asking_for_tokens().await;
    let address = global.running.address;
    let (first, second) = (token_for(&tokens, "east", "cp", HOUR), token_for(&tokens, "west", "cp", HOUR));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &first).expect("written");
    let from_file = ZoneSettings { token: CpToken::File(file.path().to_owned()), ..settings("east", address) };
    let (east, west) = (
        RunningZone::start_with(from_file, &store()),
        RunningZone::start_with(with_token("west", address, &second), &store()),
    );
    joined(&east).await;
    joined(&west).await;
    let since = global.running.status.peer("west").expect("known").connected;

    let revocations = ResourceKey::global(Kind::GlobalSecret, "zone-token-revocations");
    secret(&global.store, revocations, &format!("another,{}\n", id_of(&first))).await;
    parted(&east, &["token is revoked", "Unauthenticated"]).await;
    eventually("global has parted from it", || !connected(&global, "east")).await;
    assert!(global.refused("revoked") > 0);

    // A new token in the same file, and the zone is back without a restart.
    std::fs::write(file.path(), token_for(&tokens, "east", "cp", HOUR)).expect("written");
    eventually("it is back", || connected(&global, "east")).await;
    assert_eq!(global.running.status.peer("west").expect("known").connected, since, "nobody else noticed");

    // Without the key that signed them, no token holds.
    delete(&global.store, &Realm::Zone.key(1)).await;
    parted(&west, &["there is no signing key with KID 1"]).await;
    parted(&east, &["there is no signing key with KID 1"]).await;
    east.stop().await;
    west.stop().await;
    global.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_ends_its_streams() {
    let (global, tokens) = asking_for_tokens().await;
    let token = token_for(&tokens, "east", "cp", Duration::from_secs(3));
    let zone = RunningZone::start_with(with_token("east", global.running.address, &token), &store());
    joined(&zone).await;
    parted(&zone, &["token is expired", "Unauthenticated"]).await;
    eventually("global has parted from it", || !connected(&global, "east")).await;
    zone.stop().await;
    global.running.stop().await;
}

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("somebody listens")
}

fn call<M>(message: M, authorization: &[&str]) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("client-id", "east".parse().expect("plain text"));
    metadata.append("features", "hash-suffix".parse().expect("plain text"));
    for value in authorization {
        metadata.append("authorization", value.parse().expect("plain text"));
    }
    request
}

/// Calls all methods that zones may call, and gives how each of them ended or that it did not.
async fn call_all(address: SocketAddr, authorization: &[&str]) -> Vec<Result<(), Status>> {
    let channel = channel(address).await;
    let (mut sync, mut rest) = (KDSSyncServiceClient::new(channel.clone()), GlobalKDSServiceClient::new(channel));
    let mut results = vec![rest.health_check(call(ZoneHealthCheckRequest {}, authorization)).await.map(drop)];
    results.push(sync.global_to_zone_sync(call(tokio_stream::pending(), authorization)).await.map(drop));
    results.push(sync.zone_to_global_sync(call(tokio_stream::pending(), authorization)).await.map(drop));
    results.push(rest.stream_xds_configs(call(tokio_stream::pending(), authorization)).await.map(drop));
    results.push(rest.stream_stats(call(tokio_stream::pending(), authorization)).await.map(drop));
    results.push(rest.stream_clusters(call(tokio_stream::pending(), authorization)).await.map(drop));
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_needs_a_token_in_any_of_its_forms() {
    let (global, tokens) = asking_for_tokens().await;
    let address = global.running.address;
    for result in call_all(address, &[]).await {
        let status = result.expect_err("no token");
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
    assert_eq!(global.refused("missing"), 6);
    let token = token_for(&tokens, "east", "cp", HOUR);
    for form in [token.clone(), format!("Bearer {token}"), format!("bearer  {token} "), format!(" BEARER {token}")] {
        for result in call_all(address, &[&form]).await {
            result.expect("the token is good");
        }
    }
    for (values, part) in [
        (vec![token.as_str(), token.as_str()], "more than one"),
        (vec![""], "has no token"),
        (vec!["Bearer "], "has no token"),
        (vec!["Basic dTpw"], "could not parse token"),
    ] {
        for result in call_all(address, &values).await {
            let status = result.expect_err(part);
            assert_eq!(status.code(), Code::Unauthenticated);
            assert!(status.message().contains(part), "{status}");
            assert!(!status.message().contains(&token), "{status}");
        }
    }
    global.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_ends_with_its_token_too() {
    let (global, tokens) = asking_for_tokens().await;
    let token = token_for(&tokens, "east", "cp", HOUR);
    let channel = channel(global.running.address).await;
    let mut sync = KDSSyncServiceClient::new(channel.clone());
    let mut down =
        sync.global_to_zone_sync(call(tokio_stream::pending(), &[&token])).await.expect("opened").into_inner();
    let mut up = sync.zone_to_global_sync(call(tokio_stream::pending(), &[&token])).await.expect("opened").into_inner();
    let mut admin = GlobalKDSServiceClient::new(channel);
    let mut admin = admin.stream_stats(call(tokio_stream::pending(), &[&token])).await.expect("opened").into_inner();
    let revocations = ResourceKey::global(Kind::GlobalSecret, "zone-token-revocations");
    secret(&global.store, revocations, &id_of(&token)).await;
    let ends = async {
        [
            down.next().await.map(|item| item.map(drop)),
            up.next().await.map(|item| item.map(drop)),
            admin.next().await.map(|item| item.map(drop)),
        ]
    };
    for end in tokio::time::timeout(PATIENCE, ends).await.expect("they end") {
        let status = end.expect("not a clean end").expect_err("nothing was asked");
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("token is revoked"), "{status}");
    }
    global.running.stop().await;
}

/// Certificates of zones and of global, in files.
struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Files with a certificate for a name, valid for some seconds from now on, and its key.
    fn issue(&self, name: &str, seconds: i64) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = OffsetDateTime::now_utc() - HOUR;
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let at = |kind: &str| self.directory.path().join(format!("{name}{seconds}.{kind}"));
        std::fs::write(at("crt"), certificate.pem()).expect("written");
        std::fs::write(at("key"), key.serialize_pem()).expect("written");
        (at("crt"), at("key"))
    }
}

/// A global that asks for certificates which `zones` signed.
async fn asking_for_certificates(zones: &Authority) -> Guarded {
    let (cert_file, key_file) = Authority::new().keep("127.0.0.1");
    let tls = Tls { cert_file, key_file, min_version: None, max_version: None, cipher_suites: Vec::new() };
    let tls = server_config(&tls, &ClientAuth::Presented).expect("usable");
    let roots = client_roots(&zones.ca(), std::path::Path::new("")).expect("readable");
    let trust = ClientTrust::new(roots).expect("one CA");
    Guarded::start(store(), ZoneAuthentication::Certificate(trust), Some(tls)).await
}

impl Authority {
    /// Files of a certificate that is needed until it was read.
    fn keep(self, name: &str) -> (PathBuf, PathBuf) {
        let files = self.issue(name, 3600);
        let _ = self.directory.keep();
        files
    }
}

fn with_certificate(zone: &str, global: SocketAddr, certificate: Option<(PathBuf, PathBuf)>) -> ZoneSettings {
    let mut settings = settings(zone, global);
    settings.global.tls = true;
    settings.tls = ClientTls { root_ca_file: None, skip_verify: true, certificate };
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_certificate_lets_a_zone_in() {
    let (zones, strangers) = (Authority::new(), Authority::new());
    let global = asking_for_certificates(&zones).await;
    let address = global.running.address;
    let bad = [
        (None, "missing", vec!["has no certificate", "clientCertFile", "multizone.global.kds.auth.type"]),
        (Some(strangers.issue("east", 3600)), "invalid", vec!["is refused", "multizone.global.kds.auth.clientCaFile"]),
        (Some(zones.issue("west", 3600)), "zone", vec!["is for [west]", "\"east\""]),
        (Some(zones.issue("east", -60)), "expired", vec!["expired"]),
    ];
    for (certificate, reason, parts) in bad {
        let zone = RunningZone::start_with(with_certificate("east", address, certificate), &store());
        parted(&zone, &parts).await;
        parted(&zone, &["Unauthenticated"]).await;
        assert!(global.refused(reason) > 0, "{reason} is counted");
        zone.stop().await;
    }
    assert!(global.store.list(Kind::Zone, None).await.expect("readable").is_empty());
    let right = with_certificate("east", address, Some(zones.issue("east", 3600)));
    let zone = RunningZone::start_with(right, &store());
    joined(&zone).await;
    zone.stop().await;

    let short = with_certificate("west", address, Some(zones.issue("west", 4)));
    let zone = RunningZone::start_with(short, &store());
    joined(&zone).await;
    parted(&zone, &["expired", "Unauthenticated"]).await;
    eventually("global has parted from it", || !connected(&global, "west")).await;
    zone.stop().await;
    global.running.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_start_errors() {
    let run = |settings: ZoneSettings| async move {
        let shutdown = tokio_util::sync::CancellationToken::new();
        shutdown.cancel();
        let (metrics, status) = (KdsMetrics::default(), tandem_kds::status::SyncStatus::new());
        let run = tandem_kds::zone::run(settings, store(), Arc::new(Nobody), metrics, status, shutdown);
        run.await.expect_err("unusable").to_string()
    };
    let address = "127.0.0.1:1".parse().expect("an address");
    let absent = ZoneSettings { token: CpToken::File("/no/such/token".into()), ..settings("east", address) };
    let error = run(absent).await;
    assert!(error.contains("multizone.zone.kds.auth.cpTokenPath") && error.contains("/no/such/token"), "{error}");
    let files = Some(("/no/such/certificate".into(), "/no/such/key".into()));
    let error = run(with_certificate("east", address, files)).await;
    assert!(error.contains("auth.clientCertFile") && error.contains("/no/such/certificate"), "{error}");
}

/// Has no proxies.
struct Nobody;

#[async_trait::async_trait]
impl tandem_kds::admin::AdminExecutor for Nobody {
    async fn execute(&self, _: tandem_kds::admin::AdminRequest) -> Result<bytes::Bytes, String> {
        Err("there is none".to_owned())
    }
}
