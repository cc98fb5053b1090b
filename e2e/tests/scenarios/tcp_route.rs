//! MeshTCPRoute: connections go where routes say. The applications speak HTTP, so that they tell who they are; every request has a connection
//! of its own.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::shop::{Shop, answered_by, request, share};
use crate::support::web::By;
use crate::support::workload::answers;

async fn connections_go_where_routes_say(by: By) -> Result<()> {
    let shop = Shop::start(by).await?;
    let (other, third) = (shop.service("other", "tcp", &[]).await?, shop.service("third", "http", &[]).await?);
    let outbound = shop.web.outbound;

    // All of them elsewhere, although what they were to speaks HTTP and the other one does not.
    shop.split(json!([shop.backend(&other, 1)])).await?;
    answered_by(outbound, "/elsewhere", "other").await?;

    // 200 connections at 75 and 25 percent: 50 expected, with a standard deviation of 6; none where the weight is zero.
    shop.split(json!([shop.own(75), shop.backend(&other, 25), shop.backend(&third, 0)])).await?;
    answers(outbound, "/", (StatusCode::OK, "web")).await?;
    let of_other = share(outbound, "/split", "other", 200).await?;
    assert!((20..=80).contains(&of_other), "{of_other} of 200");
    assert_eq!((shop.web.workload.requests("/split"), third.recorder.requests().len()), (200 - of_other, 0));

    // For what speaks HTTP, routes of requests decide alone.
    let to_third = json!({"path": {"type": "PathPrefix", "value": "/third"}});
    shop.routes(json!([{"matches": [to_third], "default": {"backendRefs": [shop.backend(&third, 1)]}}])).await?;
    answered_by(outbound, "/third", "third").await?;
    answered_by(outbound, "/decided", "web").await?;
    shop.web.delete("MeshHTTPRoute", "routes").await?;
    shop.split(json!([shop.backend(&other, 1)])).await?;
    answered_by(outbound, "/third", "other").await?;

    shop.web.delete("MeshTCPRoute", "split").await?;
    answered_by(outbound, "/again", "web").await?;
    assert_eq!(request(outbound, "/third", &[]).await?.body, "web /third");
    shop.passed(&[&other, &third], &[]).await
}

#[tokio::test]
async fn connections_to_a_service_by_its_tag_go_where_routes_say() -> Result<()> {
    connections_go_where_routes_say(By::Tag).await
}

#[tokio::test]
async fn connections_to_a_mesh_service_go_where_routes_say() -> Result<()> {
    connections_go_where_routes_say(By::Resource).await
}
