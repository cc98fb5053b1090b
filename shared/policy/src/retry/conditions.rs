//! What `http.retryOn` may list.
//!
//! Source: Kuma `pkg/plugins/policies/meshretry/api/v1alpha1/meshretry.go`.

/// One item of `http.retryOn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpRetryOn {
    /// A condition, by Envoy's name.
    Condition(&'static str),
    /// A request method.
    Method(&'static str),
    /// A status code of the response.
    Status(u32),
}

impl HttpRetryOn {
    /// The item with this name; `None` for unknown names and for numbers that are no registered status code.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "5xx" => Self::Condition("5xx"),
            "GatewayError" => Self::Condition("gateway-error"),
            "Reset" => Self::Condition("reset"),
            "Retriable4xx" => Self::Condition("retriable-4xx"),
            "ConnectFailure" => Self::Condition("connect-failure"),
            "EnvoyRatelimited" => Self::Condition("envoy-ratelimited"),
            "RefusedStream" => Self::Condition("refused-stream"),
            "Http3PostConnectFailure" => Self::Condition("http3-post-connect-failure"),
            "HttpMethodConnect" => Self::Method("CONNECT"),
            "HttpMethodDelete" => Self::Method("DELETE"),
            "HttpMethodGet" => Self::Method("GET"),
            "HttpMethodHead" => Self::Method("HEAD"),
            "HttpMethodOptions" => Self::Method("OPTIONS"),
            "HttpMethodPatch" => Self::Method("PATCH"),
            "HttpMethodPost" => Self::Method("POST"),
            "HttpMethodPut" => Self::Method("PUT"),
            "HttpMethodTrace" => Self::Method("TRACE"),
            _ => Self::Status(name.parse().ok().filter(|code| is_registered(*code))?),
        })
    }
}

/// True for status codes in the IANA registry, which is also the list of Go's `net/http`.
fn is_registered(code: u32) -> bool {
    matches!(code, 100..=103 | 200..=208 | 226 | 300..=305 | 307..=308 | 400..=418 | 421..=426 | 428..=429 | 431 | 451
        | 500..=508 | 510..=511)
}
