//! What ProxyTemplates make of resources.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use crate::input::Generated;
use crate::testing::{self, Zone, mesh, names};
use crate::{GenerateError, ResourceType};

/// A zone with one proxy `web` that has an HTTP inbound, and a ProxyTemplate for all proxies.
fn zone(conf: Value) -> Zone {
    let dataplane = testing::dataplane("default", "web")
        .inbound_with(8080, &[("kuma.io/service", "web"), ("kuma.io/protocol", "http"), ("version", "v1")]);
    Zone::new("east", [mesh("default").resource(), dataplane.resource(), template(conf)])
}

fn template(conf: Value) -> Resource {
    testing::stored(Kind::ProxyTemplate, "default", "t", &json!({"conf": conf}))
}

fn generate(zone: &Zone) -> Result<Generated, GenerateError> {
    zone.generate(&ResourceKey::new(Kind::Dataplane, "default", "web"), None)
}

fn generated(conf: Value) -> Generated {
    generate(&zone(conf)).expect("everything is there")
}

/// What a template with these modifications makes of the usual configuration; without problems.
fn modified(modifications: Value) -> Generated {
    let generated = generated(json!({"imports": ["default-proxy"], "modifications": modifications}));
    assert_eq!(generated.warnings, []);
    generated
}

const INBOUND: &str = "inbound:10.0.0.1:8080";
const LOCAL: &str = "localhost:8080";

fn listener(generated: &Generated) -> Value {
    testing::json(generated, ResourceType::Listener, INBOUND)
}

