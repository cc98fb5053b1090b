//! MeshHTTPRoute: where HTTP requests go.

mod filters;
mod hash;
mod matches;
mod order;
mod schema;
mod table;
mod validation;

pub use hash::hash_of_json;
pub use schema::{
    Filter, FilterType, HeaderModifier, Match, Method, PathMatch, PathMatchType, PathRewrite, PathRewriteType,
    QueryParamsMatch, QueryParamsMatchType, RequestMirror, RequestRedirect, Rule, RuleConf, Scheme, Spec, To,
    UrlRewrite,
};
pub use table::{Mirror, Route, RouteOrigin, RouteTable};
