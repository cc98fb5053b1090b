//! What MeshProxyPatches make of resources.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use crate::ResourceType;
use crate::input::Generated;
use crate::testing::{self, Zone, dataplane, mesh, names};

const INBOUND: &str = "inbound:10.0.0.1:8080";
const OUTBOUND: &str = "outbound:127.0.0.1:10001";
const LOCAL: &str = "localhost:8080";
const ROUTER: &str = "envoy.filters.http.router";
const MANAGER: &str = "envoy.filters.network.http_connection_manager";

fn patches(name: &str, modifications: Value) -> Resource {
    let spec = json!({"default": {"appendModifications": modifications}});
    Resource::from_json(ResourceKey::new(Kind::MeshProxyPatch, "default", name), spec)
}

/// A zone with proxies `web` and `other`, which have an HTTP inbound and reach `echo`.
fn zone() -> Zone {
    let web = |name: &str| {
        let tags = [("kuma.io/service", "web"), ("kuma.io/protocol", "http"), ("version", "v1")];
        dataplane("default", name).inbound_with(8080, &tags).outbound(10001, "echo").resource()
    };
    let echo = dataplane("default", "echo").address("10.0.0.2");
    let echo = echo.inbound_with(80, &[("kuma.io/service", "echo"), ("kuma.io/protocol", "http")]).resource();
    Zone::new("east", [mesh("default").resource(), web("web"), web("other"), echo])
}

fn generate(zone: &Zone, name: &str) -> Generated {
    zone.generate(&ResourceKey::new(Kind::Dataplane, "default", name), None).expect("everything is there")
}

fn generated(modifications: Value) -> Generated {
    let mut zone = zone();
    zone.put(patches("p", modifications));
    generate(&zone, "web")
}

/// What modifications make of the usual configuration; without problems.
fn modified(modifications: Value) -> Generated {
    let generated = generated(modifications);
    assert_eq!(generated.warnings, []);
    generated
}

fn listener(generated: &Generated, name: &str) -> Value {
    testing::json(generated, ResourceType::Listener, name)
}

fn manager(generated: &Generated) -> Value {
    listener(generated, INBOUND).pointer("/filterChains/0/filters/0/typedConfig").cloned().expect("a manager")
}

fn http_filters(generated: &Generated) -> Vec<String> {
    let filters = manager(generated)["httpFilters"].as_array().cloned().unwrap_or_default();
    filters.iter().map(|filter| filter["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn clusters_are_added_removed_and_patched() {
    let generated = modified(json!([
        {"cluster": {"operation": "Add", "value": "name: extra\nconnectTimeout: 5s"}},
        {"cluster": {"operation": "Patch", "match": {"origin": "inbound"}, "value": "connectTimeout: 7s"}},
        {"cluster": {"operation": "Patch", "match": {"name": "extra", "origin": "proxy-template-modifications"},
            "jsonPatches": [{"op": "replace", "path": "/connectTimeout", "value": "77s"}]}},
        {"cluster": {"operation": "Remove", "match": {"name": "echo"}}},
    ]));
    let timeout = |name: &str| testing::json(&generated, ResourceType::Cluster, name)["connectTimeout"].clone();
    assert_eq!((timeout(LOCAL), timeout("extra")), (json!("7s"), json!("77s")));
    assert!(!names(&generated, ResourceType::Cluster).contains(&"echo"));
}

#[test]
fn listeners_are_selected_by_name_origin_and_tags() {
    let selects = |select: Value| {
        let patch = json!([{"listener": {"operation": "Patch", "match": select, "value": "statPrefix: patched"}}]);
        listener(&modified(patch), INBOUND)["statPrefix"] == "patched"
    };
    assert!(selects(json!({})));
    assert!(selects(json!({"name": INBOUND, "origin": "inbound", "tags": {"version": "v1"}})));
    assert!(!selects(json!({"name": ""})), "no listener has this name");
    assert!(!selects(json!({"origin": "outbound"})));
    assert!(!selects(json!({"tags": {"version": "v2"}})));
    let added = "name: extra\naddress:\n  socketAddress:\n    address: 127.0.0.1\n    portValue: 19000";
    let generated = modified(json!([
        {"listener": {"operation": "Add", "value": added}},
        {"listener": {"operation": "Patch", "match": {"origin": "mesh-proxy-patch"}, "value": "statPrefix: x"}},
        {"listener": {"operation": "Remove", "match": {"origin": "outbound"}}},
    ]));
    assert_eq!(listener(&generated, "extra")["statPrefix"], "x");
    assert!(!names(&generated, ResourceType::Listener).contains(&OUTBOUND));
}

/// Listeners of what is passed through have another name where names are unified; both mean them.
#[test]
fn listeners_of_what_is_passed_through_have_two_names() {
    let mut zone = Zone::new("east", [mesh("default").resource()]);
    let redirection = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001, "ipFamilyMode": "IPv4"});
    let networking = json!({
        "address": "10.0.0.1", "inbound": [{"port": 8080, "tags": {"kuma.io/service": "web"}}],
        "transparentProxying": redirection,
    });
    zone.put(testing::stored(Kind::Dataplane, "default", "web", &json!({"networking": networking})));
    for name in ["outbound:passthrough:ipv4", "self_transparentproxy_passthrough_outbound_ipv4"] {
        let patch = json!({"operation": "Patch", "match": {"name": name}, "value": "statPrefix: patched"});
        zone.put(patches("p", json!([{"listener": patch}])));
        let generated = generate(&zone, "web");
        assert_eq!(listener(&generated, "outbound:passthrough:ipv4")["statPrefix"], "patched", "{name}");
        assert_eq!(listener(&generated, "inbound:passthrough:ipv4")["statPrefix"], Value::Null);
    }
}

