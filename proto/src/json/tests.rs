use prost::{Message, Name};
use serde_json::{Map, Value, json};

use super::{JsonError, Unknown, from_json, to_json};
use crate::mesh::v1alpha1 as mesh;
use crate::system::v1alpha1 as system;

const MESH: &str = "kuma.mesh.v1alpha1.Mesh";
const DATAPLANE: &str = "kuma.mesh.v1alpha1.Dataplane";
const ZONE_INSIGHT: &str = "kuma.system.v1alpha1.ZoneInsight";

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

fn read(message: &str, value: Value) -> Result<Vec<u8>, JsonError> {
    from_json(message, &object(value), Unknown::Refuse)
}

#[track_caller]
fn round_trip(message: &str, value: Value) -> Vec<u8> {
    let bytes = read(message, value.clone()).expect("reads");
    assert_eq!(Value::Object(to_json(message, &bytes).expect("writes")), value);
    bytes
}

#[track_caller]
fn refused(message: &str, value: Value, path: &str, reason: &str) {
    let error = read(message, value).expect_err("must be refused");
    assert_eq!((error.path.as_str(), error.reason.as_str()), (path, reason));
}

fn mesh_fixture() -> Value {
    json!({
        "mtls": {
            "enabledBackend": "ca-1",
            "backends": [{
                "name": "ca-1",
                "type": "builtin",
                "dpCert": {"rotation": {"expiration": "24h"}, "requestTimeout": "10s"},
                "conf": {"caCert": {"RSAbits": 2048, "expiration": "10y"}, "more": [null, true, 1.5, "x", {}]},
                "mode": "PERMISSIVE",
            }],
            "skipValidation": true,
        },
        "tracing": {"backends": [{"name": "z", "sampling": 0, "type": "zipkin"}]},
        "networking": {"outbound": {"passthrough": false}},
        "constraints": {"dataplaneProxy": {"requirements": [{"tags": {"a": "1", "kuma.io/zone": "east"}}]}},
        "skipCreatingInitialPolicies": ["*"],
        "meshServices": {},
    })
}

#[test]
fn mesh_round_trip() {
    let bytes = round_trip(MESH, mesh_fixture());
    let decoded = mesh::Mesh::decode(bytes.as_slice()).expect("decodes");
    assert_eq!(decoded.encode_to_vec(), bytes, "same bytes as the typed encoding");
    let mtls = decoded.mtls.expect("is set");
    assert_eq!(mtls.backends[0].mode(), mesh::certificate_authority_backend::Mode::Permissive);
    assert_eq!(decoded.networking.and_then(|n| n.outbound).and_then(|o| o.passthrough), Some(false));
    assert_eq!(decoded.tracing.map(|t| t.backends[0].sampling), Some(Some(0.0)));
}

#[test]
fn dataplane_round_trip() {
    let bytes = round_trip(
        DATAPLANE,
        json!({
            "networking": {
                "inbound": [{
                    "tags": {"kuma.io/service": "echo", "version": ""},
                    "port": 8080,
                    "servicePort": 80,
                    "health": {},
                    "serviceProbe": {
                        "interval": "1.500s", "timeout": "0.000001s", "unhealthyThreshold": 0, "tcp": {},
                    },
                    "state": "NotReady",
                }],
                "outbound": [{"port": 9000, "tags": {"kuma.io/service": "db"}}],
                "transparentProxying": {
                    "directAccessServices": ["*"],
                    "ipFamilyMode": "IPv4",
                    "reachableBackends": {"refs": [{"kind": "MeshService", "port": 80}]},
                },
                "address": "127.0.0.1",
                "admin": {"port": 9901},
            },
            "probes": {"endpoints": [{"inboundPort": 1, "inboundPath": "/a", "path": "/b"}]},
        }),
    );
    let decoded = mesh::Dataplane::decode(bytes.as_slice()).expect("decodes");
    let inbound = &decoded.networking.expect("is set").inbound[0];
    assert_eq!(inbound.health, Some(mesh::dataplane::networking::inbound::Health { ready: false }));
    assert_eq!(inbound.service_probe.as_ref().and_then(|p| p.interval).map(|i| i.nanos), Some(500_000_000));
}

