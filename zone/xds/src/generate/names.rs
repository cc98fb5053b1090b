//! Names of Envoy resources.
//!
//! Source: Kuma `pkg/xds/envoy/names`, `pkg/core/naming` and `pkg/core/system_names`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tandem_model::Kind;
use tandem_model::label::SERVICE_TAG;

/// Which of the two ways of naming a proxy is configured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Naming {
    /// The names Kuma has always used.
    #[default]
    Legacy,
    /// Names built from resource identifiers (`feature-unified-resource-naming`).
    Unified,
}

/// Secret that says whom to trust by trust domain.
pub(crate) const TRUST_BUNDLE: &str = "system_trust_bundle";

impl Naming {
    /// Unified when `unified` holds.
    pub fn unified_if(unified: bool) -> Self {
        if unified { Self::Unified } else { Self::Legacy }
    }

    fn pick(self, legacy: impl FnOnce() -> String, unified: impl FnOnce() -> String) -> String {
        match self {
            Self::Legacy => legacy(),
            Self::Unified => unified(),
        }
    }

    /// Cluster and listener of Envoy's administration interface.
    pub fn admin(self) -> &'static str {
        match self {
            Self::Legacy => "kuma:envoy:admin",
            Self::Unified => "system_envoy_admin",
        }
    }

    /// Cluster of the readiness reporter.
    pub fn readiness(self) -> &'static str {
        match self {
            Self::Legacy => "kuma:readiness",
            Self::Unified => "system_probe_readiness",
        }
    }

    /// Listener of an inbound; `section` is the name of the inbound, or its port.
    pub fn inbound_listener(self, address: &str, port: u32, section: &str) -> String {
        self.pick(|| inbound(address, port), || format!("self_inbound_dp_{section}"))
    }

    /// Cluster of the workload behind an inbound.
    pub fn local_cluster(self, workload_port: u32, section: &str) -> String {
        self.pick(|| format!("localhost:{workload_port}"), || format!("self_inbound_dp_{section}"))
    }

    /// Route table of an inbound.
    pub fn inbound_routes(self, service: &str, section: &str) -> String {
        self.pick(|| format!("inbound:{service}"), || format!("self_inbound_dp_{section}"))
    }

    /// Virtual host of an inbound.
    pub fn inbound_host(self, service: &str, section: &str) -> String {
        self.pick(|| service.to_owned(), || format!("self_inbound_dp_{section}"))
    }

    /// Listener and cluster of redirected traffic that is passed through.
    pub fn passthrough(self, direction: &str, family: u8) -> String {
        self.pick(
            || format!("{direction}:passthrough:ipv{family}"),
            || format!("self_transparentproxy_passthrough_{direction}_ipv{family}"),
        )
    }

    /// Listener that publishes settings to kuma-dp.
    pub fn dynamic_config(self) -> &'static str {
        match self {
            Self::Legacy => "_kuma:dynamicconfig",
            Self::Unified => "system_dynamicconfig",
        }
    }

    /// Route by which a document of [`Self::dynamic_config`] is fetched, by its path, and the one that says that it has not changed.
    pub fn dynamic_config_routes(self, path: &str) -> (String, String) {
        match self {
            Self::Legacy => (format!("{}:{path}", self.dynamic_config()), String::new()),
            Self::Unified => {
                let changed = format!("{}_{}", self.dynamic_config(), path.trim_start_matches('/'));
                let unchanged = format!("{changed}_not_modified");
                (changed, unchanged)
            }
        }
    }

    /// Cluster of kuma-dp's server of metrics, for a backend of MeshMetric.
    pub fn metrics_hijacker(self, backend: &str) -> String {
        self.pick(|| "_kuma:metrics:hijacker".to_owned(), || self.metrics_endpoint(backend))
    }

    /// Listener at which metrics are fetched for a backend of MeshMetric.
    pub fn metrics_endpoint(self, backend: &str) -> String {
        let legacy = || format!("_kuma:metrics:prometheus:{backend}");
        self.pick(legacy, || format!("system_meshmetric_prometheus_{}", clean(backend)))
    }

    /// Listener and cluster by which kuma-dp sends metrics to a collector.
    pub fn metrics_collector(self, backend: &str) -> String {
        let legacy = || format!("_kuma:metrics:opentelemetry:{backend}");
        self.pick(legacy, || format!("system_meshmetric_otel_{}", clean(backend)))
    }

    /// Cluster of the collector of spans, from its type and how the MeshTrace writes where it is.
    pub fn trace_collector(self, kind: &str, written: &str) -> String {
        let short = if kind == "opentelemetry" { "otel" } else { kind };
        self.pick(|| format!("meshtrace:{kind}"), || format!("system_meshtrace_{short}_{}", clean(written)))
    }

    /// Cluster of an OpenTelemetry collector of access logs: the one with this index.
    pub fn log_collector(self, index: usize, host: &str, port: u32) -> String {
        let unified = || format!("system_meshaccesslog_{}", clean(&format!("{host}-{port}")));
        self.pick(|| format!("meshaccesslog:opentelemetry:{index}"), unified)
    }

    /// Listener of a ZoneIngress.
    pub fn ingress_listener(self, address: &str, port: u32) -> String {
        self.pick(|| inbound(address, port), || format!("self_inbound_zi_{port}"))
    }

    /// Listener of a ZoneEgress.
    pub fn egress_listener(self, address: &str, port: u32) -> String {
        self.pick(|| inbound(address, port), || format!("self_inbound_ze_{port}"))
    }

    /// Secret with the certificate of the proxy in a mesh.
    pub fn identity_secret(self, mesh: &str) -> String {
        self.pick(|| format!("identity_cert:secret:{mesh}"), || format!("system_mtls_identity_{mesh}"))
    }

    /// Secret with the root certificates of a mesh.
    pub fn authority_secret(self, mesh: &str) -> String {
        self.pick(|| format!("mesh_ca:secret:{mesh}"), || format!("system_mtls_ca_{mesh}"))
    }
}

