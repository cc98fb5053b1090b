//! Routes together with what the OpenAPI document says about them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{HeaderValue, Method, StatusCode, header};

use crate::context::SharedContext;
use crate::json;
use crate::negotiation;
use crate::openapi::Operation;

/// All routes so far, and their descriptions in the order in which they were added.
#[derive(Default)]
pub struct Routes {
    router: Router<SharedContext>,
    described: Vec<Described>,
}

/// One route as the document shows it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Template of the path, such as `/meshes/{mesh}/dataplanes/{name}`.
    pub path: String,
    /// What each method does.
    pub operations: Vec<(Method, Operation)>,
}

impl Routes {
    /// Adds a route.
    #[must_use]
    pub fn route(self, path: &str, endpoint: Endpoint) -> Self {
        let Self { router, mut described } = self;
        debug_assert!(
            endpoint.allowed.split(", ").all(|name| endpoint.operations.iter().any(|(method, _)| *method == name)),
            "{path}: every method needs a description, see `Endpoint::does`"
        );
        described.push(Described { path: path.to_owned(), operations: endpoint.operations });
        Self { router: router.route(path, endpoint.methods), described }
    }

    /// The router, and what it serves.
    pub fn finish(self) -> (Router<SharedContext>, Arc<[Described]>) {
        (self.router, self.described.into())
    }
}

/// What answers the requests to one path.
pub struct Endpoint {
    methods: MethodRouter<SharedContext>,
    operations: Vec<(Method, Operation)>,
    allowed: &'static str,
}

impl Endpoint {
    /// An endpoint that takes JSON or YAML and answers JSON; `allowed` lists its methods for clients that try others.
    pub fn new(methods: MethodRouter<SharedContext>, allowed: &'static str) -> Self {
        Self::any_format(methods.route_layer(from_fn(negotiation::negotiate)), allowed)
    }

    /// An endpoint whose handlers look at the formats of request and answer themselves.
    pub fn any_format(methods: MethodRouter<SharedContext>, allowed: &'static str) -> Self {
        let methods = methods
            // The framework would answer HEAD like GET; clients of Kuma get 405.
            .route_layer(from_fn(move |request: Request, next: Next| async move {
                if *request.method() == Method::HEAD { not_allowed(allowed) } else { next.run(request).await }
            }))
            .fallback(move || async move { not_allowed(allowed) });
        Self { methods, operations: Vec::new(), allowed }
    }

    /// Describes a method. Every method of every endpoint has to be described, so that the document is complete.
    #[must_use]
    pub fn describe(mut self, method: Method, operation: Operation) -> Self {
        self.operations.push((method, operation));
        self
    }

    /// Describes the only method of an endpoint made with [`get`] or [`post`].
    #[must_use]
    pub fn does(self, operation: Operation) -> Self {
        let method = if self.allowed == "POST" { Method::POST } else { Method::GET };
        self.describe(method, operation)
    }
}

/// An endpoint with the method `GET`.
pub fn get<H, T>(handler: H) -> Endpoint
where
    H: Handler<T, SharedContext>,
    T: 'static,
{
    Endpoint::new(on(MethodFilter::GET, handler), "GET")
}

/// An endpoint with the method `POST`.
pub fn post<H, T>(handler: H) -> Endpoint
where
    H: Handler<T, SharedContext>,
    T: 'static,
{
    Endpoint::new(on(MethodFilter::POST, handler), "POST")
}

fn not_allowed(allowed: &'static str) -> Response {
    let mut response = json::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
