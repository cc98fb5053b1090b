use serde_json::{Value, json};

use crate::validation::testing::violations;

/// A policy with valid sources and destinations.
fn policy(kind: &str, conf: Value) -> Vec<String> {
    let side = json!([{"match": {"kuma.io/service": "*"}}]);
    violations(
        json!({"type": kind, "mesh": "default", "name": "p", "sources": side, "destinations": side, "conf": conf}),
    )
}

fn sides(kind: &str, sources: Value, destinations: Value) -> Vec<String> {
    let found =
        violations(json!({"type": kind, "mesh": "m", "name": "p", "sources": sources, "destinations": destinations}));
    found.into_iter().filter(|text| !text.starts_with("conf")).collect()
}

#[test]
fn sources_and_destinations() {
    let any = json!([{"match": {"team": "a"}}]);
    for kind in ["TrafficPermission", "RateLimit"] {
        assert_eq!(sides(kind, any.clone(), any.clone()), [""; 0], "{kind}");
        assert_eq!(
            sides(kind, json!([]), json!([{"match": {}}])),
            ["sources: must have at least one element", "destinations[0].match: must have at least one tag"],
            "{kind}"
        );
    }
    for kind in ["TrafficRoute", "TrafficLog", "HealthCheck", "CircuitBreaker", "Retry", "Timeout"] {
        assert_eq!(
            sides(kind, any.clone(), any.clone()),
            [
                "sources[0].match: mandatory tag \"kuma.io/service\" is missing",
                "destinations[0].match: must consist of exactly one tag \"kuma.io/service\"",
                "destinations[0].match[\"team\"]: tag \"team\" is not allowed",
                "destinations[0].match: mandatory tag \"kuma.io/service\" is missing",
            ],
            "{kind}"
        );
    }
    assert_eq!(
        violations(json!({"type": "TrafficTrace", "mesh": "m", "name": "p"})),
        ["selectors: must have at least one element"]
    );
}

#[test]
fn circuit_breakers() {
    let check = |conf: Value| policy("CircuitBreaker", conf);
    assert_eq!(check(json!({"thresholds": {"maxConnections": 1}})), [""; 0]);
    assert_eq!(
        check(json!({"detectors": {}})),
        ["conf: must have at least one of the detector or threshold configured"]
    );
    assert_eq!(
        check(json!({"detectors": {"failure": {"threshold": 101}}, "maxEjectionPercent": 200, "thresholds": {}})),
        [
            "conf.maxEjectionPercent: has to be in [0.0 - 100.0] range",
            "conf.detectors.failure.threshold: has to be in [0.0 - 100.0] range",
            "conf.thresholds: can't be empty",
        ]
    );
}

#[test]
fn fault_injections() {
    let check = |destination: Value, conf: Value| {
        violations(json!({"type": "FaultInjection", "mesh": "m", "name": "p", "conf": conf,
            "sources": [{"match": {"a": "b"}}], "destinations": [{"match": destination}]}))
    };
    let http = json!({"kuma.io/protocol": "http"});
    assert_eq!(check(http.clone(), json!({"delay": {"percentage": 50, "value": "5s"}})), [""; 0]);
    assert_eq!(
        check(json!({"kuma.io/protocol": "tcp"}), json!({})),
        [
            "destinations[0].match[\"kuma.io/protocol\"]: must be one of the [http, http2, grpc]",
            "conf: must have at least one of the faults configured",
        ]
    );
    assert_eq!(
        check(
            json!({"a": "b"}),
            json!({"abort": {"httpStatus": 306}, "delay": {"percentage": 101}, "responseBandwidth": {"limit": "5"}})
        ),
        [
            "destinations[0].match: protocol must be specified",
            "conf.delay.percentage: has to be in [0.0 - 100.0] range",
            "conf.delay.value: cannot be empty",
            "conf.abort.percentage: cannot be empty",
            "conf.abort.httpStatus: http status code is incorrect",
            "conf.responseBandwidth.percentage: cannot be empty",
            "conf.responseBandwidth.limit: has to be in kbps/mbps/gbps units",
        ]
    );
}

