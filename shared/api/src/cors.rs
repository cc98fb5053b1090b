//! Cross-origin requests, off unless domains are configured.
//!
//! An origin is allowed when an entry equals it (case-insensitive) or an entry is literally `.*`. Unlike upstream, a
//! preflight that names headers is answered so that a browser can use it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::context::SharedContext;

fn allowed(domains: &[String], origin: &str) -> bool {
    domains.iter().any(|domain| domain == ".*" || domain.eq_ignore_ascii_case(origin))
}

fn mark(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Access-Control-Allow-Origin"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// Answers preflights and marks answers to allowed origins.
pub async fn cross_origin(State(context): State<SharedContext>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let domains = &context.settings.cors_allowed_domains;
    let Some(origin) = origin.filter(|value| value.to_str().is_ok_and(|origin| allowed(domains, origin))) else {
        return next.run(request).await;
    };
    let preflight =
        *request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        let mut response = StatusCode::OK.into_response();
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, PUT, POST, DELETE"));
        if let Some(names) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        response
    } else {
        next.run(request).await
    };
    mark(response.headers_mut(), origin);
    response
}
