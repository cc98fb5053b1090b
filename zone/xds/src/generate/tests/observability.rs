//! Metrics, traces and access logs by the backends of a mesh.

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};

use super::{CLUSTER, LISTENER, SECRET, key};
use crate::Generated;
use crate::metadata::ProxyMetadata;
use crate::testing::{Zone, json, metadata, names, stored};

const METRICS: &str = "kuma:metrics:prometheus";

/// The mesh `default` with these members, without mutual TLS.
fn mesh(members: Value) -> Resource {
    use tandem_model::rest::{Unknown, from_json};
    let mut document = json!({"type": "Mesh", "name": "default"});
    for (name, member) in members.as_object().into_iter().flatten() {
        document[name] = member.clone();
    }
    from_json(document, None, Unknown::Refuse).expect("a Mesh").resource
}

/// The Dataplane `web` at an address, with an HTTP inbound and further members of its networking.
fn web(address: &str, more: Value) -> Resource {
    let tags = json!({"kuma.io/service": "web", "kuma.io/protocol": "http"});
    let mut networking = json!({"address": address, "inbound": [{"port": 8080, "servicePort": 8081, "tags": tags}]});
    for (name, member) in more.as_object().into_iter().flatten() {
        networking[name] = member.clone();
    }
    stored(Kind::Dataplane, "default", "web", &json!({"networking": networking}))
}

fn metrics(conf: Value) -> Value {
    json!({"metrics": {"enabledBackend": "p", "backends": [{"name": "p", "type": "prometheus", "conf": conf}]}})
}

fn any() -> Value {
    json!([{"match": {"kuma.io/service": "*"}}])
}

fn generated(zone: &Zone) -> Generated {
    zone.generate(&key("web"), None).expect("everything is there")
}

