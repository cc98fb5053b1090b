//! Puts the zone control plane together and runs it.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::middleware::map_response;
use tandem_api::Proxies;
use tandem_control_plane::{
    Parts, Tasks, kds_settings, keep_insights, policies, serve_api, serve_diagnostics, tls_config,
};
use tandem_kds::zone::{self as kds_zone, BackoffSettings, ClientTls, CpToken, ZoneSettings as KdsZoneSettings};
use tandem_kds::{KdsMetrics, status::SyncStatus};
use tandem_runtime::cli::Start;
use tandem_runtime::config::{Config, ProxyAuthn};
use tandem_runtime::http::{self, Limits};
use tandem_runtime::listen;
use tandem_runtime::measure::HttpMetrics;
use tandem_xds::{Cache, MeshIndex, ZoneSettings};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use crate::ads::AdsService;
use crate::available_services::{self, AvailableServicesSettings};
use crate::bootstrap::{self, BootstrapContext, BootstrapLimits, BootstrapSettings, ServerCertificate};
use crate::dp_server;
use crate::envoy_admin::{EnvoyAdmin, EnvoyClient};
use crate::grpc_message;
use crate::hds::{HdsSettings, HealthService};
use crate::hostnames::Hostnames;
use crate::identity::Identities;
use crate::issuing::{Issuing, IssuingMetrics};
use crate::left_out::{LeftOut, Reasons};
use crate::mads::{self, MadsSettings};
use crate::mesh_identities::{self, MeshIdentitySettings};
use crate::mesh_state::{self, Audience};
use crate::proxy::arrivals::{ArrivalMetrics, ArrivalSettings, Arrivals};
use crate::proxy::authentication::Authentication;
use crate::proxy::context::{ProxyContext, ProxySettings, StreamLimits};
use crate::proxy::expired::Ages;
use crate::proxy::insight::{InsightSettings, Insights};
use crate::proxy::preview::Previews;
use crate::proxy::problem_metrics::ProblemMetrics;
use crate::proxy::registry::Registry;
use crate::proxy::returning::Returning;
use crate::proxy::{abandoned, expired};
use crate::refusals::Refusals;
use crate::service_accounts::ServiceAccounts;
use crate::services::{self, ServicesSettings};
use crate::virtual_addresses::{self, VipMetrics, VirtualAddressSettings};
use crate::workload_identity::WorkloadIdentities;
use crate::workloads::{self, WorkloadSettings};

/// Configuration key of the port for proxies.
const PORT_KEY: &str = "dpServer.port";

/// Configuration key of the port for Prometheus.
const MADS_PORT_KEY: &str = "monitoringAssignmentServer.port";

/// Least time between two new lists of available services.
const AVAILABLE_SERVICES_INTERVAL: Duration = Duration::from_millis(100);

/// Least time between two looks at the services of the zone.
const SERVICES_INTERVAL: Duration = Duration::from_millis(100);

/// Least time between two rounds of writes of Workloads.
const WORKLOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the zone control plane until it is told to end.
///
/// # Errors
/// When something it needs cannot be had; the text names the file, port or setting.
pub async fn run(start: Start) -> Result<()> {
    // Ready once proxies can be served.
    let mut complete = start.readiness.component();
    let parts = Parts::open(&start).await?;
    let mut tasks = Tasks::new(start.shutdown.clone());
    serve_diagnostics(&start, &mut tasks).await?;
    let service_accounts = service_accounts(&start.loaded.config).await?;
    let context = proxy_context(&start, &parts, service_accounts);
    let zone = &start.loaded.config.multizone.zone;
    let envoys = Arc::new(EnvoyClient::new(parts.store.clone(), zone.name.as_str(), zone.kds.max_msg_size));
    let previews = Previews(context.snapshot.clone());
    let proxies = Proxies { envoys: envoys.clone(), configurations: Some(Arc::new(previews)) };
    let status = SyncStatus::new();
    start.metrics.register(|registry| status.register(registry));
    let problems = ProblemMetrics { insights: context.insights.clone(), snapshot: context.snapshot.clone() };
    start.metrics.register(|registry| registry.register_collector(Box::new(problems)));
    let federated = start.loaded.config.is_federated_zone();
    if federated {
        // What global has arrives while keys are generated here.
        join_global(&start, &parts, envoys, status.clone(), &mut tasks)?;
    }
    serve_api(&start, &parts, proxies, status, &mut tasks).await?;
    parts.complete().await?;
    collect_proxies(&start, &parts, &context, &mut tasks);
    let left_out = context.left_out.follow();
    let published = watch::Sender::default();
    serve_monitoring(&start, &context, published.subscribe(), &mut tasks).await?;
    serve_proxies(&start, &parts, context, published, &mut tasks).await?;
    publish_services(&start, &parts, &mut tasks);
    keep_services(&start, &parts, left_out, &mut tasks);
    keep_virtual_addresses(&start, &parts, &mut tasks);
    keep_workloads(&start, &parts, &mut tasks);
    if !federated {
        keep_insights(&start, &parts, &mut tasks);
    }
    complete.ready();
    tasks.finish().await
}

