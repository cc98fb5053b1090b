//! Access logs as Envoy is to write them.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3 as grpc;
use envoy_types::pb::envoy::extensions::access_loggers::open_telemetry::v3 as open_telemetry;
use envoy_types::pb::opentelemetry::proto::common::v1 as otlp;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::envoy::pb::{Any, core};
use crate::envoy::{ListenerDraft, grpc_cluster, pack};

/// A log at one place, with everything filled in that Envoy does not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessLog {
    /// What is written about requests.
    pub(crate) requests: Logger,
    /// What is written about connections.
    pub(crate) connections: Logger,
}

impl AccessLog {
    /// Logs the requests or connections that a listener takes.
    pub fn add(&self, listener: &mut ListenerDraft) {
        self.add_if(None, listener);
    }

    /// Logs those requests alone that pass the filter, and all connections.
    pub(super) fn add_if(&self, filter: Option<&accesslog::AccessLogFilter>, listener: &mut ListenerDraft) {
        for manager in listener.http_mut() {
            manager.access_log.push(accesslog::AccessLog { filter: filter.cloned(), ..self.requests.message() });
        }
        for proxy in listener.tcp_mut() {
            proxy.access_log.push(self.connections.message());
        }
    }
}

/// One of the ways in which Envoy writes logs, with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Logger {
    name: &'static str,
    config: Any,
}

impl Logger {
    /// Writes a line of text, which has to end with a line break, to a file or pipe.
    pub fn text(path: &str, line: String, omit_empty_values: bool) -> Self {
        let source = core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(line)),
            ..Default::default()
        };
        Self::file(path, Format { text_format_source: Some(source), omit_empty_values, ..Default::default() })
    }

    /// Writes a JSON object and a line break to a file or pipe.
    pub fn json(path: &str, members: BTreeMap<String, Value>, omit_empty_values: bool) -> Self {
        let json_format = Some(Struct { fields: members });
        Self::file(path, Format { json_format, omit_empty_values, ..Default::default() })
    }

    fn file(path: &str, format: Format) -> Self {
        let config = File { path: path.to_owned(), log_format: Some(format) };
        Self { name: "envoy.access_loggers.file", config: pack(&config) }
    }

    /// Sends records to the OpenTelemetry collector behind a cluster.
    #[allow(deprecated)] // as Kuma configures it; Envoy takes both forms
    pub fn open_telemetry(cluster: &str, body: otlp::AnyValue, attributes: otlp::KeyValueList) -> Self {
        let common = grpc::CommonGrpcAccessLogConfig {
            log_name: "MeshAccessLog".to_owned(),
            transport_api_version: core::ApiVersion::V3.into(),
            grpc_service: Some(grpc_cluster(cluster)),
            ..Default::default()
        };
        let config = open_telemetry::OpenTelemetryAccessLogConfig {
            common_config: Some(common),
            body: Some(body),
            attributes: Some(attributes),
            ..Default::default()
        };
        Self { name: "envoy.access_loggers.open_telemetry", config: pack(&config) }
    }

    fn message(&self) -> accesslog::AccessLog {
        accesslog::AccessLog {
            name: self.name.to_owned(),
            config_type: Some(accesslog::access_log::ConfigType::TypedConfig(self.config.clone())),
            ..Default::default()
        }
    }
}

/// A text as value of JSON.
pub(super) fn text(text: String) -> Value {
    Value { kind: Some(Kind::StringValue(text)) }
}

/// `envoy.extensions.access_loggers.file.v3.FileAccessLog`. The generated type keeps members of JSON in no order.
#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, optional, tag = "5")]
    log_format: Option<Format>,
}

/// `envoy.config.core.v3.SubstitutionFormatString`.
#[derive(Clone, PartialEq, prost::Message)]
struct Format {
    #[prost(message, optional, tag = "2")]
    json_format: Option<Struct>,
    #[prost(bool, tag = "3")]
    omit_empty_values: bool,
    #[prost(message, optional, tag = "5")]
    text_format_source: Option<core::DataSource>,
}

impl prost::Name for File {
    const NAME: &'static str = "FileAccessLog";
    const PACKAGE: &'static str = "envoy.extensions.access_loggers.file.v3";
}
