//! All routes. The set follows from the registry of kinds; literal segments win over parameters.

use std::sync::Arc;

use axum::middleware;
use axum::routing::{MethodFilter, on};
use axum::{Extension, Router};
use http::{Method, StatusCode};
use serde_json::json as schema;
use tandem_kds::status::Peers;
use tandem_model::{Kind, Scope};
use tandem_runtime::measure::measure;

use crate::context::SharedContext;
use crate::handlers::inspect::{
    confs, dataplanes, gateway_proxies, layout, legacy_rules, policy_proxies, proxy_policies,
    routes as outbound_routes, rules,
};
use crate::handlers::overviews::{self, OVERVIEWS, Overview};
use crate::handlers::{
    apply, envoy_admin, global_insight, history, hostnames, index, kri, problems, proxy_config, resources,
    service_insights, sync, tokens, types, watch,
};
use crate::openapi::describe::{self, CONTROL_PLANE, INSPECTION, SYNCHRONIZATION, TOKENS};
use crate::openapi::{Document, Operation, Server, Shape};
use crate::routes::{Endpoint, Routes, get, post};
use crate::{cors, explain, identity, json};

/// The address of a request as the client wrote it, base path included.
#[derive(Debug, Clone)]
pub struct OriginalUri(pub http::Uri);

/// The router behind both listeners.
pub fn router(context: SharedContext) -> Router {
    let (router, routes) = routes(&context).finish();
    let server = Server { base_path: context.settings.base_path(), authentication: context.settings.authentication };
    let document = Arc::new(Document::new(server, routes));
    router
        .layer(Extension(document))
        .fallback(async || json::text(StatusCode::NOT_FOUND, "404: Page Not Found"))
        .layer(middleware::from_fn_with_state(context.clone(), cors::cross_origin))
        .layer(middleware::from_fn_with_state(context.clone(), identity::identify))
        .layer(middleware::from_fn_with_state(context.metrics.clone(), measure))
        .with_state(context)
}

/// Every route with its description.
fn routes(context: &SharedContext) -> Routes {
    let mut routes = own_routes(Routes::default());
    routes = token_routes(routes, context);
    routes = service_insight_routes(routes);
    routes = sync_routes(routes, context);
    for kind in Kind::all().filter(|kind| *kind != Kind::ServiceInsight) {
        let descriptor = kind.descriptor();
        for path in descriptor.path.iter().chain(&descriptor.alternative_path) {
            routes = kind_routes(routes, kind, path, context);
        }
    }
    for overview in OVERVIEWS {
        routes = overview_routes(routes, overview);
    }
    routes = explain::routes::add(routes);
    document_routes(hostname_routes(proxy_routes(identifier_routes(attachment_routes(inspect_routes(routes))))))
}

/// What the control plane tells of itself.
fn own_routes(routes: Routes) -> Routes {
    let about = |summary: &str, component: &str| {
        Operation::new(CONTROL_PLANE, summary).answers(200, Shape::component(component))
    };
    let document = |shape| Operation::new(CONTROL_PLANE, "Shows this document").answers(200, shape);
    let config = Operation::new(CONTROL_PLANE, "Shows the effective configuration");
    let yaml = Endpoint::any_format(on(MethodFilter::GET, index::openapi_yaml), "GET");
    let by_identifier =
        Operation::new("Resources", "Shows an item by its identifier").common(&["formatOfItem", "namespace"]);
    routes
        .route("/", get(index::index).does(about("Shows product and version", "Index")))
        .route("/config", get(index::config).does(config.answers(200, Shape::object()).refuses(&[403])))
        .route("/who-am-i", get(index::who_am_i).does(about("Shows who sends the request", "WhoAmI")))
        .route("/openapi.yaml", yaml.does(document(Shape::Text("application/yaml"))))
        .route("/openapi.json", get(index::openapi_json).does(document(Shape::object())))
        .route("/_resources", get(types::resources).does(about("Lists the types", "ResourceTypes")))
        .route("/policies", get(types::policies).does(about("Lists the types of policies", "PolicyTypes")))
        .route(
            "/global-insight",
            get(global_insight::global_insight).does(about("Sums up all meshes and zones", "GlobalInsight")),
        )
        .route(
            "/global-insights",
            get(global_insight::global_counts).does(about("Counts what belongs to no mesh", "GlobalCounts")),
        )
        .route("/_kri/{kri}", get(kri::get).does(by_identifier.answers(200, Shape::object()).refuses(&[400, 403, 404])))
}

