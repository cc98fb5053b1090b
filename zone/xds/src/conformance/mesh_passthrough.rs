//! MeshPassthrough: what becomes of redirected connections that nothing else takes, and the order in which matches are compared.

use serde_json::{Value, json};
use tandem_model::Kind;
use tandem_policy::passthrough::{Conf, Matcher, Rules};

use super::report::folder;
use super::{Report, Resources, canonical, compare, differences, generated, golden, metadata, without, yaml};
use crate::testing::{Zone, stored};
use crate::{Cache, MeshIndex, ResourceType, ZoneSettings};

const PLUGIN: &str = "policy-plugins/meshpassthrough/plugin-v1alpha1";
const ORDER: &str = "policy-plugins/meshpassthrough/plugin-xds";

/// A match; without a port for all ports.
fn item(kind: &str, value: &str, protocol: &str, port: impl Into<Option<u32>>) -> Value {
    json!({"type": kind, "value": value, "protocol": protocol, "port": port.into()})
}

/// Cases whose matches decide.
fn matched() -> Vec<(&'static str, Vec<Value>)> {
    let basic = vec![
        item("Domain", "api.example.com", "tls", 443),
        item("Domain", "example.com", "tls", 443),
        item("Domain", "*.example.com", "tls", 443),
        item("Domain", "example.com", "http", 8080),
        item("Domain", "other.com", "http", 8080),
        item("CIDR", "192.168.0.0/16", "http", 8126),
        item("CIDR", "240.0.0.0/4", "http", 8126),
        item("Domain", "www.google.com", "http", 80),
        item("IP", "10.42.0.8", "http", None),
        item("IP", "b6e5:a45e:70ae:e77f:d24e:5023:375d:20a6", "tls", None),
        item("IP", "9942:9abf:d0e0:f2da:2290:333b:e590:f497", "tcp", 9091),
    ];
    let simple = vec![item("Domain", "api.example.com", "http", 80), item("IP", "192.168.0.0", "tcp", 80)];
    let ranges = vec![
        item("CIDR", "10.10.0.0/16", "http", 80),
        item("CIDR", "192.168.0.0/24", "http", 80),
        item("IP", "192.168.0.0", "http", None),
    ];
    let aggregated = vec![
        item("Domain", "example1.com", "http", 80),
        item("Domain", "anotherexample.com", "http", None),
        item("Domain", "example2.com", "http", 80),
        item("Domain", "*.example.com", "http", None),
    ];
    let domains =
        vec![item("Domain", "www.example.com", "http", 80), item("Domain", "www.anotherexample.com", "http", None)];
    let mysql = vec![item("IP", "172.12.2.2", "mysql", 3306), item("CIDR", "172.12.2.2/24", "mysql", 3307)];
    vec![
        ("basic", basic),
        ("only-ipv4-rules", vec![item("IP", "192.168.0.0", "tcp", 80)]),
        ("simple", simple),
        ("cidr-http", ranges),
        ("http-domains-aggregated", aggregated),
        ("http-domains", domains),
        ("same-protocol", vec![item("Domain", "www.gmail.com", "http", 80), item("IP", "10.42.0.8", "http", None)]),
        ("mysql-protocol", mysql),
    ]
}

/// What is made of redirected connections of a workload that nothing else takes.
fn made(passes: bool, conf: Value) -> Resources {
    let redirection = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    let inbound = json!({"address": "127.0.0.1", "port": 17777, "tags": {"kuma.io/service": "backend"}});
    let networking = json!({"address": "127.0.0.1", "inbound": [inbound], "transparentProxying": redirection});
    let proxy = stored(Kind::Dataplane, "default", "test", &json!({"networking": networking}));
    let mesh = stored(Kind::Mesh, "", "default", &json!({"networking": {"outbound": {"passthrough": passes}}}));
    let policy = stored(Kind::MeshPassthrough, "default", "policy", &json!({"spec": {"default": conf}}));
    let settings = ZoneSettings { internal_cidrs: Vec::new(), ..ZoneSettings::new("east") };
    let mut zone = Zone { index: MeshIndex::new(settings), cache: Cache::default() };
    [mesh, proxy.clone(), policy].into_iter().for_each(|resource| drop(zone.put(resource)));
    let made = zone.generate_with(&proxy.key, &metadata(&[]), &Default::default(), None).expect("nothing is missing");
    assert_eq!(made.warnings, []);
    let is_outbound = |name: &str| name.starts_with("outbound:") || name.starts_with("meshpassthrough");
    let of = |resource_type: ResourceType| made.resources.of(resource_type).iter().map(move |one| (resource_type, one));
    let all = of(ResourceType::Cluster).chain(of(ResourceType::Listener));
    let mut resources = generated(all.filter(|(_, resource)| is_outbound(&resource.name)));
    // Upstream's tests begin with listeners that do not have it.
    resources.values_mut().for_each(|resource| without(resource, &["useOriginalDst"]));
    resources
}