/// Text as part of the name of a system resource: what such names cannot have becomes a dash.
///
/// Source: Kuma `pkg/core/system_names`.
fn clean(text: &str) -> String {
    let is_clean = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    text.chars().map(|c| if is_clean(c) { c } else { '-' }).collect()
}

/// Cluster without endpoints: for redirected traffic that no port takes.
pub(crate) const NO_DESTINATION: &str = "self_transparentproxy_no_destination_inbound";

pub(crate) fn host_port(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn inbound(address: &str, port: u32) -> String {
    format!("inbound:{}", host_port(address, port))
}

/// Listener of an outbound, in the form all proxies have used for destinations by `kuma.io/service`.
pub(crate) fn outbound_listener(address: &str, port: u32) -> String {
    format!("outbound:{}", host_port(address, port))
}

/// Route table of an outbound to a `kuma.io/service`.
pub(crate) fn outbound_routes(service: &str) -> String {
    format!("outbound:{service}")
}

/// Cluster of a service on a ZoneIngress or ZoneEgress.
pub(crate) fn zone_cluster(mesh: &str, service: &str) -> String {
    format!("{mesh}:{service}")
}

/// Name of the cluster of a destination by tags: the service, a hash of the tags when there are others, and the mesh when the tags
/// name one.
pub(crate) fn tagged_cluster(tags: &BTreeMap<String, String>) -> String {
    let mut name = tandem_policy::service_cluster(tags);
    if let Some(mesh) = tags.get(tandem_model::label::MESH) {
        let _ = write!(name, "_{mesh}"); // a String takes everything
    }
    name
}

/// Name by which TLS connections to a `kuma.io/service` tell where they go: `{service}{mesh={mesh}[,tag=value…]}`.
///
/// ZoneIngresses and ZoneEgresses, also those of other control planes, route by it. Source: `pkg/xds/envoy/tls/sni.go`.
pub(crate) fn service_sni<'a>(
    service: &str,
    mesh: &'a str,
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut all: BTreeMap<&str, &str> = tags.into_iter().filter(|(tag, _)| *tag != SERVICE_TAG).collect();
    all.insert("mesh", mesh);
    let pairs: Vec<String> = all.into_iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    format!("{service}{{{}}}", pairs.join(","))
}

