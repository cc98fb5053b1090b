//! Routes of requests and connections.

use serde_json::{Value, json};
use tandem_model::kind::Kind::{MeshHTTPRoute, MeshTCPRoute};
use tandem_model::kri::Kri;
use tandem_policy::ProxyPolicies;
use tandem_policy::envoy::pb::route::redirect_action::PathRewriteSpecifier;
use tandem_policy::envoy::pb::route::route::Action;
use tandem_policy::envoy::pb::route::route_action::HostRewriteSpecifier;
use tandem_policy::envoy::pb::route::route_match::PathSpecifier;
use tandem_policy::http_route::{Route, RouteTable};

use crate::for_one_inbound;

fn route(rules: Value) -> Value {
    json!({"to": [{"targetRef": {"kind": "MeshService", "name": "web"}, "rules": rules}]})
}

fn rule(path: Value, default: Value) -> Value {
    json!({"matches": [{"path": path}], "default": default})
}

fn prefix(value: &str) -> Value {
    json!({"type": "PathPrefix", "value": value})
}

fn table(policies: &ProxyPolicies) -> &RouteTable {
    policies.outbound.http_routes.of_service("web").expect("a policy is about the service")
}

/// The paths of Envoy's routes in order.
fn paths(routes: &[Route]) -> Vec<String> {
    let templates = routes.iter().flat_map(|route| &route.templates);
    let path = |template: &tandem_policy::envoy::pb::route::Route| match template
        .r#match
        .as_ref()
        .and_then(|condition| condition.path_specifier.as_ref())
    {
        Some(PathSpecifier::Path(path)) => format!("={path}"),
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::SafeRegex(regex)) => format!("~{}", regex.regex),
        other => format!("{other:?}"),
    };
    templates.map(path).collect()
}

#[test]
fn routes_are_in_order_of_precedence_and_take_everything() {
    let exact = json!({"type": "Exact", "value": "/exact"});
    let regex = json!({"type": "RegularExpression", "value": "/r.*"});
    let rules = [prefix("/a"), regex, prefix("/a/longer"), exact].map(|path| rule(path, json!({})));
    let policies = for_one_inbound(&[(MeshHTTPRoute, "r", route(json!(rules)))]);
    let expected = ["=/exact", "=/a/longer", "/a/longer/*", "=/a", "/a/*", "~/r.*", "/*"];
    assert_eq!(paths(&table(&policies).routes), expected);
    let last = table(&policies).routes.last().expect("it has routes");
    assert_eq!((last.origin.as_ref(), last.hash()), (None, "9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo="));

    let all = for_one_inbound(&[(MeshHTTPRoute, "r", route(json!([rule(prefix("/"), json!({}))])))]);
    assert_eq!(paths(&table(&all).routes), ["/*"], "a route of a policy takes everything");
    assert!(table(&all).routes[0].origin.is_some());
}

#[test]
fn stronger_policies_come_first_and_name_routes() {
    let weak = route(json!([rule(prefix("/x"), json!({"backendRefs": [{"kind": "MeshService", "name": "weak"}]}))]));
    let strong =
        route(json!([rule(prefix("/x"), json!({"backendRefs": [{"kind": "MeshService", "name": "strong"}]}))]));
    let policies = for_one_inbound(&[(MeshHTTPRoute, "b", weak), (MeshHTTPRoute, "a", strong)]);
    let route = &table(&policies).routes[0];
    assert_eq!(route.backends[0].target.to_string(), "kuma.io/service=strong");
    assert_eq!(route.name(false), "kri_mhttpr_default___a_");
    assert_eq!(route.name(true).parse::<Kri>().map(|kri| (kri.name, kri.section)), Ok(("a".into(), "rule0".into())));
}

#[test]
fn prefixes_are_replaced_up_to_the_slash() {
    let rewrite =
        json!({"hostname": "other.com", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}});
    let filters = json!([{"type": "URLRewrite", "urlRewrite": rewrite}]);
    let policies =
        for_one_inbound(&[(MeshHTTPRoute, "r", route(json!([rule(prefix("/old"), json!({"filters": filters}))])))]);
    let [whole, more] = table(&policies).routes[0].templates.as_slice() else { panic!("two routes") };
    let actions = [whole, more].map(|template| match &template.action {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    });
    let regex = actions[0].regex_rewrite.as_ref().expect("all of the path is replaced");
    assert_eq!((regex.substitution.as_str(), actions[0].prefix_rewrite.as_str()), ("/new", ""));
    assert_eq!((actions[1].regex_rewrite.as_ref(), actions[1].prefix_rewrite.as_str()), (None, "/new"));
    let host = HostRewriteSpecifier::HostRewriteLiteral("other.com".to_owned());
    assert!(actions.iter().all(|action| action.host_rewrite_specifier == Some(host.clone())));
}

