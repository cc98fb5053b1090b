//! Servers that logs, traces and metrics are sent to.

use std::net::Ipv6Addr;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IP address, without brackets, or host name.
    pub host: String,
    /// Port.
    pub port: u32,
    /// It speaks TLS.
    pub tls: bool,
}

impl Endpoint {
    /// Port of OpenTelemetry collectors that take gRPC.
    const OTLP_PORT: u16 = 4317;

    /// An OpenTelemetry collector that takes gRPC in plain text, written as host with an optional port. IPv6 addresses
    /// with a port are in brackets.
    ///
    /// Source: Kuma `pkg/plugins/policies/meshaccesslog/plugin/xds/configurer.go`, `EndpointForOtel`, which does not know IPv6.
    ///
    /// # Errors
    /// When it is none.
    pub fn open_telemetry(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a host with an optional port, like otel-collector:4317");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(error)?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(error)?) })
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(Self::OTLP_PORT), |port| port.parse().ok().filter(|port| *port > 0));
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(error());
        }
        Ok(Self { host: host.to_owned(), port: port.ok_or_else(error)?.into(), tls: false })
    }

    /// The server of a URL, whose port follows from the scheme when it is not named; and the URL.
    ///
    /// # Errors
    /// When it is no URL or has no host.
    pub fn of_url(text: &str) -> Result<(Self, http::Uri), String> {
        let url: http::Uri = text.parse().map_err(|error| format!("url {text:?}: {error}"))?;
        let host = url.host().ok_or_else(|| format!("url {text:?} has no host"))?;
        let tls = url.scheme_str() == Some("https");
        let port = match url.authority().and_then(http::uri::Authority::port) {
            None if tls => 443,
            None => 80,
            Some(port) => port.as_u16(),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok((Self { host, port: port.into(), tls }, url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_of_open_telemetry() {
        let of = |text: &str| Endpoint::open_telemetry(text).map(|endpoint| (endpoint.host, endpoint.port));
        for (text, host, port) in [
            ("otel", "otel", 4317),
            ("otel.svc:80", "otel.svc", 80),
            ("10.0.0.1:5317", "10.0.0.1", 5317),
            ("::1", "::1", 4317),
            ("[::1]", "::1", 4317),
            ("[::1]:80", "::1", 80),
        ] {
            assert_eq!(of(text), Ok((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":80", "otel:", "otel:http", "otel:0", "otel:70000", "http://otel:4317", "[::1", "[::1]80"] {
            assert!(of(text).is_err_and(|error| error.contains(&format!("{text:?}"))), "{text}");
        }
    }

    #[test]
    fn servers_of_urls() {
        let of = |text: &str| Endpoint::of_url(text).map(|(endpoint, url)| (endpoint, url.path().to_owned()));
        let endpoint = |host: &str, port, tls| Endpoint { host: host.to_owned(), port, tls };
        assert_eq!(of("http://zipkin:9411/spans"), Ok((endpoint("zipkin", 9411, false), "/spans".to_owned())));
        assert_eq!(of("https://[::1]"), Ok((endpoint("::1", 443, true), "/".to_owned())));
        assert_eq!(of("http://zipkin/spans").map(|(endpoint, _)| endpoint.port), Ok(80));
        assert!(of("/spans").is_err_and(|error| error.contains("no host")));
        assert!(of("x y").is_err());
    }
}
