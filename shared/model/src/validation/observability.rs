//! Rules for the logging, tracing and metrics backends of a Mesh, and the metrics of a Dataplane.

use std::collections::BTreeSet;

use prost_types::Struct;
use tandem_proto::json::Unknown;
use tandem_proto::mesh::v1alpha1::prometheus_tls_config::Mode;
use tandem_proto::mesh::v1alpha1::{
    DatadogTracingBackendConfig, FileLoggingBackendConfig, Logging, LoggingBackend, Metrics,
    PrometheusMetricsBackendConfig, TcpLoggingBackendConfig, Tracing, TracingBackend, ZipkinTracingBackendConfig,
};

use super::field::{self, PERCENT, is_request_uri, port_of_uri, settings, split_host_port};
use super::mesh::new_name;
use crate::violation::{Path, Violations};

pub(super) fn logging(logging: &Logging) -> Violations {
    let mut violations = Violations::none();
    let path = Path::new("logging");
    let mut names = BTreeSet::new();
    for (index, backend) in logging.backends.iter().enumerate() {
        let path = path.field("backends").index(index);
        violations.extend(logging_backend(&path, backend));
        violations.extend(new_name(&mut names, &path, &backend.name));
    }
    if !logging.default_backend.is_empty() && !names.contains(logging.default_backend.as_str()) {
        violations.add(&path.field("defaultBackend"), "has to be set to one of the logging backend in mesh");
    }
    violations
}

fn logging_backend(path: &Path, backend: &LoggingBackend) -> Violations {
    let mut violations = Violations::none();
    if backend.name.is_empty() {
        violations.add(&path.field("name"), "cannot be empty");
    }
    let config = path.field("config");
    match backend.r#type.as_str() {
        "file" => match settings::<FileLoggingBackendConfig>(backend.conf.as_ref(), Unknown::Refuse) {
            Err(text) => violations.add(&config, text),
            Ok(file) if file.path.is_empty() => violations.add(&config.field("path"), "cannot be empty"),
            Ok(_) => {}
        },
        "tcp" => match settings::<TcpLoggingBackendConfig>(backend.conf.as_ref(), Unknown::Refuse) {
            Err(text) => violations.add(&config, text),
            Ok(tcp) if tcp.address.is_empty() => violations.add(&config.field("address"), "cannot be empty"),
            Ok(tcp) if split_host_port(&tcp.address).is_none_or(|(host, port)| host.is_empty() || port.is_empty()) => {
                violations.add(&config.field("address"), "has to be in format of HOST:PORT");
            }
            Ok(_) => {}
        },
        _ => violations.add(&path.field("type"), r#"unknown backend type. Available backends: "tcp", "file""#),
    }
    violations
}

pub(super) fn tracing(tracing: &Tracing) -> Violations {
    let mut violations = Violations::none();
    let path = Path::new("tracing");
    let mut names = BTreeSet::new();
    for (index, backend) in tracing.backends.iter().enumerate() {
        let path = path.field("backends").index(index);
        violations.extend(tracing_backend(&path, backend));
        violations.extend(new_name(&mut names, &path, &backend.name));
    }
    if !tracing.default_backend.is_empty() && !names.contains(tracing.default_backend.as_str()) {
        violations.add(&path.field("defaultBackend"), "has to be set to one of the tracing backend in mesh");
    }
    violations
}

fn tracing_backend(path: &Path, backend: &TracingBackend) -> Violations {
    let mut violations = Violations::none();
    if backend.name.is_empty() {
        violations.add(&path.field("name"), "cannot be empty");
    }
    violations.extend(field::percent(&path.field("sampling"), backend.sampling.unwrap_or_default(), PERCENT));
    let config = path.field("config");
    match backend.r#type.as_str() {
        "zipkin" => violations.extend(zipkin(&config, backend.conf.as_ref())),
        "datadog" => violations.extend(datadog(&config, backend.conf.as_ref())),
        _ => violations.add(&path.field("type"), r#"unknown backend type. Available backends: "zipkin", "datadog""#),
    }
    violations
}