#[test]
fn filters_are_placed_removed_and_patched() {
    let buffer =
        "name: buffer\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
    let of = |operation: &str, name: Option<&str>| {
        let select = json!({"name": name, "listenerName": INBOUND});
        let value = (operation != "Remove").then_some(buffer);
        http_filters(&modified(json!([{"httpFilter": {"operation": operation, "match": select, "value": value}}])))
    };
    assert_eq!(of("AddFirst", None), ["buffer", ROUTER]);
    assert_eq!(of("AddLast", None), [ROUTER, "buffer"]);
    assert_eq!(of("AddAfter", Some(ROUTER)), [ROUTER, "buffer"]);
    assert_eq!(of("AddBefore", Some(ROUTER)), ["buffer", ROUTER]);
    assert_eq!(of("AddBefore", Some("other")), [ROUTER]);
    assert_eq!(of("Remove", None), [""; 0]);

    let patch = json!([
        {"networkFilter": {"operation": "Patch", "match": {"name": MANAGER, "origin": "inbound"}, "jsonPatches": [
            {"op": "replace", "path": "/streamIdleTimeout", "value": "9s"},
            {"op": "add", "path": "/accessLog/-/name", "value": "log"},
            {"op": "remove", "path": "/notThere"},
            {"op": "copy", "from": "/statPrefix", "path": "/serverName"},
        ]}},
        {"httpFilter": {"operation": "Patch", "match": {"name": ROUTER, "listenerTags": {"version": "v1"}},
            "jsonPatches": [{"op": "add", "path": "/suppressEnvoyHeaders", "value": true}]}},
    ]);
    let manager = manager(&modified(patch));
    assert_eq!((&manager["streamIdleTimeout"], &manager["accessLog"]), (&json!("9s"), &json!([{"name": "log"}])));
    assert_eq!(manager["serverName"], manager["statPrefix"]);
    assert_eq!(manager["httpFilters"][0]["typedConfig"]["suppressEnvoyHeaders"], true);
}

#[test]
fn virtual_hosts_are_added_removed_and_patched() {
    let host = json!({"name": "extra", "domains": ["extra.test"]});
    let generated = modified(json!([
        {"virtualHost": {"operation": "Add", "match": {"routeConfigurationName": "inbound:web"}, "value": host.to_string()}},
        {"virtualHost": {"operation": "Patch", "match": {"name": "web", "origin": "inbound"},
            "jsonPatches": [{"op": "add", "path": "/domains/0", "value": "web.test"}]}},
        {"virtualHost": {"operation": "Patch", "match": {"name": "extra"}, "value": "includeRequestAttemptCount: true"}},
        {"virtualHost": {"operation": "Remove", "match": {"origin": "outbound"}}},
    ]));
    let hosts = manager(&generated)["routeConfig"]["virtualHosts"].clone();
    assert_eq!(hosts[0]["domains"], json!(["web.test", "*"]));
    assert_eq!(hosts[1], json!({"name": "extra", "domains": ["extra.test"], "includeRequestAttemptCount": true}));
    let outbound = listener(&generated, OUTBOUND);
    let outbound = outbound.pointer("/filterChains/0/filters/0/typedConfig/routeConfig").expect("a route table");
    assert_eq!(outbound["virtualHosts"], Value::Null);
}

