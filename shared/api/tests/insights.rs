//! What the control plane tells of itself, of proxies, zones and services.

mod support;

use serde_json::json;
use support::{ALONE, Api};
use tandem_model::Mode;

#[tokio::test]
async fn itself() {
    let api = Api::start(ALONE).await;
    let index = api.get("/").await.json();
    assert_eq!((&index["product"], &index["version"]), (&json!("Kuma"), &json!("2.13.10")));
    assert_eq!((&index["clusterId"], &index["gui"]), (&json!(""), &json!("/gui")));
    let hostname = index["hostname"].as_str().expect("a name");
    assert!(index["instanceId"].as_str().expect("an id").starts_with(&format!("{hostname}-")));
    api.load(json!({ "type": "Config", "name": "kuma-cluster-id", "config": "1234" })).await;
    assert_eq!(api.get("/").await.json()["clusterId"], "1234");

    assert_eq!(api.get("/config").await.text, r#"{"mode":"zone"}"#);
    assert_eq!(
        api.get("/who-am-i").await.json(),
        json!({ "name": "mesh-system:admin", "groups": ["mesh-system:admin", "mesh-system:authenticated"] })
    );
    let types = api.get("/_resources").await.json();
    assert_eq!(types["resources"].as_array().expect("a list").len(), 51);
    let policies = api.get("/policies").await.json();
    assert_eq!(policies["policies"].as_array().expect("a list").len(), 29);
}

#[tokio::test]
async fn requests_are_measured_by_route() {
    let api = Api::start(ALONE).await;
    api.mesh("m").await;
    api.get("/meshes/m").await;
    api.get("/meshes/nope").await;
    let text = api.metrics.encode();
    for code in [200, 404] {
        let series = format!(
            r#"api_server_http_request_duration_seconds_count{{zone="test",code="{code}",handler="/meshes/{{name}}",method="GET",service=""}} 1"#
        );
        assert!(text.contains(&series), "{series} in {text}");
    }
    assert!(text.contains("api_server_http_response_size_bytes_sum"), "{text}");
}

#[tokio::test]
async fn proxies_with_their_insights() {
    let api = Api::start(ALONE).await;
    api.mesh("m").await;
    let networking =
        json!({ "address": "10.0.0.1", "inbound": [{ "port": 80, "tags": { "kuma.io/service": "web" } }] });
    api.load(
        json!({ "type": "Dataplane", "mesh": "m", "name": "a", "labels": { "team": "x" }, "networking": networking }),
    )
    .await;
    api.load(json!({ "type": "Dataplane", "mesh": "m", "name": "b", "networking": networking })).await;
    let subscription = json!({ "id": "1", "connectTime": "2026-01-01T00:00:00Z", "status": {
        "total": { "responsesSent": "5" }, "cds": {}, "eds": {}, "lds": {}, "rds": {},
    } });
    api.load(json!({ "type": "DataplaneInsight", "mesh": "m", "name": "b", "subscriptions": [subscription] })).await;

    for path in [
        "/meshes/m/dataplanes/_overview",
        "/meshes/m/dataplanes+insights",
        "/dataplanes/_overview",
        "/dataplanes+insights",
    ] {
        let list = api.get(path).await.json();
        assert_eq!(list["total"], 2, "{path}");
        let (a, b) = (&list["items"][0], &list["items"][1]);
        assert_eq!((&a["type"], &a["name"], a.get("kri")), (&json!("DataplaneOverview"), &json!("a"), None));
        assert_eq!(a["dataplane"]["networking"]["address"], "10.0.0.1");
        assert_eq!(a.get("dataplaneInsight"), None, "{path}");
        assert_eq!(b["dataplaneInsight"]["subscriptions"][0]["status"]["total"]["responsesSent"], "5");
    }
    for path in ["/meshes/m/dataplanes/a/_overview", "/meshes/m/dataplanes+insights/a"] {
        let item = api.get(path).await.json();
        assert_eq!(item["dataplaneInsight"], json!({}), "{path}");
    }
    assert_eq!(api.get("/meshes/m/dataplanes/nope/_overview").await.problem().0, 404);
    assert_eq!(api.get("/meshes/m/dataplanes/_overview?filter[labels.team]=x").await.json()["total"], 1);
    assert_eq!(api.get("/meshes/m/dataplanes/_overview?gateway=true").await.json()["total"], 0);
    let tagged = api.get("/meshes/m/dataplanes/_overview?tag=kuma.io/service:we&size=1").await.json();
    assert_eq!(tagged["total"], 2);
    assert!(tagged["next"].as_str().expect("more").contains("tag=kuma.io%2Fservice%3Awe"), "{tagged}");
}

#[tokio::test]
async fn zones_and_their_proxies() {
    let api = Api::start(Mode::Global).await;
    api.load(json!({ "type": "Zone", "name": "z", "enabled": true })).await;
    api.load(json!({ "type": "ZoneInsight", "name": "z", "subscriptions": [{ "id": "1", "config": "{}" }] })).await;
    for path in ["/zones+insights", "/zones/_overview"] {
        let zone = &api.get(path).await.json()["items"][0];
        assert_eq!((&zone["type"], &zone["zone"]), (&json!("ZoneOverview"), &json!({ "enabled": true })));
        assert_eq!(zone["zoneInsight"]["subscriptions"][0]["config"], "{}", "{path}");
    }
    assert_eq!(api.get("/zones+insights/z").await.json()["name"], "z");
    assert_eq!(api.get("/zones/z/_overview").await.json()["name"], "z");
    api.load(json!({ "type": "ZoneIngress", "name": "zi", "networking": { "port": 1 } })).await;
    api.load(json!({ "type": "ZoneEgress", "name": "ze", "networking": { "port": 2 } })).await;
    for path in [
        "/zoneingresses/_overview",
        "/zoneingresses+insights",
        "/zone-ingresses/_overview",
        "/zoneegresses/_overview",
        "/zoneegressoverviews",
    ] {
        assert_eq!(api.get(path).await.json()["total"], 1, "{path}");
    }
    assert_eq!(api.get("/zoneingresses/zi/_overview").await.json()["zoneIngress"]["networking"]["port"], 1);
    assert_eq!(api.get("/zoneegressoverviews/ze").await.json()["zoneEgress"]["networking"]["port"], 2);
    assert_eq!(api.get("/zones/_status").await.problem().0, 404);
}

#[tokio::test]
async fn sums() {
    let api = Api::start(Mode::Global).await;
    api.mesh("m").await;
    let stat = json!({ "total": 2, "online": 1, "offline": 1 });
    api.load(json!({ "type": "MeshInsight", "name": "m", "dataplanesByType": { "standard": stat },
        "policies": { "MeshTimeout": { "total": 3 } }, "resources": { "Dataplane": { "total": 2 } } }))
        .await;
    let online = json!({ "subscriptions": [{ "id": "1", "connectTime": "2026-01-01T00:00:00Z" }] });
    for (kind, name) in [("ZoneInsight", "z"), ("ZoneIngressInsight", "zi"), ("ZoneEgressInsight", "ze")] {
        let mut insight = online.clone();
        insight["type"] = json!(kind);
        insight["name"] = json!(name);
        api.load(insight).await;
    }
    let sum = api.get("/global-insight").await.json();
    assert_eq!(sum["dataplanes"]["standard"], json!({ "offline": 1, "online": 1, "partiallyDegraded": 0, "total": 2 }));
    assert_eq!((&sum["meshes"]["total"], &sum["policies"]["total"]), (&json!(1), &json!(3)));
    assert_eq!(sum["resources"], json!({ "Dataplane": { "total": 2 } }));
    let one = json!({ "online": 1, "total": 1 });
    assert_eq!(sum["zones"], json!({ "controlPlanes": one, "zoneEgresses": one, "zoneIngresses": one }));
    assert_eq!(api.get("/global-insights").await.json()["resources"]["Mesh"]["total"], 1);
    assert_eq!(api.get("/mesh-insights/m").await.json()["dataplanesByType"]["standard"]["total"], 2);
}

#[tokio::test]
async fn a_synchronized_service_insight_is_found() {
    let api = Api::start(support::FEDERATED).await;
    api.mesh("m").await;
    api.load(json!({ "type": "ServiceInsight", "mesh": "m", "name": "all-services-m-abc",
        "labels": { "kuma.io/display-name": "all-services-m" },
        "services": { "web": { "status": "online", "dataplanes": { "online": 1 } } } }))
        .await;
    let service = api.get("/meshes/m/service-insights/web").await.json();
    assert_eq!((&service["name"], &service["status"]), (&json!("web"), &json!("online")));
    assert_eq!(service["dataplanes"], json!({ "total": 1, "online": 1 }));
    assert_eq!(service["addressPort"], "web.mesh:80");
    assert_eq!(service.get("labels"), None);
    let unknown = api.get("/meshes/m/service-insights/nope").await.json();
    assert_eq!(unknown["dataplanes"], json!({}));
    assert_eq!(api.get("/meshes/m/service-insights?type=foo").await.problem().0, 400);
}