fn filters(generated: &Generated) -> Vec<String> {
    let listener = listener(generated);
    let filters = listener["filterChains"][0]["filters"].as_array().cloned().unwrap_or_default();
    filters.iter().map(|filter| filter["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn http_filters(generated: &Generated) -> Vec<String> {
    let listener = listener(generated);
    let filters = listener.pointer("/filterChains/0/filters/0/typedConfig/httpFilters").cloned().unwrap_or_default();
    let names = filters.as_array().into_iter().flatten().map(|filter| filter["name"].as_str().unwrap_or_default());
    names.map(str::to_owned).collect()
}

fn hosts(generated: &Generated) -> Value {
    let listener = listener(generated);
    listener.pointer("/filterChains/0/filters/0/typedConfig/routeConfig/virtualHosts").cloned().unwrap_or_default()
}

#[test]
fn clusters_are_added_removed_and_patched() {
    let added = json!({"name": "extra", "type": "STATIC"}).to_string();
    let generated = modified(json!([
        {"cluster": {"operation": "add", "value": added}},
        {"cluster": {"operation": "patch", "value": "connectTimeout: 0.5s"}},
        {"cluster": {"operation": "remove", "match": {"origin": "admin"}}},
    ]));
    assert_eq!(names(&generated, ResourceType::Cluster), ["extra", LOCAL]);
    for name in ["extra", LOCAL] {
        let cluster = testing::json(&generated, ResourceType::Cluster, name);
        assert_eq!(cluster["connectTimeout"], "0.500s", "{name}");
    }
}

#[test]
fn what_is_added_is_what_later_modifications_see() {
    let cluster = |timeout: &str| json!({"name": LOCAL, "type": "STATIC", "connectTimeout": timeout}).to_string();
    let generated = modified(json!([
        {"cluster": {"operation": "patch", "match": {"name": LOCAL}, "value": "connectTimeout: 3s"}},
        {"cluster": {"operation": "add", "value": cluster("4s")}},
        {"cluster": {"operation": "patch", "match": {"origin": "inbound"}, "value": "connectTimeout: 5s"}},
        {"cluster": {"operation": "patch", "match": {"origin": "proxy-template-modifications"}, "value": "altStatName: x"}},
    ]));
    let expected = json!({
        "@type": ResourceType::Cluster.type_url(), "name": LOCAL, "type": "STATIC", "connectTimeout": "4s",
        "altStatName": "x",
    });
    assert_eq!(testing::json(&generated, ResourceType::Cluster, LOCAL), expected);
}

#[test]
fn listeners_are_selected_by_name_origin_and_tags() {
    let selects = |select: Value| {
        let patch = json!([{"listener": {"operation": "patch", "match": select, "value": "statPrefix: patched"}}]);
        listener(&modified(patch))["statPrefix"] == "patched"
    };
    assert!(selects(json!({})));
    assert!(selects(json!({"name": INBOUND, "origin": "inbound", "tags": {"version": "*", "kuma.io/service": "web"}})));
    assert!(!selects(json!({"name": "inbound:10.0.0.1:80"})));
    assert!(!selects(json!({"origin": "outbound"})));
    assert!(!selects(json!({"tags": {"version": "v2"}})));
    assert!(!selects(json!({"tags": {"team": "*"}})));
    let removed = modified(json!([{"listener": {"operation": "remove", "match": {"name": INBOUND}}}]));
    assert!(!names(&removed, ResourceType::Listener).contains(&INBOUND));
}

#[test]
fn network_filters_are_placed_removed_and_patched() {
    let manager = "envoy.filters.network.http_connection_manager";
    let echo = "name: echo\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";
    let of = |operation: &str, name: &str| {
        let select = json!({"name": name, "origin": "inbound", "listenerTags": {"version": "v1"}});
        filters(&modified(json!([{"networkFilter": {"operation": operation, "match": select, "value": echo}}])))
    };
    assert_eq!(of("addFirst", ""), ["echo", manager]);
    assert_eq!(of("addLast", ""), [manager, "echo"]);
    assert_eq!(of("addAfter", manager), [manager, "echo"]);
    assert_eq!(of("addBefore", manager), ["echo", manager]);
    assert_eq!(of("addBefore", "other"), [manager]);
    assert_eq!(of("remove", ""), [""; 0]);
    let patch = format!(
        "name: {manager}\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.network.\
         http_connection_manager.v3.HttpConnectionManager\n  streamIdleTimeout: 7s\n  generateRequestId: false"
    );
    let select = json!({"name": manager, "listenerName": INBOUND});
    let generated = modified(json!([{"networkFilter": {"operation": "patch", "match": select, "value": patch}}]));
    let config = &listener(&generated)["filterChains"][0]["filters"][0]["typedConfig"];
    assert_eq!((&config["streamIdleTimeout"], &config["generateRequestId"]), (&json!("7s"), &json!(false)));
    assert_eq!(config["statPrefix"], "localhost_8080", "the rest stays");
}

#[test]
fn http_filters_are_placed_removed_and_patched() {
    let router = "envoy.filters.http.router";
    let gzip =
        "name: gzip\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
    let of = |operation: &str, name: &str| {
        let select = json!({"name": name, "listenerName": INBOUND});
        http_filters(&modified(json!([{"httpFilter": {"operation": operation, "match": select, "value": gzip}}])))
    };
    assert_eq!(of("addFirst", ""), ["gzip", router]);
    assert_eq!(of("addLast", ""), [router, "gzip"]);
    assert_eq!(of("addAfter", router), [router, "gzip"]);
    assert_eq!(of("addBefore", router), ["gzip", router]);
    assert_eq!(of("remove", router), [""; 0]);
    let patch = "name: envoy.filters.http.router\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.\
                 http.router.v3.Router\n  suppressEnvoyHeaders: true";
    let select = json!({"name": router, "origin": "inbound"});
    let generated = modified(json!([{"httpFilter": {"operation": "patch", "match": select, "value": patch}}]));
    let config = listener(&generated);
    let config = config.pointer("/filterChains/0/filters/0/typedConfig/httpFilters/0/typedConfig").expect("the router");
    assert_eq!(config["suppressEnvoyHeaders"], true);
}

#[test]
fn virtual_hosts_are_added_removed_and_patched() {
    let host = json!({"name": "extra", "domains": ["extra.test"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "extra"}},
    ]});
    let add = |table: &str| {
        let select = json!({"routeConfigurationName": table, "origin": "inbound"});
        let host = host.to_string();
        hosts(&modified(json!([{"virtualHost": {"operation": "add", "match": select, "value": host}}])))
    };
    assert_eq!(add("inbound:web")[1], host);
    assert_eq!(add("other")[1], Value::Null);
    let removed = modified(json!([{"virtualHost": {"operation": "remove", "match": {"name": "web"}}}]));
    assert_eq!(hosts(&removed), Value::Null);
    let patch = json!({"retryPolicy": {"retryOn": "5xx"}}).to_string();
    let patched = modified(json!([{"virtualHost": {"operation": "patch", "match": {"name": "web"}, "value": patch}}]));
    assert_eq!(hosts(&patched)[0]["retryPolicy"]["retryOn"], "5xx");
    assert_eq!(hosts(&patched)[0]["name"], "web");
}

