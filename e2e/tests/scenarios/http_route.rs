//! MeshHTTPRoute: requests go where routes say, changed as they say.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::world::Zone;
use tandem_e2e::{api, ports, wait};

use crate::support::outside::{self, OutsideServer};
use crate::support::shop::{Service, Shop, answered_by, request, share, until_requested};
use crate::support::web::{By, MESH};
use crate::support::{PATIENCE, Stage, apps};

fn prefix(path: &str) -> Value {
    json!({"path": {"type": "PathPrefix", "value": path}})
}

fn forward(condition: Value, backends: Value) -> Value {
    json!({"matches": [condition], "default": {"backendRefs": backends}})
}

fn change(condition: Value, filters: Value) -> Value {
    json!({"matches": [condition], "default": {"filters": filters}})
}

/// All kinds of routes of the requests to one service.
async fn requests_go_where_routes_say(by: By) -> Result<()> {
    let shop = Shop::start(by).await?;
    let (v2, copy) = (shop.service("v2", "http", &[]).await?, shop.service("copy", "http", &[]).await?);
    let outbound = shop.web.outbound;
    answered_by(outbound, "/split", "web").await?;

    let header = json!({"headers": [{"type": "Exact", "name": "x-version", "value": "2"}]});
    let rewrite = json!({"hostname": "new.example.com",
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new/"}});
    let of_request = json!({"set": [{"name": "x-set", "value": "by-route"}], "add": [{"name": "x-add", "value": "more"}],
        "remove": ["x-secret"]});
    let of_response = json!({"add": [{"name": "x-answered", "value": "through-route"}]});
    let redirect = json!({"scheme": "https", "hostname": "moved.example.com", "statusCode": 308,
        "path": {"type": "ReplaceFullPath", "replaceFullPath": "/there"}});
    let mut changed = change(
        prefix("/old"),
        json!([
            {"type": "URLRewrite", "urlRewrite": rewrite},
            {"type": "RequestHeaderModifier", "requestHeaderModifier": of_request},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": of_response},
        ]),
    );
    changed["default"]["backendRefs"] = json!([shop.backend(&v2, 1)]);
    let mut to_copy = shop.backend(&copy, 1);
    to_copy.as_object_mut().context("an object")?.shift_remove("weight");
    let mirror = json!([{"type": "RequestMirror", "requestMirror": {"backendRef": to_copy}}]);
    let broken = json!({"path": {"type": "RegularExpression", "value": "/(unclosed"}});
    shop.routes(json!([
        forward(header, json!([shop.backend(&v2, 1)])),
        changed,
        change(prefix("/moved"), json!([{"type": "RequestRedirect", "requestRedirect": redirect}])),
        change(prefix("/copied"), mirror),
        forward(prefix("/split"), json!([shop.own(90), shop.backend(&v2, 10)])),
        forward(broken, json!([shop.backend(&v2, 1)])),
    ]))
    .await?;

    // A header decides, and only for requests that have it.
    answered_by(outbound, "/old/known", "v2").await?;
    assert_eq!(request(outbound, "/header", &[("x-version", "2")]).await?.body, "v2");
    assert_eq!(request(outbound, "/header", &[("x-version", "3")]).await?.body, "web /header");

    // What the other application gets, and what the client is told.
    let answer = request(outbound, "/old/way", &[("x-secret", "s"), ("x-set", "by-client"), ("x-add", "one")]).await?;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "v2"));
    assert_eq!(answer.headers.get("x-answered").map(|value| value.as_bytes()), Some(&b"through-route"[..]));
    let got = v2.requests("/new/way");
    let [got] = got.as_slice() else { panic!("{:?}", v2.recorder.requests()) };
    let header = |name| Service::header(got, name);
    assert_eq!([header("host"), header("x-set"), header("x-secret")], ["new.example.com", "by-route", ""]);
    let added: Vec<_> = got.headers.get_all("x-add").iter().map(|value| value.as_bytes()).collect();
    assert_eq!(added, [b"one", &b"more"[..]]);

    let answer = request(outbound, "/moved/away", &[]).await?;
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
    let location = answer.headers.get("location").map(|value| value.as_bytes());
    assert_eq!(location, Some(&b"https://moved.example.com/there"[..]));

    // Both applications get the request, the first one answers.
    assert_eq!(request(outbound, "/copied/too", &[]).await?.body, "web /copied/too");
    until_requested("the copy arrives", || copy.requests("/copied/too").len() == 1).await?;
    assert_eq!(shop.web.workload.requests("/copied/too"), 1);

    // 400 requests at 10 percent: 40 expected, with a standard deviation of 6.
    let before = shop.web.workload.requests("/split");
    let of_v2 = share(outbound, "/split", "v2", 400).await?;
    assert!((10..=80).contains(&of_v2), "{of_v2} of 400");
    assert_eq!((v2.requests("/split").len(), shop.web.workload.requests("/split") - before), (of_v2, 400 - of_v2));

    // The rule that makes no sense is without effect, and a gateway beside which nothing runs goes the same ways.
    assert_eq!(request(outbound, "/(unclosed", &[]).await?.body, "web /(unclosed");
    let (gateway, through_gateway) = shop.web.start_gateway("edge").await?;
    answered_by(through_gateway, "/old/gate", "v2").await?;
    assert!(!v2.requests("/new/gate").is_empty());

    shop.web.delete("MeshHTTPRoute", "routes").await?;
    answered_by(outbound, "/old/way", "web").await?;
    assert_eq!(request(outbound, "/header", &[("x-version", "2")]).await?.body, "web /header");
    shop.passed(&[&v2, &copy], &[&gateway]).await
}