/// Name by which TLS connections to a port of a resource tell where they go: `a{hash}.{name}.{port}.{mesh}.{suffix}`.
///
/// ZoneIngresses and ZoneEgresses, also those of other control planes, route by it.
pub(crate) fn resource_sni(name: &str, port: u32, mesh: &str, kind: Kind) -> String {
    /// Longest name or mesh that is written in full.
    const LIMIT: usize = 62;
    let cut = |text: &str| match text
        .char_indices()
        .map(|(start, c)| start + c.len_utf8())
        .take_while(|end| *end <= LIMIT)
        .last()
    {
        Some(end) if end < text.len() => format!("{}x", &text[..end]),
        _ => text.to_owned(),
    };
    let suffix = match kind {
        Kind::MeshService => "ms",
        Kind::MeshExternalService => "mes",
        _ => "mzms",
    };
    let hash = fnv1a(format!("{name};{mesh};").as_bytes());
    format!("a{hash:016x}.{}.{port}.{}.{suffix}", cut(name), cut(mesh))
}

/// 64-bit FNV-1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Name of the implicit route that takes every path: the hash of its match.
pub(crate) const CATCH_ALL_ROUTE: &str = "9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo=";

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    fn tags<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn clusters_of_tagged_destinations() {
        assert_eq!(tagged_cluster(&tags([("kuma.io/service", "backend")])), "backend");
        assert_eq!(
            tagged_cluster(&tags([("kuma.io/service", "backend"), ("region", "us")])),
            "backend-c72efb5be46fae6b"
        );
    }

    #[test]
    fn server_names_of_services() {
        assert_eq!(service_sni("backend", "default", [("kuma.io/service", "backend")]), "backend{mesh=default}");
        assert_eq!(service_sni("backend", "default", [("version", "v1")]), "backend{mesh=default,version=v1}");
        assert_eq!(service_sni("backend", "default", [("cluster", "1")]), "backend{cluster=1,mesh=default}");
    }

    #[test]
    fn server_names_of_resources() {
        let sni = |name, mesh, kind| resource_sni(name, 8080, mesh, kind);
        assert_eq!(sni("backend", "default", Kind::MeshService), "a601e0c00295a9fbe.backend.8080.default.ms");
        let external = sni("httpbin", "default", Kind::MeshExternalService);
        assert_eq!(external, "a260442408b1a89a9.httpbin.8080.default.mes");
        let multi_zone = sni("demo-client", "envoyconfig", Kind::MeshMultiZoneService);
        assert_eq!(multi_zone, "a65abe81bca1750d1.demo-client.8080.envoyconfig.mzms");
        let long = "n".repeat(70);
        assert!(sni(&long, "m", Kind::MeshService).contains(&format!(".{}x.8080.m.", "n".repeat(62))));
        assert!(sni(&long[..62], "m", Kind::MeshService).contains(&format!(".{}.8080.m.", "n".repeat(62))));
    }

    #[test]
    fn the_catch_all_route_is_named_by_its_match() {
        let matches = r#"[{"path":{"value":"/","type":"PathPrefix"}}]"#;
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(matches));
        assert_eq!(hash, CATCH_ALL_ROUTE);
    }

    #[test]
    fn addresses_of_ipv6_are_bracketed() {
        assert_eq!(Naming::Legacy.inbound_listener("::1", 80, "80"), "inbound:[::1]:80");
        assert_eq!(Naming::Unified.inbound_listener("::1", 80, "main"), "self_inbound_dp_main");
        assert_eq!(outbound_listener("127.0.0.1", 13002), "outbound:127.0.0.1:13002");
    }
}
