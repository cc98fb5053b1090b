//! Whether a zone is who it says it is: `multizone.global.kds.auth`.
//!
//! Each call of a zone brings its proof, and what a stream was opened with has to hold for as long as the stream is open:
//! the stream ends when its token or certificate expires, or its token is revoked.
//!
//! Kuma has hooks for such checks and none that fills them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use jiff::Timestamp;
use parking_lot::Mutex;
use tandem_auth::keys::Realm;
use tandem_auth::tls::ClientTrust;
use tandem_auth::token::{TokenError, Tokens};
use tandem_runtime::http::PeerCertificates;
use tandem_store::{ChangeBatch, ChangeFeed};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use tracing::warn;

use crate::metadata::AUTHORIZATION;
use crate::metrics::KdsMetrics;

/// Scope of the tokens of zone control planes.
const SCOPE: &str = "cp";
/// What to do about a token that is not good enough.
const NEW_TOKEN: &str = "let global issue one with the scope cp for this zone (POST /tokens/zone) and give it to the zone \
    as multizone.zone.kds.auth.cpTokenPath or cpTokenInline";
/// Longest wait before a proof is looked at again, because the clock of the host may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Shortest wait before that, because a timer may be a little faster than the clock of the host.
const NOT_YET: Duration = Duration::from_millis(200);

/// How zones prove who they are.
#[derive(Debug, Clone, Default)]
pub enum ZoneAuthentication {
    /// Not at all: a zone is who it says it is, as in Kuma.
    #[default]
    None,
    /// By a zone token with the scope `cp` in the header `authorization`.
    Token(Arc<Tokens>),
    /// By a TLS certificate with a DNS name that is the name of the zone. The server has to ask for certificates
    /// ([`tandem_auth::tls::ClientAuth::Presented`]).
    Certificate(ClientTrust),
}

/// What a zone proves itself with.
#[derive(Debug, Clone)]
enum Proof {
    None,
    Token(String),
    Certificate(PeerCertificates),
}

/// Why a zone was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// Value of the label of the metric.
    reason: &'static str,
    /// What is wrong and what to do about it, for the people at both ends.
    text: String,
}

impl Refusal {
    fn new(reason: &'static str, text: String) -> Self {
        Self { reason, text }
    }
}

/// Lets zones in that prove who they are.
#[derive(Debug)]
pub(super) struct Gate {
    authentication: ZoneAuthentication,
    /// Told when keys or revocations of zone tokens changed.
    secrets: watch::Sender<()>,
    metrics: KdsMetrics,
    /// The refusal that was logged last. A zone is refused once for each of its streams; that is told once.
    logged: Mutex<Option<(Option<SocketAddr>, Refusal)>>,
}

impl Gate {
    /// A gate for zones that authenticate in this way.
    pub(super) fn new(authentication: ZoneAuthentication, metrics: KdsMetrics) -> Arc<Self> {
        Arc::new(Self { authentication, secrets: watch::Sender::new(()), metrics, logged: Mutex::default() })
    }

    /// Says once, at the start, that nothing is proved.
    pub(super) fn warn_when_open(&self) {
        if matches!(self.authentication, ZoneAuthentication::None) {
            warn!(
                "any peer that reaches the port for zones may join under any name and gets the secrets of all meshes; set \
                 multizone.global.kds.auth.type to cpToken or clientCertificate to have zones prove who they are"
            );
        }
    }

    /// Follows the change feed of the store for keys and revocations, until the store is closed.
    pub(super) async fn follow(&self, mut feed: ChangeFeed) {
        if !matches!(self.authentication, ZoneAuthentication::Token(_)) {
            return;
        }
        while let Some(batch) = feed.next().await {
            let concerns = match &batch {
                ChangeBatch::Reset { .. } => true,
                ChangeBatch::Changes { changes, .. } => changes.iter().any(|change| Realm::Zone.has(&change.key)),
            };
            if concerns {
                self.secrets.send_replace(());
            }
        }
    }

    /// Lets a call of `zone` pass.
    ///
    /// # Errors
    /// When the zone does not prove that it is this zone; the text says what to change.
    pub(super) fn admit<T>(self: &Arc<Self>, zone: &str, request: &Request<T>) -> Result<Credential, Status> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        // Before the check, so that no change between the two is missed.
        let secrets = self.secrets.subscribe();
        let checked = self.proof(zone, request).and_then(|proof| {
            let expires = self.check(zone, &proof)?;
            Ok((proof, expires))
        });
        let (proof, expires) = checked.map_err(|refusal| self.refuse(zone, peer, refusal))?;
        Ok(Credential { gate: self.clone(), zone: zone.to_owned(), peer, proof, expires, secrets })
    }

    fn proof<T>(&self, zone: &str, request: &Request<T>) -> Result<Proof, Refusal> {
        match &self.authentication {
            ZoneAuthentication::None => Ok(Proof::None),
            ZoneAuthentication::Token(_) => token(zone, request.metadata()).map(Proof::Token),
            ZoneAuthentication::Certificate(_) => {
                let presented = request.extensions().get::<PeerCertificates>().cloned();
                presented.map(Proof::Certificate).ok_or_else(|| {
                    let text = format!(
                        "zone {zone:?} has no certificate, and multizone.global.kds.auth.type is clientCertificate: set \
                         multizone.zone.kds.auth.clientCertFile and clientKeyFile in the zone"
                    );
                    Refusal::new("missing", text)
                })
            }
        }
    }

    /// Checks a proof as of now; tells when it ends.
    fn check(&self, zone: &str, proof: &Proof) -> Result<Option<Timestamp>, Refusal> {
        match (&self.authentication, proof) {
            (ZoneAuthentication::Token(tokens), Proof::Token(token)) => check_token(tokens, zone, token),
            (ZoneAuthentication::Certificate(trust), Proof::Certificate(chain)) => {
                check_certificate(trust, zone, chain).map(Some)
            }
            // `proof` brings what the gate asks for.
            _ => Ok(None),
        }
    }

    fn refuse(&self, zone: &str, peer: Option<SocketAddr>, refusal: Refusal) -> Status {
        self.metrics.authentication_failed(refusal.reason);
        let status = Status::unauthenticated(refusal.text.as_str());
        let mut logged = self.logged.lock();
        let now = Some((peer, refusal));
        if *logged != now {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            warn!(zone, peer, "refused a zone control plane: {}", status.message());
            *logged = now;
        }
        status
    }
}