/// Serves the proxies of the zone: bootstrap, discovery, health.
async fn serve_proxies(
    start: &Start,
    parts: &Parts,
    context: Arc<ProxyContext>,
    published: watch::Sender<u64>,
    tasks: &mut Tasks,
) -> Result<()> {
    let config = &start.loaded.config;
    let mut ready = start.readiness.component();

    let (state, shutdown) = (context.clone(), start.shutdown.clone());
    let settings = ZoneSettings {
        zone: config.multizone.zone.name.clone(),
        internal_cidrs: config.ipam.known_internal_cidrs.clone(),
        dns_domain: config.dns_server.domain.clone(),
        service_vip_port: config.dns_server.service_vip_port.into(),
        policies: Arc::new(policies(config)),
    };
    let hostnames = Hostnames::new(config.general.dns_cache_ttl);
    let (known, first) = oneshot::channel();
    tasks.spawn("mesh state", async move {
        let index = MeshIndex::new(settings);
        let on_first = || {
            ready.ready();
            // Nobody listens any more when the control plane ends.
            let _ = known.send(());
        };
        let ProxyContext { snapshot, registry, left_out, .. } = &*state;
        let audience = Audience { current: snapshot, registry, left_out, published: &published };
        mesh_state::follow(index, hostnames, &state.store, audience, on_first, &shutdown).await;
        Ok(())
    });
    let (insights, store, shutdown) = (context.insights.clone(), parts.store.clone(), start.shutdown.clone());
    tasks.spawn("insights of proxies", async move {
        insights.run(&store, &shutdown).await;
        Ok(())
    });

    let tls = &config.dp_server.tls;
    let pem = std::fs::read(&tls.cert_file).with_context(|| format!("cannot read {}", tls.cert_file.display()))?;
    let certificate =
        ServerCertificate::new(pem).with_context(|| format!("{} is no certificate", tls.cert_file.display()))?;
    let host = &config.bootstrap_server.params.xds_host;
    ensure!(
        host.is_empty() || certificate.is_for(host),
        "bootstrapServer.params.xdsHost (KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_HOST) is {host:?}, but the certificate {} is for {:?}: \
         proxies could not verify it; change the host, or use a certificate that names it",
        tls.cert_file.display(),
        certificate.names
    );
    let bootstrap = BootstrapContext {
        store: parts.store.clone(),
        settings: Arc::new(bootstrap_settings(config)?),
        certificate: Arc::new(certificate),
        limits: Arc::new(BootstrapLimits::new(dp_server::bootstrap_limits(config))),
        refusals: context.refusals.clone(),
    };
    let (refusals, unknown) = (context.refusals.clone(), context.refusals.clone());
    let mut discovery = tonic::service::Routes::new(AdsService::new(context.clone()));
    if config.dp_server.hds.enabled {
        discovery = discovery.add_service(HealthService::new(context, hds_settings(config)));
    }
    let router: Router = bootstrap::router(bootstrap)
        .merge(discovery.into_axum_router())
        .fallback(move |request: Request| std::future::ready(dp_server::unknown_path(&request, &unknown)))
        .layer(map_response(grpc_message::readable));
    let limits = dp_server::limits(config, refusals);
    let listener = listen::bind_all(config.dp_server.port, PORT_KEY).await?;
    let (tls, shutdown) = (tls_config(tls)?, start.shutdown.clone());
    tasks.spawn("dataplane server", async move {
        // Who a proxy may be depends on the meshes.
        let _ = first.await;
        http::serve(listener, Some(tls), router, limits, shutdown).await;
        Ok(())
    });
    Ok(())
}

