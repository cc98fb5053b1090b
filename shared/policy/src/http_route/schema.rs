//! Schema of MeshHTTPRoute.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/api/v1alpha1/meshhttproute.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{BackendRef, HeaderKeyValue, HeaderMatch, IntOrString};
use crate::target_ref::TargetRef;

/// Pattern of a host name, as RFC 1123 has it.
const HOST_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Specification of MeshHTTPRoute.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The proxies; absent for all of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Routes by destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<To>>,
}

/// Routes of requests to one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct To {
    /// Host names the routes are limited to; for gateways only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostnames: Option<Vec<String>>,
    /// The destination.
    pub target_ref: TargetRef,
    /// The routes.
    pub rules: Vec<Rule>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Conditions on the request, one of which must hold.
    #[schemars(length(min = 1))]
    pub matches: Vec<Match>,
    /// Where matching requests go.
    pub default: RuleConf,
}

/// A condition on a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Condition on the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Conditions on query parameters, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_params: Option<Vec<QueryParamsMatch>>,
    /// Conditions on headers, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<HeaderMatch>>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathMatch {
    /// Path, or pattern.
    #[schemars(length(min = 1))]
    pub value: String,
    /// How the path is compared.
    #[serde(rename = "type")]
    pub kind: PathMatchType,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PathMatchType {
    /// The path as a whole.
    Exact,
    /// The path up to a slash, or as a whole.
    PathPrefix,
    /// The path matches a regular expression.
    RegularExpression,
}

/// A request method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Method {
    /// CONNECT.
    #[serde(rename = "CONNECT")]
    Connect,
    /// DELETE.
    #[serde(rename = "DELETE")]
    Delete,
    /// GET.
    #[serde(rename = "GET")]
    Get,
    /// HEAD.
    #[serde(rename = "HEAD")]
    Head,
    /// OPTIONS.
    #[serde(rename = "OPTIONS")]
    Options,
    /// PATCH.
    #[serde(rename = "PATCH")]
    Patch,
    /// POST.
    #[serde(rename = "POST")]
    Post,
    /// PUT.
    #[serde(rename = "PUT")]
    Put,
    /// TRACE.
    #[serde(rename = "TRACE")]
    Trace,
}

/// A condition on a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryParamsMatch {
    /// How the value is compared.
    #[serde(rename = "type")]
    pub kind: QueryParamsMatchType,
    /// Name of the parameter.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Value, or pattern.
    pub value: String,
}

/// How a query parameter is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum QueryParamsMatchType {
    /// The value as a whole.
    Exact,
    /// The value matches a regular expression.
    RegularExpression,
}

/// Where requests go and what is changed on the way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleConf {
    /// What is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<Filter>>,
    /// Where they go; absent for the destination of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_refs: Option<Vec<BackendRef>>,
}

/// A change; of the objects, the one for the type is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Type of the change.
    #[serde(rename = "type")]
    pub kind: FilterType,
    /// Changes to the headers of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HeaderModifier>,
    /// Changes to the headers of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderModifier>,
    /// The redirection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<RequestRedirect>,
    /// Changes to the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<UrlRewrite>,
    /// The copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<RequestMirror>,
}

/// Type of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FilterType {
    /// Headers of the request.
    RequestHeaderModifier,
    /// Headers of the response.
    ResponseHeaderModifier,
    /// The client is sent elsewhere.
    RequestRedirect,
    /// Host or path of the request.
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    /// A copy of the request goes elsewhere.
    RequestMirror,
}

/// Changes to headers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderModifier {
    /// Headers that are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub set: Option<Vec<HeaderKeyValue>>,
    /// Headers that are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub add: Option<Vec<HeaderKeyValue>>,
    /// Headers that are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub remove: Option<Vec<String>>,
}

/// Sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// Scheme of the new URL; absent for that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Host of the new URL; absent for that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_NAME))]
    pub hostname: Option<String>,
    /// Path of the new URL; absent for that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// Port of the new URL; absent for that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// Status code of the response.
    #[serde(default = "default_status_code")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status_code: u32,
}

fn default_status_code() -> u32 {
    302
}

/// Scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scheme {
    /// HTTP.
    #[serde(rename = "http")]
    Http,
    /// HTTPS.
    #[serde(rename = "https")]
    Https,
}

/// A new path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathRewrite {
    /// What is replaced.
    #[serde(rename = "type")]
    pub kind: PathRewriteType,
    /// The new path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// What replaces the prefix that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

/// What is replaced by a new path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PathRewriteType {
    /// All of the path.
    ReplaceFullPath,
    /// The prefix that matched.
    ReplacePrefixMatch,
}

/// Changes host or path of the request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UrlRewrite {
    /// The new host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST_NAME))]
    pub hostname: Option<String>,
    /// The new path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// Makes the host that of the destination; for gateways only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_to_backend_hostname: Option<bool>,
}

/// Sends a copy of the request elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Share of the requests, in percent; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<IntOrString>,
    /// Where the copy goes.
    pub backend_ref: BackendRef,
}
