//! The Envoy bootstrap configuration of a proxy, as JSON in protobuf's JSON form with sorted keys.
//!
//! Source of the shape: Kuma `pkg/xds/bootstrap/template_v3.go`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use tandem_xds::ProxyType;

use super::request::BootstrapRequest;

const FEATURE_DELTA: &str = "feature-delta-grpc";

/// Longest socket path before the suffix, so that the whole fits what an operating system takes.
const MAX_SOCKET_PATH: usize = 98;

/// What the bootstrap configuration depends on besides the request.
#[derive(Debug, Clone)]
pub struct BootstrapInput<'a> {
    /// What kuma-dp sent.
    pub request: &'a BootstrapRequest,
    /// Kind of proxy.
    pub proxy_type: ProxyType,
    /// `node.cluster`: the service of a sidecar, `ingress` or `egress`.
    pub cluster: String,
    /// Host the proxy reaches the control plane at.
    pub xds_host: String,
    /// Port the proxy reaches the control plane at.
    pub xds_port: u16,
    /// True when [`Self::xds_host`] is a name that has only IPv4 addresses.
    pub ipv4_only: bool,
    /// Envoy's admin address.
    pub admin_address: String,
    /// Envoy's admin port; 0 for no admin interface.
    pub admin_port: u16,
    /// File that the admin interface logs to.
    pub admin_access_log_path: String,
    /// Time to connect to the control plane, as protobuf JSON (`1s`).
    pub xds_connect_timeout: String,
    /// PEM that the control plane's certificate is verified with.
    pub ca_pem: Vec<u8>,
    /// True when the names of system resources follow the unified scheme.
    pub unified_naming: bool,
    /// Give Envoy the path of the token file rather than the token.
    pub reloadable_token: bool,
    /// The control plane collects the results of probes.
    pub hds: bool,
    /// Set for builtin gateways: the limit of downstream connections.
    pub gateway_max_connections: Option<u32>,
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn http2_options() -> Value {
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": type_url("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicitHttpConfig": {"http2ProtocolOptions": {}}
        }
    })
}

fn tcp_keepalive() -> Value {
    json!({"tcpKeepalive": {"keepaliveInterval": 10, "keepaliveProbes": 3, "keepaliveTime": 10}})
}