/// How far synchronization is.
fn sync_routes(routes: Routes, context: &SharedContext) -> Routes {
    let shows =
        |what: &str, component: &str| Operation::new(SYNCHRONIZATION, what).answers(200, Shape::component(component));
    // It takes no body, so none has to be described.
    let release = || {
        let operation = Operation::new(SYNCHRONIZATION, "Has deletions of a type carried out that are held back")
            .answers(202, Shape::Json(schema!({
                "type": "object",
                "required": ["released"],
                "properties": { "released": { "type": "integer", "description": "How many deletions were held back." } },
            })))
            .refuses(&[403, 404, 405, 409]);
        Endpoint::any_format(on(MethodFilter::POST, sync::release), "POST").does(operation)
    };
    let overview = shows("Shows how far synchronization is", "SyncOverview");
    let routes = routes.route("/_sync", get(sync::overview).does(overview));
    match context.sync.peers() {
        Peers::None => routes,
        Peers::Global => routes.route("/_sync/{type}/_release", release()),
        Peers::Zones => {
            let zone =
                shows("Shows how far synchronization with a zone is, type by type", "PeerReport").refuses(&[404]);
            routes
                .route("/zones/{name}/_sync", get(sync::zone).does(zone))
                .route("/zones/{name}/_sync/{type}/_release", release())
        }
    }
}

/// Services of meshes. They are shown one by one, other than they are stored.
fn service_insight_routes(routes: Routes) -> Routes {
    let list = || {
        let operation = describe::services().query(
            "type",
            "Shows services of these types only, separated by commas.",
            schema!({ "type": "string", "examples": ["internal,external,gateway_delegated,gateway_builtin"] }),
        );
        get(service_insights::list).does(operation)
    };
    let item = get(service_insights::get).does(describe::get(Kind::ServiceInsight).without_parameters());
    routes
        .route("/service-insights", list())
        .route("/meshes/{mesh}/service-insights", list())
        .route("/meshes/{mesh}/service-insights/{name}", item)
}

/// What running proxies say, and what they would be sent.
fn proxy_routes(mut routes: Routes) -> Routes {
    for (kind, path) in [
        (Kind::Dataplane, "/meshes/{mesh}/dataplanes"),
        (Kind::ZoneIngress, "/zoneingresses"),
        (Kind::ZoneEgress, "/zoneegresses"),
    ] {
        let operation = Operation::new(INSPECTION, format!("Asks the Envoy of a {kind}"))
            .query(
                "format",
                "Form of statistics and clusters.",
                schema!({ "type": "string", "enum": ["json", "text"] }),
            )
            .query("include_eds", "Adds endpoints to `xds`.", schema!({ "type": "boolean" }))
            .query("usedonly", "Leaves unused ones out of `stats`.", schema!({ "type": "boolean", "default": true }))
            .answers(200, Shape::JsonOrText)
            .refuses(&[400, 403, 404]);
        let ask = get(move |state, user, uri, question| envoy_admin::ask(kind, state, user, uri, question));
        let ask = ask.does(operation);
        routes = routes.route(&format!("{path}/{{name}}/{{operation}}"), ask);
        let operation = Operation::new(INSPECTION, format!("Shows what is wrong with the configuration of a {kind}"))
            .answers(200, Shape::component("ProxyProblems"))
            .refuses(&[403, 404]);
        let problems = get(move |state, user, place| problems::of_proxy(kind, state, user, place)).does(operation);
        routes = routes.route(&format!("{path}/{{name}}/_problems"), problems);
    }
    let operation = Operation::new(INSPECTION, "Shows which proxies and resources have problems")
        .answers(200, Shape::component("Problems"))
        .refuses(&[403]);
    routes = routes.route("/_problems", get(problems::all).does(operation));
    for path in ["dataplanes", "meshgateways"] {
        let operation = Operation::new(INSPECTION, "Shows the configuration that a proxy would get now")
            .query("shadow", "Applies policies that are on trial.", schema!({ "type": "boolean", "default": false }))
            .query("include", "Adds the difference that they make.", schema!({ "type": "string", "enum": ["diff"] }))
            .answers(200, Shape::object())
            .refuses(&[400, 404, 405]);
        let show = get(proxy_config::get).does(operation);
        routes = routes.route(&format!("/meshes/{{mesh}}/{path}/{{name}}/_config"), show);
    }
    routes
}

/// Host names of services; other types are told that they have none.
fn hostname_routes(mut routes: Routes) -> Routes {
    for kind in tandem_model::hostname::KINDS {
        let path = kind.descriptor().path.unwrap_or_default();
        let operation = Operation::new(INSPECTION, format!("Shows the host names of a {kind}"));
        let ask = get(move |state, place| hostnames::get(kind, state, place))
            .does(operation.answers(200, Shape::object()).refuses(&[400, 404]));
        routes = routes.route(&format!("/meshes/{{mesh}}/{path}/{{name}}/_hostnames"), ask);
    }
    let none = Operation::new(INSPECTION, "Tells that items of other types have no host names").refuses(&[400, 404]);
    routes.route("/meshes/{mesh}/{type}/{name}/_hostnames", get(hostnames::refuse).does(none))
}