fn zipkin(path: &Path, conf: Option<&Struct>) -> Violations {
    let zipkin: ZipkinTracingBackendConfig = match settings(conf, Unknown::Refuse) {
        Ok(zipkin) => zipkin,
        Err(text) => return Violations::one(path, text),
    };
    let mut violations = Violations::none();
    if !matches!(zipkin.api_version.as_str(), "" | "httpJsonV1" | "httpJson" | "httpProto") {
        let text = "has invalid value. Allowed values: httpJsonV1, httpJson, httpProto";
        violations.add(&path.field("apiVersion"), text);
    }
    let url = path.field("url");
    if zipkin.url.is_empty() {
        violations.add(&url, "cannot be empty");
    } else {
        match port_of_uri(&zipkin.url).filter(|_| is_request_uri(&zipkin.url)) {
            None => violations.add(&url, "invalid URL"),
            Some("") => violations.add(&url, "port has to be explicitly specified"),
            Some(_) => {}
        }
    }
    violations
}

fn datadog(path: &Path, conf: Option<&Struct>) -> Violations {
    let datadog: DatadogTracingBackendConfig = match settings(conf, Unknown::Refuse) {
        Ok(datadog) => datadog,
        Err(text) => return Violations::one(path, text),
    };
    let mut violations = Violations::none();
    if datadog.address.is_empty() {
        violations.add(&path.field("address"), "cannot be empty");
    }
    violations.extend(field::port(&path.field("port"), datadog.port));
    violations
}

