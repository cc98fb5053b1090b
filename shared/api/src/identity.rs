//! Who makes a request: found once, before any handler, and handed to it as [`User`].
//!
//! Order and texts: Kuma `pkg/api-server/authn` and `pkg/plugins/authn/api-server`.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use tandem_auth::access::User;
use tandem_auth::localhost;
use tandem_runtime::http::PeerCertificates;

use crate::context::{ApiContext, Authentication, SharedContext};
use crate::problem::Problem;

const SCHEME: &str = "Bearer ";

/// Finds out who makes the request; refuses it when the proof does not hold.
pub async fn identify(State(context): State<SharedContext>, mut request: Request, next: Next) -> Response {
    match user(&context, &request) {
        Ok(user) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn user(context: &ApiContext, request: &Request) -> Result<User, Problem> {
    if context.settings.localhost_is_admin && is_direct(request) {
        return Ok(User::admin().authenticated());
    }
    match context.settings.authentication {
        Authentication::AdminClientCerts if request.extensions().get::<PeerCertificates>().is_some() => {
            Ok(User::admin().authenticated())
        }
        Authentication::Tokens if !is_public(request) => token_user(context, request),
        _ => Ok(User::anonymous()),
    }
}

/// Whether a program on this host made the request, without a proxy or a foreign web page in between.
fn is_direct(request: &Request) -> bool {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else { return false };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    localhost::is_direct(peer.ip(), authority, request.headers())
}

/// The index is for everybody: clients ask it which product they talk to before they know how to authenticate.
fn is_public(request: &Request) -> bool {
    *request.method() == Method::GET && request.uri().path() == "/"
}

fn token_user(context: &ApiContext, request: &Request) -> Result<User, Problem> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|value| value.strip_prefix(SCHEME)) else { return Ok(User::anonymous()) };
    match context.tokens.check_user(token) {
        Ok(claims) => Ok(User { name: claims.name, groups: claims.groups }.authenticated()),
        Err(error) => {
            // The reason helps whoever runs the control plane, and an attacker too: it is logged, not answered.
            tracing::info!(%error, "refused a user token");
            Err(Problem::new(StatusCode::UNAUTHORIZED, "Invalid authentication data", "Unauthenticated"))
        }
    }
}
