//! The port for proxies, which everybody can reach: what connections and requests may cost, and what is answered where nothing is.

use std::num::NonZero;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tandem_runtime::config::Config;
use tandem_runtime::http::{self as server, Limits, Observer};
use tonic::Status;

use crate::bootstrap::BootstrapLimitSettings;
use crate::refusals::{self, Door, Reason, Refusals};

/// Requests that a connection of a proxy is good for. A proxy opens a few streams in its life, one that is refused tries again rarely.
const REQUESTS_OF_CONNECTION: u32 = 1_000;

/// How long the body of a request for a bootstrap configuration may take.
const BOOTSTRAP_BODY: Duration = Duration::from_secs(10);

/// How long it may take until such a request is answered and the answer is taken.
const BOOTSTRAP_ANSWER: Duration = Duration::from_secs(60);

/// Bytes that may arrive on a stream of a proxy before they are read; an Envoy begins with some 100 KB.
const STREAM_WINDOW: u32 = 128 * 1024;

/// One request for a bootstrap configuration at a time for two cores: those who are served already come first.
pub fn bootstrap_limits(config: &Config) -> BootstrapLimitSettings {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    BootstrapLimitSettings {
        request: config.bootstrap_server.max_request_size,
        memory: config.bootstrap_server.max_memory,
        turns: cores.div_ceil(2),
    }
}

/// Limits of the port that everybody can reach. A request of a real Envoy fits the windows.
pub fn limits(config: &Config, refusals: Refusals) -> Limits {
    let limits = &config.dp_server.limits;
    let observer = Observer::new(move |refusal| {
        let (door, reason) = refusals::of_connection(refusal);
        refusals.count(door, reason);
    });
    Limits {
        header: config.dp_server.read_header_timeout,
        grace: config.dp_server.graceful_shutdown_timeout,
        pending: limits.max_pending_connections,
        first_request: limits.first_request_timeout,
        idle: limits.idle_timeout,
        requests: REQUESTS_OF_CONNECTION,
        body: BOOTSTRAP_BODY,
        answer: Some(BOOTSTRAP_ANSWER),
        streams: limits.max_streams,
        stream_window: STREAM_WINDOW,
        connection_window: 2 * STREAM_WINDOW,
        observer,
        ..Limits::default()
    }
}

/// What is answered where there is nothing, as Kuma does.
pub fn unknown_path(request: &http::Request<Body>, refusals: &Refusals) -> Response {
    refusals.count(Door::Http, Reason::UnknownPath);
    if server::is_stream(request.headers()) {
        return Status::unimplemented(format!("unknown method {}", request.uri().path())).into_http();
    }
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}