fn warnings(generated: &Generated) -> Vec<String> {
    generated.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn metrics_never_take_a_port_that_is_in_use() {
    let with_port = |port: u32, more: Value| {
        let zone = Zone::new("east", [mesh(metrics(json!({"port": port, "path": "/"}))), web("10.0.0.1", more)]);
        let generated = generated(&zone);
        let is_there = names(&generated, LISTENER).contains(&METRICS);
        assert_eq!(is_there, names(&generated, CLUSTER).contains(&"kuma:metrics:hijacker"));
        (is_there, warnings(&generated).join("\n"))
    };
    assert_eq!(with_port(5670, json!({})), (true, String::new()));
    let outbound = |address: &str| json!({"outbound": [{"address": address, "port": 9000, "tags": any()[0]["match"]}]});
    for (port, more, user) in [
        (8080, json!({}), "networking.inbound[0]"),
        (8081, json!({}), "the workload of networking.inbound[0]"),
        (9000, outbound("10.0.0.1"), "the outbound"),
        (9000, outbound("0.0.0.0"), "the outbound"),
    ] {
        let (is_there, warning) = with_port(port, more);
        assert!(!is_there && warning.contains(user) && warning.contains(&port.to_string()), "{warning}");
    }
    assert!(with_port(9000, outbound("127.0.0.1")).0, "another address");
}

#[test]
fn metrics_need_the_administration_interface() {
    let zone = Zone::new("east", [mesh(metrics(json!({"port": 5670, "path": "/"}))), web("10.0.0.1", json!({}))]);
    let without = ProxyMetadata { admin_port: 0, ..metadata() };
    let generated = zone.generate_with(&key("web"), &without, &Default::default(), None).expect("everything is there");
    assert!(!names(&generated, LISTENER).contains(&METRICS));
}

#[test]
fn connections_of_the_own_host_are_known_by_the_whole_address() {
    for (address, length) in [("10.0.0.1", 32), ("fd00::1", 128)] {
        let mut members = metrics(json!({"port": 5670, "path": "/metrics"}));
        members["mtls"] = json!({"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]});
        let authority = json!({"data": "Q0E="});
        let secret = stored(Kind::Secret, "default", "default.ca-builtin-cert-ca-1", &authority);
        // Nothing but metrics is secured.
        let networking = json!({"address": address, "gateway": {"tags": {"kuma.io/service": "web"}}});
        let web = stored(Kind::Dataplane, "default", "web", &json!({"networking": networking}));
        let generated = generated(&Zone::new("east", [mesh(members), secret, web]));
        let listener = json(&generated, LISTENER, METRICS);
        let range = json!({"addressPrefix": address, "prefixLen": length});
        assert_eq!(listener["filterChains"][0]["filterChainMatch"]["sourcePrefixRanges"], json!([range]));
        assert_eq!(names(&generated, SECRET), ["identity_cert:secret:default", "mesh_ca:secret:default"]);
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let zone = Zone::new("east", [mesh(metrics(json!({"port": "x"}))), web("10.0.0.1", json!({}))]);
    let generated = generated(&zone);
    assert!(!names(&generated, LISTENER).contains(&METRICS));
    assert!(warnings(&generated)[0].contains("no listener for metrics"), "{:?}", generated.warnings);
}

fn trace(backend: &str) -> Resource {
    let members = json!({"selectors": any(), "conf": {"backend": backend}});
    stored(Kind::TrafficTrace, "default", "trace", &members)
}

#[test]
fn requests_to_the_workload_are_traced() {
    let backend = json!({"name": "d", "type": "datadog", "conf": {
        "address": "10.9.9.9", "port": 8126, "splitService": true,
    }});
    let mesh = || mesh(json!({"tracing": {"backends": [backend]}}));
    let mut zone = Zone::new("east", [mesh(), web("10.0.0.1", json!({})), trace("d")]);
    let traced = |zone: &Zone| {
        let listener = json(&generated(zone), LISTENER, "inbound:10.0.0.1:8080");
        listener.pointer("/filterChains/0/filters/0/typedConfig/tracing").cloned().unwrap_or_default()
    };
    let expected = json!({
        "spawnUpstreamSpan": false,
        "provider": {"name": "envoy.tracers.datadog", "typedConfig": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.DatadogConfig",
            "collectorCluster": "tracing:d", "serviceName": "web_INBOUND",
        }},
    });
    assert_eq!(traced(&zone), expected);
    assert_eq!(json(&generated(&zone), CLUSTER, "tracing:d")["type"], "STATIC", "it is at an IP address");

    // A change of the backend is one of the inbound.
    let mut changed = backend.clone();
    changed["conf"]["splitService"] = json!(false);
    let touched = zone.put(self::mesh(json!({"tracing": {"backends": [changed]}})));
    assert!(touched.concerns(&key("web"), &Default::default()));
    assert_eq!(traced(&zone)["provider"]["typedConfig"]["serviceName"], "web");

    // A backend that does not exist is passed over and named.
    let touched = zone.put(trace("other"));
    assert!(touched.concerns(&key("web"), &Default::default()));
    assert_eq!(traced(&zone), Value::Null);
    assert!(warnings(&generated(&zone))[0].contains("no tracing backend \"other\""));
}

fn file_format(listener: &Value) -> Option<(&str, &str)> {
    let log = listener.pointer("/filterChains/0/filters/0/typedConfig/accessLog/0/typedConfig")?;
    Some((log["path"].as_str()?, log.pointer("/logFormat/textFormatSource/inlineString")?.as_str()?))
}

#[test]
fn connections_to_the_outside_are_logged_where_they_leave() {
    let format = "%KUMA_TRAFFIC_DIRECTION% %KUMA_SOURCE_SERVICE% %KUMA_SOURCE_ADDRESS% %KUMA_DESTINATION_SERVICE%";
    let backend = json!({"name": "t", "type": "tcp", "format": format, "conf": {"address": "logs:5000"}});
    let log = json!({"sources": any(), "destinations": [{"match": {"kuma.io/service": "pass_through"}}]});
    let redirection = json!({"transparentProxying": {
        "redirectPortInbound": 15006, "redirectPortOutbound": 15001, "directAccessServices": ["*"],
    }, "advertisedAddress": "192.0.2.1"});
    let other = json!({"networking": {
        "address": "10.0.0.2", "inbound": [{"port": 80, "tags": {"kuma.io/service": "other"}}],
    }});
    let zone = Zone::new(
        "east",
        [
            mesh(json!({"logging": {"defaultBackend": "t", "backends": [backend]}})),
            web("10.0.0.1", redirection),
            stored(Kind::Dataplane, "default", "other", &other),
            stored(Kind::TrafficLog, "default", "log", &log),
        ],
    );
    let generated = generated(&zone);
    assert_eq!(warnings(&generated), [""; 0]);
    let listener = json(&generated, LISTENER, "outbound:passthrough:ipv4");
    let expected = "logs:5000;UNSPECIFIED web 192.0.2.1:0 external\n";
    assert_eq!(file_format(&listener), Some(("/w/kuma-al-web-default.sock", expected)));
    let listener = json(&generated, LISTENER, "direct_access_10.0.0.2:80");
    let expected = "logs:5000;OUTBOUND web 192.0.2.1:0 direct_access_10.0.0.2:80\n";
    assert_eq!(file_format(&listener), Some(("/w/kuma-al-web-default.sock", expected)));
    assert_eq!(file_format(&json(&generated, LISTENER, "inbound:passthrough:ipv4")), None);
}

#[test]
fn templates_are_read_again_when_they_change() {
    let template = |timeout: &str| {
        let patch = json!({"cluster": {"operation": "patch", "value": format!("connectTimeout: {timeout}")}});
        let conf = json!({"imports": ["default-proxy"], "modifications": [patch]});
        stored(Kind::ProxyTemplate, "default", "t", &json!({"selectors": any(), "conf": conf}))
    };
    let mut zone = Zone::new("east", [mesh(json!({})), web("10.0.0.1", json!({})), template("1s")]);
    let timeout = |zone: &Zone| json(&generated(zone), CLUSTER, "localhost:8081")["connectTimeout"].clone();
    assert_eq!(timeout(&zone), "1s");
    assert!(zone.put(template("2s")).concerns(&key("web"), &Default::default()));
    assert_eq!(timeout(&zone), "2s");
    let gone = ResourceKey::new(Kind::ProxyTemplate, "default", "t");
    assert!(zone.index.apply([(&gone, None)]).concerns(&key("web"), &Default::default()));
    assert_ne!(timeout(&zone), "2s");
}
