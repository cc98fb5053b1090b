//! How the requests of a proxy are traced: the tracing backend of its Mesh that a TrafficTrace names.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/tracing_configurer.go`, `pkg/xds/generator/tracing_proxy_generator.go`.

use std::hash::{Hash, Hasher};

use envoy_types::pb::envoy::config::trace::v3 as trace;
use envoy_types::pb::envoy::r#type::v3 as r#type;
use tandem_proto::json::from_struct;
use tandem_proto::mesh::v1alpha1::{
    DatadogTracingBackendConfig, Mesh, TracingBackend, TrafficTrace, ZipkinTracingBackendConfig,
};
use trace::tracing::http::ConfigType;
use trace::zipkin_config::CollectorEndpointVersion;

use super::Decoded;
use crate::envoy::pb::{BoolValue, http};
use crate::envoy::{ListenerDraft, pack};

/// A tracing backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Name of the cluster of the collector.
    pub cluster: String,
    /// Where spans are sent.
    pub collector: Collector,
    /// Share of requests that are traced, in percent; `None` for all.
    sampling: Option<f64>,
    provider: Provider,
}

/// Where spans are sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Collector {
    /// IP address or host name.
    pub host: String,
    /// Port.
    pub port: u32,
    /// It speaks TLS.
    pub tls: bool,
}

/// What is particular to a type of backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Provider {
    Zipkin {
        /// Host and port as the URL has them.
        authority: String,
        path: String,
        wide_trace_ids: bool,
        shared_span_context: Option<bool>,
        is_protobuf: bool,
    },
    Datadog {
        /// Each direction, and each destination, counts as a service of its own.
        split_service: bool,
    },
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
        let Self { cluster, collector, sampling, provider } = self;
        (cluster, collector, sampling.map(f64::to_bits), provider).hash(state);
    }
}

impl Tracing {
    /// The backend that a policy names, or else the default one of the mesh.
    ///
    /// # Errors
    /// When there is none, or its settings make no sense; then requests are not traced.
    pub fn of(mesh: &Mesh, policy: &Decoded<TrafficTrace>) -> Result<Self, String> {
        let key = &policy.resource.key;
        let tracing = mesh.tracing.as_ref();
        let named = policy.spec.conf.as_ref().map_or("", |conf| &conf.backend);
        let name = if named.is_empty() { tracing.map_or("", |tracing| &tracing.default_backend) } else { named };
        let backends = tracing.map(|tracing| tracing.backends.as_slice()).unwrap_or_default();
        let backend = backends.iter().rfind(|backend| backend.name == name).ok_or_else(|| match name {
            "" => format!("{key}: it names no backend, and the mesh has no tracing.defaultBackend"),
            name => format!("{key}: the mesh has no tracing backend {name:?}"),
        })?;
        Self::new(backend).map_err(|reason| format!("{key}: tracing backend {name:?} of the mesh: {reason}"))
    }

    fn new(backend: &TracingBackend) -> Result<Self, String> {
        let conf = backend.conf.as_ref();
        let (collector, provider) = match backend.r#type.as_str() {
            "zipkin" => zipkin(&from_struct(conf).map_err(|error| error.to_string())?)?,
            "datadog" => datadog(&from_struct(conf).map_err(|error| error.to_string())?)?,
            other => return Err(format!("the type {other:?} is not one of zipkin, datadog")),
        };
        let cluster = format!("tracing:{}", backend.name);
        Ok(Self { cluster, collector, sampling: backend.sampling, provider })
    }

    /// Traces the requests that a listener takes. `service` is that of the proxy.
    pub fn set(&self, listener: &mut ListenerDraft, service: &str, direction: Direction<'_>) {
        for manager in listener.http_mut() {
            manager.tracing = Some(self.settings(service, direction));
        }
    }

    fn settings(&self, service: &str, direction: Direction<'_>) -> http::http_connection_manager::Tracing {
        let (name, config) = match &self.provider {
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
        };
        http::http_connection_manager::Tracing {
            overall_sampling: self.sampling.map(|value| r#type::Percent { value }),
            spawn_upstream_span: Some(BoolValue { value: false }),
            provider: Some(trace::tracing::Http {
                name: name.to_owned(),
                config_type: Some(ConfigType::TypedConfig(config)),
            }),
            ..Default::default()
        }
    }
}

fn zipkin(config: &ZipkinTracingBackendConfig) -> Result<(Collector, Provider), String> {
    let url: ::http::Uri = config.url.parse().map_err(|error| format!("url {:?}: {error}", config.url))?;
    let host = url.host().ok_or_else(|| format!("url {:?} has no host", config.url))?;
    let port = url.port_u16().ok_or_else(|| format!("url {:?} has no port", config.url))?;
    let collector = Collector {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: port.into(),
        tls: url.scheme_str() == Some("https"),
    };
    let provider = Provider::Zipkin {
        authority: format!("{host}:{port}"),
        path: url.path().to_owned(),
        wide_trace_ids: config.trace_id128bit,
        shared_span_context: config.shared_span_context,
        is_protobuf: config.api_version == "httpProto",
    };
    Ok((collector, provider))
}