/// Which policies concern which proxies.
fn inspect_routes(mut routes: Routes) -> Routes {
    let policies = Kind::all().map(Kind::descriptor).filter(|descriptor| descriptor.policy.is_some());
    for descriptor in policies {
        let kind = descriptor.kind;
        for path in descriptor.path.iter().chain(&descriptor.alternative_path) {
            // kumactl asks for the second form.
            for list in ["_resources/dataplanes", "-resources/dataplanes"] {
                let proxies =
                    get(move |state, origin, uri, place| dataplanes::of_policy(kind, state, origin, uri, place))
                        .does(describe::proxies(kind));
                routes = routes.route(&format!("/meshes/{{mesh}}/{path}/{{name}}/{list}"), proxies);
            }
        }
    }
    for list in ["_dataplanes", "_resources/dataplanes", "-resources/dataplanes"] {
        routes = routes.route(
            &format!("/meshes/{{mesh}}/meshservices/{{name}}/{list}"),
            get(dataplanes::of_service).does(describe::proxies(Kind::MeshService)),
        );
    }
    let rules_of = |whose: &str| {
        Operation::new(INSPECTION, format!("Shows what policies amount to for a {whose}"))
            .answers(200, Shape::object())
            .refuses(&[400, 404])
    };
    routes
        .route("/meshes/{mesh}/dataplanes/{name}/_rules", get(rules::of_dataplane).does(rules_of("proxy")))
        .route("/meshes/{mesh}/dataplanes/{name}/rules", get(legacy_rules::of_dataplane).does(rules_of("proxy")))
        .route("/meshes/{mesh}/meshgateways/{name}/_rules", get(rules::of_gateway).does(rules_of("gateway")))
}

/// Which policies win at which parts of proxies, as kumactl shows it.
fn attachment_routes(mut routes: Routes) -> Routes {
    let shows = |what: String| Operation::new(INSPECTION, what).answers(200, Shape::object()).refuses(&[400, 404]);
    for kind in Kind::all().filter(|kind| policy_proxies::is_asked_of(*kind)) {
        for path in kind.descriptor().path.iter() {
            let proxies = get(move |state, place| policy_proxies::get(kind, state, place));
            let operation = shows(format!("Lists the parts of proxies that a {kind} is attached to"));
            routes = routes.route(&format!("/meshes/{{mesh}}/{path}/{{name}}/dataplanes"), proxies.does(operation));
        }
    }
    let proxies = |kind: Kind| shows(format!("Lists the builtin gateways that a {kind} concerns"));
    routes
        .route(
            "/meshes/{mesh}/meshgateways/{name}/dataplanes",
            get(gateway_proxies::of_gateway).does(proxies(Kind::MeshGateway)),
        )
        .route(
            "/meshes/{mesh}/meshgatewayroutes/{name}/dataplanes",
            get(gateway_proxies::of_route).does(proxies(Kind::MeshGatewayRoute)),
        )
        .route(
            "/meshes/{mesh}/dataplanes/{name}/policies",
            get(proxy_policies::get).does(shows("Lists the policies attached to a proxy and its parts".to_owned())),
        )
}

/// Inbounds and outbounds of a proxy by identifier, and what configures them.
fn identifier_routes(routes: Routes) -> Routes {
    const PROXY: &str = "/meshes/{mesh}/dataplanes/{name}";
    let outbound = format!("{PROXY}/_outbounds/{{outbound}}");
    let shows = |what: &str, component: &str| {
        Operation::new(INSPECTION, format!("Shows {what}"))
            .answers(200, Shape::component(component))
            .refuses(&[400, 404])
    };
    let of_proxy = shows("the policies about a proxy itself", "PolicyConfs");
    let of_inbound = shows("the policies about an inbound of a proxy", "InboundPolicyConfs");
    let of_outbound = shows("the policies about an outbound of a proxy", "PolicyConfs");
    let of_route = shows("the policies about a route of an outbound", "PolicyConfs");
    let outbound_routes = get(outbound_routes::get).does(shows("the routes of an outbound", "OutboundRoutes"));
    routes
        .route(
            &format!("{PROXY}/_layout"),
            get(layout::get).does(shows("the inbounds and outbounds of a proxy", "ProxyLayout")),
        )
        .route(&format!("{PROXY}/_policies"), get(confs::of_proxy).does(of_proxy))
        .route(&format!("{PROXY}/_inbounds/{{inbound}}/_policies"), get(confs::of_inbound).does(of_inbound))
        .route(&format!("{outbound}/_policies"), get(confs::of_outbound).does(of_outbound))
        .route(&format!("{outbound}/_routes"), outbound_routes)
        .route(&format!("{outbound}/_routes/{{route}}/_policies"), get(confs::of_route).does(of_route))
}

