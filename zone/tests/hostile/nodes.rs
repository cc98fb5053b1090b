//! Nodes that lie about who they are.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use serde_json::json;
use tonic::Code;

use super::peer::node;
use super::stage::{CLUSTER, MESH, Stage, acknowledgement, dataplane};

fn first(node: Option<Node>) -> DiscoveryRequest {
    DiscoveryRequest { node, type_url: CLUSTER.to_owned(), ..DiscoveryRequest::default() }
}

#[tokio::test]
async fn nodes_that_lie_are_refused_before_anything_is_stored() {
    let stage = Stage::new().await;
    let token = stage.dataplane_token(MESH, "").await;
    let refused = async |what: &str, node: Option<Node>, reason: &str, told: &str| {
        let attempt = async { stage.ask(&[&token], first(node)).await.refusal().await };
        let (code, text) = stage.attempt(&format!("ads/{reason}"), 1, attempt).await;
        assert!(text.contains(told), "{what}: {told:?} is not in {text:?}");
        assert!(text.len() < 5_000, "{what}: a text of {} bytes", text.len());
        assert_eq!(stage.dataplanes(MESH).await, ["good"], "{what}");
        code
    };
    let id = |id: &str| Some(Node { id: id.to_owned(), ..node(MESH, "web", Some(&dataplane("web"))) });
    refused("no node", None, "node_invalid", "must carry a node").await;
    refused("no id", id(""), "node_invalid", "Envoy ID must not be nil").await;
    refused("no name", id("demo"), "node_invalid", "the name should be provided after the dot").await;
    refused("no mesh", id(".web"), "node_invalid", "mesh: cannot be empty").await;
    for name in ["../../etc/passwd", "we b", "web\0", "Web", "-web", "web\u{202e}", &"x".repeat(254)] {
        let code = refused(name, id(&format!("demo.{name}")), "node_invalid", "name: ").await;
        assert_eq!(code, Code::InvalidArgument);
    }
    refused("64 KB", id(&"x.".repeat(32_000)), "node_invalid", "the id of the node has 64000 bytes").await;
    refused("another proxy", id("demo.else"), "resource_mismatch", "does not match proxy resource").await;
    refused(
        "another type",
        Some(node("", "web", Some(&json!({"type": "ZoneIngress", "name": "web"})))),
        "token_signature",
        "",
    )
    .await;
    let brings_nothing = Some(node(MESH, "web", None));
    refused("nothing brought", brings_nothing, "resource_not_found", "create a Dataplane in Kuma CP first").await;
    let mut no_inbound = dataplane("web");
    no_inbound["networking"]["inbound"] = json!([]);
    refused("an invalid one", Some(node(MESH, "web", Some(&no_inbound))), "resource_invalid", "could not register")
        .await;
    let mut large = dataplane("web");
    large["networking"]["address"] = json!("x".repeat(2 << 20));
    let code =
        refused("2 MB", Some(node(MESH, "web", Some(&large))), "message_too_large", "dpServer.limits.maxNodeSize")
            .await;
    assert_eq!(code, Code::ResourceExhausted);
    stage.lets_in("newcomer").await;
}

#[tokio::test]
async fn a_stream_stays_with_its_node_and_its_name_with_its_stream() {
    let stage = Stage::new().await;
    let token = stage.dataplane_token(MESH, "").await;
    let attempt = async {
        let mut call = stage.connect(&dataplane("web"), &token).await;
        let response: DiscoveryResponse = call.message().await.expect("served so far");
        let other = Some(node(MESH, "good", Some(&dataplane("good"))));
        call.send(&DiscoveryRequest { node: other, ..acknowledgement(&response) });
        call.refusal().await
    };
    let (code, text) = stage.attempt("ads/node_changed", 1, attempt).await;
    assert_eq!(code, Code::Unknown);
    let told = "stream was authenticated for ID demo.web. Received request is for node with ID demo.good. Node ID cannot be \
                changed after stream is initialized";
    assert_eq!(text, told);

    // One that lives is not displaced: it answers the sign of life that it is asked for.
    let attempt = async { stage.connect(&dataplane("good"), &token).await.refusal().await };
    let (_, text) = stage.attempt("ads/already_connected", 1, attempt).await;
    assert_eq!(text, "there is already an active stream from this node, try again later");
    stage.lets_in("newcomer").await;
}

#[tokio::test]
async fn a_stored_dataplane_is_not_taken_over() {
    let stage = Stage::new().await;
    let mut stored = dataplane("db");
    stored["networking"]["inbound"][0]["tags"]["team"] = json!("data");
    stage.put(&format!("/meshes/{MESH}/dataplanes/db"), &stored).await;
    // A token of another team that does not name the proxy.
    let token = stage.token_with_tags(json!({"team": ["web"]})).await;
    let mut brought = dataplane("db");
    brought["networking"]["inbound"][0]["tags"]["team"] = json!("web");
    let attempt = async { stage.connect(&brought, &token).await.refusal().await };
    let (_, text) = stage.attempt("ads/taken_over", 1, attempt).await;
    assert!(text.starts_with("could not register proxy passed in kuma-dp run: "), "{text}");
    let still = stage.get(&format!("/meshes/{MESH}/dataplanes/db")).await.expect("still there");
    assert_eq!(still["networking"]["inbound"][0]["tags"]["team"], "data");
    stage.lets_in("newcomer").await;
}
