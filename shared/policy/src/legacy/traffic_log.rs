//! Access logs of the connections from a proxy: the logging backend of its Mesh that a TrafficLog names.
//!
//! Envoy writes text, to a file or to the pipe of kuma-dp, which sends what follows the address in a line to that address.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/{access_log,http_access_log,network_access_log}_configurer.go`.

use std::fmt;

use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
use tandem_proto::json::from_struct;
use tandem_proto::mesh::v1alpha1::{
    FileLoggingBackendConfig, LoggingBackend, Mesh, TcpLoggingBackendConfig, TrafficLog,
};

use super::Decoded;
use crate::envoy::pb::core;
use crate::envoy::{ListenerDraft, pack};

/// Lines about requests, where the backend has no format.
const HTTP_FORMAT: &str = concat!(
    r#"[%START_TIME%] %KUMA_MESH% "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-B3-TRACEID?X-DATADOG-TRACEID)%" "%REQ(X-REQUEST-ID)%" "#,
    r#""%REQ(:AUTHORITY)%" "%KUMA_SOURCE_SERVICE%" "%KUMA_DESTINATION_SERVICE%" "#,
    r#""%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%" "%UPSTREAM_HOST%""#,
);

/// Lines about connections, where the backend has no format.
const TCP_FORMAT: &str = concat!(
    "[%START_TIME%] %RESPONSE_FLAGS% %KUMA_MESH% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%(%KUMA_SOURCE_SERVICE%)->",
    "%UPSTREAM_HOST%(%KUMA_DESTINATION_SERVICE%) took %DURATION%ms, sent %BYTES_SENT% bytes, received: ",
    "%BYTES_RECEIVED% bytes",
);

/// Which way the traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    /// To the workload.
    Inbound,
    /// From the workload to a service.
    Outbound,
    /// From the workload to somewhere outside of the mesh.
    Unspecified,
}

impl fmt::Display for TrafficDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "INBOUND",
            Self::Outbound => "OUTBOUND",
            Self::Unspecified => "UNSPECIFIED",
        })
    }
}

/// What the placeholders of a format stand for.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// Name of the mesh.
    pub mesh: &'a str,
    /// Service of the proxy.
    pub source_service: &'a str,
    /// Address of the proxy under which others know it.
    pub source_address: &'a str,
    /// Service that connections go to.
    pub destination_service: &'a str,
    /// Which way they go.
    pub direction: TrafficDirection,
}

impl Connection<'_> {
    fn fill_in(&self, format: &str) -> String {
        let address = self.source_address;
        let with_port = if address.contains(':') { format!("[{address}]:0") } else { format!("{address}:0") };
        format
            .replace("%KUMA_SOURCE_ADDRESS%", &with_port)
            .replace("%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%", address)
            .replace("%KUMA_SOURCE_SERVICE%", self.source_service)
            .replace("%KUMA_DESTINATION_SERVICE%", self.destination_service)
            .replace("%KUMA_MESH%", self.mesh)
            .replace("%KUMA_TRAFFIC_DIRECTION%", &self.direction.to_string())
    }
}

/// A log of connections, with everything filled in that Envoy does not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessLog {
    /// Path of the file or pipe.
    path: String,
    /// Lines about requests.
    http_format: String,
    /// Lines about connections.
    tcp_format: String,
}

impl AccessLog {
    /// The log at the backend that a policy names, or else at the default one of the mesh. `pipe` is the path at which kuma-dp
    /// reads logs to be sent on.
    ///
    /// # Errors
    /// When there is none, or its settings make no sense; then connections are not logged.
    pub fn of(
        mesh: &Mesh,
        policy: &Decoded<TrafficLog>,
        connection: &Connection<'_>,
        pipe: &str,
    ) -> Result<Self, String> {
        let key = &policy.resource.key;
        let logging = mesh.logging.as_ref();
        let named = policy.spec.conf.as_ref().map_or("", |conf| &conf.backend);
        let name = if named.is_empty() { logging.map_or("", |logging| &logging.default_backend) } else { named };
        let backends = logging.map(|logging| logging.backends.as_slice()).unwrap_or_default();
        let backend = backends.iter().rfind(|backend| backend.name == name).ok_or_else(|| match name {
            "" => format!("{key}: it names no backend, and the mesh has no logging.defaultBackend"),
            name => format!("{key}: the mesh has no logging backend {name:?}"),
        })?;
        Self::new(backend, connection, pipe)
            .map_err(|reason| format!("{key}: logging backend {name:?} of the mesh: {reason}"))
    }

    fn new(backend: &LoggingBackend, connection: &Connection<'_>, pipe: &str) -> Result<Self, String> {
        let conf = backend.conf.as_ref();
        let (path, prefix) = match backend.r#type.as_str() {
            "file" => {
                let config: FileLoggingBackendConfig = from_struct(conf).map_err(|error| error.to_string())?;
                (config.path, String::new())
            }
            "tcp" => {
                let config: TcpLoggingBackendConfig = from_struct(conf).map_err(|error| error.to_string())?;
                (pipe.to_owned(), format!("{};", config.address))
            }
            other => return Err(format!("the type {other:?} is not one of tcp, file")),
        };
        let line = |default: &str| {
            let format = if backend.format.is_empty() { default } else { &backend.format };
            format!("{prefix}{}\n", connection.fill_in(format))
        };
        Ok(Self { path, http_format: line(HTTP_FORMAT), tcp_format: line(TCP_FORMAT) })
    }

    /// Logs the requests or connections that a listener takes.
    pub fn add(&self, listener: &mut ListenerDraft) {
        for manager in listener.http_mut() {
            manager.access_log.push(to_file(&self.path, &self.http_format));
        }
        for proxy in listener.tcp_mut() {
            proxy.access_log.push(to_file(&self.path, &self.tcp_format));
        }
    }
}

fn to_file(path: &str, format: &str) -> accesslog::AccessLog {
    let source = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(format.to_owned())),
        ..Default::default()
    };
    let format = core::SubstitutionFormatString {
        format: Some(core::substitution_format_string::Format::TextFormatSource(source)),
        ..Default::default()
    };
    let config = file::FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(pack(&config))),
        ..Default::default()
    }
}