/// Kuma gives up the whole configuration.
#[test]
fn what_does_not_fit_is_left_out_alone_and_told_at_its_policy() {
    let mut zone = zone();
    let echo = "name: x\ntypedConfig:\n  '@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";
    zone.put(patches(
        "a",
        json!([
            {"cluster": {"operation": "Patch", "value": "[1"}},
            {"networkFilter": {"operation": "Patch", "match": {"name": MANAGER, "origin": "inbound"}, "value": echo}},
            {"cluster": {"operation": "Patch", "match": {"name": LOCAL}, "value": "altStatName: patched"}},
        ]),
    ));
    zone.put(patches(
        "b",
        json!([
            {"httpFilter": {"operation": "Patch", "match": {"name": ROUTER, "listenerName": INBOUND}, "jsonPatches": [
                {"op": "add", "path": "/startChildSpan", "value": true},
                {"op": "replace", "path": "/suppress_envoy_headers", "value": true},
            ]}},
            {"listener": {"operation": "Patch", "match": {"name": INBOUND},
                "jsonPatches": [{"op": "add", "path": "/statPrefix", "value": ["text", "expected"]}]}},
            {"cluster": {"operation": "Add", "value": "connectTimeout: 1s"}},
        ]),
    ));
    let generated = generate(&zone, "web");
    let told: Vec<_> = generated
        .warnings
        .iter()
        .map(|warning| (warning.resource.as_ref().expect("a policy").name.as_str(), warning.reason.as_str()))
        .collect();
    let expected = [
        ("a", "appendModifications[0]: it is not YAML"),
        ("b", "appendModifications[2]: what it adds has no name"),
        (
            "a",
            "appendModifications[1] at \"inbound:10.0.0.1:8080\": the filter \"envoy.filters.network.http_connection_manager\" is a",
        ),
        (
            "b",
            "appendModifications[0] at \"inbound:10.0.0.1:8080\": the filter \"envoy.filters.http.router\": jsonPatches[1]: there is nothing at /suppress_envoy_headers",
        ),
        (
            "b",
            "appendModifications[1] at \"inbound:10.0.0.1:8080\": with jsonPatches this is no envoy.config.listener.v3.Listener",
        ),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (policy, reason) in expected {
        assert!(told.iter().any(|(of, found)| *of == policy && found.contains(reason)), "{reason}: {told:?}");
    }
    assert_eq!(testing::json(&generated, ResourceType::Cluster, LOCAL)["altStatName"], "patched");
    let router = &manager(&generated)["httpFilters"][0]["typedConfig"];
    assert_eq!(router["startChildSpan"], Value::Null, "a modification is made as a whole or not at all");
}

#[test]
fn proxies_share_what_is_patched_alike() {
    let mut zone = zone();
    zone.put(patches("p", json!([{"cluster": {"operation": "Patch", "value": "altStatName: patched"}}])));
    let (one, other) = (generate(&zone, "web"), generate(&zone, "other"));
    let shared = |resource_type, name| {
        let find = |of: &Generated| of.resources.get(resource_type, name).expect("generated").clone();
        Arc::ptr_eq(&find(&one), &find(&other))
    };
    assert_eq!(testing::json(&one, ResourceType::Cluster, "echo")["altStatName"], "patched");
    assert!(shared(ResourceType::Cluster, "echo") && shared(ResourceType::Listener, OUTBOUND));

    // Again, with a policy about something else: the same patches.
    let timeout = testing::for_all(Kind::MeshTimeout, "default", "t", "from", json!({"idleTimeout": "9s"}));
    zone.put(timeout);
    let again = zone.generate(&ResourceKey::new(Kind::Dataplane, "default", "web"), Some(&one)).expect("generates");
    let find = |of: &Generated| of.resources.get(ResourceType::Cluster, "echo").expect("generated").clone();
    assert!(Arc::ptr_eq(&find(&one), &find(&again)));
}

#[test]
fn templates_see_what_patches_made() {
    let mut zone = zone();
    zone.put(patches("p", json!([{"cluster": {"operation": "Add", "value": "name: extra"}}])));
    let modifications =
        json!([{"cluster": {"operation": "patch", "match": {"name": "extra"}, "value": "altStatName: x"}}]);
    let conf = json!({"conf": {"imports": ["default-proxy"], "modifications": modifications}});
    zone.put(testing::stored(Kind::ProxyTemplate, "default", "t", &conf));
    assert_eq!(testing::json(&generate(&zone, "web"), ResourceType::Cluster, "extra")["altStatName"], "x");
    let conf = json!({"conf": {"resources": [], "modifications": []}});
    zone.put(testing::stored(Kind::ProxyTemplate, "default", "t", &conf));
    assert_eq!(
        names(&generate(&zone, "web"), ResourceType::Cluster),
        [""; 0],
        "nothing is generated, so nothing is added"
    );
}
