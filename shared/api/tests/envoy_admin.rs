//! Questions to running Envoys and for the configurations of proxies, answered by stand-ins.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use serde_json::{Map, Value, json};
use support::{ALONE, Api, Setup};
use tandem_api::{EnvoyAdmin, EnvoyAdminError, ProxyConfigurationError, ProxyConfigurations};
use tandem_auth::access::AccessRules;
use tandem_model::{AdminOperation, Kind, Mode, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::DataplaneInsight;
use tandem_runtime::config::{Allowed, StaticAccess};

/// Answers with the question; fails in the way that the name of the proxy says.
struct Echo;

#[async_trait]
impl EnvoyAdmin for Echo {
    async fn ask(&self, proxy: &Resource, operation: AdminOperation) -> Result<Bytes, EnvoyAdminError> {
        let text = format!("why {} failed", proxy.key.name);
        match proxy.key.name.as_str() {
            "not-connected" => Err(EnvoyAdminError::NotConnected(text)),
            "unanswered" => Err(EnvoyAdminError::Unanswered(text)),
            "failed" => Err(EnvoyAdminError::Failed(text)),
            name => Ok(format!("{{\"{name}\": \"{}\"}}", operation.path()).into()),
        }
    }
}

/// One resource, which tells what was asked for.
struct OneListener;

impl ProxyConfigurations for OneListener {
    fn make(
        &self,
        dataplane: &ResourceKey,
        insight: &DataplaneInsight,
        with_shadow: bool,
    ) -> Result<Map<String, Value>, ProxyConfigurationError> {
        assert_eq!(dataplane.kind, Kind::Dataplane);
        assert_eq!(insight.subscriptions.len(), 1);
        match dataplane.name.as_str() {
            "gone" => Err(ProxyConfigurationError::NotFound),
            "broken" => Err(ProxyConfigurationError::Failed("a reason for the log".to_owned())),
            name => match json!({"Listener": {name: {"shadow": with_shadow}}}) {
                Value::Object(types) => Ok(types),
                _ => unreachable!("written as an object"),
            },
        }
    }
}

async fn start(mode: Mode) -> Api {
    let setup = Setup::new(mode);
    let configurations: Option<Arc<dyn ProxyConfigurations>> =
        if mode.is_global() { None } else { Some(Arc::new(OneListener)) };
    let api = Setup { envoys: Arc::new(Echo), configurations, ..setup }.start().await;
    api.mesh("default").await;
    for name in ["web", "not-connected", "unanswered", "failed"] {
        let networking = json!({"address": "127.0.0.1"});
        api.load(json!({"type": "Dataplane", "mesh": "default", "name": name, "networking": networking})).await;
    }
    for (kind, name, zone) in [
        ("ZoneIngress", "own", "zone-1"),
        ("ZoneIngress", "new", ""),
        ("ZoneIngress", "other", "zone-2"),
        ("ZoneEgress", "own", "zone-1"),
        ("ZoneEgress", "other", "zone-2"),
    ] {
        let networking = json!({"address": "127.0.0.1", "port": 10001});
        api.load(json!({"type": kind, "name": name, "zone": zone, "networking": networking})).await;
    }
    api
}

#[tokio::test]
async fn questions_reach_the_envoy_as_they_were_meant() {
    let api = start(ALONE).await;
    let web = "/meshes/default/dataplanes/web";
    for (path, content_type, name, asked) in [
        (format!("{web}/xds"), "application/json", "web", "config_dump"),
        (format!("{web}/xds?include_eds=true"), "application/json", "web", "config_dump?include_eds=true"),
        (format!("{web}/stats"), "text/plain", "web", "stats?usedonly="),
        (format!("{web}/stats?usedonly=false"), "text/plain", "web", "stats"),
        (format!("{web}/stats?format=json"), "application/json", "web", "stats?format=json&usedonly="),
        (format!("{web}/clusters"), "text/plain", "web", "clusters"),
        (format!("{web}/clusters?format=json"), "application/json", "web", "clusters?format=json"),
        ("/zoneingresses/own/xds".to_owned(), "application/json", "own", "config_dump"),
        ("/zoneingresses/new/stats".to_owned(), "text/plain", "new", "stats?usedonly="),
        ("/zoneegresses/own/clusters".to_owned(), "text/plain", "own", "clusters"),
    ] {
        let answer = api.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(answer.headers[header::CONTENT_TYPE], content_type, "{path}");
        assert_eq!(answer.text, format!("{{\"{name}\": \"{asked}\"}}"), "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_reason() {
    let api = start(ALONE).await;
    let operation = "Could not execute admin operation";
    for (path, status, title, detail) in [
        ("/meshes/default/dataplanes/web/notAType", 404, operation, "Not found"),
        ("/meshes/default/dataplanes/nobody/notAType", 404, operation, "Not found"),
        ("/zoneingresses/own/_x", 404, operation, "Not found"),
        ("/meshes/default/dataplanes/nobody/xds", 404, "Could not get dataplane resource", "Not found"),
        ("/meshes/nowhere/dataplanes/web/xds", 404, "Could not get dataplane resource", "Not found"),
        ("/zoneingresses/nobody/stats", 404, "Could not get zone ingress resource", "Not found"),
        ("/zoneegresses/nobody/stats", 404, "Could not get zone ingress resource", "Not found"),
        ("/meshes/default/dataplanes/not-connected/xds", 400, "Bad Request", "why not-connected failed"),
        ("/meshes/default/dataplanes/unanswered/xds", 400, operation, "why unanswered failed"),
        ("/meshes/default/dataplanes/failed/xds", 500, operation, "why failed failed"),
    ] {
        let problem = api.get(path).await.problem();
        assert_eq!(problem, (status, title.to_owned(), detail.to_owned()), "{path}");
    }
    for path in ["/zoneingresses/other/xds", "/zoneegresses/other/xds"] {
        let answer = api.get(path).await;
        let title = "Could not connect to zone ingress that resides in another zone".to_owned();
        assert_eq!(answer.problem(), (400, title, "Resource is not valid".to_owned()), "{path}");
        assert_eq!(answer.violations(), []);
    }
}

#[tokio::test]
async fn global_asks_the_proxies_of_all_zones() {
    let api = start(Mode::Global).await;
    for path in ["/zoneingresses/other/xds", "/zoneegresses/own/xds", "/meshes/default/dataplanes/web/xds"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn access_is_checked_before_the_resource() {
    let mut setup = Setup::new(ALONE);
    setup.settings.localhost_is_admin = false;
    let nobody = Allowed::default;
    setup.access = AccessRules::new(StaticAccess {
        admin_resources: nobody(),
        generate_dp_token: nobody(),
        generate_user_token: nobody(),
        generate_zone_token: nobody(),
        view_config_dump: nobody(),
        view_stats: nobody(),
        view_clusters: nobody(),
        control_plane_metadata: nobody(),
    });
    let api = setup.start().await;
    for operation in ["xds", "stats", "clusters"] {
        let problem = api.get(&format!("/meshes/default/dataplanes/nobody/{operation}")).await.problem();
        let detail =
            r#"user "mesh-system:anonymous/mesh-system:unauthenticated" cannot access envoy proxy info"#.to_owned();
        assert_eq!(problem, (403, "Access Denied".to_owned(), detail), "{operation}");
    }
}

async fn with_insights(mode: Mode) -> Api {
    let api = start(mode).await;
    for name in ["web", "gone", "broken"] {
        let subscriptions = json!([{"id": "1"}]);
        let insight =
            json!({"type": "DataplaneInsight", "mesh": "default", "name": name, "subscriptions": subscriptions});
        api.load(insight).await;
    }
    api
}

#[tokio::test]
async fn configurations_are_shown_with_what_a_trial_would_change() {
    let api = with_insights(ALONE).await;
    let xds = |shadow: bool| json!({"Listener": {"web": {"shadow": shadow}}});
    let path = "/Listener/web/shadow";
    let changed = [("test", false), ("remove", false), ("add", true)]
        .map(|(op, value)| json!({"op": op, "path": path, "value": value}));
    for kind in ["dataplanes", "meshgateways"] {
        for (query, expected) in [
            ("", json!({"xds": xds(false)})),
            ("?shadow=true", json!({"xds": xds(true)})),
            ("?include=diff", json!({"diff": [], "xds": xds(false)})),
            ("?shadow=true&include=diff", json!({"diff": changed, "xds": xds(true)})),
        ] {
            let answer = api.get(&format!("/meshes/default/{kind}/web/_config{query}")).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (200, expected), "{kind}{query}");
        }
    }
}

#[tokio::test]
async fn configurations_that_cannot_be_shown() {
    let zone = with_insights(ALONE).await;
    let parameter = |name| format!("bad request: unsupported value for query parameter '{name}'");
    for (path, status, title, detail) in [
        ("nowhere/dataplanes/web/_config?shadow=x", 404, "Failed to retrieve Mesh", "Not found".to_owned()),
        ("default/dataplanes/nobody/_config?shadow=trrrue", 400, "Bad Request", parameter("shadow")),
        ("default/dataplanes/web/_config?include=something", 400, "Bad Request", parameter("include")),
        ("default/dataplanes/nobody/_config", 404, "Failed to fetch dataplane insight", "Not found".to_owned()),
        ("default/dataplanes/gone/_config", 404, "Failed to inspect proxy config", "Not found".to_owned()),
        (
            "default/dataplanes/broken/_config",
            500,
            "Failed to inspect proxy config",
            "Internal Server Error".to_owned(),
        ),
    ] {
        let problem = zone.get(&format!("/meshes/{path}")).await.problem();
        assert_eq!(problem, (status, title.to_owned(), detail), "{path}");
    }
    let global = with_insights(Mode::Global).await;
    let problem = global.get("/meshes/nowhere/dataplanes/web/_config?shadow=x").await.problem();
    assert_eq!(problem, (405, "Method not allowed".to_owned(), "Not allowed on global CP".to_owned()));
}