#[test]
fn raw_resources_are_added_and_replace_generated_ones() {
    let raw = |kind: &str, name: &str| {
        let resource = json!({"@type": format!("type.googleapis.com/{kind}"), "name": name, "altStatName": "raw"});
        json!({"name": name, "version": "1", "resource": resource.to_string()})
    };
    let cluster = "envoy.config.cluster.v3.Cluster";
    let resources = json!([raw(cluster, "extra"), raw(cluster, LOCAL)]);
    let patch = json!([{"cluster": {
        "operation": "patch", "match": {"origin": "proxy-template-raw"}, "value": "connectTimeout: 1s",
    }}]);
    let generated = generated(json!({"imports": ["default-proxy"], "resources": resources, "modifications": patch}));
    assert_eq!(generated.warnings, []);
    for name in ["extra", LOCAL] {
        let expected = json!({
            "@type": ResourceType::Cluster.type_url(), "name": name, "altStatName": "raw", "connectTimeout": "1s",
        });
        assert_eq!(testing::json(&generated, ResourceType::Cluster, name), expected);
    }
}

#[test]
fn without_imports_nothing_is_generated() {
    let resource = json!({"@type": ResourceType::Cluster.type_url(), "name": "alone"}).to_string();
    let generated = generated(json!({"resources": [{"name": "alone", "version": "1", "resource": resource}]}));
    assert_eq!(names(&generated, ResourceType::Cluster), ["alone"]);
    for empty in [ResourceType::Listener, ResourceType::Endpoint, ResourceType::Secret] {
        assert_eq!(names(&generated, empty), [""; 0]);
    }
}

#[test]
fn what_makes_no_sense_stays_alone_and_is_named() {
    let echo = "name: x\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";
    let generated = generated(json!({
        "imports": ["default-proxy"],
        "resources": [{"name": "a", "resource": "[1"}, {"name": "b", "resource": "'@type': x/y"}],
        "modifications": [
            {"cluster": {"operation": "patch", "value": "conectTimeout: 1s"}},
            {"networkFilter": {"operation": "patch", "match": {"origin": "inbound"}, "value": echo}},
            {"cluster": {"operation": "patch", "match": {"name": LOCAL}, "value": "altStatName: patched"}},
        ],
    }));
    let warnings: Vec<String> = generated.warnings.iter().map(ToString::to_string).collect();
    let expected = ["resources[0]", "resources[1]", "conectTimeout", "modifications[1]"];
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected) && warning.contains("ProxyTemplate"), "{warning}");
    }
    assert_eq!(testing::json(&generated, ResourceType::Cluster, LOCAL)["altStatName"], "patched");
    assert_eq!(filters(&generated).len(), 1);
}

#[test]
fn a_template_of_another_profile_is_without_effect() {
    let generated = generated(json!({"imports": ["ingress-proxy"], "modifications": [
        {"cluster": {"operation": "remove"}},
    ]}));
    assert!(names(&generated, ResourceType::Cluster).contains(&LOCAL));
    assert!(generated.warnings[0].reason.contains("ingress-proxy"), "{:?}", generated.warnings);
}

#[test]
fn modified_resources_are_shared_and_made_once() {
    let patch = json!({"imports": ["default-proxy"], "modifications": [
        {"listener": {"operation": "patch", "value": "statPrefix: patched"}},
    ]});
    let zone = zone(patch);
    let first = generate(&zone).expect("everything is there");
    let key = ResourceKey::new(Kind::Dataplane, "default", "web");
    let second = zone.generate(&key, Some(&first)).expect("everything is there");
    let resource = |generated: &Generated| generated.resources.get(ResourceType::Listener, INBOUND).cloned();
    let (Some(one), Some(other)) = (resource(&first), resource(&second)) else { panic!("the listener is there") };
    assert!(Arc::ptr_eq(&one, &other));
}
