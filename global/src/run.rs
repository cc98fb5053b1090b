//! Puts the global control plane together and runs it.

use std::sync::Arc;

use anyhow::Result;
use tandem_api::Proxies;
use tandem_control_plane::{Parts, Tasks, kds_settings, keep_insights, serve_api, serve_diagnostics, tls_config};
use tandem_kds::KdsMetrics;
use tandem_kds::global::{Global, GlobalSettings};
use tandem_runtime::cli::Start;
use tandem_runtime::listen;

use crate::envoys::ZoneEnvoys;

/// Configuration key of the port for zones.
const PORT_KEY: &str = "multizone.global.kds.grpcPort";

/// Runs the global control plane until it is told to end.
///
/// # Errors
/// When something it needs cannot be had; the text names the file, port or setting.
pub async fn run(start: Start) -> Result<()> {
    // Ready once everything is served.
    let mut ready = start.readiness.component();
    let parts = Parts::open(&start).await?;
    let mut tasks = Tasks::new(start.shutdown.clone());
    serve_diagnostics(&start, &mut tasks).await?;
    let global = synchronization(&start, &parts).await?;
    let proxies = Proxies { envoys: Arc::new(ZoneEnvoys(global.envoys())), configurations: None };
    serve_api(&start, &parts, proxies, &mut tasks).await?;
    serve_zones(&start, global, &mut tasks).await?;
    keep_insights(&start, &parts, &mut tasks);
    ready.ready();
    tasks.finish().await
}

/// What zones synchronize with.
async fn synchronization(start: &Start, parts: &Parts) -> Result<Global> {
    let kds = &start.loaded.config.multizone.global.kds;
    let settings = GlobalSettings {
        common: kds_settings(start, kds.max_msg_size, &kds.labels.skip_prefixes, String::new()),
        health_check_interval: kds.zone_health_check.poll_interval,
        health_check_timeout: kds.zone_health_check.timeout,
    };
    let metrics = start.metrics.register(KdsMetrics::register);
    Ok(Global::new(settings, parts.store.clone(), metrics, start.shutdown.clone()).await?)
}

/// Serves the zones.
async fn serve_zones(start: &Start, global: Global, tasks: &mut Tasks) -> Result<()> {
    let kds = &start.loaded.config.multizone.global.kds;
    let tls = if kds.tls_enabled { Some(tls_config(&kds.tls)?) } else { None };
    let listener = listen::bind_all(kds.grpc_port, PORT_KEY).await?;
    tasks.spawn("server for zones", async move {
        global.serve(listener, tls).await;
        Ok(())
    });
    Ok(())
}
