//! MeshHTTPRoute: where HTTP requests go.

mod hash;
mod schema;
mod validation;

pub use hash::hash_of_json;
pub use schema::{
    Filter, FilterType, HeaderModifier, Match, Method, PathMatch, PathMatchType, PathRewrite, PathRewriteType,
    QueryParamsMatch, QueryParamsMatchType, RequestMirror, RequestRedirect, Rule, RuleConf, Scheme, Spec, To,
    UrlRewrite,
};