/// Tells Prometheus where the metrics of proxies are fetched. `published` tells that there is a new snapshot.
async fn serve_monitoring(
    start: &Start,
    context: &ProxyContext,
    published: watch::Receiver<u64>,
    tasks: &mut Tasks,
) -> Result<()> {
    let config = &start.loaded.config.monitoring_assignment_server;
    let tls = if config.tls_enabled { Some(tls_config(&config.tls)?) } else { None };
    let listener = listen::bind_all(config.port, MADS_PORT_KEY).await?;
    let (out, feed) = watch::channel(None);
    let (snapshot, interval) = (context.snapshot.clone(), config.assignment_refresh_interval);
    let shutdown = start.shutdown.clone();
    tasks.spawn("monitoring assignments", async move {
        mads::follow(snapshot, published, interval, out, shutdown).await;
        Ok(())
    });
    let settings = MadsSettings { default_timeout: config.default_fetch_timeout };
    let metrics = HttpMetrics::register(&start.metrics, "mads_server");
    let router = mads::router(settings, feed, metrics, start.shutdown.clone());
    let limits = Limits { header: Duration::from_secs(1), streams: 100, ..Limits::default() };
    let shutdown = start.shutdown.clone();
    tasks.spawn("server for Prometheus", async move {
        http::serve(listener, tls, router, limits, shutdown).await;
        Ok(())
    });
    Ok(())
}

