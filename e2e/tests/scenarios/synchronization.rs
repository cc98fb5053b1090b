//! Resources between global and zones: nothing lost, names as every peer computes them.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::wait;

use crate::support::{PATIENCE, Stage};

/// Members that each side has of its own.
const OWN: [&str; 6] = ["name", "creationTime", "modificationTime", "labels", "kri", "status"];

/// A resource without the members that each side has of its own.
fn content(resource: &Value) -> Map<String, Value> {
    let members = resource.as_object().cloned().unwrap_or_default();
    members.into_iter().filter(|(key, _)| !OWN.contains(&key.as_str())).collect()
}

/// The resource that a list holds under this name in its place of origin, and only one such.
async fn by_display_name(api: &Api, list: &str, name: &str) -> Result<Option<Value>> {
    let answer = api.get(list).await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<_> = items
        .into_iter()
        .filter(|item| item["labels"]["kuma.io/display-name"].as_str().or(item["name"].as_str()) == Some(name))
        .collect();
    anyhow::ensure!(found.len() <= 1, "{list} holds {name} {} times", found.len());
    Ok(found.pop())
}

/// Waits until what one control plane holds at `path` is in another as it is there, and gives the copy.
async fn copied(from: &Api, path: &str, to: &Api) -> Result<Value> {
    let (list, name) = path.rsplit_once('/').context("a path has a name")?;
    let original = from.get(path).await?;
    let same = || async {
        let Some(copy) = by_display_name(to, list, name).await? else { anyhow::bail!("not there") };
        anyhow::ensure!(content(&copy) == content(&original), "there it is {copy}, not {original}");
        Ok(Some(copy))
    };
    wait::until(&format!("{path} arrives at {}", to.url()), PATIENCE, same).await
}

/// A mesh that sets every field.
fn complete_mesh() -> Value {
    let prometheus = json!({
        "port": 5671, "path": "/stats", "tags": {"kuma.io/service": "metrics"}, "skipMTLS": false,
        "aggregate": [{"name": "app", "port": 8081, "path": "/m", "enabled": false, "address": "127.0.0.1"}],
        "envoy": {"filterRegex": "http2_act.*", "usedOnly": true}
    });
    json!({
        "type": "Mesh",
        "name": "complete",
        "labels": {"team": "blue"},
        "mtls": {
            "enabledBackend": "ca-1",
            "backends": [{
                "name": "ca-1", "type": "builtin", "mode": "PERMISSIVE",
                "dpCert": {"rotation": {"expiration": "1d"}, "requestTimeout": "1.500s"},
                "conf": {"caCert": {"RSAbits": 2048, "expiration": "20y"}},
                "rootChain": {"requestTimeout": "7s"}
            }]
        },
        "tracing": {
            "defaultBackend": "zipkin",
            "backends": [
                {"name": "zipkin", "sampling": 99.5, "type": "zipkin",
                 "conf": {"url": "http://zipkin:9411/api/v2/spans", "traceId128bit": true, "apiVersion": "httpProto"}},
                {"name": "datadog", "type": "datadog",
                 "conf": {"address": "127.0.0.1", "port": 8126, "splitService": true}}
            ]
        },
        "logging": {
            "defaultBackend": "file",
            "backends": [
                {"name": "file", "format": "%START_TIME% %KUMA_MESH%", "type": "file", "conf": {"path": "/tmp/access.log"}},
                {"name": "tcp", "type": "tcp", "conf": {"address": "127.0.0.1:5000"}}
            ]
        },
        "metrics": {"enabledBackend": "prom", "backends": [{"name": "prom", "type": "prometheus", "conf": prometheus}]},
        "networking": {"outbound": {"passthrough": false}},
        "routing": {"localityAwareLoadBalancing": true, "zoneEgress": true, "defaultForbidMeshExternalServiceAccess": true},
        "constraints": {
            "dataplaneProxy": {
                "requirements": [{"tags": {"kuma.io/zone": "east"}}, {"tags": {"kuma.io/zone": "*", "team": "a"}}],
                "restrictions": [{"tags": {"legacy": "true"}}]
            }
        },
        "skipCreatingInitialPolicies": ["MeshRetry"],
        "meshServices": {"mode": "ReachableBackends"}
    })
}