#[tokio::test]
async fn requests_to_a_service_by_its_tag_go_where_routes_say() -> Result<()> {
    requests_go_where_routes_say(By::Tag).await
}

#[tokio::test]
async fn requests_to_a_mesh_service_go_where_routes_say() -> Result<()> {
    requests_go_where_routes_say(By::Resource).await
}

#[tokio::test]
async fn tags_choose_among_the_instances_of_a_service() -> Result<()> {
    let shop = Shop::start(By::Tag).await?;
    let blue = shop.service("colours", "http", &[("colour", "blue")]).await?;
    let subset = |colour: &str| json!({"kind": "MeshServiceSubset", "name": "colours", "tags": {"colour": colour}});
    let outbound = shop.web.outbound;
    shop.routes(json!([forward(prefix("/blue"), json!([subset("blue")]))])).await?;
    answered_by(outbound, "/blue", "colours").await?;
    assert_eq!(request(outbound, "/bluebird", &[]).await?.body, "web /bluebird", "another path");

    // Nobody has the tag; a service that does not exist leaves the request to the next rule.
    let missing = json!({"kind": "MeshService", "name": "nobody"});
    shop.routes(json!([
        forward(prefix("/red"), json!([subset("red")])),
        forward(prefix("/nobody"), json!([missing])),
        forward(prefix("/half"), json!([missing, subset("blue")])),
    ]))
    .await?;
    let unavailable = || async {
        let status = request(outbound, "/red", &[]).await?.status;
        Ok((status == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    };
    wait::until("nobody answers", PATIENCE, unavailable).await?;
    assert_eq!(request(outbound, "/nobody", &[]).await?.body, "web /nobody");
    answered_by(outbound, "/half", "colours").await?;
    shop.passed(&[&blue], &[]).await
}

/// Starts the ingress of a zone.
async fn start_ingress(stage: &Stage, zone: &Zone) -> Result<Proxy> {
    let spec = ProxySpec::ingress(&format!("ingress-{}", zone.name), ports::free()?);
    zone.launch_proxy(spec.with_token(stage.world.zone_token(&zone.name).await?)).await
}

#[tokio::test]
async fn routes_lead_to_other_zones_and_out_of_the_mesh() -> Result<()> {
    let stage = Stage::with_zones(&["here", "there"]).await?;
    let mesh = json!({
        "type": "Mesh", "name": MESH, "skipCreatingInitialPolicies": ["*"], "meshServices": {"mode": "Exclusive"},
        "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]},
    });
    stage.mesh(&mesh).await?;
    let (everyone, permission) = api::traffic_permission(MESH, "everyone", "Allow");
    stage.global().put(&everyone, &permission).await?;
    let (here, there) = (stage.zone(0), stage.zone(1));
    let ingress = start_ingress(&stage, there).await?;
    let egress = outside::egress("here", stage.world.zone_token("here").await?)?;
    let egress = here.launch_proxy(egress).await?;
    let (near, far) =
        (tandem_e2e::echo::EchoServer::start("near").await?, tandem_e2e::echo::EchoServer::start("far").await?);
    let web = apps::sidecar(MESH, "web-1", "web", near.port(), &[])?;
    let port = web.resource["networking"]["inbound"][0]["port"].clone();
    let web = here.start_sidecar(web).await?;
    let distant = apps::sidecar(MESH, "distant-1", "distant", far.port(), &[])?;
    let distant_port = distant.resource["networking"]["inbound"][0]["port"].clone();
    let distant = there.start_sidecar(distant).await?;
    let everywhere = json!({
        "type": "MeshMultiZoneService", "mesh": MESH, "name": "everywhere",
        "spec": {
            "selector": {"meshService": {"matchLabels": {"kuma.io/display-name": "distant"}}},
            "ports": [{"port": distant_port, "appProtocol": "http"}],
        },
    });
    stage.global().put(&format!("/meshes/{MESH}/meshmultizoneservices/everywhere"), &everywhere).await?;
    let server = OutsideServer::http(None).await?;
    let vendor = outside::mesh_external_service("vendor", "http", "localhost", server.port, None);
    stage.global().put(&format!("/meshes/{MESH}/meshexternalservices/vendor"), &vendor).await?;
    let outbound = ports::free()?;
    let mut client = apps::caller(MESH, "client", &[])?;
    let reference = json!({"kind": "MeshService", "name": "web", "port": port});
    client.resource["networking"]["outbound"] = json!([{"port": outbound, "backendRef": reference}]);
    let client = here.start_sidecar(client).await?;
    answered_by(outbound, "/", "near").await?;

    // A policy of global names what global has; what zones have it finds by labels.
    let far_away = json!({"kind": "MeshMultiZoneService", "name": "everywhere", "port": distant_port});
    let of_zone = json!({"kind": "MeshService", "port": distant_port,
        "labels": {"kuma.io/display-name": "distant", "kuma.io/zone": "there"}});
    let out = json!({"kind": "MeshExternalService", "name": "vendor"});
    let to = json!({"kind": "MeshService", "labels": {"kuma.io/display-name": "web"}});
    let rules = json!([
        forward(prefix("/everywhere"), json!([far_away])),
        forward(prefix("/there"), json!([of_zone])),
        forward(prefix("/out"), json!([out])),
    ]);
    let spec = json!({"to": [{"targetRef": to, "rules": rules}]});
    let route = json!({"type": "MeshHTTPRoute", "mesh": MESH, "name": "far", "spec": spec});
    stage.global().put(&format!("/meshes/{MESH}/meshhttproutes/far"), &route).await?;
    answered_by(outbound, "/everywhere", "far").await?;
    answered_by(outbound, "/there", "far").await?;
    answered_by(outbound, "/out", "localhost").await?; // the host that it was asked for
    answered_by(outbound, "/near", "near").await?;
    for proxy in [&client, &web, &distant, &ingress, &egress] {
        let rejected = proxy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
        assert_eq!(rejected, 0, "{}", proxy.log_tail());
    }
    stage.passed();
    Ok(())
}
