//! The side of a zone: stays connected to global, applies what it sends, and sends what the zone has.
//!
//! All streams share one connection. When either of the two that synchronize ends, all are given up and opened again
//! after a pause, so that no direction is ever dead while the other lives; the zone goes on with what it has meanwhile,
//! and the first responses of the new streams bring both sides up to date. The streams on which global asks Envoys have
//! a fate of their own.

mod admin;
mod backoff;
pub(crate) mod connect;
mod credentials;
mod session;
mod to_global;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tandem_model::Kind;
use tandem_store::SharedStore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tracing::warn;

pub use self::backoff::{Backoff, BackoffSettings};
pub use self::connect::{AddressError, ClientTls, Dial, GlobalAddress, Transport, tcp};
pub use self::credentials::{CpToken, CpTokenError};
use self::session::Session;
use self::to_global::GlobalOutlet;
use crate::admin::AdminExecutor;
use crate::apply::Applier;
use crate::catalogue::Catalogue;
use crate::inlet::Inlet;
use crate::insight::Insights;
use crate::metadata::Headers;
use crate::metrics::KdsMetrics;
use crate::settings::CommonSettings;
use crate::status::{SyncStatus, backlog};
use crate::stream::Observer;
pub use tandem_auth::tls::TlsError;

/// Name of global in [`SyncStatus`] and metrics.
pub const GLOBAL: &str = "global";

/// A connection that worked for as long resets the pauses between attempts.
const STABLE: Duration = Duration::from_secs(5);

/// Settings of a zone.
#[derive(Clone)]
pub struct ZoneSettings {
    /// What both sides have.
    pub common: CommonSettings,
    /// `multizone.zone.name`; a valid name of a zone.
    pub zone: String,
    /// `multizone.zone.globalAddress`.
    pub global: GlobalAddress,
    /// How to reach it: the network, below TLS.
    pub dial: Dial,
    /// How to check the certificate of global; used for `grpcs` addresses.
    pub tls: ClientTls,
    /// The token that proves who the zone is, for globals that ask for one.
    pub token: CpToken,
    /// Pauses between attempts to connect.
    pub backoff: BackoffSettings,
}

/// Keeps the zone connected to global until shutdown.
///
/// # Errors
/// When the settings are not usable: the files of `tls`, or a name or version that cannot be sent.
pub async fn run(
    settings: ZoneSettings,
    store: SharedStore,
    executor: Arc<dyn AdminExecutor>,
    metrics: KdsMetrics,
    status: SyncStatus,
    shutdown: CancellationToken,
) -> Result<(), SetupError> {
    // What does not work at the start is told at once; it is read again before each connection.
    if settings.global.tls {
        settings.tls.config()?;
    }
    settings.token.header().await?;
    let headers =
        Headers::new(&settings.zone, &settings.common.identity.version.version).map_err(SetupError::Header)?;

    let catalogue = Catalogue::new(|kind: Kind| kind.descriptor().direction.sent_to_global());
    let surroundings = settings.common.surroundings.clone();
    let insights = Insights::new(store.clone(), settings.common.insights.clone(), surroundings);
    let everything = insights.close_abandoned(async { Ok(()) }, |_, ()| true);
    if let Err(error) = everything.boxed().await {
        warn!(%error, "could not end connections of an earlier process in the zone insight");
    }
    let follow = {
        let (catalogue, feed) = (catalogue.clone(), store.changes(0));
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move { catalogue.follow(feed).await }))
    };
    // The writer ends after the streams, so that their end is written too.
    let written = CancellationToken::new();
    let writer = {
        let (insights, token) = (insights.clone(), written.clone());
        tokio::spawn(async move { insights.run(token).await })
    };
    status.set_backlog({
        let (catalogue, outlet) = (catalogue.clone(), GlobalOutlet::new(&settings));
        move |_, peer| peer.sending_was_open().then(|| backlog(&outlet, &catalogue, &peer.confirmed))
    });
    let observer = Observer { peer: GLOBAL.to_owned(), status, metrics };
    let CommonSettings { validate, deletion_guard, .. } = &settings.common;
    let applier = Applier::new(store.clone(), Inlet::Zone, validate.clone(), *deletion_guard);
    let mut session = Session { settings, store, applier, catalogue, insights, executor, headers, observer };

    shutdown.run_until_cancelled(stay_connected(&mut session).boxed()).await;
    drop(session);
    written.cancel();
    for task in [follow.await.map(drop), writer.await] {
        if let Err(error) = task {
            tracing::error!(%error, "a task of synchronization ended unexpectedly");
        }
    }
    Ok(())
}

/// A setting that makes connecting impossible.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// See [`TlsError`].
    #[error("TLS to global (multizone.zone.kds.rootCaFile, auth.clientCertFile, auth.clientKeyFile): {0}")]
    Tls(#[from] TlsError),
    /// See [`CpTokenError`].
    #[error(transparent)]
    Token(#[from] CpTokenError),
    /// The name of the zone or the version cannot be sent.
    #[error("{0}")]
    Header(String),
}

async fn stay_connected(session: &mut Session) {
    let (settings, headers) = (session.settings.clone(), session.headers.clone());
    let address = &settings.global;
    let mut backoff = Backoff::new(settings.backoff, settings.common.surroundings.clone());
    loop {
        let reason = match proofs(&settings).await {
            Ok((tls, token)) => {
                session.headers = headers.clone().with_authorization(token);
                connection(session, tls, &mut backoff).await
            }
            Err(error) => error.to_string(),
        };
        let was_connected = session.disconnected(&reason);
        let pause = backoff.next_pause();
        if was_connected {
            warn!(global = %address, reason, retry_in = ?pause, "lost the connection to global; the zone goes on with what it has");
        } else {
            warn!(global = %address, reason, retry_in = ?pause, "cannot connect to global; the zone goes on with what it has");
        }
        tokio::time::sleep(pause).await;
    }
}

/// What the zone proves its name with and checks global with, as the files hold it now.
async fn proofs(
    settings: &ZoneSettings,
) -> Result<(Option<Arc<rustls::ClientConfig>>, Option<MetadataValue<Ascii>>), SetupError> {
    let token = settings.token.header().await?;
    if !settings.global.tls {
        return Ok((None, token));
    }
    let tls = settings.tls.clone();
    let config = tokio::task::spawn_blocking(move || tls.config()).await;
    Ok((Some(config.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?), token))
}

/// One connection from its begin to its end; tells why it ended or could not be made.
async fn connection(session: &Session, tls: Option<Arc<rustls::ClientConfig>>, backoff: &mut Backoff) -> String {
    let settings = &session.settings;
    let version = settings.common.identity.version_text();
    match connect::connect(&settings.global, &settings.dial, tls, version).await {
        Ok(channel) => {
            let began = Instant::now();
            let status = session.run(channel).await;
            if session.is_synchronized() && began.elapsed() >= STABLE {
                backoff.reset();
            }
            format!("{} ({:?})", status.message(), status.code())
        }
        Err(error) => error.to_string(),
    }
}
