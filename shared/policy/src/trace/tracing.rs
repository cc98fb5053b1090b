//! How Envoy traces requests.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/tracing_configurer.go`, `pkg/plugins/policies/meshtrace/plugin/xds`.

use std::hash::{Hash, Hasher};

use envoy_types::pb::envoy::config::trace::v3 as trace;
use envoy_types::pb::envoy::r#type::tracing::v3 as custom;
use envoy_types::pb::envoy::r#type::v3 as r#type;
use trace::tracing::http::ConfigType;
use trace::zipkin_config::CollectorEndpointVersion;

use crate::endpoint::Endpoint;
use crate::envoy::pb::{Any, BoolValue, http};
use crate::envoy::{ListenerDraft, grpc_cluster, pack};

/// How requests are traced, and where spans are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Name of the cluster of the collector.
    pub cluster: String,
    /// Where spans are sent.
    pub collector: Endpoint,
    /// What is particular to the type of collector.
    pub provider: Provider,
    pub(crate) shares: Shares,
    pub(crate) tags: Vec<custom::CustomTag>,
}

/// Shares of requests that are traced, in percent; `None` for all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Shares {
    /// Upper limit of all.
    pub overall: Option<f64>,
    /// Of requests whose client asks for it.
    pub client: Option<f64>,
    /// Of other requests.
    pub random: Option<f64>,
}

/// What is particular to a type of collector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Zipkin, or what understands its spans.
    Zipkin {
        /// Host and port as the URL has them.
        authority: String,
        /// Path of the URL.
        path: String,
        /// Trace identifiers have 128 bits.
        wide_trace_ids: bool,
        /// Client and server share a span; `None` for Envoy's default.
        shared_span_context: Option<bool>,
        /// Spans are sent as protobuf instead of JSON.
        is_protobuf: bool,
    },
    /// Datadog.
    Datadog {
        /// Each direction, and each destination, counts as a service of its own.
        split_service: bool,
    },
    /// OpenTelemetry over gRPC.
    OpenTelemetry,
}

impl Provider {
    /// Zipkin at a URL.
    pub(crate) fn zipkin(
        url: &::http::Uri,
        wide_trace_ids: bool,
        shared_span_context: Option<bool>,
        is_protobuf: bool,
    ) -> Self {
        let host = url.host().unwrap_or_default();
        let port = url.authority().and_then(::http::uri::Authority::port);
        let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Self::Zipkin { authority, path: url.path().to_owned(), wide_trace_ids, shared_span_context, is_protobuf }
    }
}

/// Which way requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction<'a> {
    /// To the workload.
    Inbound,
    /// From the workload to this service.
    Outbound(&'a str),
}

impl Eq for Tracing {}

impl Hash for Tracing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { cluster, collector, provider, shares, tags } = self;
        let shares = [shares.overall, shares.client, shares.random].map(|share| share.map(f64::to_bits));
        (cluster, collector, provider, shares, tags.len()).hash(state);
        tags.iter().for_each(|tag| tag.tag.hash(state));
    }
}

impl Tracing {
    /// True when spans say which service the proxy is of.
    pub fn tells_service(&self) -> bool {
        !matches!(self.provider, Provider::Zipkin { .. })
    }

    /// Traces the requests that a listener takes. `service` is that of the proxy.
    pub fn set(&self, listener: &mut ListenerDraft, service: &str, direction: Direction<'_>) {
        for manager in listener.http_mut() {
            manager.tracing = Some(self.settings(service, direction));
        }
    }

    fn settings(&self, service: &str, direction: Direction<'_>) -> http::http_connection_manager::Tracing {
        let percent = |share: Option<f64>| share.map(|value| r#type::Percent { value });
        let (name, config) = self.provider(service, direction);
        http::http_connection_manager::Tracing {
            overall_sampling: percent(self.shares.overall),
            client_sampling: percent(self.shares.client),
            random_sampling: percent(self.shares.random),
            custom_tags: self.tags.clone(),
            spawn_upstream_span: Some(BoolValue { value: false }),
            provider: Some(trace::tracing::Http {
                name: name.to_owned(),
                config_type: Some(ConfigType::TypedConfig(config)),
            }),
            ..Default::default()
        }
    }

    fn provider(&self, service: &str, direction: Direction<'_>) -> (&'static str, Any) {
        match &self.provider {
            Provider::Zipkin { authority, path, wide_trace_ids, shared_span_context, is_protobuf } => {
                let version = match is_protobuf {
                    true => CollectorEndpointVersion::HttpProto,
                    false => CollectorEndpointVersion::HttpJson,
                };
                let config = trace::ZipkinConfig {
                    collector_cluster: self.cluster.clone(),
                    collector_endpoint: path.clone(),
                    collector_hostname: authority.clone(),
                    collector_endpoint_version: version.into(),
                    trace_id_128bit: *wide_trace_ids,
                    shared_span_context: shared_span_context.map(|value| BoolValue { value }),
                    ..Default::default()
                };
                ("envoy.tracers.zipkin", pack(&config))
            }
            Provider::Datadog { split_service } => {
                let service_name = match direction {
                    Direction::Inbound if *split_service => format!("{service}_INBOUND"),
                    Direction::Outbound(destination) if *split_service => format!("{service}_OUTBOUND_{destination}"),
                    _ => service.to_owned(),
                };
                let config = trace::DatadogConfig {
                    collector_cluster: self.cluster.clone(),
                    service_name,
                    ..Default::default()
                };
                ("envoy.tracers.datadog", pack(&config))
            }
            Provider::OpenTelemetry => {
                let config = trace::OpenTelemetryConfig {
                    grpc_service: Some(grpc_cluster(&self.cluster)),
                    service_name: service.to_owned(),
                    ..Default::default()
                };
                ("envoy.tracers.opentelemetry", pack(&config))
            }
        }
    }
}