#[test]
fn what_follows_a_redirection_is_left_out_alone() {
    let redirect = json!({"port": 8443, "scheme": "https", "statusCode": 308,
        "path": {"type": "ReplaceFullPath", "replaceFullPath": "/a\\1"}});
    let filters = json!([
        {"type": "RequestRedirect", "requestRedirect": redirect},
        {"type": "URLRewrite", "urlRewrite": {"hostname": "x.com"}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"kind": "MeshService", "name": "copy"}}},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-a", "value": "1"}]}},
    ]);
    let policies =
        for_one_inbound(&[(MeshHTTPRoute, "r", route(json!([rule(prefix("/"), json!({"filters": filters}))])))]);
    let table = table(&policies);
    let route = &table.routes[0];
    let Some(Action::Redirect(redirect)) = &route.templates[0].action else { panic!("no redirection") };
    assert_eq!((redirect.port_redirect, redirect.response_code), (8443, 4));
    let Some(PathRewriteSpecifier::RegexRewrite(path)) = &redirect.path_rewrite_specifier else { panic!("no path") };
    assert_eq!(path.substitution, "/a\\\\1", "a backslash is one");
    assert!(!route.is_forwarding() && route.mirrors.is_empty());
    assert_eq!(route.templates[0].response_headers_to_add.len(), 1);
    assert_eq!(table.problems.len(), 2, "{:?}", table.problems);
}

#[test]
fn what_envoy_would_refuse_is_left_out_alone() {
    let header = |name: &str, value: &str| {
        let modifier = json!({"set": [{"name": name, "value": value}]});
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": modifier})
    };
    let heavy = json!({"kind": "MeshService", "name": "a", "weight": 3_000_000_000_u32});
    let rules = json!([
        rule(json!({"type": "RegularExpression", "value": "/("}), json!({})),
        {"matches": [{"headers": [{"type": "RegularExpression", "name": "x", "value": "["}]},
            {"method": "GET"}], "default": {}},
        rule(prefix("/a"), json!({"filters": [header("x-a", "100%"), header("host", "x"), header("x-b", "%REQ(a)%")]})),
        rule(prefix("/b"), json!({"backendRefs": [heavy, heavy]})),
    ]);
    let policies = for_one_inbound(&[(MeshHTTPRoute, "r", route(rules))]);
    let table = table(&policies);
    assert_eq!(paths(&table.routes), ["=/a", "/a/*", "/*", "/*"]);
    assert_eq!(table.routes[0].templates[0].request_headers_to_add.len(), 1);
    assert_eq!(table.problems.len(), 5, "{:#?}", table.problems);
}

#[test]
fn references_by_labels_that_nothing_has_are_left_out() {
    let nothing = json!({"kind": "MeshService", "labels": {"a": "b"}, "port": 80});
    let rules = json!([rule(prefix("/"), json!({"backendRefs": [nothing]}))]);
    let split = json!({"to": [{"targetRef": {"kind": "MeshService", "name": "web"},
        "rules": [{"default": {"backendRefs": [nothing, {"kind": "MeshService", "name": "x", "weight": 5}]}}]}]});
    let policies = for_one_inbound(&[(MeshHTTPRoute, "r", route(rules)), (MeshTCPRoute, "t", split)]);
    let table = table(&policies);
    assert_eq!((table.routes[0].backends.len(), table.problems.len()), (0, 1));
    let split = policies.outbound.tcp_routes.of_service("web").expect("a policy is about the service");
    assert_eq!((split.backends.len(), split.backends[0].weight, split.problems.len()), (1, 5, 1));
    assert!(policies.outbound.tcp_routes.of_service("other").is_none());
}

#[test]
fn a_split_without_rules_leads_to_its_destination() {
    let to = json!({"to": [{"targetRef": {"kind": "MeshService", "name": "web"}, "rules": []}]});
    let policies = for_one_inbound(&[(MeshTCPRoute, "t", to)]);
    let split = policies.outbound.tcp_routes.of_service("web").expect("a policy is about the service");
    assert_eq!(split.backends[0].target.to_string(), "kuma.io/service=web");
}