impl BootstrapInput<'_> {
    /// The complete configuration.
    pub fn build(&self) -> Value {
        let request = self.request;
        let (ads_cluster, access_log_cluster) = if self.unified_naming {
            ("system_ads", "system_access_log_sink")
        } else {
            ("ads_cluster", "access_log_sink")
        };
        let by_path = self.reloadable_token && !request.dataplane_token_path.is_empty();
        let service = if by_path { self.google_grpc() } else { self.envoy_grpc(ads_cluster) };
        let api_type = if request.has_feature(FEATURE_DELTA) { "DELTA_GRPC" } else { "GRPC" };

        let mut clusters = vec![self.access_log_cluster(access_log_cluster)];
        if !by_path {
            clusters.push(self.ads_cluster(ads_cluster));
        }
        let mut bootstrap = json!({
            "defaultRegexEngine": {
                "name": "envoy.regex_engines.google_re2",
                "typedConfig": {"@type": type_url("envoy.extensions.regex_engines.v3.GoogleRE2")}
            },
            "dynamicResources": {
                "adsConfig": {
                    "apiType": api_type,
                    "grpcServices": [service],
                    "setNodeOnFirstMessageOnly": true,
                    "transportApiVersion": "V3"
                },
                "cdsConfig": {"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"},
                "ldsConfig": {"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"}
            },
            "layeredRuntime": {
                "layers": [{
                    "name": "kuma",
                    "staticLayer": {"re2.max_program_size.error_level": 4_294_967_295_u32, "re2.max_program_size.warn_level": 1000}
                }]
            },
            "node": {
                "cluster": self.cluster,
                "id": format!("{}.{}", request.mesh, request.name),
                "metadata": self.metadata()
            },
            "staticResources": {
                "clusters": clusters,
                "secrets": [{
                    "name": "cp_validation_ctx",
                    "validationContext": {
                        "matchTypedSubjectAltNames": [
                            {"matcher": {"exact": self.xds_host}, "sanType": "DNS"},
                            {"matcher": {"exact": self.xds_host}, "sanType": "IP_ADDRESS"}
                        ],
                        "trustedCa": {"inlineBytes": BASE64.encode(&self.ca_pem)}
                    }
                }]
            },
            "statsConfig": {
                "statsTags": [
                    {"regex": r"^grpc\.((.+)\.)", "tagName": "name"},
                    {"regex": "^grpc.*streams_closed(_([0-9]+))", "tagName": "status"},
                    {"regex": r"^kafka(\.(\S*[0-9]))\.", "tagName": "kafka_name"},
                    {"regex": r"^kafka\..*\.(.*?(?=_duration|$))", "tagName": "kafka_type"},
                    {"regex": r"(worker_([0-9]+)\.)", "tagName": "worker"},
                    {"regex": r"((.+?)\.)rbac\.", "tagName": "listener"}
                ]
            }
        });
        if self.hds && self.proxy_type == ProxyType::Dataplane {
            bootstrap["hdsConfig"] = json!({
                "apiType": "GRPC",
                "grpcServices": [service],
                "setNodeOnFirstMessageOnly": true,
                "transportApiVersion": "V3"
            });
        }
        if self.admin_port != 0 {
            bootstrap["admin"] = json!({
                "accessLog": [{
                    "name": "envoy.access_loggers.file",
                    "typedConfig": {
                        "@type": type_url("envoy.extensions.access_loggers.file.v3.FileAccessLog"),
                        "path": self.admin_access_log_path
                    }
                }],
                "address": {"socketAddress": {"address": self.admin_address, "portValue": self.admin_port}}
            });
        }
        if let Some(max_connections) = self.gateway_max_connections {
            bootstrap["overloadManager"] = overload_manager(max_connections, request.resources.max_heap_size_bytes);
            if let Some(layers) = bootstrap["layeredRuntime"]["layers"].as_array_mut() {
                layers.push(json!({
                    "name": "gateway.listeners",
                    "rtdsLayer": {"name": "gateway.listeners", "rtdsConfig": {"ads": {}, "resourceApiVersion": "V3"}}
                }));
            }
        }
        bootstrap
    }

    fn envoy_grpc(&self, cluster: &str) -> Value {
        let mut service = json!({"envoyGrpc": {"clusterName": cluster}});
        if !self.request.dataplane_token.is_empty() {
            service["initialMetadata"] = json!([{"key": "authorization", "value": self.request.dataplane_token}]);
        }
        service
    }

    /// A service that reads the token from a file whenever it connects.
    fn google_grpc(&self) -> Value {
        let host = if self.xds_host.parse::<std::net::Ipv6Addr>().is_ok() {
            format!("[{}]", self.xds_host)
        } else {
            self.xds_host.clone()
        };
        json!({
            "googleGrpc": {
                "callCredentials": [{
                    "fromPlugin": {
                        "name": "envoy.grpc_credentials.file_based_metadata",
                        "typedConfig": {
                            "@type": type_url("envoy.config.grpc_credential.v3.FileBasedMetadataConfig"),
                            "secretData": {"filename": self.request.dataplane_token_path}
                        }
                    }
                }],
                "channelArgs": {
                    "args": {
                        "grpc.http2.max_pings_without_data": {"intValue": "0"},
                        "grpc.keepalive_time_ms": {"intValue": "10000"},
                        "grpc.keepalive_timeout_ms": {"intValue": "30000"}
                    }
                },
                "channelCredentials": {"sslCredentials": {"rootCerts": {"inlineBytes": BASE64.encode(&self.ca_pem)}}},
                "credentialsFactoryName": "envoy.grpc_credentials.file_based_metadata",
                "statPrefix": "ads",
                "targetUri": format!("{host}:{}", self.xds_port)
            }
        })
    }

    fn ads_cluster(&self, name: &str) -> Value {
        let is_address = self.xds_host.parse::<IpAddr>().is_ok();
        let mut cluster = json!({
            "connectTimeout": self.xds_connect_timeout,
            "loadAssignment": {
                "clusterName": name,
                "endpoints": [{"lbEndpoints": [{"endpoint": {
                    "address": {"socketAddress": {"address": self.xds_host, "portValue": self.xds_port}}
                }}]}]
            },
            "name": name,
            "transportSocket": {
                "name": "envoy.transport_sockets.tls",
                "typedConfig": {
                    "@type": type_url("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
                    "commonTlsContext": {
                        "tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2"},
                        "validationContextSdsSecretConfig": {"name": "cp_validation_ctx"}
                    },
                    "sni": self.xds_host
                }
            },
            "type": if is_address { "STATIC" } else { "STRICT_DNS" },
            "typedExtensionProtocolOptions": http2_options(),
            "upstreamConnectionOptions": tcp_keepalive()
        });
        if self.ipv4_only {
            cluster["dnsLookupFamily"] = json!("V4_ONLY");
        }
        cluster
    }

    fn access_log_cluster(&self, name: &str) -> Value {
        let path =
            socket_path(&format!("{}/kuma-al-{}-{}", self.request.workdir, self.request.name, self.request.mesh));
        json!({
            "connectTimeout": self.xds_connect_timeout,
            "loadAssignment": {
                "clusterName": name,
                "endpoints": [{"lbEndpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}]
            },
            "name": name,
            "type": "STATIC",
            "typedExtensionProtocolOptions": http2_options(),
            "upstreamConnectionOptions": tcp_keepalive()
        })
    }

    fn metadata(&self) -> Value {
        let request = self.request;
        let mut metadata = json!({
            "dataplane.proxyType": proxy_type_name(self.proxy_type),
            "features": request.features,
            "ipv6Enabled": request.ipv6_enabled,
            "metricsCertPath": request.metrics_resources.cert_path,
            "metricsKeyPath": request.metrics_resources.key_path,
            "spireAgent.socketPath": request.spire_resources.socket_path,
            "systemCaPath": request.system_ca_path,
            "version": request.version,
            "workdir": request.workdir
        });
        if self.admin_port != 0 {
            metadata["dataplane.admin.address"] = json!(self.admin_address);
            metadata["dataplane.admin.port"] = json!(self.admin_port.to_string());
        }
        if request.dns_port != 0 {
            metadata["dataplane.dns.port"] = json!(request.dns_port.to_string());
        }
        if request.readiness_port != 0 {
            metadata["dataplane.readinessReporter.port"] = json!(request.readiness_port.to_string());
        }
        if request.app_probe_proxy_enabled {
            metadata["dataplane.appProbeProxy.enabled"] = json!("true");
        }
        if !request.dataplane_resource.is_empty() {
            metadata["dataplane.resource"] = json!(request.dataplane_resource);
        }
        if !request.dynamic_metadata.is_empty() {
            metadata["dynamicMetadata"] = json!(request.dynamic_metadata);
        }
        if let Some(config) = &request.dataplane_config {
            metadata["transparentProxy"] = config.clone();
        }
        metadata
    }
}

/// The wire name of a proxy type.
pub(super) fn proxy_type_name(proxy_type: ProxyType) -> &'static str {
    match proxy_type {
        ProxyType::Dataplane => "dataplane",
        ProxyType::Ingress => "ingress",
        ProxyType::Egress => "egress",
    }
}

