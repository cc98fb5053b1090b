//! Sidecars whose traffic may leave the mesh as MeshPassthroughs say.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource};

use super::{CLUSTER, LISTENER, key};
use crate::Generated;
use crate::metadata::{Features, ProxyMetadata};
use crate::testing::{Zone, json, metadata, names, stored};

const OUTBOUND: &str = "outbound:passthrough:ipv4";

fn policy(name: &str, conf: &Value) -> Resource {
    stored(Kind::MeshPassthrough, "default", name, &json!({"spec": {"default": conf}}))
}

fn proxy(networking: &Value) -> Resource {
    let mut all = json!({"address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "web"}}]});
    for (name, member) in networking.as_object().into_iter().flatten() {
        all[name] = member.clone();
    }
    stored(Kind::Dataplane, "default", "web", &json!({"networking": all}))
}

fn redirected() -> Resource {
    proxy(&json!({"transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}}))
}

fn mesh(passes: bool) -> Resource {
    stored(Kind::Mesh, "", "default", &json!({"networking": {"outbound": {"passthrough": passes}}}))
}

/// Names of the clusters by which traffic leaves the mesh.
fn ways(generated: &Generated) -> Vec<&str> {
    let all = names(generated, CLUSTER);
    all.into_iter().filter(|name| name.starts_with("outbound:") || name.starts_with("meshpassthrough")).collect()
}

fn chains(generated: &Generated) -> Vec<String> {
    let listener = json(generated, LISTENER, OUTBOUND);
    let chains = listener["filterChains"].as_array().into_iter().flatten();
    chains.map(|chain| chain["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Reasons why something is left out, with the names of the policies.
fn left_out(generated: &Generated) -> Vec<(&str, &str)> {
    let all = generated.warnings.iter();
    assert!(all.clone().all(|warning| warning.resource.is_some()), "{:?}", generated.warnings);
    all.filter_map(|warning| Some((warning.resource.as_ref()?.name.as_str(), warning.reason.as_str()))).collect()
}

#[test]
fn a_policy_decides_for_its_proxies_whatever_the_mesh_says() {
    const ALL: [&str; 2] = ["outbound:passthrough:ipv4", "outbound:passthrough:ipv6"];
    let some = json!([{"type": "IP", "value": "1.2.3.4", "port": 443, "protocol": "tcp"}]);
    for passes in [true, false] {
        let mut zone = Zone::new("east", [mesh(passes), redirected()]);
        assert_eq!(ways(&zone.generate(&key("web"), None).unwrap()), if passes { &ALL[..] } else { &[] });

        let touched = zone.put(policy("p", &json!({"passthroughMode": "All", "appendMatch": some})));
        let all = zone.generate(&key("web"), None).unwrap();
        assert!(touched.concerns(&key("web"), &all.services));
        assert_eq!(ways(&all), ALL);

        zone.put(policy("p", &json!({"passthroughMode": "None", "appendMatch": some})));
        let none = zone.generate(&key("web"), Some(&all)).unwrap();
        assert_eq!((ways(&none), chains(&none)), (vec![], vec![String::new()]));

        zone.put(policy("p", &json!({"appendMatch": some})));
        let matched = zone.generate(&key("web"), Some(&none)).unwrap();
        assert_eq!(ways(&matched), ["meshpassthrough_tcp_1.2.3.4_443"]);
        assert_eq!(chains(&matched), ["meshpassthrough_tcp_1.2.3.4_443"]);

        zone.put(policy("p", &json!({})));
        let nothing = zone.generate(&key("web"), Some(&matched)).unwrap();
        assert_eq!((ways(&nothing), chains(&nothing)), (vec![], vec![String::new()]));
        assert_eq!(nothing.warnings, []);
    }
}

#[test]
fn matches_of_all_policies_count_and_those_that_clash_are_left_out_alone() {
    let http =
        |value: &str, protocol: &str| json!({"type": "Domain", "value": value, "port": 80, "protocol": protocol});
    let weak = policy("weak", &json!({"appendMatch": [http("a.com", "http")]}));
    let tls = json!({"type": "Domain", "value": "c.com", "protocol": "tls"});
    let mut strong = policy("strong", &json!({"appendMatch": [http("b.com", "http2"), tls]}));
    strong.labels.insert("kuma.io/origin".to_owned(), "zone".to_owned());
    let mut zone = Zone::new("east", [mesh(true), redirected(), weak, strong]);
    let web = zone.generate(&key("web"), None).unwrap();
    assert_eq!(
        chains(&web),
        ["meshpassthrough_tls_c.com_80", "meshpassthrough_tls_c.com_*", "meshpassthrough_http2_80"]
    );
    let reason = "you cannot configure http, http2, grpc on the same port 80: the matches that say http are left out, \
                  because another one says http2";
    assert_eq!(left_out(&web), [("weak", reason)]);

    // The same in the other order: it is not about which one is first.
    zone.put(policy("weak", &json!({"appendMatch": [http("a.com", "http2")]})));
    let web = zone.generate(&key("web"), None).unwrap();
    assert_eq!(ways(&web)[..2], ["meshpassthrough_http2_a.com_80", "meshpassthrough_http2_b.com_80"]);
    assert_eq!(web.warnings, []);
}

#[test]
fn a_host_for_all_names_leaves_none_without_a_match() {
    let matches = json!([
        {"type": "Domain", "value": "*", "port": 80, "protocol": "http"},
        {"type": "Domain", "value": "a.com", "port": 80, "protocol": "http"},
        {"type": "Domain", "value": "*", "port": 443, "protocol": "tls"},
    ]);
    let zone = Zone::new("east", [mesh(true), redirected(), policy("p", &json!({"appendMatch": matches}))]);
    let web = zone.generate(&key("web"), None).unwrap();
    let listener = json(&web, LISTENER, OUTBOUND);
    let tls = &listener["filterChains"][0]["filterChainMatch"];
    assert_eq!(*tls, json!({"destinationPort": 443, "transportProtocol": "tls"}));
    let http = &listener["filterChains"][1]["filters"][0]["typedConfig"]["routeConfig"]["virtualHosts"];
    let domains: Vec<_> = http.as_array().into_iter().flatten().map(|host| host["domains"].clone()).collect();
    // Envoy takes one host for all names, and its order does not matter.
    assert_eq!(domains, [json!(["a.com", "a.com:80"]), json!(["*"])]);
}

#[test]
fn without_redirection_nothing_is_made_of_it_and_the_policy_is_named() {
    let conf = json!({"appendMatch": [{"type": "IP", "value": "1.2.3.4", "port": 443}]});
    let zone = Zone::new("east", [mesh(true), proxy(&json!({})), policy("p", &conf)]);
    let web = zone.generate(&key("web"), None).unwrap();
    let reason = "policy doesn't support proxy running without transparent-proxy";
    assert_eq!((ways(&web), left_out(&web)), (vec![], vec![("p", reason)]));

    let zone = Zone::new("east", [mesh(true), redirected(), policy("p", &conf)]);
    let features = Features { bind_outbounds: true, ..metadata().features };
    let bound = ProxyMetadata { features, ..metadata() };
    let web = zone.generate_with(&key("web"), &bound, &Default::default(), None).unwrap();
    assert_eq!((ways(&web), left_out(&web)), (vec![], vec![("p", reason)]));
}

#[test]
fn a_delegated_gateway_is_a_proxy_like_others() {
    let gateway = json!({"type": "DELEGATED", "tags": {"kuma.io/service": "web"}});
    let redirection = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    let networking = json!({"address": "10.0.0.1", "gateway": gateway, "transparentProxying": redirection});
    let gateway = stored(Kind::Dataplane, "default", "web", &json!({"networking": networking}));
    let zone = Zone::new("east", [mesh(true), gateway, policy("p", &json!({"passthroughMode": "None"}))]);
    let web = zone.generate(&key("web"), None).unwrap();
    assert_eq!((ways(&web), left_out(&web)), (vec![], vec![]));
}