#[test]
fn zone_insight_round_trip() {
    let bytes = round_trip(
        ZONE_INSIGHT,
        json!({
            "subscriptions": [{
                "id": "1",
                "connectTime": "2026-11-21T13:00:00.123456789Z",
                "disconnectTime": "2026-11-21T13:00:01Z",
                "status": {
                    "lastUpdateTime": "2026-11-21T13:00:00.500Z",
                    "total": {"responsesSent": "157", "responsesAcknowledged": "18446744073709551615"},
                    "stat": {"Mesh": {"responsesSent": "1"}, "Zone": {"responsesRejected": "2"}},
                },
                "version": {"kumaCp": {"version": "2.13.10", "kumaCpGlobalCompatible": true}},
                "generation": 2,
                "authTokenProvided": true,
            }],
            "kdsStreams": {"globalToZone": {"globalInstanceId": "a"}},
        }),
    );
    let decoded = system::ZoneInsight::decode(bytes.as_slice()).expect("decodes");
    let total = decoded.subscriptions[0].status.as_ref().and_then(|status| status.total);
    assert_eq!(total.map(|total| total.responses_acknowledged), Some(u64::MAX));
    assert_eq!(decoded.encode_to_vec(), bytes);
}

#[test]
fn every_wrapper_is_bare_and_written_even_when_zero() {
    round_trip("kuma.system.v1alpha1.Zone", json!({"enabled": false}));
    round_trip("kuma.system.v1alpha1.Secret", json!({"data": ""}));
    round_trip("kuma.system.v1alpha1.Secret", json!({"data": "AAEC/w=="}));
    round_trip("kuma.system.v1alpha1.DataSource", json!({"inline": "aGk="}));
    round_trip("kuma.system.v1alpha1.DataSource", json!({"inlineString": ""}));
    round_trip("kuma.plugins.ca.BuiltinCertificateAuthorityConfig", json!({"caCert": {"RSAbits": 0}}));
    round_trip(
        "kuma.mesh.v1alpha1.ExternalService",
        json!({"networking": {"tls": {"allowRenegotiation": false, "serverName": ""}}}),
    );
    round_trip(
        "kuma.mesh.v1alpha1.HealthCheck",
        json!({"conf": {
            "healthyPanicThreshold": 0.1,
            "tcp": {"send": "", "receive": ["", "aGk="]},
        }}),
    );
    round_trip(
        "kuma.mesh.v1alpha1.HealthCheck",
        json!({"conf": {"http": {"expectedStatuses": [0, 200], "requestHeadersToAdd": [{"append": false}]}}}),
    );
    round_trip(
        "kuma.mesh.v1alpha1.CircuitBreaker",
        json!({"conf": {"detectors": {"standardDeviation": {"factor": 1.75}, "totalErrors": {}}}}),
    );
}

#[test]
fn accepts_other_spellings() {
    let spellings = json!({
        "networking": {
            "inbound": [{
                "port": "8080",
                "state": 2,
                "tags": null,
                "serviceAddress": null,
                "serviceProbe": {"interval": "1m30s", "unhealthy_threshold": "3"},
            }],
            "transparent_proxying": {"redirect_port_inbound": 15006},
        },
    });
    let plain = json!({
        "networking": {
            "inbound": [{
                "port": 8080,
                "serviceProbe": {"interval": "90s", "unhealthyThreshold": 3},
                "state": "Ignored",
            }],
            "transparentProxying": {"redirectPortInbound": 15006},
        },
    });
    let bytes = read(DATAPLANE, spellings).expect("reads");
    assert_eq!(Value::Object(to_json(DATAPLANE, &bytes).expect("writes")), plain);

    let stats = "kuma.mesh.v1alpha1.DiscoveryServiceStats";
    assert_eq!(read(stats, json!({"responsesSent": 7})), read(stats, json!({"responses_sent": "7"})));
    let insight = "kuma.mesh.v1alpha1.DataplaneInsight";
    let time = |text: &str| read(insight, json!({"mTLS": {"certificateExpirationTime": text}}));
    assert_eq!(time("2026-11-21T14:00:00+01:00"), time("2026-11-21T13:00:00Z"));
}

#[test]
fn repeated_numbers_and_enums() {
    let bytes = round_trip(
        "kuma.mesh.v1alpha1.Retry",
        json!({"conf": {"http": {
            "retriableStatusCodes": [500, 503], "retriableMethods": ["GET", "NONE"], "retryOn": ["all_5xx", "reset"],
        }}}),
    );
    let decoded = mesh::Retry::decode(bytes.as_slice()).expect("decodes");
    assert_eq!(decoded.encode_to_vec(), bytes);
}

#[test]
fn zero_values_are_left_out() {
    let dataplane = json!({"networking": {"gateway": {"type": "DELEGATED", "tags": {}}, "inbound": [], "address": ""}});
    let bytes = read(DATAPLANE, dataplane).expect("reads");
    let written = to_json(DATAPLANE, &bytes).expect("writes");
    assert_eq!(Value::Object(written), json!({"networking": {"gateway": {}}}));
}

