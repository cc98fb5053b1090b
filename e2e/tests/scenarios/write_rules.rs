//! Who may write what over HTTP.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::{api, wait};

use crate::support::{PATIENCE, Stage, apps};

const NOT_ON_ZONE: &str = "On zone control plane you can only modify zone resources with 'kumactl apply' or via the HTTP API. You can \
                           still use 'kumactl' or the HTTP API to modify the rest of the resource on the global control plane.\n";
const NOT_ON_GLOBAL: &str = "On global control plane you can not modify dataplane resources with 'kumactl apply' or via the HTTP API. \
                             You can still use 'kumactl' or the HTTP API to modify them on the zone control plane.\n";

/// Both ways of changing a resource are refused with 405 and the same detail.
async fn read_only(api: &Api, path: &str, body: &Value, detail: &str) -> Result<()> {
    for (method, body) in [(Method::PUT, Some(body)), (Method::DELETE, None)] {
        let answer = api.send(method.clone(), path, body).await?;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body["title"], "Method not allowed");
        assert_eq!(answer.body["detail"], detail, "{method} {path}");
    }
    Ok(())
}

/// A resource is refused with 400 and exactly this violation.
async fn invalid(api: &Api, path: &str, body: &Value, field: &str, reason: &str) -> Result<()> {
    let answer = api.send(Method::PUT, path, Some(body)).await?;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.body);
    let expected = json!([{"field": field, "reason": reason}]);
    assert_eq!(answer.body["invalid_parameters"], expected, "{path}: {}", answer.body);
    Ok(())
}

#[tokio::test]
async fn each_side_refuses_what_only_the_other_may_write() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let (global, zone) = (stage.global(), &stage.zone(0).api);
    let before = zone.get("/meshes/default").await?;

    // The zone.
    read_only(zone, "/meshes/default", &api::mesh("default"), NOT_ON_ZONE).await?;
    let legacy = json!({
        "type": "TrafficPermission", "mesh": "default", "name": "tp",
        "sources": [{"match": {"kuma.io/service": "*"}}], "destinations": [{"match": {"kuma.io/service": "*"}}]
    });
    read_only(zone, "/meshes/default/traffic-permissions/tp", &legacy, NOT_ON_ZONE).await?;
    let insight = json!({"type": "DataplaneInsight", "mesh": "default", "name": "dp"});
    read_only(zone, "/meshes/default/dataplane-insights/dp", &insight, NOT_ON_ZONE).await?;
    assert_eq!(zone.get("/meshes/default").await?, before);

    let (path, mut permission) = api::traffic_permission("default", "here", "Allow");
    let origin = "labels[\"kuma.io/origin\"]";
    let must_be_zone = "the origin label must be set to 'zone'";
    invalid(zone, &path, &permission, origin, must_be_zone).await?;
    permission["labels"] = json!({"kuma.io/origin": "global"});
    invalid(zone, &path, &permission, origin, must_be_zone).await?;
    permission["labels"] = json!({"kuma.io/origin": "zone", "kuma.io/zone": "zone-9"});
    let own_zone = "kuma.io/zone label should have zone-1 value";
    invalid(zone, &path, &permission, "labels[\"kuma.io/zone\"]", own_zone).await?;
    assert_eq!(zone.send(Method::GET, &path, None).await?.status, StatusCode::NOT_FOUND);
    permission["labels"] = json!({"kuma.io/origin": "zone"});
    let answer = zone.send(Method::PUT, &path, Some(&permission)).await?;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let labels = zone.get(&path).await?["labels"].clone();
    let expected = json!({
        "kuma.io/env": "universal", "kuma.io/mesh": "default", "kuma.io/origin": "zone", "kuma.io/zone": "zone-1"
    });
    assert_eq!(labels, expected);
    permission["labels"] = json!({"kuma.io/origin": "zone", "kuma.io/zone": "zone-1", "team": "a"});
    assert_eq!(zone.send(Method::PUT, &path, Some(&permission)).await?.status, StatusCode::OK);

    // Global.
    let dataplane = apps::caller("default", "dp", &[])?.resource;
    read_only(global, "/meshes/default/dataplanes/dp", &dataplane, NOT_ON_GLOBAL).await?;
    let ingress = json!({"type": "ZoneIngress", "name": "zi", "networking": {"address": "10.0.0.1", "port": 10001}});
    read_only(global, "/zoneingresses/zi", &ingress, NOT_ON_GLOBAL).await?;
    let service = json!({"type": "MeshService", "mesh": "default", "name": "s", "spec": {}});
    read_only(global, "/meshes/default/meshservices/s", &service, NOT_ON_GLOBAL).await?;
    let (path, mut permission) = api::traffic_permission("default", "there", "Allow");
    permission["labels"] = json!({"kuma.io/origin": "zone"});
    invalid(global, &path, &permission, origin, "the origin label must be set to 'global'").await?;
    permission["labels"] = json!({"kuma.io/origin": "elsewhere"});
    let answer = global.send(Method::PUT, &path, Some(&permission)).await?;
    assert_eq!(answer.body["invalid_parameters"][0]["reason"], "unknown resource origin \"elsewhere\"");

    // Bodies that are not what their path says, or hold what nobody knows.
    let (path, permission) = api::traffic_permission("default", "other-name", "Allow");
    let elsewhere = path.replace("other-name", "a-name");
    invalid(global, &elsewhere, &permission, "name", "name from the URL has to be the same as in body").await?;
    let (path, mut permission) = api::traffic_permission("default", "typo", "Allow");
    permission["spec"]["form"] = permission["spec"]["from"].take();
    let answer = global.send(Method::PUT, &path, Some(&permission)).await?;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.to_string().contains("form"), "{}", answer.body);
    let (path, permission) = api::traffic_permission("default", "Not_A_Name", "Allow");
    let answer = global.send(Method::PUT, &path, Some(&permission)).await?;
    assert_eq!(
        (answer.status, answer.body["invalid_parameters"][0]["field"].as_str()),
        (StatusCode::BAD_REQUEST, Some("name"))
    );
    let (path, permission) = api::traffic_permission("nowhere", "p", "Allow");
    let answer = global.send(Method::PUT, &path, Some(&permission)).await?;
    assert_eq!(
        (answer.status, answer.body["title"].as_str()),
        (StatusCode::NOT_FOUND, Some("Failed to retrieve Mesh"))
    );

    // Deletions that would break something.
    zone.put("/meshes/default/dataplanes/dp", &dataplane).await?;
    let refused = || async {
        let answer = global.send(Method::DELETE, "/meshes/default", None).await?;
        anyhow::ensure!(answer.status == StatusCode::BAD_REQUEST, "{}", answer.body);
        Ok(answer.body["invalid_parameters"][0].as_object().cloned())
    };
    // A refusal needs the Dataplane to have arrived, and a mesh that is gone could not be refused later.
    let arrived = || async { Ok((global.get("/meshes/default/dataplanes").await?["total"] == 1).then_some(())) };
    wait::until("global knows the Dataplane", PATIENCE, arrived).await?;
    let violation = Value::Object(wait::until("the mesh is kept", PATIENCE, refused).await?);
    let attached = "unable to delete mesh, there are still some dataplanes attached";
    assert_eq!(violation, json!({"field": "mesh", "reason": attached}));
    let answer = global.send(Method::DELETE, "/zones/zone-1", None).await?;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    let connected = "unable to delete Zone, Zone CP is still connected, please shut it down first";
    assert_eq!(answer.body["invalid_parameters"], json!([{"field": "zone", "reason": connected}]));
    stage.passed();
    Ok(())
}
