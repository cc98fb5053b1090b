//! All routes. The set follows from the registry of kinds; literal segments win over parameters.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{HeaderValue, Method, StatusCode, header};
use tandem_model::{Kind, Scope};

use crate::context::SharedContext;
use crate::handlers::overviews::{self, OVERVIEWS, Overview};
use crate::handlers::{global_insight, index, kri, resources, service_insights, tokens, types};
use crate::{cors, identity, json, measure, negotiation};

/// The address of a request as the client wrote it, base path included.
#[derive(Debug, Clone)]
pub struct OriginalUri(pub http::Uri);

type Routes = Router<SharedContext>;

/// The router behind both listeners.
pub fn router(context: SharedContext) -> Router {
    let mut routes = Routes::new()
        .route("/", get(index::index))
        .route("/config", get(index::config))
        .route("/who-am-i", get(index::who_am_i))
        .route("/_resources", get(types::resources))
        .route("/policies", get(types::policies))
        .route("/global-insight", get(global_insight::global_insight))
        .route("/global-insights", get(global_insight::global_counts))
        .route("/_kri/{kri}", get(kri::get))
        .route("/service-insights", get(service_insights::list))
        .route("/meshes/{mesh}/service-insights", get(service_insights::list))
        .route("/meshes/{mesh}/service-insights/{name}", get(service_insights::get));
    routes = token_routes(routes, &context);
    for kind in Kind::all().filter(|kind| *kind != Kind::ServiceInsight) {
        let descriptor = kind.descriptor();
        for path in descriptor.path.iter().chain(&descriptor.alternative_path) {
            routes = kind_routes(routes, kind, path);
        }
    }
    for overview in OVERVIEWS {
        routes = overview_routes(routes, overview);
    }
    routes
        .fallback(async || json::text(StatusCode::NOT_FOUND, "404: Page Not Found"))
        .layer(middleware::from_fn_with_state(context.clone(), cors::cross_origin))
        .layer(middleware::from_fn_with_state(context.clone(), identity::identify))
        .layer(middleware::from_fn_with_state(context.clone(), measure::measure))
        .with_state(context)
}

fn token_routes(routes: Routes, context: &SharedContext) -> Routes {
    let routes = routes.route("/tokens/dataplane", post(tokens::dataplane)).route("/tokens/zone", post(tokens::zone));
    // User tokens make no sense when nobody can use them to authenticate.
    match context.settings.authentication {
        crate::Authentication::Tokens => routes.route("/tokens/user", post(tokens::user)),
        crate::Authentication::AdminClientCerts => routes,
    }
}

fn kind_routes(routes: Routes, kind: Kind, path: &str) -> Routes {
    let list = move || {
        get(move |state, user, origin, uri, route, place| resources::list(kind, state, user, origin, uri, route, place))
    };
    let item = || {
        methods(
            on(MethodFilter::GET, move |state, user, uri, place| resources::get(kind, state, user, uri, place))
                .on(MethodFilter::PUT, move |state, user, place, headers, body| {
                    resources::put(kind, state, user, place, headers, body)
                })
                .on(MethodFilter::DELETE, move |state, user, place| resources::delete(kind, state, user, place)),
            "PUT, DELETE, GET",
        )
    };
    match kind.descriptor().scope {
        Scope::Global => routes.route(&format!("/{path}"), list()).route(&format!("/{path}/{{name}}"), item()),
        Scope::Mesh => routes
            .route(&format!("/{path}"), list())
            .route(&format!("/meshes/{{mesh}}/{path}"), list())
            .route(&format!("/meshes/{{mesh}}/{path}/{{name}}"), item()),
    }
}

fn overview_routes(mut routes: Routes, overview: Overview) -> Routes {
    let list =
        || get(move |state, origin, uri, route, place| overviews::list(overview, state, origin, uri, route, place));
    let item = || get(move |state, user, uri, place| overviews::get(overview, state, user, uri, place));
    let descriptor = overview.kind.descriptor();
    let scopes: &[&str] = match descriptor.scope {
        Scope::Global => &[""],
        Scope::Mesh => &["", "/meshes/{mesh}"],
    };
    for scope in scopes {
        // There is no address of an item outside its mesh.
        let has_items = descriptor.scope == Scope::Global || !scope.is_empty();
        for path in descriptor.path.iter().chain(&descriptor.alternative_path) {
            routes = routes.route(&format!("{scope}/{path}/_overview"), list());
            if has_items {
                routes = routes.route(&format!("{scope}/{path}/{{name}}/_overview"), item());
            }
        }
        let older = older_path(overview.kind);
        routes = routes.route(&format!("{scope}/{older}"), list());
        if has_items {
            routes = routes.route(&format!("{scope}/{older}/{{name}}"), item());
        }
    }
    routes
}

/// The path of overviews before `_overview` existed.
fn older_path(kind: Kind) -> String {
    match kind {
        Kind::ZoneEgress => "zoneegressoverviews".to_owned(),
        kind => format!("{}+insights", kind.descriptor().path.unwrap_or_default()),
    }
}

fn get<H, T>(handler: H) -> MethodRouter<SharedContext>
where
    H: axum::handler::Handler<T, SharedContext>,
    T: 'static,
{
    methods(on(MethodFilter::GET, handler), "GET")
}

fn post<H, T>(handler: H) -> MethodRouter<SharedContext>
where
    H: axum::handler::Handler<T, SharedContext>,
    T: 'static,
{
    methods(on(MethodFilter::POST, handler), "POST")
}

/// Adds what every route does before its handler, and the answer to other methods than `allowed`.
fn methods(router: MethodRouter<SharedContext>, allowed: &'static str) -> MethodRouter<SharedContext> {
    router
        .route_layer(from_fn(negotiation::negotiate))
        // The framework would answer HEAD like GET; clients of Kuma get 405.
        .route_layer(from_fn(move |request: Request, next: Next| async move {
            if *request.method() == Method::HEAD { not_allowed(allowed) } else { next.run(request).await }
        }))
        .fallback(move || async move { not_allowed(allowed) })
}

fn not_allowed(allowed: &'static str) -> Response {
    let mut response = json::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
