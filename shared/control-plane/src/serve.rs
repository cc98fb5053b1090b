//! The servers that both control planes have.

use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConfig;
use tandem_api::{ApiContext, Authentication, Identity, Listeners, Proxies};
use tandem_auth::access::AccessRules;
use tandem_auth::tls::{ClientAuth, client_roots, server_config};
use tandem_insights::InsightsSettings;
use tandem_kds::status::{SyncReports, SyncStatus};
use tandem_runtime::cli::Start;
use tandem_runtime::config::{Config, Tls};
use tandem_runtime::diagnostics;
use tandem_runtime::listen;
use tandem_runtime::measure::HttpMetrics;

use crate::parts::Parts;
use crate::settings;
use crate::tasks::Tasks;

/// TLS of a server that asks clients for no certificate.
///
/// # Errors
/// When certificate or key cannot be read; the text names the file.
pub fn tls_config(tls: &Tls) -> Result<Arc<ServerConfig>> {
    Ok(server_config(tls, &ClientAuth::None)?)
}

fn api_tls(config: &Config) -> Result<Arc<ServerConfig>> {
    let api = &config.api_server;
    let by_certificate = settings::authentication(config) == Authentication::AdminClientCerts;
    let clients = if api.https.require_client_cert || by_certificate {
        let roots = Arc::new(client_roots(&api.https.tls_ca_file, &api.auth.client_certs_dir)?);
        if api.https.require_client_cert { ClientAuth::Required(roots) } else { ClientAuth::Optional(roots) }
    } else {
        ClientAuth::None
    };
    Ok(server_config(&api.https.tls, &clients)?)
}

/// Serves the HTTP API. What synchronization does is read from `status`.
///
/// # Errors
/// When a port is taken or a certificate cannot be read.
pub async fn serve_api(
    start: &Start,
    parts: &Parts,
    proxies: Proxies,
    status: SyncStatus,
    tasks: &mut Tasks,
) -> Result<()> {
    let config = &start.loaded.config;
    let listeners = Listeners::bind(&config.api_server, api_tls(config)?).await?;
    let context = Arc::new(ApiContext {
        store: parts.store.clone(),
        admission: parts.admission.clone(),
        tokens: parts.tokens.clone(),
        access: AccessRules::new(config.access.r#static.clone()),
        proxies,
        sync: SyncReports::new(status, parts.store.clone(), settings::peers(config), start.instance.as_str()),
        identity: Identity {
            instance: start.instance.clone(),
            config: start.loaded.effective_json().to_string().into(),
        },
        settings: settings::api(config),
        metrics: HttpMetrics::register(&start.metrics, "api_server"),
    });
    let shutdown = start.shutdown.clone();
    tasks.spawn("HTTP API", async move {
        tandem_api::serve(context, listeners, shutdown).await;
        Ok(())
    });
    Ok(())
}

/// Keeps the insights of meshes current, while this instance leads.
pub fn keep_insights(start: &Start, parts: &Parts, tasks: &mut Tasks) {
    let settings = InsightsSettings { min_interval: start.loaded.config.metrics.mesh.min_resync_interval };
    let store = parts.store.clone();
    let insights = parts
        .instances
        .leadership()
        .run(start.shutdown.clone(), move |end| tandem_insights::run(store.clone(), settings, end));
    tasks.spawn("insights", async move {
        insights.await;
        Ok(())
    });
}

/// Serves health, readiness and metrics.
///
/// # Errors
/// When the port is taken or a certificate cannot be read.
pub async fn serve_diagnostics(start: &Start, tasks: &mut Tasks) -> Result<()> {
    let settings = &start.loaded.config.diagnostics;
    let tls = if settings.tls_enabled { Some(tls_config(&settings.tls)?) } else { None };
    let listener = listen::bind_all(settings.server_port, diagnostics::PORT_KEY).await?;
    let (readiness, metrics) = (start.readiness.clone(), start.metrics.clone());
    let shutdown = start.shutdown.clone();
    tasks.spawn("diagnostics", async move {
        diagnostics::serve(listener, tls, readiness, metrics, shutdown).await;
        Ok(())
    });
    Ok(())
}