/// The token of a call, with or without `Bearer`: Kuma's own proxies send theirs without.
fn token(zone: &str, metadata: &MetadataMap) -> Result<String, Refusal> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default().trim(),
        (None, _) => "",
        (Some(_), Some(_)) => {
            let text = format!("zone {zone:?} sent more than one header authorization; send its token once");
            return Err(Refusal::new("invalid", text));
        }
    };
    let (scheme, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let token = if scheme.eq_ignore_ascii_case("bearer") { rest.trim_start() } else { value };
    if token.is_empty() {
        let text = format!("zone {zone:?} has no token, and multizone.global.kds.auth.type is cpToken: {NEW_TOKEN}");
        return Err(Refusal::new("missing", text));
    }
    Ok(token.to_owned())
}

fn check_token(tokens: &Tokens, zone: &str, token: &str) -> Result<Option<Timestamp>, Refusal> {
    let valid = tokens.check_zone_until(token).map_err(|error| {
        let reason = match error {
            TokenError::UnknownKey(_) | TokenError::Invalid { .. } => "invalid",
            TokenError::OutOfTime { .. } => "expired",
            TokenError::Revoked => "revoked",
        };
        Refusal::new(reason, format!("the token of zone {zone:?} is refused: {error}; {NEW_TOKEN}"))
    })?;
    if !valid.claims.scope.iter().any(|scope| scope == SCOPE) {
        let scopes = valid.claims.scope.join(", ");
        let text = format!("the token of zone {zone:?} is for [{scopes}] and not for a control plane; {NEW_TOKEN}");
        return Err(Refusal::new("scope", text));
    }
    if valid.claims.zone != zone {
        let text = format!(
            "the token is for zone {:?}, but the control plane says that it is zone {zone:?} (multizone.zone.name); \
             {NEW_TOKEN}",
            valid.claims.zone
        );
        return Err(Refusal::new("zone", text));
    }
    Ok(valid.expires)
}

fn check_certificate(trust: &ClientTrust, zone: &str, chain: &PeerCertificates) -> Result<Timestamp, Refusal> {
    const HINT: &str = "let a CA that is in multizone.global.kds.auth.clientCaFile sign one for TLS clients, with the name \
        of the zone as a DNS name (subjectAltName), and set multizone.zone.kds.auth.clientCertFile and clientKeyFile in \
        the zone";
    let certificate = trust.check(&chain.0).map_err(|error| {
        use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        let reason = match &error {
            rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
            ) => "expired",
            _ => "invalid",
        };
        Refusal::new(reason, format!("the certificate of zone {zone:?} is refused: {error}; {HINT}"))
    })?;
    // Letter for letter: to others than the DNS, "East" and "east" are two zones.
    if !certificate.dns_names.iter().any(|name| name == zone) {
        let names = certificate.dns_names.join(", ");
        let text = format!(
            "the certificate is for [{names}], but the control plane says that it is zone {zone:?} \
             (multizone.zone.name); {HINT}"
        );
        return Err(Refusal::new("zone", text));
    }
    Ok(certificate.expires)
}

/// What a stream was opened with.
#[derive(Debug)]
pub(super) struct Credential {
    gate: Arc<Gate>,
    zone: String,
    peer: Option<SocketAddr>,
    proof: Proof,
    expires: Option<Timestamp>,
    secrets: watch::Receiver<()>,
}

impl Credential {
    /// Waits until it does not hold any more; the status with which the stream has to end.
    pub(super) async fn lapsed(mut self) -> Status {
        if matches!(self.proof, Proof::None) {
            return std::future::pending().await;
        }
        loop {
            tokio::select! {
                biased;
                changed = self.secrets.changed(), if matches!(self.proof, Proof::Token(_)) => {
                    // Without a sender there is no gate, and nobody who would wait.
                    let _ = changed;
                }
                () = tokio::time::sleep(until(self.expires)) => {}
            }
            match self.gate.check(&self.zone, &self.proof) {
                Ok(expires) => self.expires = expires,
                Err(refusal) => return self.gate.refuse(&self.zone, self.peer, refusal),
            }
        }
    }
}

/// How long to wait before a proof that ends at a time is looked at again. The time is that of the host, as for the check.
fn until(expires: Option<Timestamp>) -> Duration {
    let Some(expires) = expires else { return LOOK_AGAIN };
    let left = expires.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().clamp(NOT_YET, LOOK_AGAIN)
}
