use serde_json::json;

use super::*;
use crate::resource::ResourceKey;

fn normal(kind: Kind, spec: Value) -> Value {
    normalise(kind, spec, Unknown::Refuse).expect("the specifications of these tests have the right shape")
}

fn violations(kind: Kind, spec: Value) -> Vec<String> {
    let spec = match normalise(kind, spec, Unknown::Refuse) {
        Ok(spec) => spec,
        Err(SpecError::Shape(violations)) => {
            return violations.iter().map(|v| format!("{}: {}", v.field, v.reason)).collect();
        }
        Err(error) => return vec![error.to_string()],
    };
    let resource = Resource::from_json(ResourceKey::new(kind, "default", "x"), spec);
    validate(&resource).iter().map(|v| format!("{}: {}", v.field, v.reason)).collect()
}

#[test]
fn defaults_are_filled_in() {
    assert_eq!(
        normal(
            Kind::MeshService,
            json!({"ports": [{"targetPort": 80, "port": 8081}], "selector": {"dataplaneTags": {"a": "b"}}})
        )
        .to_string(),
        r#"{"state":"Unavailable","selector":{"dataplaneTags":{"a":"b"}},"ports":[{"port":8081,"targetPort":80,"appProtocol":"tcp"}]}"#
    );
    assert_eq!(
        normal(
            Kind::MeshExternalService,
            json!({"match": {"port": 1}, "tls": {"version": {"max": "TLS12"}, "verification": {}}})
        )
        .to_string(),
        r#"{"match":{"type":"HostnameGenerator","port":1,"protocol":"tcp"},"tls":{"enabled":false,"version":{"min":"TLSAuto","max":"TLS12"},"allowRenegotiation":false,"verification":{"mode":"Secured"}}}"#
    );
    assert_eq!(
        normal(
            Kind::MeshIdentity,
            json!({"provider": {"type": "Bundled", "bundled": {"certificateParameters": {"expiry": "90m"}}}})
        )
        .to_string(),
        r#"{"provider":{"type":"Bundled","bundled":{"certificateParameters":{"expiry":"1h30m0s"}}}}"#
    );
    assert_eq!(normal(Kind::Workload, json!({})), json!({}));
}

#[test]
fn an_empty_selector_is_kept() {
    let spec = json!({"selector": {"meshService": {"matchLabels": {}}}, "template": "{{ .DisplayName }}.mesh"});
    assert_eq!(normal(Kind::HostnameGenerator, spec.clone()), spec);
}

#[test]
fn policies_are_left_alone() {
    let spec = json!({"anything": ["goes"]});
    assert_eq!(normal(Kind::MeshTimeout, spec.clone()), spec);
}

#[test]
fn unknown_members_are_refused_by_path() {
    assert_eq!(
        violations(Kind::MeshService, json!({"ports": [{"port": 1, "prot": "http"}]})),
        ["spec.ports[0].prot: unknown field"]
    );
    assert_eq!(violations(Kind::Workload, json!({"x": 1})), ["spec.x: unknown field"]);
}

#[test]
fn mesh_multi_zone_service() {
    assert_eq!(
        violations(Kind::MeshMultiZoneService, json!({"selector": {"meshService": {}}, "ports": [{"port": 1}]})),
        ["spec.selector.meshService.matchLabels: cannot be empty"]
    );
    let ports = json!([{"port": 1, "name": "", "appProtocol": "nope"}, {"port": 2}]);
    assert_eq!(
        violations(
            Kind::MeshMultiZoneService,
            json!({"selector": {"meshService": {"matchLabels": {"a": "b"}}}, "ports": ports})
        ),
        [
            "spec.ports[0].name: must not be empty",
            "spec.ports[0].appProtocol: appProtocol must be one of: grpc, http, http2, kafka, tcp"
        ]
    );
}

