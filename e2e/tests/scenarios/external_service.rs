//! ExternalServices, with `routing.zoneEgress` and without.

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::{api, ports};

use crate::support::outside::{OutsideServer, Pair, PrivateAuthority, ask, asked, egress};
use crate::support::{Stage, apps};

fn external(name: &str, port: u16, tls: Option<Value>) -> Value {
    let mut networking = json!({"address": format!("localhost:{port}")});
    if let Some(tls) = tls {
        networking["tls"] = tls;
    }
    let tags = json!({"kuma.io/service": name, "kuma.io/protocol": "http"});
    json!({"type": "ExternalService", "mesh": "default", "name": name, "tags": tags, "networking": networking})
}

#[tokio::test]
async fn external_services_are_reached_directly_or_through_the_egress_as_the_mesh_says() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let routing = |through_egress: bool| {
        let mut mesh = json!({"type": "Mesh", "name": "default", "mtls": api::mesh("default")["mtls"]});
        if through_egress {
            mesh["routing"] = json!({"zoneEgress": true});
        }
        mesh
    };
    stage.mesh(&routing(false)).await?;
    let authority = PrivateAuthority::new()?;
    let plain = OutsideServer::http(None).await?;
    let secured = OutsideServer::http(Some(authority.server("localhost")?)).await?;
    let Pair { chain, key } = authority.issue("client.outside")?;
    let text = |text: &str| json!({"inlineString": text});
    let tls =
        json!({"enabled": true, "caCert": text(&authority.pem), "clientCert": text(&chain), "clientKey": text(&key)});
    for service in [external("plain", plain.port, None), external("secured", secured.port, Some(tls.clone()))] {
        let name = service["name"].as_str().context("it has a name")?;
        stage.global().put(&format!("/meshes/default/external-services/{name}"), &service).await?;
    }
    let (to_plain, to_secured) = (ports::free()?, ports::free()?);
    let outbounds = [(to_plain, "plain"), (to_secured, "secured")];
    let client = stage.zone(0).start_sidecar(apps::caller("default", "client", &outbounds)?).await?;
    let answer = asked(to_plain, StatusCode::OK).await?.context("the server itself answers")?;
    assert_eq!(answer.host, "localhost", "it is asked for by its own name");
    asked(to_secured, StatusCode::OK).await?;

    // Through the egress, which lets nobody pass without a permission. One that is of another zone is not reached at all.
    let egress = egress("zone-1", stage.world.zone_token("zone-1").await?)?;
    let egress = stage.zone(0).launch_proxy(egress).await?;
    stage.mesh(&routing(true)).await?;
    asked(to_plain, StatusCode::FORBIDDEN).await?;
    let (path, permission) = api::traffic_permission("default", "everyone", "Allow");
    stage.global().put(&path, &permission).await?;
    asked(to_plain, StatusCode::OK).await?;
    asked(to_secured, StatusCode::OK).await?;
    for service in ["plain", "secured"] {
        let counter = format!("cluster.default_{service}.upstream_rq_200");
        assert!(egress.stat(&counter).await? > 0, "the egress makes the requests to {service}");
    }
    let mut elsewhere = external("secured", secured.port, Some(tls.clone()));
    elsewhere["tags"]["kuma.io/zone"] = json!("zone-2");
    stage.global().put("/meshes/default/external-services/secured", &elsewhere).await?;
    asked(to_secured, StatusCode::SERVICE_UNAVAILABLE).await?;
    assert_eq!(ask(to_plain).await?.0, StatusCode::OK);

    // Directly again; one whose certificates make no sense cannot be reached, the other one can.
    stage.mesh(&routing(false)).await?;
    asked(to_secured, StatusCode::OK).await?;
    let mut wrong = tls;
    wrong["clientKey"] = text("no key");
    stage
        .global()
        .put("/meshes/default/external-services/secured", &external("secured", secured.port, Some(wrong)))
        .await?;
    asked(to_secured, StatusCode::SERVICE_UNAVAILABLE).await?;
    assert_eq!(ask(to_plain).await?.0, StatusCode::OK);
    for proxy in [&client, &egress] {
        let rejected = proxy.stat_sum(|name| name.ends_with(".update_rejected")).await?;
        assert_eq!(rejected, 0, "{}", proxy.log_tail());
    }
    stage.passed();
    Ok(())
}