#[test]
fn health_checks() {
    let check = |conf: Value| policy("HealthCheck", conf);
    let base = json!({"interval": "10s", "timeout": "2s", "unhealthyThreshold": 3, "healthyThreshold": 1});
    assert_eq!(check(base.clone()), [""; 0]);
    assert_eq!(check(Value::Null), ["conf: has to be defined"]);
    assert_eq!(
        check(json!({"timeout": "0s", "initialJitter": "0s"})),
        [
            "conf.interval: must have a positive value",
            "conf.timeout: must have a positive value",
            "conf.unhealthyThreshold: must have a positive value",
            "conf.healthyThreshold: must have a positive value",
            "conf.initialJitter: must have a positive value",
        ]
    );
    let mut conf = base;
    conf["healthyPanicThreshold"] = json!(101);
    conf["tcp"] = json!({});
    conf["http"] = json!({"expectedStatuses": [200, 99], "requestHeadersToAdd": [{}, {"header": {"value": "x"}}]});
    assert_eq!(
        check(conf),
        [
            "conf.healthyPanicThreshold: must be in range [0.0 - 100.0]",
            "conf.http.path: has to be defined and cannot be empty",
            "conf.http.expectedStatuses[1]: must be in range [100, 600)",
            "conf.http.requestHeadersToAdd[0].header: has to be defined",
            "conf.http.requestHeadersToAdd[1].header.key: cannot be empty",
            "conf: http and tcp cannot be defined at the same time",
        ]
    );
}

#[test]
fn rate_limits() {
    let check = |conf: Value| policy("RateLimit", conf);
    assert_eq!(check(Value::Null), ["conf: must have conf"]);
    assert_eq!(check(json!({"http": {"requests": 1, "interval": "1s"}})), [""; 0]);
    assert_eq!(
        check(json!({"http": {"onRateLimit": {"headers": [{"key": "a"}]}}})),
        [
            "conf.http.requests: requests must be set",
            "conf.http.interval: interval must be set",
            "conf.http.onRateLimit.header[\"0\"]: value must be set",
        ]
    );
}

#[test]
fn timeouts() {
    let check = |conf: Value| policy("Timeout", conf);
    assert_eq!(check(Value::Null), ["conf: has to be defined"]);
    assert_eq!(check(json!({"connectTimeout": "5s", "http": {"requestTimeout": "1s"}})), [""; 0]);
    let nothing = "at least one timeout in section has to be defined";
    assert_eq!(
        check(json!({"tcp": {}, "http": {"streamIdleTimeout": "1s"}, "grpc": {}})),
        [format!("conf.tcp: {nothing}"), format!("conf.http: {nothing}"), format!("conf.grpc: {nothing}")]
    );
    assert_eq!(
        check(json!({"tcp": {"idleTimeout": "0s"}, "http": {"idleTimeout": "0s"}})),
        [
            "conf.tcp.idleTimeout: has to be greater than 0",
            "conf.http.idleTimeout: has to be greater than 0 when defined"
        ]
    );
}

#[test]
fn retries() {
    let check = |conf: Value| policy("Retry", conf);
    assert_eq!(check(Value::Null), ["conf: has to be defined"]);
    assert_eq!(check(json!({})), ["conf: missing protocol [grpc|http|tcp] configuration"]);
    assert_eq!(check(json!({"http": {"numRetries": 3}, "tcp": {"maxConnectAttempts": 1}})), [""; 0]);
    assert_eq!(
        check(json!({
            "http": {"numRetries": 0, "perTryTimeout": "0s", "backOff": {}, "retriableMethods": ["NONE", "GET"],
                "retryOn": ["reset", "retriable_status_codes"]},
            "grpc": {"retryOn": ["cancelled", "internal", "cancelled"], "backOff": {"baseInterval": "1s", "maxInterval": "0s"}},
            "tcp": {},
        })),
        [
            "conf.http.numRetries: has to be greater than 0 when defined",
            "conf.http.perTryTimeout: has to be greater than 0 when defined",
            "conf.http.backOff.baseInterval: has to be defined",
            "conf.http.retriableMethods[0]: field cannot be empty",
            "conf.http.retryOn[1]: retriableStatusCodes cannot be empty when this option is specified",
            "conf.grpc.retryOn: repeated value \"cancelled\" at indexes [0, 2]",
            "conf.grpc.backOff.maxInterval: has to be greater than 0 when defined",
            "conf.tcp.maxConnectAttempts: has to be greater than 0",
        ]
    );
    assert_eq!(check(json!({"http": {}})), ["conf.http: field cannot be empty"]);
}

