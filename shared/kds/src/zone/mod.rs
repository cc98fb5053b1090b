//! The side of a zone: stays connected to global, applies what it sends, and sends what the zone has.
//!
//! All streams share one connection. When any of them ends, all are given up and opened again after a pause; the zone
//! goes on with what it has meanwhile, and the first responses of the new streams bring both sides up to date.

mod admin;
mod backoff;
mod connect;
mod session;
mod to_global;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tandem_model::Kind;
use tandem_store::SharedStore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::backoff::{Backoff, BackoffSettings};
pub use self::connect::{AddressError, ClientTls, GlobalAddress};
use self::session::Session;
use crate::admin::AdminExecutor;
use crate::catalogue::Catalogue;
use crate::insight::Insights;
use crate::metadata::Headers;
use crate::metrics::KdsMetrics;
use crate::settings::CommonSettings;
use crate::status::SyncStatus;
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
    /// How to check the certificate of global; used for `grpcs` addresses.
    pub tls: ClientTls,
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
    let tls = if settings.global.tls { Some(settings.tls.config()?) } else { None };
    let headers =
        Headers::new(&settings.zone, &settings.common.identity.version.version).map_err(SetupError::Header)?;

    let catalogue = Catalogue::new(|kind: Kind| kind.descriptor().direction.sent_to_global());
    let insights = Insights::new(store.clone(), settings.common.insights.clone());
    if let Err(error) = insights.close_abandoned().boxed().await {
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
    let observer = Observer { peer: GLOBAL.to_owned(), status, metrics };
    let session = Session { settings, store, catalogue, insights, executor, headers, observer };

    shutdown.run_until_cancelled(stay_connected(&session, tls).boxed()).await;
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
    #[error("cannot check the certificate of global (multizone.zone.kds.rootCaFile): {0}")]
    Tls(#[from] TlsError),
    /// The name of the zone or the version cannot be sent.
    #[error("{0}")]
    Header(String),
}

async fn stay_connected(session: &Session, tls: Option<Arc<rustls::ClientConfig>>) {
    let address = &session.settings.global;
    let mut backoff = Backoff::new(session.settings.backoff);
    loop {
        let reason = match connect::connect(address, tls.clone(), session.settings.common.identity.version_text()).await
        {
            Ok(channel) => {
                let began = Instant::now();
                let status = session.run(channel).await;
                if session.is_synchronized() && began.elapsed() >= STABLE {
                    backoff.reset();
                }
                format!("{} ({:?})", status.message(), status.code())
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