/// Who knows the service accounts of proxies, if they are to show tokens of these.
async fn service_accounts(config: &Config) -> Result<Option<ServiceAccounts>> {
    let authn = &config.dp_server.authn;
    let types = [
        ("dpServer.authn.dpProxy.type", authn.dp_proxy.r#type),
        ("dpServer.authn.zoneProxy.type", authn.zone_proxy.r#type),
    ];
    let Some((key, _)) = types.into_iter().find(|(_, required)| *required == ProxyAuthn::ServiceAccountToken) else {
        return Ok(None);
    };
    let connected = ServiceAccounts::connect().await;
    Ok(Some(connected.with_context(|| format!("{key} is serviceAccountToken, so Kubernetes has to be asked"))?))
}

fn proxy_context(start: &Start, parts: &Parts, service_accounts: Option<ServiceAccounts>) -> Arc<ProxyContext> {
    let config = &start.loaded.config;
    let instance_id = start.instance.as_str().to_owned();
    let zone = config.multizone.zone.name.clone();
    let key_type = config.dp_server.certificates.key_type;
    let arrivals = &config.dp_server.arrivals;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let snapshot = Arc::new(ArcSwap::new(MeshIndex::new(ZoneSettings::new(zone.clone())).snapshot()));
    Arc::new(ProxyContext {
        store: parts.store.clone(),
        admission: parts.admission.clone(),
        authentication: Authentication {
            dataplanes: config.dp_server.authn.dp_proxy.r#type,
            zone_proxies: config.dp_server.authn.zone_proxy.r#type,
            zone,
            tokens: parts.tokens.clone(),
            service_accounts,
            snapshot: snapshot.clone(),
            labels: parts.admission.settings().label_context(),
            takeover_protection: config.dp_server.authn.takeover_protection,
        },
        arrivals: Arc::new(Arrivals::new(
            ArrivalSettings::for_cores(cores, arrivals.max_waiting, arrivals.max_wait),
            start.metrics.register(ArrivalMetrics::register),
        )),
        registry: Arc::new(Registry::default()),
        returning: Arc::new(Returning::default()),
        insights: Insights::new(InsightSettings {
            instance_id: instance_id.clone(),
            flush_interval: config.xds_server.dataplane_status_flush_interval,
            subscription_limit: config.metrics.dataplane.subscription_limit,
        }),
        snapshot,
        cache: Cache::default(),
        left_out: LeftOut::default(),
        identities: Identities::new(parts.store.clone(), key_type),
        workload_identities: WorkloadIdentities::new(parts.store.clone(), key_type),
        // One core stays with the streams.
        issuing: Issuing::new(cores.saturating_sub(1).max(1), start.metrics.register(IssuingMetrics::register)),
        envoy_admin: EnvoyAdmin::new(parts.store.clone()),
        refusals: start.metrics.register(Refusals::register),
        settings: ProxySettings {
            instance_id,
            deregistration_delay: config.xds_server.dataplane_deregistration_delay,
            limits: StreamLimits {
                first_request: config.dp_server.limits.first_request_timeout,
                node: config.dp_server.limits.max_node_size,
                subscription: config.dp_server.limits.max_subscription_size,
            },
        },
        shutdown: start.shutdown.clone(),
    })
}

fn bootstrap_settings(config: &Config) -> Result<BootstrapSettings> {
    let params = &config.bootstrap_server.params;
    let corefile = &params.corefile_template_path;
    let corefile_template = if corefile.as_os_str().is_empty() {
        None
    } else {
        let read = std::fs::read(corefile);
        Some(read.with_context(|| {
            format!("cannot read {} (bootstrapServer.params.corefileTemplatePath)", corefile.display())
        })?)
    };
    Ok(BootstrapSettings {
        dataplane_token_required: config.dp_server.authn.dp_proxy.r#type != ProxyAuthn::None,
        zone_token_required: config.dp_server.authn.zone_proxy.r#type != ProxyAuthn::None,
        reloadable_tokens: config.dp_server.authn.enable_reloadable_tokens,
        xds_host: params.xds_host.clone(),
        xds_port: if params.xds_port == 0 { config.dp_server.port } else { params.xds_port },
        xds_connect_timeout: protobuf_duration(params.xds_connect_timeout),
        admin_address: params.admin_address.to_string(),
        admin_port: params.admin_port,
        admin_access_log_path: params.admin_access_log_path.clone(),
        hds: config.dp_server.hds.enabled,
        gateway_max_connections: config.proxy.gateway.global_downstream_max_connections,
        corefile_template,
    })
}

fn protobuf_duration(duration: Duration) -> String {
    let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a second is less than 2^31 ns");
    tandem_proto::duration::format_seconds(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos)
}

fn hds_settings(config: &Config) -> HdsSettings {
    let hds = &config.dp_server.hds;
    HdsSettings {
        interval: hds.interval,
        check_timeout: hds.check_defaults.timeout,
        check_interval: hds.check_defaults.interval,
        check_no_traffic_interval: hds.check_defaults.no_traffic_interval,
        healthy_threshold: hds.check_defaults.healthy_threshold,
        unhealthy_threshold: hds.check_defaults.unhealthy_threshold,
    }
}

/// Notices proxies that do not come back.
fn collect_proxies(start: &Start, parts: &Parts, context: &ProxyContext, tasks: &mut Tasks) {
    let config = &start.loaded.config;
    tokio::spawn(abandoned::close(
        context.store.clone(),
        context.registry.clone(),
        parts.instances.clone(),
        config.metrics.dataplane.idle_timeout,
        start.shutdown.clone(),
    ));
    let ages = Ages {
        dataplane: config.runtime.universal.dataplane_cleanup_age,
        zone_proxy: config.runtime.universal.zone_resource_cleanup_age,
    };
    let expired = expired::run(context.store.clone(), context.registry.clone(), ages, start.shutdown.clone());
    tasks.spawn("expired proxies", async move {
        expired.await;
        Ok(())
    });
}

/// Keeps the services of the zone complete: those made from Dataplanes, their health, addresses, host names and identities.
fn keep_services(start: &Start, parts: &Parts, left_out: watch::Receiver<Reasons>, tasks: &mut Tasks) {
    let config = &start.loaded.config;
    let settings = ServicesSettings {
        zone: config.multizone.zone.name.clone(),
        mesh_service_cidr: config.ipam.mesh_service.cidr,
        mesh_external_service_cidr: config.ipam.mesh_external_service.cidr,
        mesh_multi_zone_service_cidr: config.ipam.mesh_multi_zone_service.cidr,
        deletion_grace_period: config.mesh_service.deletion_grace_period,
        min_interval: SERVICES_INTERVAL,
    };
    let (store, shutdown) = (parts.store.clone(), start.shutdown.clone());
    tasks.spawn("services", async move {
        services::run(store, settings, left_out, shutdown).await;
        Ok(())
    });
    let zone = config.multizone.zone.name.clone();
    let settings = MeshIdentitySettings { zone, min_interval: SERVICES_INTERVAL };
    let (store, shutdown) = (parts.store.clone(), start.shutdown.clone());
    tasks.spawn("mesh identities", async move {
        mesh_identities::run(store, settings, shutdown).await;
        Ok(())
    });
}

/// Gives virtual addresses to services known by their tags, while this instance leads.
fn keep_virtual_addresses(start: &Start, parts: &Parts, tasks: &mut Tasks) {
    let config = &start.loaded.config;
    let settings = VirtualAddressSettings {
        zone: config.multizone.zone.name.clone(),
        range: config.dns_server.cidr,
        domain: config.dns_server.domain.clone(),
        of_services: config.dns_server.service_vip_enabled,
        tag_first: config.experimental.use_tag_first_virtual_outbound_model,
        min_interval: SERVICES_INTERVAL,
    };
    let metrics = start.metrics.register(VipMetrics::register);
    let (store, leadership) = (parts.store.clone(), parts.instances.leadership());
    let addresses = leadership.run(start.shutdown.clone(), move |end| {
        virtual_addresses::run(store.clone(), settings.clone(), metrics.clone(), end)
    });
    tasks.spawn("virtual addresses", async move {
        addresses.await;
        Ok(())
    });
}

/// Keeps the Workloads current that Dataplanes name.
fn keep_workloads(start: &Start, parts: &Parts, tasks: &mut Tasks) {
    let zone = start.loaded.config.multizone.zone.name.clone();
    let settings = WorkloadSettings { zone, min_interval: WORKLOAD_INTERVAL };
    let (store, shutdown) = (parts.store.clone(), start.shutdown.clone());
    tasks.spawn("workloads", async move {
        workloads::run(store, settings, shutdown).await;
        Ok(())
    });
}

/// Keeps the list of services current that other zones see.
fn publish_services(start: &Start, parts: &Parts, tasks: &mut Tasks) {
    let config = &start.loaded.config;
    let settings = AvailableServicesSettings {
        zone: config.multizone.zone.name.clone(),
        tag_filters: config.experimental.ingress_tag_filters.clone(),
        min_interval: AVAILABLE_SERVICES_INTERVAL,
    };
    let (store, shutdown) = (parts.store.clone(), start.shutdown.clone());
    tasks.spawn("available services", async move {
        available_services::run(store, settings, shutdown).await;
        Ok(())
    });
}

/// Keeps the zone connected to global.
fn join_global(
    start: &Start,
    parts: &Parts,
    executor: Arc<EnvoyClient>,
    status: SyncStatus,
    tasks: &mut Tasks,
) -> Result<()> {
    let config = &start.loaded.config;
    let zone = &config.multizone.zone;
    let auth = &zone.kds.auth;
    let token = if !auth.cp_token_inline.is_empty() {
        CpToken::Inline(auth.cp_token_inline.clone())
    } else if !auth.cp_token_path.as_os_str().is_empty() {
        CpToken::File(auth.cp_token_path.clone())
    } else {
        CpToken::None
    };
    if !matches!(token, CpToken::None) && zone.global_address.starts_with("grpc://") {
        warn!("the token of the zone travels in the clear; begin multizone.zone.globalAddress with grpcs://");
    }
    let settings = KdsZoneSettings {
        common: kds_settings(
            start,
            zone.kds.max_msg_size,
            &zone.kds.labels.skip_prefixes,
            start.loaded.wire_json().to_string(),
        ),
        zone: zone.name.clone(),
        global: zone.global_address.parse().context("multizone.zone.globalAddress")?,
        tls: ClientTls {
            root_ca_file: Some(zone.kds.root_ca_file.clone()).filter(|file| !file.as_os_str().is_empty()),
            skip_verify: zone.kds.tls_skip_verify,
            certificate: Some((auth.client_cert_file.clone(), auth.client_key_file.clone()))
                .filter(|(certificate, _)| !certificate.as_os_str().is_empty()),
        },
        token,
        dial: kds_zone::tcp(),
        backoff: BackoffSettings {
            base: config.general.resilient_component_base_backoff,
            max: config.general.resilient_component_max_backoff,
        },
    };
    let metrics = start.metrics.register(KdsMetrics::register);
    let (store, shutdown) = (parts.store.clone(), start.shutdown.clone());
    tasks.spawn("synchronization with global", async move {
        Ok(kds_zone::run(settings, store, executor, metrics, status, shutdown).await?)
    });
    Ok(())
}
