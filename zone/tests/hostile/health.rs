//! Health streams of proxies that are none, and reports that no Envoy makes.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::health::v3::health_check_request_or_endpoint_health_response::RequestType;
use envoy_types::pb::envoy::service::health::v3::{
    ClusterEndpointsHealth, EndpointHealthResponse, HealthCheckRequest, HealthCheckRequestOrEndpointHealthResponse,
    HealthCheckSpecifier,
};
use tonic::Code;

use super::peer::{Call, HEALTH, Peer, node};
use super::stage::{MESH, Stage};

fn hello(node: Option<Node>) -> HealthCheckRequestOrEndpointHealthResponse {
    let request = HealthCheckRequest { node, ..HealthCheckRequest::default() };
    HealthCheckRequestOrEndpointHealthResponse { request_type: Some(RequestType::HealthCheckRequest(request)) }
}

fn report(clusters: &[String]) -> HealthCheckRequestOrEndpointHealthResponse {
    let cluster = |name: &String| ClusterEndpointsHealth { cluster_name: name.clone(), ..Default::default() };
    let report = EndpointHealthResponse {
        cluster_endpoints_health: clusters.iter().map(cluster).collect(),
        ..Default::default()
    };
    HealthCheckRequestOrEndpointHealthResponse { request_type: Some(RequestType::EndpointHealthResponse(report)) }
}

async fn open(stage: &Stage, token: &str) -> Call {
    Peer::connect(stage.port).await.open(HEALTH, &[token]).await
}

#[tokio::test]
async fn reports_are_taken_from_the_proxy_itself_and_no_larger_than_they_are() {
    let stage = Stage::new().await;
    let own = stage.dataplane_token(MESH, "good").await;
    let before = stage.get(&format!("/meshes/{MESH}/dataplanes/good")).await.expect("it is there");

    // About another proxy.
    let foreign = stage.dataplane_token(MESH, "web").await;
    for (what, token, reason) in [
        ("the token of another proxy", foreign.as_str(), "token_mismatch"),
        ("no token", "", "token_missing"),
        ("garbage", "garbage", "token_malformed"),
    ] {
        // Nobody waits with such a token for a Dataplane that is not there yet.
        for name in ["good", "absent"] {
            let attempt = async {
                let call = open(&stage, token).await;
                call.send(&hello(Some(node(MESH, name, None))));
                call.send(&report(&["localhost:18081".to_owned()]));
                call.refusal().await
            };
            let (_, text) = stage.attempt(&format!("hds/{reason}"), 1, attempt).await;
            assert!(text.starts_with("authentication failed: "), "{what}: {text}");
        }
    }
    let attempt = async {
        let call = open(&stage, &own).await;
        call.send(&report(&["localhost:18081".to_owned()]));
        call.refusal().await
    };
    let (_, text) = stage.attempt("hds/protocol", 1, attempt).await;
    assert!(text.contains("must follow a health check request"), "{text}");
    let attempt = async {
        let call = open(&stage, &own).await;
        call.send(&hello(Some(node(MESH, "../good", None))));
        call.refusal().await
    };
    let (code, _) = stage.attempt("hds/node_invalid", 1, attempt).await;
    assert_eq!(code, Code::InvalidArgument);

    // On the stream of the proxy itself.
    let many: Vec<_> = (0..60_000).map(|number| format!("localhost-{number}:18081")).collect();
    let mut calls = Vec::new();
    for (what, message, reason) in [
        ("another node", hello(Some(node(MESH, "web", None))), "node_changed"),
        ("no node", hello(None), "node_invalid"),
        ("nothing", HealthCheckRequestOrEndpointHealthResponse::default(), "message_malformed"),
        ("a cluster that nobody asked about", report(&["backend".to_owned()]), "message_malformed"),
        ("a report of megabytes", report(&many), "message_too_large"),
    ] {
        let attempt = async {
            let mut call = open(&stage, &own).await;
            call.send(&hello(Some(node(MESH, "good", None))));
            call.message::<HealthCheckSpecifier>().await.expect("what to probe");
            call.send(&message);
            call.refusal().await
        };
        let (code, text) = stage.attempt(&format!("hds/{reason}"), 1, attempt).await;
        assert_ne!(code, Code::Ok, "{what}: {text}");
        calls.push(text);
    }
    let after = stage.get(&format!("/meshes/{MESH}/dataplanes/good")).await.expect("it is there");
    assert_eq!(after["networking"], before["networking"], "{calls:?}");

    // More reports than an Envoy makes.
    let attempt = async {
        let mut call = open(&stage, &own).await;
        call.send(&hello(Some(node(MESH, "good", None))));
        call.message::<HealthCheckSpecifier>().await.expect("what to probe");
        call.send_times(&report(&[]), 3_000);
        call.refusal().await
    };
    let (code, text) = stage.attempt("hds/too_many_requests", 1, attempt).await;
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    stage.lets_in("newcomer").await;
}