pub(super) fn metrics(metrics: &Metrics, unknown: Unknown) -> Violations {
    let mut violations = Violations::none();
    let path = Path::new("metrics");
    let mut names = BTreeSet::new();
    for (index, backend) in metrics.backends.iter().enumerate() {
        let path = path.field("backends").index(index);
        violations.extend(new_name(&mut names, &path, &backend.name));
        violations.extend(metrics_backend(&path, &backend.r#type, backend.conf.as_ref(), unknown));
    }
    if !metrics.enabled_backend.is_empty() && !names.contains(metrics.enabled_backend.as_str()) {
        violations.add(&path.field("enabledBackend"), "has to be set to one of the backends in the mesh");
    }
    violations
}

/// Type and settings of a metrics backend.
pub(super) fn metrics_backend(path: &Path, kind: &str, conf: Option<&Struct>, unknown: Unknown) -> Violations {
    if kind == "prometheus" {
        prometheus(&path.field("conf"), conf, unknown)
    } else {
        Violations::one(&path.field("type"), r#"unknown backend type. Available backends: "prometheus""#)
    }
}

fn prometheus(path: &Path, conf: Option<&Struct>, unknown: Unknown) -> Violations {
    let prometheus: PrometheusMetricsBackendConfig = match settings(conf, unknown) {
        Ok(prometheus) => prometheus,
        Err(text) => return Violations::one(path, text),
    };
    if let (Some(skip), Some(tls)) = (prometheus.skip_mtls, &prometheus.tls) {
        let same = if skip { Mode::Disabled } else { Mode::ActiveMtlsBackend };
        if tls.mode() != same {
            return Violations::one(path, "skipMTLS and tls configuration cannot be defined together");
        }
    }
    let filter = prometheus.envoy.as_ref().map_or("", |envoy| &envoy.filter_regex);
    if let Err(error) = regex::Regex::new(filter) {
        let path = path.field("envoy").field("filterRegex");
        return Violations::one(&path, format!("provided regexp isn't correct: {}", last_line(&error.to_string())));
    }
    let mut violations = Violations::none();
    let mut names = BTreeSet::new();
    for (index, aggregate) in prometheus.aggregate.iter().enumerate() {
        if !names.insert(&aggregate.name) {
            let path = path.field("aggregate").index(index).field("name");
            violations.add(&path, format!("duplicate entry: {}, values have to be unique", aggregate.name));
        }
    }
    violations
}

/// The reason in the text of an error about a pattern, which shows the pattern first.
fn last_line(text: &str) -> &str {
    let line = text.lines().next_back().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::super::testing::violations;
    use serde_json::{Value, json};

    fn mesh(section: &str, value: Value) -> Vec<String> {
        violations(json!({"type": "Mesh", "name": "m", section: value}))
    }

    #[test]
    fn logging() {
        assert_eq!(
            mesh(
                "logging",
                json!({"defaultBackend": "x", "backends": [
                    {"name": "f", "type": "file", "conf": {"path": "/tmp/a"}},
                    {"name": "f", "type": "file", "conf": {}},
                    {"type": "tcp", "conf": {"address": "nope"}},
                    {"name": "g", "type": "udp"},
                    {"name": "h", "type": "tcp", "conf": {"adress": "a:1"}},
                ]})
            ),
            [
                "logging.backends[1].config.path: cannot be empty",
                "logging.backends[1].name: \"f\" name is already used for another backend",
                "logging.backends[2].name: cannot be empty",
                "logging.backends[2].config.address: has to be in format of HOST:PORT",
                "logging.backends[3].type: unknown backend type. Available backends: \"tcp\", \"file\"",
                "logging.backends[4].config: could not parse config: adress: unknown field",
                "logging.defaultBackend: has to be set to one of the logging backend in mesh",
            ]
        );
    }

    #[test]
    fn tracing() {
        let zipkin =
            |conf: Value| mesh("tracing", json!({"backends": [{"name": "z", "type": "zipkin", "conf": conf}]}));
        assert_eq!(zipkin(json!({"url": "http://jaeger:9411/api", "apiVersion": "httpJson"})), [""; 0]);
        assert_eq!(
            zipkin(json!({"url": "http://jaeger/api", "apiVersion": "v9"})),
            [
                "tracing.backends[0].config.apiVersion: has invalid value. Allowed values: httpJsonV1, httpJson, httpProto",
                "tracing.backends[0].config.url: port has to be explicitly specified",
            ]
        );
        assert_eq!(zipkin(json!({"url": "nope"})), ["tracing.backends[0].config.url: invalid URL"]);
        assert_eq!(
            mesh(
                "tracing",
                json!({"defaultBackend": "a", "backends": [
                    {"name": "d", "type": "datadog", "sampling": 100.1, "conf": {"port": 70000}},
                    {"name": "e", "type": "other"},
                ]})
            ),
            [
                "tracing.backends[0].sampling: has to be in [0.0 - 100.0] range",
                "tracing.backends[0].config.address: cannot be empty",
                "tracing.backends[0].config.port: port must be in the range [1, 65535]",
                "tracing.backends[1].type: unknown backend type. Available backends: \"zipkin\", \"datadog\"",
                "tracing.defaultBackend: has to be set to one of the tracing backend in mesh",
            ]
        );
    }

    #[test]
    fn metrics() {
        let prometheus =
            |conf: Value| mesh("metrics", json!({"backends": [{"name": "p", "type": "prometheus", "conf": conf}]}));
        assert_eq!(prometheus(json!({"skipMTLS": true, "tls": {"mode": "disabled"}})), [""; 0]);
        assert_eq!(
            prometheus(json!({"skipMTLS": true, "tls": {"mode": "providedTLS"}})),
            ["metrics.backends[0].conf: skipMTLS and tls configuration cannot be defined together"]
        );
        assert!(
            prometheus(json!({"envoy": {"filterRegex": "["}}))[0]
                .starts_with("metrics.backends[0].conf.envoy.filterRegex: provided regexp isn't correct: ")
        );
        assert_eq!(
            prometheus(json!({"aggregate": [{"name": "a"}, {"name": "a"}]})),
            ["metrics.backends[0].conf.aggregate[1].name: duplicate entry: a, values have to be unique"]
        );
        assert_eq!(
            mesh("metrics", json!({"enabledBackend": "x", "backends": [{"name": "p", "type": "statsd"}]})),
            [
                "metrics.backends[0].type: unknown backend type. Available backends: \"prometheus\"",
                "metrics.enabledBackend: has to be set to one of the backends in the mesh",
            ]
        );
    }
}