#[test]
fn unknown_fields() {
    refused(MESH, json!({"mtsl": {}}), "mtsl", "unknown field");
    refused(
        DATAPLANE,
        json!({"networking": {"inbound": [{"port": 1}, {"ports": 80}]}}),
        "networking.inbound[1].ports",
        "unknown field",
    );
    let tolerated = from_json(DATAPLANE, &object(json!({"networking": {"x": 1}, "y": []})), Unknown::Ignore);
    assert_eq!(tolerated, read(DATAPLANE, json!({"networking": {}})));
}

#[test]
fn wrong_values_name_the_place_and_what_was_expected() {
    let inbound = |inbound: Value| json!({"networking": {"inbound": [inbound]}});
    refused(
        DATAPLANE,
        inbound(json!({"tags": {"kuma.io/service": 3}})),
        "networking.inbound[0].tags[\"kuma.io/service\"]",
        "expected a string, found 3",
    );
    refused(
        DATAPLANE,
        inbound(json!({"port": "http"})),
        "networking.inbound[0].port",
        "expected an integer, found \"http\"",
    );
    refused(DATAPLANE, inbound(json!({"port": 1.5})), "networking.inbound[0].port", "expected an integer, found 1.5");
    refused(DATAPLANE, inbound(json!({"port": -1})), "networking.inbound[0].port", "-1 is out of range for u32");
    refused(
        DATAPLANE,
        inbound(json!({"state": "Reddy"})),
        "networking.inbound[0].state",
        "unknown value \"\\\"Reddy\\\"\" for enum kuma.mesh.v1alpha1.Dataplane.Networking.Inbound.State",
    );
    refused(
        DATAPLANE,
        inbound(json!({"state": {}})),
        "networking.inbound[0].state",
        "expected one of Ready, NotReady, Ignored, found an object",
    );
    refused(
        DATAPLANE,
        inbound(json!({"serviceProbe": {"interval": "xx"}})),
        "networking.inbound[0].serviceProbe.interval",
        "bad Duration: time: invalid duration \"xx\"",
    );
    refused(DATAPLANE, json!({"networking": []}), "networking", "expected an object, found a list");
    refused(
        DATAPLANE,
        json!({"networking": {"inbound": {}}}),
        "networking.inbound",
        "expected a list, found an object",
    );
    refused(
        DATAPLANE,
        json!({"networking": {"inbound": [null]}}),
        "networking.inbound[0]",
        "expected an object, found null",
    );
    refused(
        DATAPLANE,
        json!({"networking": {"transparentProxying": {}, "transparent_proxying": {}}}),
        "networking.transparent_proxying",
        "is the same field as \"transparentProxying\"; give only one of them",
    );
    refused("kuma.system.v1alpha1.Zone", json!({"enabled": "yes"}), "enabled", "expected true or false, found \"yes\"");
    refused("kuma.system.v1alpha1.Secret", json!({"data": "abc*"}), "data", "illegal base64 data at input byte 3");
    refused(
        "kuma.system.v1alpha1.DataSource",
        json!({"file": "a", "secret": "b"}),
        "secret",
        "cannot be set together with \"file\"",
    );
    refused(
        "kuma.mesh.v1alpha1.DataplaneInsight",
        json!({"mTLS": {"certificateExpirationTime": "soon"}}),
        "mTLS.certificateExpirationTime",
        "expected a time such as \"2026-01-31T12:00:00Z\", found \"soon\"",
    );
}

#[test]
fn a_deep_struct_is_refused_before_it_becomes_unreadable() {
    let nested = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({"a": inner}));
    let mesh = |conf: Value| json!({"mtls": {"backends": [{"conf": conf}]}});
    round_trip(MESH, mesh(nested(super::read::STRUCT_DEPTH - 1)));
    let error = read(MESH, mesh(nested(60))).expect_err("must be refused");
    assert_eq!(error.reason, "is nested too deeply");
}

#[test]
fn unknown_message_and_garbage_are_errors() {
    assert_eq!(
        read("kuma.mesh.v1alpha1.Mash", json!({})).map_err(|e| e.to_string()),
        Err("no message is named \"kuma.mesh.v1alpha1.Mash\"".to_owned())
    );
    assert!(to_json(MESH, &[0xff, 0x01]).is_err());
}

#[test]
fn fields_of_a_newer_peer_are_left_out_of_json() {
    let mut bytes = read(MESH, json!({"skipCreatingInitialPolicies": ["*"]})).expect("reads");
    bytes.extend_from_slice(&[0xa2, 0x06, 0x01, b'x']);
    assert_eq!(Value::Object(to_json(MESH, &bytes).expect("writes")), json!({"skipCreatingInitialPolicies": ["*"]}));
}

