//! The server that Prometheus asks.
//!
//! Source of the behaviour: Kuma `pkg/mads/v1/service`, `pkg/mads/server/server.go`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderValue, Method, StatusCode, header};
use tandem_api::Problem;
use tandem_runtime::measure::{HttpMetrics, measure};
use tandem_xds::monitoring::{ClientAssignments, MonitoringAssignments};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::request::{Question, accepts_json, is_json, read, timeout};

/// The only address, with and without a slash at the end.
const PATHS: [&str; 2] = ["/v3/discovery:monitoringassignments", "/v3/discovery:monitoringassignments/"];

/// Most requests that wait at a time; a Prometheus server has one.
pub(super) const MAX_WAITING: usize = 1_000;

/// Longest wait, whatever the client asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Content type of an answer, as Kuma sends it.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Settings of the server.
#[derive(Debug, Clone)]
pub struct MadsSettings {
    /// How long a request waits for news, unless it says so itself.
    pub default_timeout: Duration,
}

/// What requests share.
struct Server {
    settings: MadsSettings,
    feed: Feed,
    waiting: Semaphore,
    shutdown: CancellationToken,
}

/// The routes, which tell what `feed` has. Waiting requests are answered at `shutdown`.
pub fn router(settings: MadsSettings, feed: Feed, metrics: HttpMetrics, shutdown: CancellationToken) -> Router {
    let server = Arc::new(Server { settings, feed, waiting: Semaphore::new(MAX_WAITING), shutdown });
    let routes = PATHS.into_iter().fold(Router::new(), |router, path| router.route(path, any(fetch)));
    routes
        .fallback(async || text(StatusCode::NOT_FOUND, "404: Page Not Found"))
        .layer(from_fn_with_state(metrics, measure))
        .with_state(server)
}

async fn fetch(State(server): State<Arc<Server>>, request: Request) -> Response {
    if request.method() != Method::POST {
        let refused = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
        return ([(header::ALLOW, HeaderValue::from_static("POST"))], refused).into_response();
    }
    if !is_json(request.headers()) {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type");
    }
    if !accepts_json(request.headers()) {
        let body = "406: Not Acceptable\n\nAvailable representations: application/json";
        return text(StatusCode::NOT_ACCEPTABLE, body);
    }
    let (parts, body) = request.into_parts();
    let asked = read(body)
        .await
        .and_then(|question| Ok((question, timeout(parts.uri.query(), server.settings.default_timeout)?)));
    match asked {
        Ok((question, wait)) => server.answer(&question, wait.min(LONGEST_WAIT)).await,
        Err(problem) => problem.into_response(),
    }
}

impl Server {
    async fn answer(&self, question: &Question, wait: Duration) -> Response {
        let news = |all: &Option<Arc<MonitoringAssignments>>| -> Option<Arc<ClientAssignments>> {
            let told = all.as_ref()?.of_client(&question.client);
            (told.version() != question.version).then(|| told.clone())
        };
        let mut feed = self.feed.clone();
        let mut found = news(&feed.borrow_and_update());
        if found.is_none() && !wait.is_zero() {
            let Ok(_permit) = self.waiting.try_acquire() else {
                let reason = format!("{MAX_WAITING} requests wait already; ask again later, or with fetch-timeout=0s");
                let title = "Could not wait for MonitoringAssignments";
                return Problem::new(StatusCode::SERVICE_UNAVAILABLE, title, reason).into_response();
            };
            let change = async {
                while found.is_none() && feed.changed().await.is_ok() {
                    found = news(&feed.borrow_and_update());
                }
            };
            // At the end of the time, of the process and of the feed there are no news.
            let _ = self.shutdown.run_until_cancelled(tokio::time::timeout(wait, change)).await;
        }
        match found {
            Some(told) => {
                let body = Body::from(told.response(&question.names));
                ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
            }
            None if self.feed.borrow().is_some() => StatusCode::NOT_MODIFIED.into_response(),
            None => {
                let reason = "the state of the meshes is not known yet";
                Problem::internal("Could not fetch MonitoringAssignments", &reason).into_response()
            }
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}