#[test]
fn traffic_routes() {
    let check = |conf: Value| policy("TrafficRoute", conf);
    let web = json!({"kuma.io/service": "web"});
    assert_eq!(check(json!({"destination": web, "loadBalancer": {"roundRobin": {}}})), [""; 0]);
    assert_eq!(check(Value::Null), ["conf: cannot be empty"]);
    assert_eq!(check(json!({"http": []})), ["conf: requires either \"destination\" or \"split\""]);
    assert_eq!(
        check(json!({"destination": web, "split": [{"destination": {"a": "b"}}, {"weight": 0, "destination": web}]})),
        [
            "conf: \"split\" cannot be defined at the same time as \"destination\"",
            "conf.split[0].weight: needs to be defined",
            "conf.split[0].destination: mandatory tag \"kuma.io/service\" is missing",
            "conf.split: there must be at least one split entry with weight above 0",
        ]
    );
    assert_eq!(
        check(json!({"destination": web, "loadBalancer": {"leastRequest": {"choiceCount": 1}}})),
        ["conf.loadBalancer.leastRequest.choiceCount: value must be greater than or equal to 2"]
    );
    assert_eq!(
        check(json!({"destination": web, "loadBalancer": {"ringHash": {"hashFunction": "MD5"}}})),
        ["conf.loadBalancer.ringHash.hashFunction: must have a valid hash function"]
    );
}

#[test]
fn http_parts_of_traffic_routes() {
    let web = json!({"kuma.io/service": "web"});
    let check = |mut http: Value| {
        http["destination"] = web.clone();
        let found = policy("TrafficRoute", json!({"destination": web, "http": [http]}));
        found.into_iter().map(|text| text.replace("conf.http[0].", "")).collect::<Vec<_>>()
    };
    assert_eq!(
        check(json!({})),
        ["match: must be present and contain at least one of the elements: \"method\", \"path\" or \"headers\""]
    );
    assert_eq!(
        check(json!({"match": {"method": {}, "path": {"prefix": ""}, "headers": {"": {"regex": ""}}}})),
        [
            "match.method: cannot be empty. Available options: \"exact\", \"split\" or \"regex\"",
            "match.path.prefix: cannot be empty",
            "match.headers[\"\"]: cannot be empty",
            "match.headers[\"\"].regex: cannot be empty",
        ]
    );
    let matching = json!({"path": {"exact": "/a"}});
    assert_eq!(
        check(json!({"match": matching, "modify": {
            "path": {"rewritePrefix": "/b"}, "host": {"fromPath": {"pattern": "x"}},
            "requestHeaders": {"add": [{"name": ":path"}], "remove": [{"name": ""}]},
            "responseHeaders": {"add": [{"name": "host", "value": "x"}]},
        }})),
        [
            "modify.path.rewritePrefix: can only be set when .http.match.path.prefix is not empty",
            "modify.host.fromPath.substitution: cannot be empty",
            "modify.requestHeaders.add[0].name: host header and HTTP/2 pseudo-headers are not allowed to be modified",
            "modify.requestHeaders.add[0].value: cannot be empty",
            "modify.requestHeaders.remove[0].name: cannot be empty",
            "modify.responseHeaders.add[0].name: host header and HTTP/2 pseudo-headers are not allowed to be modified",
        ]
    );
    assert_eq!(
        check(json!({"match": matching, "modify": {"path": {}, "host": {}}})),
        [
            "modify.path: either \"rewritePrefix\" or \"regex\" has to be set",
            "modify.host: either \"value\" or \"fromPath\" has to be set"
        ]
    );
}

