//! Puts the global control plane together and runs it.

use std::time::Duration;

use anyhow::Result;
use tandem_control_plane::{Parts, Tasks, kds_settings, serve_api, serve_diagnostics, tls_config};
use tandem_insights::InsightsSettings;
use tandem_kds::KdsMetrics;
use tandem_kds::global::{Global, GlobalSettings};
use tandem_runtime::cli::Start;
use tandem_runtime::listen;

/// Configuration key of the port for zones.
const PORT_KEY: &str = "multizone.global.kds.grpcPort";

/// Least time between two insights of a mesh.
const INSIGHT_INTERVAL: Duration = Duration::from_secs(1);

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
    serve_api(&start, &parts, &mut tasks).await?;
    serve_zones(&start, &parts, &mut tasks).await?;
    let (store, shutdown) = (parts.store, start.shutdown.clone());
    tasks.spawn("insights", async move {
        tandem_insights::run(store, InsightsSettings { min_interval: INSIGHT_INTERVAL }, shutdown).await;
        Ok(())
    });
    ready.ready();
    tasks.finish().await
}

/// Serves the zones.
async fn serve_zones(start: &Start, parts: &Parts, tasks: &mut Tasks) -> Result<()> {
    let kds = &start.loaded.config.multizone.global.kds;
    let settings = GlobalSettings {
        common: kds_settings(start, kds.max_msg_size, &kds.labels.skip_prefixes, String::new()),
        health_check_interval: kds.zone_health_check.poll_interval,
        health_check_timeout: kds.zone_health_check.timeout,
    };
    let metrics = start.metrics.register(KdsMetrics::register);
    let global = Global::new(settings, parts.store.clone(), metrics, start.shutdown.clone()).await?;
    let tls = if kds.tls_enabled { Some(tls_config(&kds.tls)?) } else { None };
    let listener = listen::bind_all(kds.grpc_port, PORT_KEY).await?;
    tasks.spawn("server for zones", async move {
        global.serve(listener, tls).await;
        Ok(())
    });
    Ok(())
}
