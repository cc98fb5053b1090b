//! Serving the routes on both listeners, behind the rewriting of paths.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, Uri, header};
use tandem_runtime::config::ApiServer;
use tandem_runtime::http::Limits;
use tandem_runtime::listen::{self, ListenError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::context::SharedContext;
use crate::handlers::gui::Gui;
use crate::json;
use crate::router::{OriginalUri, router};
use crate::uri::{Target, target};

/// The sockets the API is served on. The same routes are behind both.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Plain HTTP (5681).
    pub http: Option<TcpListener>,
    /// HTTPS (5682).
    pub https: Option<(TcpListener, Arc<rustls::ServerConfig>)>,
}

impl Listeners {
    /// Opens the sockets that a configuration enables; `tls` is what the encrypted one presents.
    ///
    /// # Errors
    /// When a port is taken or may not be used; the text names its configuration key.
    pub async fn bind(config: &ApiServer, tls: Arc<rustls::ServerConfig>) -> Result<Self, ListenError> {
        let mut listeners = Self::default();
        if config.http.enabled {
            let address = SocketAddr::new(config.http.interface, config.http.port);
            listeners.http = Some(listen::bind(address, "apiServer.http.port").await?);
        }
        if config.https.enabled {
            let address = SocketAddr::new(config.https.interface, config.https.port);
            listeners.https = Some((listen::bind(address, "apiServer.https.port").await?, tls));
        }
        Ok(listeners)
    }

    /// Addresses that were bound: of plain HTTP, and of HTTPS.
    pub fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let plain = self.http.as_ref().and_then(|listener| listener.local_addr().ok());
        let encrypted = self.https.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        (plain, encrypted)
    }
}

/// How the client addressed this server: `scheme://host:port`, for links in answers.
#[derive(Debug, Clone)]
pub struct PublicOrigin(pub String);

/// Tells streams that the server is going to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(pub CancellationToken);

/// The time for a request's header is also that for which an idle connection is kept: long enough for clients that keep
/// theirs between commands.
fn limits() -> Limits {
    Limits { header: Duration::from_secs(60), ..Limits::default() }
}

/// Serves until `shutdown` is cancelled, then lets requests under way finish.
pub async fn serve(context: SharedContext, listeners: Listeners, shutdown: CancellationToken) {
    let routes = router(context.clone());
    let gui = Arc::new(Gui::new(&context));
    let front = |scheme| {
        let (routes, base) = (routes.clone(), context.settings.base_path().into());
        Front { routes, base, scheme, gui: gui.clone(), shutdown: Shutdown(shutdown.clone()) }.router()
    };
    let plain = async {
        if let Some(listener) = listeners.http {
            tandem_runtime::http::serve(listener, None, front("http"), limits(), shutdown.clone()).await;
        }
    };
    let encrypted = async {
        if let Some((listener, tls)) = listeners.https {
            tandem_runtime::http::serve(listener, Some(tls), front("https"), limits(), shutdown.clone()).await;
        }
    };
    tokio::join!(plain, encrypted);
}

/// What stands before the routes of one listener.
#[derive(Clone)]
struct Front {
    routes: Router,
    base: Arc<str>,
    scheme: &'static str,
    gui: Arc<Gui>,
    shutdown: Shutdown,
}

impl Front {
    fn router(self) -> Router {
        Router::new().fallback(move |request: Request| {
            let front = self.clone();
            async move { front.answer(request).await }
        })
    }

    async fn answer(self, mut request: Request) -> Response {
        if let Some(response) = self.gui.answer(&request) {
            return response;
        }
        match target(request.uri(), &self.base) {
            Target::Route(path) => {
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
                let origin = PublicOrigin(format!("{}://{}", self.scheme, host.unwrap_or_default()));
                let original = OriginalUri(request.uri().clone());
                // The authority stays: with HTTP/2 it is the only place that names the host.
                let mut parts = request.uri().clone().into_parts();
                parts.path_and_query = Some(path);
                match Uri::from_parts(parts) {
                    Ok(uri) => *request.uri_mut() = uri,
                    Err(_) => return StatusCode::BAD_REQUEST.into_response(),
                }
                request.extensions_mut().insert(origin);
                request.extensions_mut().insert(self.shutdown);
                request.extensions_mut().insert(original);
                match self.routes.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            Target::Redirect(location) => match HeaderValue::try_from(location) {
                Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response(),
                Err(_) => StatusCode::BAD_REQUEST.into_response(),
            },
            Target::NotFound => json::text(StatusCode::NOT_FOUND, "404: Page Not Found"),
            Target::Outside => json::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }
}
