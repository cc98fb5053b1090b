//! Routes that explain policies, and tell what others would change.

use axum::routing::{MethodFilter, on};
use http::Method;
use serde_json::json;
use tandem_model::Kind;

use crate::handlers::{dry_run, explain, policy_problems};
use crate::inspect::POLICY_ORDER;
use crate::names::singular;
use crate::openapi::describe::INSPECTION;
use crate::openapi::schemas::item_name;
use crate::openapi::{Operation, Shape};
use crate::routes::{Endpoint, Routes, get};

/// Adds the routes.
pub fn add(mut routes: Routes) -> Routes {
    routes = routes.route("/meshes/{mesh}/dataplanes/{name}/_explain", of_proxy());
    for kind in POLICY_ORDER {
        let descriptor = kind.descriptor();
        for path in descriptor.path.iter().chain(&descriptor.alternative_path) {
            let address = format!("/meshes/{{mesh}}/{path}/{{name}}");
            routes = routes.route(&format!("{address}/_dry-run"), of_policy(kind));
            routes = routes.route(&format!("{address}/_problems"), of_problems(kind));
        }
    }
    routes
}

/// Adds where a policy that is not stored would be written.
fn with_origin(operation: Operation) -> Operation {
    operation.query(
        "origin",
        "`global`: in a zone, as if it were written at the global control plane instead of in the zone.",
        json!({ "type": "string", "enum": ["global"] }),
    )
}

fn of_proxy() -> Endpoint {
    let about = |summary: &str| {
        Operation::new(INSPECTION, summary)
            .query(
                "policy",
                "Types of policies, separated by commas; without it all that say something.",
                json!({ "type": "string", "examples": ["MeshTimeout"] }),
            )
            .query(
                "to",
                "Only outgoing traffic to this destination: a value of `kuma.io/service`, or name or identifier of a resource.",
                json!({ "type": "string" }),
            )
            .answers(200, Shape::component("Explanation"))
            .refuses(&[400, 403, 404])
    };
    let show = about("Explains why policies have the effect on a proxy that they have");
    let suppose = with_origin(about("Explains what a policy would do for a proxy if it were stored"))
        .takes(Shape::Json(json!({ "type": "object", "required": ["type", "name"] })))
        .refuses(&[405, 409]);
    let methods = on(MethodFilter::GET, explain::get).on(MethodFilter::POST, explain::post);
    Endpoint::new(methods, "GET, POST").describe(Method::GET, show).describe(Method::POST, suppose)
}

fn of_policy(kind: Kind) -> Endpoint {
    let tells = |what: &str| {
        let summary =
            format!("Tells which proxies {what} of a {} would change, and how; stores nothing", singular(kind));
        with_origin(Operation::new(INSPECTION, summary).common(&["size", "offset"]))
            .answers(200, Shape::component("DryRun"))
            .refuses(&[400, 403, 404, 405, 409])
    };
    let put =
        move |state, user, source, place, headers, body| dry_run::put(kind, state, user, source, place, headers, body);
    let delete = move |state, user, origin, uri, place| dry_run::delete(kind, state, user, origin, uri, place);
    Endpoint::new(on(MethodFilter::POST, put).on(MethodFilter::DELETE, delete), "POST, DELETE")
        .describe(Method::POST, tells("a write").takes(Shape::component(item_name(kind))))
        .describe(Method::DELETE, tells("a deletion"))
}

fn of_problems(kind: Kind) -> Endpoint {
    let summary = format!("Shows what keeps a {} from having the effect that it asks for", singular(kind));
    let operation =
        Operation::new(INSPECTION, summary).answers(200, Shape::component("PolicyProblems")).refuses(&[403, 404]);
    get(move |state, user, place| policy_problems::get(kind, state, user, place)).does(operation)
}