#[test]
fn mesh_external_service() {
    let with = |endpoints: Value, tls: Value| {
        violations(Kind::MeshExternalService, json!({"match": {"port": 80}, "endpoints": endpoints, "tls": tls}))
    };
    assert_eq!(with(json!([{"address": "example.com", "port": 1}]), json!({})), [""; 0]);
    assert_eq!(
        with(json!([{"address": "a b", "port": 1}]), json!({"version": {"min": "TLS13", "max": "TLS12"}})),
        [
            "spec.endpoints[0].address: address has to be a valid IP or hostname",
            "spec.tls.version.min: min version must be lower than max"
        ]
    );
    assert_eq!(
        with(json!([]), json!({"verification": {"serverName": "not[]valid", "clientCert": {"secret": "s"}}})),
        [
            "spec.tls.verification.serverName: must be a valid DNS name",
            "spec.tls.verification.clientKey: must be defined when clientCert is defined"
        ]
    );
    assert_eq!(
        with(json!([{"address": "1.1.1.1", "port": 65536}]), json!({})),
        ["spec.endpoints[0].port: in body should be less than or equal to 65535"]
    );
    assert_eq!(
        violations(Kind::MeshExternalService, json!({"match": {"port": 80}, "extension": {"config": {"a": 1}}})),
        ["spec.extension.type: in body is required"]
    );
}

#[test]
fn hostname_generator() {
    let with = |selector: Value, template: &str| {
        violations(Kind::HostnameGenerator, json!({"selector": selector, "template": template}))
    };
    assert_eq!(with(json!({"meshService": {}}), "{{ .Name }}.mesh"), [""; 0]);
    let one = "spec.selector: exact one selector (meshService, meshExternalService) must be defined";
    assert_eq!(with(json!({}), "x"), [one]);
    assert_eq!(with(json!({"meshService": {}, "meshExternalService": {}}), "x"), [one]);
    assert_eq!(with(json!({"meshService": {}}), ""), ["spec.template: must not be empty"]);
    assert!(
        with(json!({"meshService": {}}), "{{ .Name[4 }}")[0].starts_with("spec.template: couldn't parse template: ")
    );
}

#[test]
fn mesh_identity() {
    let bundled =
        |bundled: Value| violations(Kind::MeshIdentity, json!({"provider": {"type": "Bundled", "bundled": bundled}}));
    assert_eq!(bundled(json!({"autogenerate": {"enabled": true}})), [""; 0]);
    assert_eq!(
        bundled(json!({"autogenerate": {"enabled": true}, "ca": {}})),
        ["spec.provider.bundled.ca: shouldn't be defined once using autogenerated"]
    );
    assert_eq!(bundled(json!({})), ["spec.provider.bundled.ca: must be defined"]);
    assert_eq!(
        bundled(
            json!({"ca": {"certificate": {"type": "File", "file": {"path": "a"}}, "privateKey": {"type": "EnvVar"}}})
        ),
        [
            "spec.provider.bundled.ca.certificate.file.path: file path must be absolute: a",
            "spec.provider.bundled.ca.privateKey.envVar: must be defined"
        ]
    );
    assert_eq!(
        bundled(json!({"autogenerate": {"enabled": true}, "certificateParameters": {"expiry": "-1s"}})),
        ["spec.provider.bundled.certificateParameters.expiry: must not be negative when defined"]
    );
    assert_eq!(
        violations(Kind::MeshIdentity, json!({"provider": {"type": "Spire"}, "spiffeID": {"path": "{{ bad }}"}})),
        [
            "spec.spiffeID.path: couldn't parse template: template: :1: function \"bad\" not defined",
            "spec.provider.spire: configuration needs to be defined"
        ]
    );
}

#[test]
fn mesh_trust() {
    let with =
        |pem: &str| json!({"trustDomain": "", "caBundles": [{"type": "Pem", "pem": {"value": pem}}, {"type": "Pem"}]});
    let block = |tag: &str| format!("-----BEGIN {tag}-----\nAAAA\n-----END {tag}-----\n");
    assert_eq!(
        violations(Kind::MeshTrust, with(&block("EC PRIVATE KEY"))),
        [
            "spec.caBundles[0].pem.value: provided certificate has incorrect format",
            "spec.caBundles[1].pem: must be defined",
            "spec.trustDomain: trustDomain needs to be defined"
        ]
    );
    assert_eq!(violations(Kind::MeshTrust, with(&block("CERTIFICATE"))).len(), 2);
    assert_eq!(
        violations(Kind::MeshTrust, json!({"trustDomain": "a", "caBundles": []})),
        ["spec.caBundles: in body should have at least 1 items"]
    );
}

#[test]
fn statuses_are_written_as_clients_expect() {
    let status = mesh_service::Status::default();
    assert_eq!(serde_json::to_string(&status).ok().as_deref(), Some(r#"{"tls":{},"dataplaneProxies":{}}"#));
    let status = workload::Status::default();
    assert_eq!(
        serde_json::to_string(&status).ok().as_deref(),
        Some(r#"{"dataplaneProxies":{"connected":0,"healthy":0,"total":0}}"#)
    );
}
