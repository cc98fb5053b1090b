//! Access logs of the connections from a proxy: the logging backend of its Mesh that a TrafficLog names.
//!
//! Envoy writes text, to a file or to the pipe of kuma-dp, which sends what follows the address in a line to that address.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/{access_log,http_access_log,network_access_log}_configurer.go`.

use tandem_proto::json::from_struct;
use tandem_proto::mesh::v1alpha1::{
    FileLoggingBackendConfig, LoggingBackend, Mesh, TcpLoggingBackendConfig, TrafficLog,
};

use super::Decoded;
use crate::access_log::{AccessLog, Connection, HTTP_FORMAT, Logger, TCP_FORMAT};

/// The log at the backend that a policy names, or else at the default one of the mesh. `pipe` is the path at which kuma-dp
/// reads logs to be sent on.
///
/// # Errors
/// When there is none, or its settings make no sense; then connections are not logged.
pub fn access_log(
    mesh: &Mesh,
    policy: &Decoded<TrafficLog>,
    connection: &Connection<'_>,
    pipe: &str,
) -> Result<AccessLog, String> {
    let key = &policy.resource.key;
    let logging = mesh.logging.as_ref();
    let named = policy.spec.conf.as_ref().map_or("", |conf| &conf.backend);
    let name = if named.is_empty() { logging.map_or("", |logging| &logging.default_backend) } else { named };
    let backends = logging.map(|logging| logging.backends.as_slice()).unwrap_or_default();
    let backend = backends.iter().rfind(|backend| backend.name == name).ok_or_else(|| match name {
        "" => format!("{key}: it names no backend, and the mesh has no logging.defaultBackend"),
        name => format!("{key}: the mesh has no logging backend {name:?}"),
    })?;
    to_backend(backend, connection, pipe)
        .map_err(|reason| format!("{key}: logging backend {name:?} of the mesh: {reason}"))
}

fn to_backend(backend: &LoggingBackend, connection: &Connection<'_>, pipe: &str) -> Result<AccessLog, String> {
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
        Logger::text(&path, format!("{prefix}{}\n", connection.fill_in(format)), false)
    };
    Ok(AccessLog { requests: line(HTTP_FORMAT), connections: line(TCP_FORMAT) })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
    use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
    use prost::Message as _;
    use serde_json::{Value, json};

    use super::super::testing::{decoded, mesh};
    use super::*;
    use crate::access_log::TrafficDirection;
    use crate::envoy::pb::core;
    use crate::envoy::{ChainDraft, ListenerDraft, NetworkFilter};

    fn connection<'a>(address: &'a str) -> Connection<'a> {
        Connection {
            mesh: "m",
            source_service: "web",
            source_address: address,
            destination_service: "db",
            direction: TrafficDirection::Outbound,
        }
    }

    fn log(backend: Value, policy: Value, address: &str) -> Result<AccessLog, String> {
        let mesh = mesh(json!({"logging": {"defaultBackend": "b", "backends": [backend]}}));
        access_log(&mesh, &decoded("TrafficLog", policy), &connection(address), "/pipe")
    }

    /// Path and format of the logs of a listener with a connection manager and one with a TCP proxy.
    fn written(log: &AccessLog) -> Vec<(String, String)> {
        let filters = vec![NetworkFilter::Http(Box::default()), NetworkFilter::Tcp(Box::default())];
        let mut listener =
            ListenerDraft { chains: vec![ChainDraft { filters, ..Default::default() }], ..Default::default() };
        log.add(&mut listener);
        let http: Vec<_> = listener.http_mut().flat_map(|manager| manager.access_log.clone()).collect();
        let tcp: Vec<_> = listener.tcp_mut().flat_map(|proxy| proxy.access_log.clone()).collect();
        let read = |log: accesslog::AccessLog| {
            assert_eq!(log.name, "envoy.access_loggers.file");
            let Some(accesslog::access_log::ConfigType::TypedConfig(packed)) = log.config_type else {
                panic!("packed")
            };
            let file = file::FileAccessLog::decode(packed.value.as_slice()).expect("a file");
            let Some(file::file_access_log::AccessLogFormat::LogFormat(format)) = file.access_log_format else {
                panic!("a format")
            };
            let Some(core::substitution_format_string::Format::TextFormatSource(source)) = format.format else {
                panic!("text")
            };
            let Some(core::data_source::Specifier::InlineString(text)) = source.specifier else { panic!("in place") };
            (file.path, text)
        };
        http.into_iter().chain(tcp).map(read).collect()
    }

    #[test]
    fn placeholders_are_filled_in() {
        let format = "%KUMA_MESH% %KUMA_TRAFFIC_DIRECTION% %KUMA_SOURCE_SERVICE% %KUMA_DESTINATION_SERVICE% \
                      %KUMA_SOURCE_ADDRESS% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT% %REQ(:PATH)%";
        let backend = || json!({"name": "b", "type": "file", "format": format, "conf": {"path": "/log"}});
        let line = |address: &str| written(&log(backend(), json!({}), address).expect("the default backend"));
        let expected = ("/log".to_owned(), "m OUTBOUND web db 10.0.0.1:0 10.0.0.1 %REQ(:PATH)%\n".to_owned());
        assert_eq!(line("10.0.0.1"), [expected.clone(), expected]);
        assert!(line("::1")[0].1.contains(" [::1]:0 ::1 "));
    }

    #[test]
    fn without_a_format_requests_and_connections_have_lines_of_their_own() {
        let backend = json!({"name": "b", "type": "file", "conf": {"path": "/log"}});
        let lines = written(&log(backend, json!({"backend": "b"}), "10.0.0.1").expect("the backend is there"));
        let request =
            "[%START_TIME%] m \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ";
        assert!(lines[0].1.starts_with(request), "{}", lines[0].1);
        assert!(lines[0].1.ends_with("\"web\" \"db\" \"10.0.0.1\" \"%UPSTREAM_HOST%\"\n"), "{}", lines[0].1);
        let connection = "[%START_TIME%] %RESPONSE_FLAGS% m 10.0.0.1(web)->%UPSTREAM_HOST%(db) took %DURATION%ms, sent \
                          %BYTES_SENT% bytes, received: %BYTES_RECEIVED% bytes\n";
        assert_eq!(lines[1].1, connection);
    }

    #[test]
    fn what_is_sent_on_goes_to_the_pipe_with_the_address_in_front() {
        let backend = json!({"name": "b", "type": "tcp", "format": "x", "conf": {"address": "logs:5000"}});
        let lines = written(&log(backend, json!({}), "10.0.0.1").expect("the default backend"));
        assert_eq!(lines[0], ("/pipe".to_owned(), "logs:5000;x\n".to_owned()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |backend: Value, policy: Value| log(backend, policy, "10.0.0.1").expect_err("not to be used");
        let file = || json!({"name": "b", "type": "file", "conf": {"path": "/log"}});
        assert!(error(file(), json!({"backend": "other"})).contains("no logging backend \"other\""));
        let unnamed = json!({"name": "c", "type": "file", "conf": {"path": "/log"}});
        assert!(error(unnamed, json!({})).contains("\"b\""), "the default backend is not listed");
        assert!(error(json!({"name": "b", "type": "udp"}), json!({})).contains("udp"));
    }
}
