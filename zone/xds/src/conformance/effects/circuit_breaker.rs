//! Cases of MeshCircuitBreaker.

use serde_json::json;
use tandem_model::Kind;

use super::{Case, GATEWAY, Way, case, incoming, run, split, to_service};

#[test]
fn mesh_circuit_breaker() {
    let limits = || {
        json!({
            "maxConnectionPools": 1111, "maxConnections": 2222, "maxPendingRequests": 3333, "maxRequests": 4444,
            "maxRetries": 5555,
        })
    };
    let detection = |disabled: bool| {
        json!({
            "disabled": disabled, "interval": "10s", "baseEjectionTime": "8s", "maxEjectionPercent": 88,
            "splitExternalAndLocalErrors": true, "healthyPanicThreshold": "30.2",
            "detectors": {
                "totalFailures": {"consecutive": 12},
                "gatewayFailures": {"consecutive": 91},
                "localOriginFailures": {"consecutive": 3},
                "successRate": {"minimumHosts": 33, "requestVolume": 99, "standardDeviationFactor": "1.9"},
                "failurePercentage": {"minimumHosts": 32, "requestVolume": 182, "threshold": 80},
            }
        })
    };
    let http = Way::ToTag("http");
    let mut cases = Vec::new();
    for (ending, conf) in [
        ("connection_limits", json!({"connectionLimits": limits()})),
        ("outlier_detection", json!({"outlierDetection": detection(false)})),
        ("outlier_detection_disabled", json!({"outlierDetection": detection(true)})),
        (
            "connection_limits_outlier_detection",
            json!({"connectionLimits": limits(), "outlierDetection": detection(false)}),
        ),
        (
            "connection_limits_outlier_detection_disabled",
            json!({"connectionLimits": limits(), "outlierDetection": detection(true)}),
        ),
    ] {
        for (direction, way, spec) in
            [("outbound", http, to_service(conf.clone())), ("inbound", Way::In, incoming(conf.clone()))]
        {
            cases.push(case(format!("{direction}_cluster_{ending}"), way, spec));
        }
    }
    let both = || json!({"connectionLimits": limits(), "outlierDetection": detection(false)});
    let only_limits = incoming(json!({"connectionLimits": limits()}));
    cases.extend([
        case("inbound_cluster_connection_limits_unified_naming", Way::InUnified, only_limits),
        case("outbound_cluster_connection_limits_real_resource", Way::ToService, to_service(both())),
        case("outbound_split_cluster_connection_limits_outlier_detection", http, to_service(both())),
        Case {
            file: "outbound_split_cluster_0_connection_limits_outlier_detection".into(),
            way: http,
            spec: to_service(both()),
            others: split(),
        },
    ]);
    let skipped = [
        ("basic-meshexternalservice.egress_cluster", "no test of upstream reads the file"),
        ("basic.gateway_cluster", GATEWAY),
        ("real-MeshService-targeted-to-real-MeshService.gateway_cluster", GATEWAY),
    ];
    let folder = "policy-plugins/meshcircuitbreaker/plugin-v1alpha1";
    run(folder, Kind::MeshCircuitBreaker, &[".golden"], cases, &skipped);
}
