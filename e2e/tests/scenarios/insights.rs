//! What is known of proxies that are connected.

use anyhow::{Context as _, Result};
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::rpc::Status;
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::{api, wait};

use crate::support::ads::{CLUSTER, LISTENER};
use crate::support::{Ads, PATIENCE, Stage, apps};

/// The last subscription of the only proxy that a control plane knows.
async fn subscription(api: &Api) -> Result<Value> {
    let list = api.get("/meshes/default/dataplanes+insights").await?;
    let insight = &list["items"][0]["dataplaneInsight"];
    let last = insight["subscriptions"].as_array().and_then(|subscriptions| subscriptions.last());
    last.cloned().with_context(|| format!("no subscription in {list}"))
}

#[tokio::test]
async fn what_proxies_acknowledge_and_refuse_is_counted_up_to_global() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let zone = stage.zone(0);
    let spec = apps::caller("default", "dp", &[])?.with_token(zone.dataplane_token("default", "dp").await?);
    let mut stream = Ads::open(&zone.dp_server, &spec).await?;

    let clusters = stream.response_of(CLUSTER).await?;
    stream.send(DiscoveryRequest {
        type_url: CLUSTER.to_owned(),
        response_nonce: clusters.nonce,
        error_detail: Some(Status { code: 3, message: "no such clusters, please".to_owned(), ..Status::default() }),
        ..DiscoveryRequest::default()
    })?;
    stream.subscribe(LISTENER, &[])?;
    let listeners = stream.response_of(LISTENER).await?;
    stream.send(DiscoveryRequest {
        type_url: LISTENER.to_owned(),
        version_info: listeners.version_info,
        response_nonce: listeners.nonce,
        ..DiscoveryRequest::default()
    })?;

    for api in [&zone.api, stage.global()] {
        let counted = || async {
            let subscription = subscription(api).await?;
            let status = &subscription["status"];
            let (clusters, listeners) = (&status["cds"]["responsesRejected"], &status["lds"]["responsesAcknowledged"]);
            anyhow::ensure!(*clusters == json!("1") && *listeners == json!("1"), "{subscription}");
            anyhow::ensure!(subscription.get("disconnectTime").is_none(), "{subscription}");
            Ok(Some(()))
        };
        wait::until(&format!("{} counts both", api.url()), PATIENCE, counted).await?;
    }
    let insight = || async {
        let insight = stage.global().get("/mesh-insights/default").await?;
        Ok((insight["dataplanes"]["online"] == 1).then_some(()))
    };
    wait::until("the mesh has one proxy online", PATIENCE, insight).await?;
    assert!(zone.control_plane.log_tail(50).contains("no such clusters, please"), "the reason is not in the log");
    stage.passed();
    Ok(())
}
