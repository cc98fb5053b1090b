use serde_json::{Value, json};

use super::super::testing::violations;

fn networking(networking: Value) -> Vec<String> {
    violations(json!({"type": "Dataplane", "mesh": "default", "name": "dp", "networking": networking}))
}

fn inbound(mut inbound: Value) -> Vec<String> {
    let defaults = json!({"port": 8080, "tags": {"kuma.io/service": "web"}});
    for (name, value) in defaults.as_object().expect("an object") {
        inbound.as_object_mut().expect("an object").entry(name).or_insert(value.clone());
    }
    let found = networking(json!({"address": "10.0.0.1", "inbound": [inbound]}));
    found.into_iter().map(|text| text.replace("networking.inbound[0].", "")).collect()
}

#[test]
fn something_to_serve() {
    assert_eq!(
        violations(json!({"type": "Dataplane", "mesh": "default", "name": "dp"})),
        ["networking: must be defined"]
    );
    assert_eq!(
        networking(json!({"address": ""})),
        [
            "networking: has to contain at least one inbound interface or gateway",
            "networking.address: address can't be empty"
        ]
    );
    for (address, text) in [
        ("0.0.0.0", Some("must not be 0.0.0.0 or ::")),
        ("::", Some("must not be 0.0.0.0 or ::")),
        ("a b", Some("address has to be valid IP address or domain name")),
        ("example.com", None),
        ("fd00::1", None),
    ] {
        let found = networking(json!({"address": address, "inbound": [{"port": 1, "tags": {"kuma.io/service": "a"}}]}));
        assert_eq!(found, text.map(|text| format!("networking.address: {text}")).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn inbounds() {
    assert_eq!(inbound(json!({})), [""; 0]);
    assert_eq!(
        inbound(json!({"port": 65536, "servicePort": 70000})),
        ["port: port must be in the range [1, 65535]", "servicePort: port must be in the range [1, 65535]"]
    );
    assert_eq!(
        inbound(json!({"serviceAddress": "x", "address": "x"})),
        [
            "serviceAddress: serviceAddress has to be valid IP address",
            "address: address has to be valid IP address",
            "serviceAddress: serviceAddress and servicePort has to differ from address and port",
        ]
    );
    assert_eq!(
        inbound(json!({"serviceAddress": "10.0.0.1"})),
        ["serviceAddress: serviceAddress and servicePort has to differ from address and port"]
    );
    assert_eq!(inbound(json!({"serviceAddress": "10.0.0.1", "servicePort": 80})), [""; 0]);
    assert_eq!(
        inbound(json!({"tags": {"kuma.io/protocol": "udp", "version": ""}})),
        [
            "tags[\"kuma.io/protocol\"]: tag \"kuma.io/protocol\" has an invalid value \"udp\". Allowed values: grpc, \
             http, http2, kafka, tcp",
            "tags[\"version\"]: tag value must be non-empty",
            "tags[\"kuma.io/service\"]: tag has to exist",
        ]
    );
    assert_eq!(
        inbound(
            json!({"serviceProbe": {"interval": "0s", "timeout": "1s", "unhealthyThreshold": 0, "healthyThreshold": 1}})
        ),
        [
            "serviceProbe.interval: must have a positive value",
            "serviceProbe.unhealthyThreshold: must have a positive value"
        ]
    );
}

#[test]
fn admin_ports_do_not_collide() {
    let with = |port: u32, address: &str| {
        networking(json!({
            "address": address, "admin": {"port": port},
            "inbound": [{"port": 8080, "servicePort": 80, "serviceAddress": "127.0.0.1", "tags": {"kuma.io/service": "a"}}],
            "outbound": [{"port": 9000, "tags": {"kuma.io/service": "b"}}],
        }))
    };
    assert_eq!(with(9901, "10.0.0.1"), [""; 0]);
    assert_eq!(with(8080, "10.0.0.1"), [""; 0]);
    assert_eq!(with(8080, "127.0.0.1"), ["networking.admin.port: must differ from inbound"]);
    assert_eq!(with(80, "10.0.0.1"), ["networking.admin.port: must differ from inbound"]);
    assert_eq!(with(9000, "10.0.0.1"), ["networking.admin.port: must differ from outbound"]);
}

#[test]
fn gateways() {
    let tags = json!({"kuma.io/service": "edge"});
    let gateway = |kind: &str, inbound: Value, outbound: Value| {
        networking(
            json!({"address": "1.1.1.1", "gateway": {"type": kind, "tags": tags}, "inbound": inbound, "outbound": outbound}),
        )
    };
    assert_eq!(gateway("DELEGATED", json!([]), json!([])), [""; 0]);
    let one = json!([{"port": 1, "tags": {"kuma.io/service": "a"}}]);
    assert_eq!(
        gateway("DELEGATED", one.clone(), one.clone()),
        ["networking.inbound: inbound cannot be defined for delegated gateways"]
    );
    assert_eq!(
        gateway("BUILTIN", one.clone(), one),
        [
            "networking.inbound: inbound cannot be defined for builtin gateways",
            "networking.outbound: outbound cannot be defined for builtin gateways",
        ]
    );
    assert_eq!(
        networking(json!({"address": "1.1.1.1", "gateway": {"tags": {"kuma.io/protocol": "http"}}})),
        [
            "networking.gateway.tags[\"kuma.io/protocol\"]: other values than tcp are not allowed, provided value \"http\"",
            "networking.gateway.tags: mandatory tag \"kuma.io/service\" is missing",
        ]
    );
}

#[test]
fn outbounds() {
    let outbound = |outbound: Value| {
        let inbound = json!([{"port": 1, "tags": {"kuma.io/service": "a"}}]);
        let found = networking(json!({"address": "1.1.1.1", "inbound": inbound, "outbound": [outbound]}));
        found.into_iter().map(|text| text.replace("networking.outbound[0].", "")).collect::<Vec<_>>()
    };
    assert_eq!(
        outbound(json!({"address": "x"})),
        [
            "port: port must be in the range [1, 65535]",
            "address: address has to be valid IP address",
            "tags: mandatory tag \"kuma.io/service\" is missing",
        ]
    );
    assert_eq!(
        outbound(json!({"port": 1, "backendRef": {"kind": "Mesh"}, "tags": {"kuma.io/service": "a"}})),
        [
            "backendRef.kind: invalid value. Available values are: MeshExternalService,MeshMultiZoneService,MeshService",
            "backendRef: either 'name' or 'labels' should be specified",
            "backendRef.port: port must be in the range [1, 65535]",
            "backendRef: both backendRef and tags/service cannot be defined",
        ]
    );
    assert_eq!(outbound(json!({"port": 1, "backendRef": {"kind": "MeshExternalService", "name": "x"}})), [""; 0]);
}

#[test]
fn reachable_backends() {
    let refs = |refs: Value| {
        let inbound = json!([{"port": 1, "tags": {"kuma.io/service": "a"}}]);
        let transparent = json!({"reachableBackends": {"refs": refs}});
        let found = networking(json!({"address": "1.1.1.1", "inbound": inbound, "transparentProxying": transparent}));
        found
            .into_iter()
            .map(|t| t.replace("networking.transparentProxing.reachableBackends.refs", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        refs(json!([{"kind": "MeshService", "labels": {"a": "b"}}, {"kind": "MeshService", "name": "x"}])),
        [""; 0]
    );
    assert_eq!(
        refs(json!([
            {"kind": "X", "name": "A"},
            {"kind": "MeshService"},
            {"kind": "MeshService", "namespace": "ns", "labels": {"a": "b"}},
        ])),
        [
            "[0].kind: invalid value. Available values are: MeshExternalService,MeshMultiZoneService,MeshService",
            "[0].name: invalid characters. A lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
             characters, '-' or '.', and must start and end with an alphanumeric character",
            "[1].name: name or labels are required",
            "[2].name: name is required, when namespace is defined",
            "[2].labels: labels cannot be defined when name is specified",
        ]
    );
}

#[test]
fn probes_and_metrics() {
    assert_eq!(
        violations(json!({
            "type": "Dataplane", "mesh": "default", "name": "dp",
            "networking": {"address": "1.1.1.1", "inbound": [{"port": 1, "tags": {"kuma.io/service": "a"}}]},
            "probes": {"port": 9000, "endpoints": [{"inboundPort": 0, "inboundPath": "x", "path": "/ok"}]},
            "metrics": {"type": "statsd"},
        })),
        [
            "probes.endpoints[0].inboundPort: port must be in the range [1, 65535]",
            "probes.endpoints[0].inboundPath: should be a valid URL Path",
            "metrics.type: unknown backend type. Available backends: \"prometheus\"",
        ]
    );
}
