//! How the requests of a proxy are traced: the tracing backend of its Mesh that a TrafficTrace names.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/tracing_configurer.go`, `pkg/xds/generator/tracing_proxy_generator.go`.

use tandem_proto::json::from_struct;
use tandem_proto::mesh::v1alpha1::{
    DatadogTracingBackendConfig, Mesh, TracingBackend, TrafficTrace, ZipkinTracingBackendConfig,
};

use super::Decoded;
use crate::endpoint::Endpoint;
use crate::trace::{Provider, Shares, Tracing};

/// The backend that a policy names, or else the default one of the mesh.
///
/// # Errors
/// When there is none, or its settings make no sense; then requests are not traced.
pub fn tracing(mesh: &Mesh, policy: &Decoded<TrafficTrace>) -> Result<Tracing, String> {
    let key = &policy.resource.key;
    let tracing = mesh.tracing.as_ref();
    let named = policy.spec.conf.as_ref().map_or("", |conf| &conf.backend);
    let name = if named.is_empty() { tracing.map_or("", |tracing| &tracing.default_backend) } else { named };
    let backends = tracing.map(|tracing| tracing.backends.as_slice()).unwrap_or_default();
    let backend = backends.iter().rfind(|backend| backend.name == name).ok_or_else(|| match name {
        "" => format!("{key}: it names no backend, and the mesh has no tracing.defaultBackend"),
        name => format!("{key}: the mesh has no tracing backend {name:?}"),
    })?;
    to_backend(backend).map_err(|reason| format!("{key}: tracing backend {name:?} of the mesh: {reason}"))
}

fn to_backend(backend: &TracingBackend) -> Result<Tracing, String> {
    let conf = backend.conf.as_ref();
    let (collector, provider) = match backend.r#type.as_str() {
        "zipkin" => zipkin(&from_struct(conf).map_err(|error| error.to_string())?)?,
        "datadog" => datadog(&from_struct(conf).map_err(|error| error.to_string())?)?,
        other => return Err(format!("the type {other:?} is not one of zipkin, datadog")),
    };
    let shares = Shares { overall: backend.sampling, ..Shares::default() };
    Ok(Tracing { cluster: format!("tracing:{}", backend.name), collector, provider, shares, tags: Vec::new() })
}

fn zipkin(config: &ZipkinTracingBackendConfig) -> Result<(Endpoint, Provider), String> {
    let (collector, url) = Endpoint::of_url(&config.url)?;
    let is_protobuf = config.api_version == "httpProto";
    Ok((collector, Provider::zipkin(&url, config.trace_id128bit, config.shared_span_context, is_protobuf)))
}

fn datadog(config: &DatadogTracingBackendConfig) -> Result<(Endpoint, Provider), String> {
    if !(1..=0xffff).contains(&config.port) {
        return Err(format!("port {} is not in the range 1 to 65535", config.port));
    }
    let collector = Endpoint { host: config.address.clone(), port: config.port, tls: false };
    Ok((collector, Provider::Datadog { split_service: config.split_service }))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::trace::v3 as trace;
    use prost::Message as _;
    use serde_json::{Value, json};
    use trace::tracing::http::ConfigType;
    use trace::zipkin_config::CollectorEndpointVersion;

    use super::super::testing::{decoded, mesh};
    use super::*;
    use crate::envoy::pb::{BoolValue, http};
    use crate::envoy::{ChainDraft, ListenerDraft, NetworkFilter};
    use crate::trace::Direction;

    fn of_backend(backend: Value) -> Result<Tracing, String> {
        let mesh = mesh(json!({"tracing": {"defaultBackend": "b", "backends": [backend]}}));
        tracing(&mesh, &decoded("TrafficTrace", json!({})))
    }

    fn zipkin(conf: Value) -> Result<Tracing, String> {
        of_backend(json!({"name": "b", "type": "zipkin", "sampling": 12.5, "conf": conf}))
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
        assert_eq!(tracing.collector, Endpoint { host: "zipkin.example".to_owned(), port: 9411, tls: true });
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
            let tracing = of_backend(json!({"name": "b", "type": "datadog", "conf": conf})).expect("makes sense");
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
        let error = |backend: Value| of_backend(backend).expect_err("not to be used");
        assert!(error(json!({"name": "other", "type": "zipkin"})).contains("\"b\""));
        assert!(error(json!({"name": "b", "type": "jaeger"})).contains("jaeger"));
        let datadog = json!({"address": "agent", "port": 70000});
        assert!(error(json!({"name": "b", "type": "datadog", "conf": datadog})).contains("70000"));
        for url in ["/spans", "x y"] {
            assert!(zipkin(json!({"url": url})).is_err(), "{url}");
        }
    }
}