#[test]
fn every_kind_of_message_resolves() {
    for name in [
        "Mesh",
        "Dataplane",
        "DataplaneInsight",
        "ZoneIngress",
        "ZoneIngressInsight",
        "ZoneEgress",
        "ZoneEgressInsight",
        "MeshInsight",
        "ServiceInsight",
        "ExternalService",
        "MeshGateway",
        "CircuitBreaker",
        "FaultInjection",
        "HealthCheck",
        "MeshGatewayRoute",
        "ProxyTemplate",
        "RateLimit",
        "Retry",
        "Timeout",
        "TrafficLog",
        "TrafficPermission",
        "TrafficRoute",
        "TrafficTrace",
        "VirtualOutbound",
        "KumaResource",
    ] {
        assert_eq!(read(&format!("kuma.mesh.v1alpha1.{name}"), json!({})), Ok(vec![]), "{name}");
    }
    for name in ["Secret", "Config", "DataSource", "Zone", "ZoneInsight", "ZoneOverview"] {
        assert_eq!(read(&format!("kuma.system.v1alpha1.{name}"), json!({})), Ok(vec![]), "{name}");
    }
    for name in ["BuiltinCertificateAuthorityConfig", "ProvidedCertificateAuthorityConfig"] {
        assert_eq!(read(&format!("kuma.plugins.ca.{name}"), json!({})), Ok(vec![]), "{name}");
    }
    assert_eq!(mesh::Mesh::type_url(), format!("/{MESH}"));
}

#[test]
fn encoding_depends_on_content_alone() {
    let one = json!({"meshServices": {"mode": "Exclusive"}, "routing": {"zoneEgress": true},
        "constraints": {"dataplaneProxy": {"restrictions": [{"tags": {"b": "", "a": "1", "c": "2"}}]}}});
    let other = json!({"constraints": {"data_plane": null, "dataplaneProxy": {
        "restrictions": [{"tags": {"c": "2", "b": "", "a": "1"}}]}},
        "routing": {"zoneEgress": true}, "meshServices": {"mode": 3}});
    let other = from_json(MESH, &object(other), Unknown::Ignore);
    assert_eq!(read(MESH, one), other);
}

#[test]
fn a_struct_alone() {
    let value = object(json!({"a": [1, "x", null, {"b": false}], "c": 0.5}));
    let read = super::struct_from_json(&value).expect("reads");
    assert_eq!(super::struct_to_json(&read), value);
}

/// Fields in another order, several times, or packed otherwise are what other encoders may send.
#[test]
fn unusual_encodings_are_read_like_the_usual_one() {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    }
    let passthrough = |value: u8| field(1, &field(1, &[8, value]));
    // `networking` comes in two parts, which count together.
    let networking = [field(5, &passthrough(1)), field(5, &field(1, &field(1, &[])))].concat();
    let expected = mesh::Mesh::decode(networking.as_slice()).expect("decodes").encode_to_vec();
    assert_eq!(to_json(MESH, &networking), to_json(MESH, &expected));

    let tags = |version: &str| field(2, &[field(1, b"version"), field(2, version.as_bytes())].concat());
    let inbound = field(1, &[tags("1"), vec![0x83, 0x01, 0x84, 0x01], tags("2")].concat());
    let dataplane = field(1, &[inbound, field(5, b"10.0.0.1"), field(5, b"10.0.0.2")].concat());
    let written = to_json(DATAPLANE, &dataplane).expect("writes");
    let expected = mesh::Dataplane::decode(dataplane.as_slice()).expect("decodes").encode_to_vec();
    assert_eq!(written, to_json(DATAPLANE, &expected).expect("writes"));
    assert_eq!(written["networking"]["address"], "10.0.0.2");
    assert_eq!(written["networking"]["inbound"][0]["tags"]["version"], "2");
}

#[test]
fn setting_a_field_of_a_oneof_unsets_the_others() {
    let source = "kuma.system.v1alpha1.DataSource";
    // `secret` (1), `file` (2), and `secret` again.
    let (secret, file, again) = ([0x0a, 1, b'a'], [0x12, 1, b'b'], [0x0a, 1, b'c']);
    let object = |parts: &[[u8; 3]]| Value::Object(to_json(source, &parts.concat()).expect("writes"));
    assert_eq!(object(&[secret, file]), json!({"file": "b"}));
    assert_eq!(object(&[secret, file, again]), json!({"secret": "c"}));
    assert_eq!(object(&[file, again]), json!({"secret": "c"}));
}

#[test]
fn cut_off_encodings_are_errors() {
    let bytes = read(MESH, mesh_fixture()).expect("reads");
    let full = to_json(MESH, &bytes).expect("writes");
    for length in 1..bytes.len() {
        // A cut between two fields leaves a message with less in it.
        if let Ok(part) = to_json(MESH, &bytes[..length]) {
            assert_ne!(part, full);
            assert!(mesh::Mesh::decode(&bytes[..length]).is_ok(), "{length}");
        } else {
            assert!(mesh::Mesh::decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}