#[test]
fn proxy_templates() {
    let check = |conf: Value| violations(json!({"type": "ProxyTemplate", "mesh": "m", "name": "p", "conf": conf}));
    assert_eq!(check(json!({"imports": ["default-proxy"]})), [""; 0]);
    assert_eq!(
        check(json!({
            "imports": ["", "nope"], "resources": [{"name": "a"}],
            "modifications": [
                {"cluster": {"operation": "add", "match": {}}},
                {"virtualHost": {"operation": "add", "match": {"name": "a"}}},
                {"listener": {"operation": "addFirst"}},
                {"httpFilter": {"operation": "addBefore"}},
                {"networkFilter": {"operation": "add"}},
            ],
        })),
        [
            "conf.imports[0]: cannot be empty",
            "conf.imports[1]: profile not found. Available profiles: default-proxy,egress-proxy,gateway-proxy,ingress-proxy",
            "conf.resources[0].version: cannot be empty",
            "conf.resources[0].resource: cannot be empty",
            "conf.modifications[0].cluster.match: cannot be defined",
            "conf.modifications[1].virtualHost.match.name: cannot be defined",
            "conf.modifications[2].listener.operation: invalid operation. Available operations: \"add\", \"patch\", \"remove\"",
            "conf.modifications[3].httpFilter.match.name: cannot be empty. You need to pick a filter before which this one will be added",
            "conf.modifications[4].networkFilter.operation: invalid operation. Available operations: \"addFirst\", \"addLast\", \"addBefore\", \"addAfter\", \"patch\", \"remove\"",
        ]
    );
    assert_eq!(
        violations(json!({"type": "ProxyTemplate", "mesh": "m", "name": "p", "selectors": [{"match": {"a": "b"}}]})),
        ["selectors[0].match: mandatory tag \"kuma.io/service\" is missing"]
    );
}

#[test]
fn gateway_routes() {
    let route = |conf: Value| {
        violations(json!({"type": "MeshGatewayRoute", "mesh": "m", "name": "p", "conf": conf,
            "selectors": [{"match": {"kuma.io/service": "edge"}}]}))
    };
    let rule = |rule: Value| {
        let found = route(json!({"http": {"rules": [rule]}}));
        found.into_iter().map(|text| text.replace("conf.http.rules[0].", "")).collect::<Vec<_>>()
    };
    assert_eq!(route(Value::Null), ["conf: cannot be empty"]);
    assert_eq!(route(json!({"http": {}})), ["conf.http.rules: cannot be empty"]);
    assert_eq!(rule(json!({})), ["matches: cannot be empty"]);
    let backends = json!([{"weight": 1, "destination": {"kuma.io/service": "web"}}]);
    let matches = json!([{"path": {"match": "PREFIX", "value": "/"}}]);
    assert_eq!(rule(json!({"matches": matches, "backends": backends})), [""; 0]);
    assert_eq!(
        rule(json!({"matches": [
            {}, {"path": {"value": "a"}}, {"path": {"match": "REGEX"}},
            {"headers": [{"match": "ABSENT", "name": "x", "value": "y"}, {}]}, {"query_parameters": [{"name": "a"}]},
        ]})),
        [
            "matches[0]: cannot be empty",
            "matches[1].value: must be an absolute path",
            "matches[2].value: cannot be empty",
            "matches[3].headers[0].value: cannot be set",
            "matches[3].headers[1].name: cannot be empty",
            "matches[3].headers[1].value: cannot be empty",
            "matches[4].query_parameters[0].value: cannot be empty",
            "backends: cannot be empty",
        ]
    );
    assert_eq!(
        rule(
            json!({"matches": matches, "backends": backends, "filters": [{"redirect": {"status_code": 309, "port": 70000}}]})
        ),
        [
            "filters[0].redirect.port: port must be in the range [1, 65535]",
            "filters[0].redirect.status_code: must be in the range [300, 308]",
            "backends: must be empty when using redirect filters",
        ]
    );
    assert_eq!(
        rule(json!({"matches": [{"method": "GET"}], "backends": backends, "filters": [
            {"rewrite": {"host_to_backend_hostname": true}},
            {"request_header": {"set": [{"name": "host", "value": "x"}]}},
            {"request_header": {}},
            {"rewrite": {"replace_prefix_match": "/a"}},
            {"mirror": {}},
        ]})),
        [
            "filters[0].request_header.set[0]: cannot modify 'host' header, when route has set 'rewrite.host_to_backend_hostname' option",
            "filters[1].request_header: cannot be empty",
            "filters[2].rewrite.replacePrefixMatch: cannot be used without a match on path prefix",
            "filters[3].mirror.percentage: cannot be empty",
            "filters[3].mirror.backend: cannot be empty",
        ]
    );
}