fn token_routes(routes: Routes, context: &SharedContext) -> Routes {
    let issues = |whom: &str, component: &str| {
        Operation::new(TOKENS, format!("Issues a token for a {whom}"))
            .takes(Shape::component(component))
            .answers(200, Shape::Text("text/plain"))
            .refuses(&[400, 403, 404])
    };
    let routes = routes
        .route("/tokens/dataplane", post(tokens::dataplane).does(issues("proxy", "DataplaneTokenRequest")))
        .route("/tokens/zone", post(tokens::zone).does(issues("zone", "ZoneTokenRequest")));
    // User tokens make no sense when nobody can use them to authenticate.
    match context.settings.authentication {
        crate::Authentication::Tokens => {
            routes.route("/tokens/user", post(tokens::user).does(issues("user", "UserTokenRequest")))
        }
        crate::Authentication::AdminClientCerts => routes,
    }
}

fn kind_routes(routes: Routes, kind: Kind, path: &str, context: &SharedContext) -> Routes {
    let list = move || {
        get(move |state, user, origin, uri, shutdown, route, place, headers| {
            watch::list(kind, state, user, origin, uri, shutdown, route, place, headers)
        })
        .does(describe::list(kind))
    };
    let item = || {
        let methods = on(MethodFilter::GET, move |state, user, uri, shutdown, place, headers| {
            watch::get(kind, state, user, uri, shutdown, place, headers)
        })
        .on(MethodFilter::PUT, move |state, user, uri, place, headers, body| {
            resources::put(kind, state, user, uri, place, headers, body)
        })
        .on(MethodFilter::DELETE, move |state, user, uri, place, headers| {
            resources::delete(kind, state, user, uri, place, headers)
        });
        let writable = !context.admission.is_read_only(kind);
        Endpoint::new(methods, "PUT, DELETE, GET")
            .describe(Method::GET, describe::get(kind))
            .describe(Method::PUT, describe::put(kind, writable))
            .describe(Method::DELETE, describe::delete(kind, writable))
    };
    let routes = routes.route(&format!("/{path}"), list());
    let (routes, address) = match kind.descriptor().scope {
        Scope::Global => (routes, format!("/{path}/{{name}}")),
        Scope::Mesh => {
            (routes.route(&format!("/meshes/{{mesh}}/{path}"), list()), format!("/meshes/{{mesh}}/{path}/{{name}}"))
        }
    };
    let routes = routes.route(&address, item());
    if tandem_store::has_history(kind) { history_routes(routes, kind, &address, context) } else { routes }
}

/// What an item was, and how it becomes that again.
fn history_routes(routes: Routes, kind: Kind, address: &str, context: &SharedContext) -> Routes {
    let show = get(move |state, user, place| history::get(kind, state, user, place)).does(describe::history(kind));
    // A rollback has no body, so no format either.
    let rollback = on(MethodFilter::PUT, move |state, user, uri, place, headers| {
        history::rollback(kind, state, user, uri, place, headers)
    });
    let writable = !context.admission.is_read_only(kind);
    let rollback = Endpoint::any_format(rollback, "PUT").describe(Method::PUT, describe::rollback(kind, writable));
    routes.route(&format!("{address}/_history"), show).route(&format!("{address}/_rollback"), rollback)
}

/// Many documents at once.
fn document_routes(routes: Routes) -> Routes {
    const DRY_RUN: &str = "Only tells what would be written.";
    let apply = describe::documents("Creates or replaces all resources of a list, or none").query(
        "dry-run",
        DRY_RUN,
        schema!({ "type": "boolean", "default": false }),
    );
    let validate = describe::documents("Tells whether a list of resources could be applied");
    routes.route("/_apply", post(apply::apply).does(apply)).route("/_validate", post(apply::validate).does(validate))
}

fn overview_routes(mut routes: Routes, overview: Overview) -> Routes {
    let list = || {
        get(move |state, origin, uri, route, place| overviews::list(overview, state, origin, uri, route, place))
            .does(describe::overviews(overview))
    };
    let item = || {
        get(move |state, user, uri, place| overviews::get(overview, state, user, uri, place))
            .does(describe::overview(overview))
    };
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
