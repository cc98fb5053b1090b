//! What MeshMetric amounts to for a proxy.

use std::net::Ipv6Addr;
use std::sync::Arc;

use tandem_model::ResourceKey;

use super::schema::{BackendType, Conf, OpenTelemetry, Prometheus};
use crate::policy::Policy;

/// Port of OpenTelemetry collectors, unless an endpoint names another one.
const COLLECTOR_PORT: u32 = 4317;

/// What is published of a proxy, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The merged configuration, which has a backend at least.
    pub conf: Conf,
    /// The policy whose backends they are.
    pub policy: ResourceKey,
}

impl Rules {
    /// What policies, weakest first, with the merged configuration `conf` amount to; `None` without backends, as nothing is
    /// published then.
    pub fn new(conf: Conf, policies: &[Arc<Policy>]) -> Option<Self> {
        conf.backends.as_ref().filter(|backends| !backends.is_empty())?;
        let has_backends = |policy: &&Arc<Policy>| {
            policy.default.as_ref().is_some_and(|conf| conf.get("backends").is_some_and(|backends| !backends.is_null()))
        };
        let policy = policies.iter().rev().find(has_backends)?.resource.key.clone();
        Some(Self { conf, policy })
    }
}

impl Conf {
    /// Endpoints for Prometheus.
    pub fn prometheus(&self) -> impl Iterator<Item = &Prometheus> {
        let backends = self.backends.iter().flatten();
        backends.filter(|backend| backend.kind == BackendType::Prometheus).filter_map(|found| found.prometheus.as_ref())
    }

    /// OpenTelemetry collectors.
    pub fn collectors(&self) -> impl Iterator<Item = &OpenTelemetry> {
        let backends = self.backends.iter().flatten();
        let of_type = backends.filter(|backend| backend.kind == BackendType::OpenTelemetry);
        of_type.filter_map(|found| found.open_telemetry.as_ref())
    }
}

impl OpenTelemetry {
    /// Name of the collector: its endpoint without what names of files cannot have.
    pub fn name(&self) -> String {
        self.endpoint.replace('/', "").replace(':', "-")
    }

    /// Host and port of the collector; `None` when the endpoint is neither a host nor one with a port.
    pub fn target(&self) -> Option<(&str, u32)> {
        let endpoint = self.endpoint.as_str();
        let is_ipv6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
        if is_ipv6(endpoint) {
            return Some((endpoint, COLLECTOR_PORT));
        }
        let (host, port) = match endpoint.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, u32::from(port.parse::<u16>().ok()?)),
            _ => (endpoint, COLLECTOR_PORT),
        };
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => is_ipv6(host).then_some((host, port)),
            None => (!host.is_empty() && !host.contains(['/', ':', '[', ']'])).then_some((host, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;
    use serde_json::json;
    use tandem_model::kind::Kind;

    #[test]
    fn endpoints_of_collectors() {
        let collector = |endpoint: &str| OpenTelemetry { endpoint: endpoint.to_owned(), refresh_interval: None };
        let targets = [
            ("otel.svc:4318", Some(("otel.svc", 4318))),
            ("otel.svc", Some(("otel.svc", 4317))),
            ("10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("[fd00::1]:4318", Some(("fd00::1", 4318))),
            ("[fd00::1]", Some(("fd00::1", 4317))),
            ("fd00::1", Some(("fd00::1", 4317))),
            ("otel.svc:4318/v1", None),
            ("otel.svc/v1", None),
            ("otel.svc:http", None),
            (":4317", None),
            ("[otel]:1", None),
        ];
        for (endpoint, target) in targets {
            assert_eq!(collector(endpoint).target(), target, "{endpoint}");
        }
        assert_eq!(collector("otel.svc:4317/v1").name(), "otel.svc-4317v1");
    }

    #[test]
    fn the_policy_is_the_strongest_one_with_backends() {
        let named = |name: &str, default| Arc::new(policy(Kind::MeshMetric, name, json!({"default": default})));
        let backends = json!({"backends": [{"type": "Prometheus", "prometheus": {}}]});
        let sidecar = json!({"sidecar": {"includeUnused": true}});
        let policies = [named("a", backends.clone()), named("b", backends.clone()), named("c", sidecar.clone())];
        let conf = |conf| serde_json::from_value(conf).expect("a configuration");
        let rules = Rules::new(conf(backends), &policies).expect("there are backends");
        assert_eq!(rules.policy.name, "b");
        assert_eq!(Rules::new(conf(sidecar), &policies[2..]), None);
        assert_eq!(Rules::new(conf(json!({"backends": []})), &policies), None);
    }
}