/// Cuts a socket path to what the operating system takes and appends the suffix.
fn socket_path(path: &str) -> String {
    let mut end = path.len().min(MAX_SOCKET_PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}.sock", &path[..end])
}

fn overload_manager(max_connections: u32, max_heap_bytes: u64) -> Value {
    let mut monitors = vec![json!({
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typedConfig": {
            "@type": type_url("envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"),
            "maxActiveDownstreamConnections": max_connections.to_string()
        }
    })];
    let mut manager = json!({"refreshInterval": "0.250s"});
    if max_heap_bytes > 0 {
        monitors.push(json!({
            "name": "envoy.resource_monitors.fixed_heap",
            "typedConfig": {
                "@type": type_url("envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"),
                "maxHeapSizeBytes": max_heap_bytes.to_string()
            }
        }));
        let action = |name: &str, threshold: f64| {
            json!({
                "name": name,
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}]
            })
        };
        manager["actions"] = json!([
            action("envoy.overload_actions.shrink_heap", 0.95),
            action("envoy.overload_actions.stop_accepting_requests", 0.98)
        ]);
    }
    manager["resourceMonitors"] = json!(monitors);
    manager
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_socket_path_is_cut_before_its_suffix() {
        let path = socket_path(&"x".repeat(200));
        assert_eq!(path.len(), 98 + ".sock".len());
        assert!(path.ends_with("x.sock"));
    }

    #[test]
    fn a_socket_path_is_never_cut_inside_a_character() {
        let path = socket_path(&format!("{}é", "x".repeat(97)));
        assert_eq!(path, format!("{}.sock", "x".repeat(97)));
    }
}