fn datadog(config: &DatadogTracingBackendConfig) -> Result<(Collector, Provider), String> {
    if !(1..=0xffff).contains(&config.port) {
        return Err(format!("port {} is not in the range 1 to 65535", config.port));
    }
    let collector = Collector { host: config.address.clone(), port: config.port, tls: false };
    Ok((collector, Provider::Datadog { split_service: config.split_service }))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::{Value, json};

    use super::super::testing::{decoded, mesh};
    use super::*;
    use crate::envoy::{ChainDraft, NetworkFilter};

    fn tracing(backend: Value) -> Result<Tracing, String> {
        let mesh = mesh(json!({"tracing": {"defaultBackend": "b", "backends": [backend]}}));
        Tracing::of(&mesh, &decoded("TrafficTrace", json!({})))
    }

    fn zipkin(conf: Value) -> Result<Tracing, String> {
        tracing(json!({"name": "b", "type": "zipkin", "sampling": 12.5, "conf": conf}))
    }

    /// The settings of a connection manager, and the packed ones of the tracer.
    fn set(tracing: &Tracing, direction: Direction<'_>) -> (http::http_connection_manager::Tracing, Vec<u8>) {
        let filters = vec![NetworkFilter::Http(Box::default())];
        let mut listener =
            ListenerDraft { chains: vec![ChainDraft { filters, ..Default::default() }], ..Default::default() };
        tracing.set(&mut listener, "web", direction);
        let settings = listener.http_mut().find_map(|manager| manager.tracing.clone()).expect("tracing is set");
        let provider = settings.provider.clone().expect("a tracer");
        let Some(ConfigType::TypedConfig(packed)) = provider.config_type else { panic!("packed") };
        (settings, packed.value)
    }

    #[test]
    fn zipkin_has_all_of_its_settings() {
        let conf = json!({
            "url": "https://zipkin.example:9411/api/v2/spans", "traceId128bit": true, "apiVersion": "httpProto",
            "sharedSpanContext": false,
        });
        let tracing = zipkin(conf).expect("makes sense");
        assert_eq!(tracing.cluster, "tracing:b");
        assert_eq!(tracing.collector, Collector { host: "zipkin.example".to_owned(), port: 9411, tls: true });
        let (settings, packed) = set(&tracing, Direction::Inbound);
        assert_eq!(settings.overall_sampling.map(|percent| percent.value), Some(12.5));
        assert_eq!(settings.spawn_upstream_span, Some(BoolValue { value: false }));
        assert_eq!(settings.provider.expect("a tracer").name, "envoy.tracers.zipkin");
        let config = trace::ZipkinConfig::decode(packed.as_slice()).expect("settings of Zipkin");
        let expected = trace::ZipkinConfig {
            collector_cluster: "tracing:b".to_owned(),
            collector_endpoint: "/api/v2/spans".to_owned(),
            collector_hostname: "zipkin.example:9411".to_owned(),
            collector_endpoint_version: CollectorEndpointVersion::HttpProto.into(),
            trace_id_128bit: true,
            shared_span_context: Some(BoolValue { value: false }),
            ..Default::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn zipkin_speaks_json_unless_told_otherwise() {
        for version in ["", "httpJson", "httpJsonV1"] {
            let tracing = zipkin(json!({"url": "http://[::1]:80/spans", "apiVersion": version})).expect("makes sense");
            assert_eq!((tracing.collector.host.as_str(), tracing.collector.port), ("::1", 80));
            let (_, packed) = set(&tracing, Direction::Outbound("db"));
            let config = trace::ZipkinConfig::decode(packed.as_slice()).expect("settings of Zipkin");
            assert_eq!(config.collector_endpoint_version, i32::from(CollectorEndpointVersion::HttpJson), "{version}");
            assert_eq!(config.shared_span_context, None);
            assert_eq!(config.collector_hostname, "[::1]:80");
        }
    }

    #[test]
    fn datadog_names_services_by_direction_if_asked_to() {
        let name = |split: bool, direction| {
            let conf = json!({"address": "agent", "port": 8126, "splitService": split});
            let tracing = tracing(json!({"name": "b", "type": "datadog", "conf": conf})).expect("makes sense");
            let (settings, packed) = set(&tracing, direction);
            assert_eq!(settings.overall_sampling, None);
            trace::DatadogConfig::decode(packed.as_slice()).expect("settings of Datadog").service_name
        };
        assert_eq!(name(false, Direction::Outbound("db")), "web");
        assert_eq!(name(true, Direction::Outbound("db")), "web_OUTBOUND_db");
        assert_eq!(name(true, Direction::Inbound), "web_INBOUND");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let error = |backend: Value| tracing(backend).expect_err("not to be used");
        assert!(error(json!({"name": "other", "type": "zipkin"})).contains("\"b\""));
        assert!(error(json!({"name": "b", "type": "jaeger"})).contains("jaeger"));
        let datadog = json!({"address": "agent", "port": 70000});
        assert!(error(json!({"name": "b", "type": "datadog", "conf": datadog})).contains("70000"));
        for url in ["http://host/spans", "/spans", "x y"] {
            assert!(zipkin(json!({"url": url})).is_err(), "{url}");
        }
    }
}
