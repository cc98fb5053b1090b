//! Puts the global control plane together and runs it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tandem_api::Proxies;
use tandem_auth::tls::{ClientAuth, ClientTrust, client_roots, server_config};
use tandem_control_plane::{Parts, Tasks, kds_settings, keep_insights, serve_api, serve_diagnostics};
use tandem_kds::KdsMetrics;
use tandem_kds::global::{DisabledZones, Global, GlobalSettings, ZoneAuthentication};
use tandem_runtime::cli::Start;
use tandem_runtime::config::{self, KdsServer, ZoneAuthn};
use tandem_runtime::{http, listen};
use tracing::warn;

use crate::envoys::ZoneEnvoys;

/// Configuration key of the port for zones.
const PORT_KEY: &str = "multizone.global.kds.grpcPort";

/// Configuration key of the CAs that certificates of zones are signed with.
const CLIENT_CA_KEY: &str = "multizone.global.kds.auth.clientCaFile";

/// Runs the global control plane until it is told to end.
///
/// # Errors
/// When something it needs cannot be had; the text names the file, port or setting.
pub async fn run(start: Start) -> Result<()> {
    // Ready once everything is served.
    let mut ready = start.readiness.component();
    let parts = Parts::open(&start).await?;
    parts.complete().await?;
    let mut tasks = Tasks::new(start.shutdown.clone());
    serve_diagnostics(&start, &mut tasks).await?;
    let global = synchronization(&start, &parts).await?;
    start.metrics.register(|registry| global.status().register(registry));
    let proxies = Proxies { envoys: Arc::new(ZoneEnvoys(global.envoys())), configurations: None };
    serve_api(&start, &parts, proxies, global.status(), &mut tasks).await?;
    serve_zones(&start, global, &mut tasks).await?;
    keep_insights(&start, &parts, &mut tasks);
    ready.ready();
    tasks.finish().await
}

/// What zones synchronize with.
async fn synchronization(start: &Start, parts: &Parts) -> Result<Global> {
    let kds = &start.loaded.config.multizone.global.kds;
    let common = kds_settings(start, kds.max_msg_size, &kds.labels.skip_prefixes, String::new());
    let settings = GlobalSettings {
        health_check_interval: kds.zone_health_check.poll_interval,
        health_check_timeout: kds.zone_health_check.timeout,
        disabled_zones: match kds.disabled_zones {
            config::DisabledZones::Pause => DisabledZones::Pause,
            config::DisabledZones::Sync => DisabledZones::Sync,
        },
        authentication: authentication(kds, parts)?,
        instances: parts.instances.clone(),
        // Nobody else has a zone's streams.
        forwarding: None,
        common,
    };
    let metrics = start.metrics.register(KdsMetrics::register);
    Ok(Global::new(settings, parts.store.clone(), metrics, start.shutdown.clone()).await?)
}

/// How zones prove who they are.
fn authentication(kds: &KdsServer, parts: &Parts) -> Result<ZoneAuthentication> {
    Ok(match kds.auth.r#type {
        ZoneAuthn::None => ZoneAuthentication::None,
        ZoneAuthn::CpToken => {
            if !kds.tls_enabled {
                warn!(
                    "tokens of zones travel in the clear unless something in front of this control plane speaks TLS, \
                     because multizone.global.kds.tlsEnabled is false"
                );
            }
            ZoneAuthentication::Token(parts.tokens.clone())
        }
        ZoneAuthn::ClientCertificate => {
            let roots = client_roots(&kds.auth.client_ca_file, Path::new(""));
            let trust = ClientTrust::new(roots.context(CLIENT_CA_KEY)?).context(CLIENT_CA_KEY)?;
            ZoneAuthentication::Certificate(trust)
        }
    })
}

/// Serves the zones.
async fn serve_zones(start: &Start, global: Global, tasks: &mut Tasks) -> Result<()> {
    let kds = &start.loaded.config.multizone.global.kds;
    let certificates = match kds.auth.r#type {
        ZoneAuthn::ClientCertificate => ClientAuth::Presented,
        ZoneAuthn::None | ZoneAuthn::CpToken => ClientAuth::None,
    };
    let tls = if kds.tls_enabled { Some(server_config(&kds.tls, &certificates)?) } else { None };
    let listener = listen::bind_all(kds.grpc_port, PORT_KEY).await?;
    tasks.spawn("server for zones", async move {
        global.serve(http::accepted(listener), tls).await;
        Ok(())
    });
    Ok(())
}