/// Resources of the mesh `default` with fields that are easily lost: zeroes, wrappers, durations, maps, nested lists.
fn resources() -> Vec<(&'static str, Value)> {
    vec![
        (
            "/meshes/default/meshhttproutes/route",
            json!({
                "type": "MeshHTTPRoute", "mesh": "default", "name": "route",
                "spec": {
                    "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}},
                    "to": [{
                        "targetRef": {"kind": "MeshService", "name": "backend"},
                        "rules": [{
                            "matches": [{
                                "path": {"type": "PathPrefix", "value": "/v1"}, "method": "GET",
                                "headers": [{"type": "RegularExpression", "name": "x-a", "value": "a.*"}],
                                "queryParams": [{"type": "Exact", "name": "q", "value": "1"}]
                            }],
                            "default": {
                                "filters": [
                                    {"type": "RequestHeaderModifier",
                                     "requestHeaderModifier": {"set": [{"name": "x-b", "value": "1"}], "remove": ["x-c"]}},
                                    {"type": "RequestMirror",
                                     "requestMirror": {"percentage": "1.5", "backendRef": {"kind": "MeshService", "name": "m"}}},
                                    {"type": "URLRewrite",
                                     "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}}
                                ],
                                "backendRefs": [
                                    {"kind": "MeshServiceSubset", "name": "backend", "tags": {"version": "v2"}, "weight": 0},
                                    {"kind": "MeshService", "name": "backend", "weight": 90}
                                ]
                            }
                        }]
                    }]
                }
            }),
        ),
        (
            "/meshes/default/meshtimeouts/default-timeout-global",
            json!({
                "type": "MeshTimeout", "mesh": "default", "name": "default-timeout-global",
                "spec": {
                    "targetRef": {"kind": "Mesh"},
                    "to": [{"targetRef": {"kind": "Mesh"}, "default": {
                        "connectionTimeout": "1m30s", "idleTimeout": "0s", "http": {"requestTimeout": "1.5s"}}}]
                }
            }),
        ),
        (
            "/meshes/default/external-services/httpbin",
            json!({
                "type": "ExternalService", "mesh": "default", "name": "httpbin",
                "tags": {"kuma.io/service": "httpbin", "kuma.io/protocol": "http", "kuma.io/zone": "east"},
                "networking": {
                    "address": "httpbin.example:443", "disableHostDNSEntry": true,
                    "tls": {
                        "enabled": true, "allowRenegotiation": false, "serverName": "other.example",
                        "skipHostnameVerification": true, "caCert": {"secret": "ca"},
                        "clientCert": {"inline": BASE64.encode("certificate")}, "clientKey": {"inlineString": "key"}
                    }
                }
            }),
        ),
        (
            "/meshes/default/meshgateways/edge",
            json!({
                "type": "MeshGateway", "mesh": "default", "name": "edge",
                "selectors": [{"match": {"kuma.io/service": "edge"}}],
                "tags": {"team": "a"},
                "conf": {"listeners": [
                    {"hostname": "*.example.com", "port": 8443, "protocol": "HTTPS", "tags": {"port": "8443"},
                     "tls": {"mode": "TERMINATE", "certificates": [{"secret": "edge-certificate"}]},
                     "resources": {"connectionLimit": 7}},
                    {"port": 8080, "protocol": "HTTP"}
                ]}
            }),
        ),
        (
            "/meshes/default/virtual-outbounds/all",
            json!({
                "type": "VirtualOutbound", "mesh": "default", "name": "all",
                "selectors": [{"match": {"kuma.io/service": "*"}}],
                "conf": {"host": "{{.service}}.mesh", "port": "8080",
                         "parameters": [{"name": "service", "tagKey": "kuma.io/service"}]}
            }),
        ),
        (
            "/meshes/default/retries/legacy",
            json!({
                "type": "Retry", "mesh": "default", "name": "legacy",
                "sources": [{"match": {"kuma.io/service": "*"}}],
                "destinations": [{"match": {"kuma.io/service": "a"}}, {"match": {"kuma.io/service": "b"}}],
                "conf": {"http": {"numRetries": 1, "perTryTimeout": "0.200s", "retriableStatusCodes": [500, 504],
                                  "backOff": {"baseInterval": "0.020s", "maxInterval": "90s"}}}
            }),
        ),
        (
            "/meshes/default/secrets/ca",
            json!({"type": "Secret", "mesh": "default", "name": "ca", "data": BASE64.encode([0, 255, 10, 128])}),
        ),
        (
            "/meshes/default/meshexternalservices/far",
            json!({
                "type": "MeshExternalService", "mesh": "default", "name": "far",
                "spec": {
                    "match": {"type": "HostnameGenerator", "port": 443, "protocol": "http"},
                    "endpoints": [{"address": "10.9.8.7", "port": 1}],
                    "tls": {"enabled": true, "verification": {"mode": "SkipSAN"}}
                }
            }),
        ),
        (
            "/hostnamegenerators/foo",
            json!({
                "type": "HostnameGenerator", "name": "foo",
                "spec": {"selector": {"meshService": {"matchLabels": {"a": "b"}}}, "template": "{{ .DisplayName }}.x"}
            }),
        ),
    ]
}

#[tokio::test]
async fn what_global_holds_arrives_in_zones_field_by_field() -> Result<()> {
    let stage = Stage::with_zones(&["east", "zone-1"]).await?;
    let global = stage.global();
    global.put("/meshes/complete", &complete_mesh()).await?;
    global.put("/meshes/default", &json!({"type": "Mesh", "name": "default"})).await?;
    for (path, body) in resources() {
        global.put(path, &body).await.with_context(|| format!("{path} as sent is not accepted"))?;
        let stored = global.get(path).await?;
        for (key, value) in content(&body) {
            assert!(
                crate::support::stage::contains(&stored[&key], &value),
                "{path}: {key} is {}, not {value}",
                stored[&key]
            );
        }
    }
    // The answer of global has all that was sent, and nothing is lost on the way.
    for (key, value) in content(&complete_mesh()) {
        assert!(crate::support::stage::contains(&global.get("/meshes/complete").await?[&key], &value), "{key}");
    }
    for zone in &stage.world.zones {
        let mesh = copied(global, "/meshes/complete", &zone.api).await?;
        assert_eq!((mesh["name"].as_str(), mesh["labels"]["team"].as_str()), (Some("complete"), Some("blue")));
        assert_eq!(mesh["labels"]["kuma.io/origin"], "global");
        for (path, body) in resources() {
            let copy = copied(global, path, &zone.api).await?;
            let (name, renamed) =
                (body["name"].as_str().unwrap_or_default(), copy["name"].as_str().unwrap_or_default());
            assert_eq!(copy["labels"]["kuma.io/origin"], "global", "{path}");
            if body["type"] == "Secret" {
                assert_eq!(renamed, name, "secrets keep their names, by which others refer to them");
            } else {
                let suffix = renamed.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                assert_eq!(suffix.map(str::len), Some(16), "{path} is {renamed} in the zone");
            }
        }
        // Names as every other implementation computes them.
        for path in [
            "/meshes/default/meshtimeouts/default-timeout-global-54dbd4c66zwbcf9c",
            "/meshes/default/meshcircuitbreakers/mesh-circuit-breaker-all-default-w798xv6xczc42cwb",
            "/hostnamegenerators/foo-zxw6c95d42zfz9cc",
        ] {
            zone.api.get(path).await?;
        }
        // The signing key arrives, the private key of user tokens and that of zone tokens do not.
        zone.api.get("/meshes/default/secrets/dataplane-token-signing-key-default-1").await?;
        let secrets = zone.api.get("/globalsecrets").await?;
        let names: Vec<_> =
            secrets["items"].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect();
        assert!(names.contains(&"zone-token-signing-public-key-1"), "{names:?}");
        assert!(!names.contains(&"zone-token-signing-key-1"), "{names:?}");
        let user_key = |api: Api| async move { api.get("/globalsecrets/user-token-signing-key-1").await };
        assert_ne!(user_key(zone.api.clone()).await?["data"], user_key(global.clone()).await?["data"]);
    }

    // Changes and deletions follow.
    let (path, mut body) = resources().swap_remove(1);
    body["spec"]["to"][0]["default"] = json!({"http": {"streamIdleTimeout": "7s"}});
    global.put(path, &body).await?;
    let copy = copied(global, path, &stage.zone(0).api).await?;
    assert_eq!(copy["spec"]["to"][0]["default"], json!({"http": {"streamIdleTimeout": "7s"}}));
    for (path, _) in resources() {
        global.delete(path).await?;
    }
    global.delete("/meshes/complete").await?;
    for zone in &stage.world.zones {
        for (path, _) in resources() {
            let (list, name) = path.rsplit_once('/').context("a path has a name")?;
            let gone = || async { Ok(by_display_name(&zone.api, list, name).await?.is_none().then_some(())) };
            wait::until(&format!("{path} is gone from {}", zone.name), PATIENCE, gone).await?;
        }
        let gone = || async {
            let answer = zone.api.send(reqwest::Method::GET, "/meshes/complete", None).await?;
            Ok((answer.status == reqwest::StatusCode::NOT_FOUND).then_some(()))
        };
        wait::until(&format!("the mesh is gone from {}", zone.name), PATIENCE, gone).await?;
    }
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn what_a_zone_holds_arrives_at_global_and_in_other_zones() -> Result<()> {
    let stage = Stage::with_zones(&["east", "zone-1"]).await?;
    stage.mesh(&json!({"type": "Mesh", "name": "default"})).await?;
    let (global, east, other) = (stage.global(), &stage.zone(0).api, &stage.zone(1).api);

    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": "web-1", "labels": {"team": "a"},
        "networking": {
            "address": "10.0.0.1", "advertisedAddress": "192.168.0.1",
            "inbound": [{
                "port": 8080, "servicePort": 8081, "address": "10.0.0.2", "serviceAddress": "127.0.0.2", "name": "main",
                "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http", "version": "v1"},
                "serviceProbe": {"interval": "10s", "timeout": "2s", "unhealthyThreshold": 3, "healthyThreshold": 1, "tcp": {}}
            }],
            "outbound": [{"port": 9000, "address": "127.0.0.1", "tags": {"kuma.io/service": "backend"}}],
            "admin": {"port": 9901}
        },
        "probes": {"port": 9000, "endpoints": [{"inboundPort": 8080, "inboundPath": "/health", "path": "/8080/health"}]}
    });
    east.put("/meshes/default/dataplanes/web-1", &dataplane).await?;
    let copy = copied(east, "/meshes/default/dataplanes/web-1", global).await?;
    assert_eq!(copy["name"], "web-1-v4526b8f6wc2z2w7");
    assert_eq!(copy["networking"]["inbound"][0]["tags"]["kuma.io/zone"], "east");
    assert_eq!(copy["labels"]["team"], "a");
    assert_eq!((&copy["labels"]["kuma.io/zone"], &copy["labels"]["kuma.io/origin"]), (&json!("east"), &json!("zone")));

    let ingress = json!({
        "type": "ZoneIngress", "name": "gate",
        "networking": {"address": "10.0.0.9", "port": 10001, "advertisedAddress": "192.168.0.9", "advertisedPort": 10002}
    });
    other.put("/zoneingresses/gate", &ingress).await?;
    let policy = json!({
        "type": "MeshTimeout", "mesh": "default", "name": "default-timeout-zone-1", "labels": {"kuma.io/origin": "zone"},
        "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "3s"}}]}
    });
    other.put("/meshes/default/meshtimeouts/default-timeout-zone-1", &policy).await?;
    let service = json!({
        "type": "MeshService", "mesh": "default", "name": "redis-zone-1", "labels": {"kuma.io/origin": "zone"},
        "spec": {"state": "Available", "selector": {"dataplaneTags": {"kuma.io/service": "redis"}},
                 "ports": [{"name": "main", "port": 6379, "targetPort": 6379, "appProtocol": "tcp"}]}
    });
    other.put("/meshes/default/meshservices/redis-zone-1", &service).await?;

    let policy = copied(other, "/meshes/default/meshtimeouts/default-timeout-zone-1", global).await?;
    assert_eq!(policy["name"], "default-timeout-zone-1-c58w24w4vw27f454");
    let service = copied(other, "/meshes/default/meshservices/redis-zone-1", global).await?;
    assert_eq!(service["name"], "redis-zone-1-2v6wfvvcvbc9f55d");
    // What other zones need goes on to them, under the same name; the rest does not.
    let service = copied(other, "/meshes/default/meshservices/redis-zone-1", east).await?;
    assert_eq!(service["name"], "redis-zone-1-2v6wfvvcvbc9f55d");
    assert_eq!(service["labels"]["kuma.io/zone"], "zone-1");
    let arrived = || async { by_display_name(east, "/zoneingresses", "gate").await };
    let gate = wait::until("the ingress arrives in the other zone", PATIENCE, arrived).await?;
    assert_eq!((&gate["zone"], &gate["networking"]), (&json!("zone-1"), &ingress["networking"]));
    assert!(by_display_name(east, "/meshes/default/meshtimeouts", "default-timeout-zone-1").await?.is_none());
    assert!(by_display_name(other, "/meshes/default/dataplanes", "web-1").await?.is_none());

    // What the zone takes back is gone at global and elsewhere.
    other.delete("/meshes/default/meshservices/redis-zone-1").await?;
    east.delete("/meshes/default/dataplanes/web-1").await?;
    for (api, list, name) in [
        (global, "/meshes/default/meshservices", "redis-zone-1"),
        (east, "/meshes/default/meshservices", "redis-zone-1"),
        (global, "/meshes/default/dataplanes", "web-1"),
    ] {
        let gone = || async { Ok(by_display_name(api, list, name).await?.is_none().then_some(())) };
        wait::until(&format!("{name} is gone from {}", api.url()), PATIENCE, gone).await?;
    }
    stage.passed();
    Ok(())
}
