//! What the placeholders of log formats stand for that only the control plane knows.
//!
//! Source: Kuma `pkg/xds/envoy/listeners/v3/access_log_configurer.go`; the default formats are those of
//! `pkg/plugins/policies/meshaccesslog/plugin/xds/configurer.go`.

use std::fmt;

/// Lines about requests, where no format is given.
pub(crate) const HTTP_FORMAT: &str = concat!(
    r#"[%START_TIME%] %KUMA_MESH% "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-B3-TRACEID?X-DATADOG-TRACEID)%" "%REQ(X-REQUEST-ID)%" "#,
    r#""%REQ(:AUTHORITY)%" "%KUMA_SOURCE_SERVICE%" "%KUMA_DESTINATION_SERVICE%" "#,
    r#""%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%" "%UPSTREAM_HOST%""#,
);

/// Lines about connections, where no format is given.
pub(crate) const TCP_FORMAT: &str = concat!(
    "[%START_TIME%] %RESPONSE_FLAGS% %KUMA_MESH% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%(%KUMA_SOURCE_SERVICE%)->",
    "%UPSTREAM_HOST%(%KUMA_DESTINATION_SERVICE%) took %DURATION%ms, sent %BYTES_SENT% bytes, received: ",
    "%BYTES_RECEIVED% bytes",
);

const SOURCE_ADDRESS: &str = "%KUMA_SOURCE_ADDRESS%";
const SOURCE_HOST: &str = "%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%";
const SOURCE_SERVICE: &str = "%KUMA_SOURCE_SERVICE%";
const DESTINATION_SERVICE: &str = "%KUMA_DESTINATION_SERVICE%";

/// Which way the traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    /// To the workload.
    Inbound,
    /// From the workload to a service.
    Outbound,
    /// From the workload to somewhere outside of the mesh.
    Unspecified,
}

impl fmt::Display for TrafficDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "INBOUND",
            Self::Outbound => "OUTBOUND",
            Self::Unspecified => "UNSPECIFIED",
        })
    }
}

/// What the placeholders of a format stand for.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// Name of the mesh.
    pub mesh: &'a str,
    /// Service that connections come from.
    pub source_service: &'a str,
    /// Address of the proxy that logs, under which others know it.
    pub source_address: &'a str,
    /// Service that connections go to.
    pub destination_service: &'a str,
    /// Which way they go.
    pub direction: TrafficDirection,
}

impl Connection<'_> {
    /// A format with everything filled in that Envoy does not know.
    pub(crate) fn fill_in(&self, format: &str) -> String {
        let address = self.source_address;
        let with_port = if address.contains(':') { format!("[{address}]:0") } else { format!("{address}:0") };
        format
            .replace(SOURCE_ADDRESS, &with_port)
            .replace(SOURCE_HOST, address)
            .replace(SOURCE_SERVICE, self.source_service)
            .replace(DESTINATION_SERVICE, self.destination_service)
            .replace("%KUMA_MESH%", self.mesh)
            .replace("%KUMA_TRAFFIC_DIRECTION%", &self.direction.to_string())
    }
}

/// True for a format that tells the address of the proxy.
pub(super) fn tells_address(format: &str) -> bool {
    format.contains(SOURCE_ADDRESS) || format.contains(SOURCE_HOST)
}

/// True for a format that tells a service, which may be that of the proxy.
pub(super) fn tells_service(format: &str) -> bool {
    format.contains(SOURCE_SERVICE) || format.contains(DESTINATION_SERVICE)
}