#[test]
fn mesh_passthrough() {
    let Some(folder) = folder(PLUGIN) else { return };
    let mut report = Report::new(PLUGIN);
    for (case, matches) in matched() {
        let read = |what: &str| golden(&folder.join(format!("{case}.{what}.golden.yaml")));
        let mut expected = read("listener");
        expected.extend(read("clusters"));
        report.case(case, differences(&made(true, json!({"appendMatch": matches})), &expected));
    }
    let of_all = json!({"passthroughMode": "All", "appendMatch": [item("Domain", "api.example.com", "tls", 443)]});
    let modes = [
        ("disabled_on_policy", true, json!({"passthroughMode": "None"})),
        ("enabled_on_policy", false, of_all.clone()),
        ("enabled_on_policy_and_mesh", true, of_all),
    ];
    for (case, passes, conf) in modes {
        let mut made = made(passes, conf);
        let read = |what: &str| golden(&folder.join(format!("{case}.{what}.golden.yaml")));
        let (mut expected, clusters) = (read("listeners"), read("clusters"));
        // These begin with a listener for IPv4 alone.
        made.retain(|key, _| !key.1.ends_with("ipv6") || clusters.contains_key(key));
        if case == "enabled_on_policy_and_mesh" {
            // The cluster that was there before is an empty one.
            let cluster = made.remove(clusters.keys().next().expect("it is listed"));
            assert!(cluster.is_some_and(|cluster| cluster["type"] == "ORIGINAL_DST"));
        } else {
            expected.extend(clusters);
        }
        report.case(case, differences(&made, &expected));
    }
    report.finish();
}

fn ordered(matcher: &Matcher) -> Value {
    let hosts = matcher.hosts.iter().map(|host| json!({"MatchType": host.kind as u32 + 1, "Value": host.value}));
    json!({
        "MatchType": matcher.kind as u32 + 1,
        "Port": matcher.port.unwrap_or_default(),
        "Protocol": matcher.protocol.name(),
        "Routes": hosts.collect::<Vec<_>>(),
        "Value": matcher.value,
    })
}

#[test]
fn order_of_matches() {
    let Some(folder) = folder(ORDER) else { return };
    let mut report = Report::new(ORDER);
    let many = vec![
        item("Domain", "api.example.com", "tls", 443),
        item("Domain", "api.example.com", "tls", None),
        item("Domain", "example.com", "tls", 443),
        item("Domain", "*.example.com", "tls", 443),
        item("Domain", "example.com", "http", 8080),
        item("Domain", "other.com", "http", 8080),
        item("Domain", "anotherhttp.com", "http", 8080),
        item("Domain", "http2.com", "http2", 9000),
        item("Domain", "grpc.com", "grpc", 9001),
        item("Domain", "*.example.com", "http", None),
        item("Domain", "*.example.com", "tls", None),
        item("IP", "10.42.0.8", "http", None),
        item("IP", "192.168.19.1", "tls", None),
        item("IP", "192.168.0.1", "tcp", 9091),
        item("Domain", "otherexample.com", "http", None),
        item("CIDR", "192.168.0.1/24", "tcp", None),
        item("CIDR", "192.168.1.1/30", "tcp", None),
        item("CIDR", "192.168.2.1/30", "tcp", None),
        item("CIDR", "192.168.0.1/30", "tcp", None),
        item("CIDR", "240.0.0.0/4", "http", None),
        item("CIDR", "172.18.0.0/16", "http", None),
        item("IP", "b6e5:a45e:70ae:e77f:d24e:5023:375d:20a6", "tls", None),
        item("IP", "9942:9abf:d0e0:f2da:2290:333b:e590:f497", "tcp", 9091),
        item("CIDR", "b0ce:f616:4e74:28f7:427c:b969:8016:6344/64", "tcp", None),
        item("CIDR", "b0ce:f616:4e74:28f7:427c:b969:8016:6344/96", "tcp", None),
    ];
    let of_port = |port: u32, protocol: &str| {
        let name = "api.example.com";
        [item("Domain", name, "tls", port), item("Domain", name, protocol, port), item("IP", "127.0.0.1", "tcp", port)]
    };
    let mut shared = [of_port(443, "http"), of_port(9090, "http2"), of_port(9091, "grpc")].concat();
    shared.push(item("IP", "127.0.0.1", "tcp", None));
    shared.push(item("Domain", "httpbin.com", "http", 80));
    shared.push(item("IP", "10.22.22.1", "http", None));
    for (case, matches) in [("ordered", many), ("ordered-diff-protocols", shared)] {
        let conf: Conf = serde_json::from_value(json!({"appendMatch": matches})).expect("a configuration");
        let actual: Vec<Value> = Rules::new(&conf, &[]).matchers.iter().map(ordered).map(canonical).collect();
        let mut expected: Vec<Value> =
            canonical(yaml(&folder.join(format!("{case}.golden.yaml")))).as_array().cloned().unwrap_or_default();
        let all = expected.len();
        // Ports of other versions of HTTP, on which nothing else over HTTP can be told from them.
        let is_taken = |matcher: &Value| {
            let port = &matcher["Port"];
            matcher["Protocol"] == "http" && matcher["MatchType"] == 2 && (*port == 9000 || *port == 9001)
        };
        expected.retain(|matcher| !is_taken(matcher));
        let left_out = all - expected.len();
        let mut found = Vec::new();
        compare("", &json!(actual), &json!(expected), &mut found);
        if found.is_empty() && left_out > 0 {
            let found = vec![format!("{left_out} matchers are left out")];
            report.different(case, "Envoy refuses a listener with two chains for the same connections", found);
        } else {
            report.case(case, found);
        }
    }
    report.finish();
}
