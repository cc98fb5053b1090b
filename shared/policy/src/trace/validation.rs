//! Validation of MeshTrace.
//!
//! Source: Kuma `pkg/plugins/policies/meshtrace/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Backend, BackendType, Conf, Spec};
use crate::role::Role;
use crate::schema::{Decimal, IntOrString};
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{RequestUri, TargetRules, Validate, is_url, list, spec, target_deprecation, target_ref};

const TOP_OF_SYSTEM: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, Dataplane];

impl Validate for Spec {
    fn validate(&self, role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = if role == Role::System { TOP_OF_SYSTEM } else { TOP_OF_OTHERS };
            target_ref(target, &path.field("targetRef"), &TargetRules::kinds(allowed), violations);
        }
        conf(&self.default, &path.field("default"), violations);
    }

    fn warnings(&self) -> Vec<String> {
        target_deprecation(self.target_ref.as_ref()).into_iter().collect()
    }
}

fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    let backends = path.field("backends");
    if conf.backends.is_none() {
        violations.add(&backends, "must be defined");
    }
    for (index, item) in list(&conf.backends).iter().enumerate() {
        backend(item, &backends.index(index), violations);
    }
    for (index, tag) in list(&conf.tags).iter().enumerate() {
        let path = path.field("tags").index(index);
        if tag.name.is_empty() {
            violations.add(&path.field("name"), "must not be empty");
        }
        if tag.header.is_some() == tag.literal.is_some() {
            violations.add(&path, "tag must have only one type defined: header, literal");
        }
    }
    if let Some(shares) = &conf.sampling {
        let path = path.field("sampling");
        for (name, share) in [("client", &shares.client), ("random", &shares.random), ("overall", &shares.overall)] {
            sampling(share.as_ref(), &path.field(name), violations);
        }
    }
}

fn sampling(share: Option<&IntOrString>, path: &Path, violations: &mut Violations) {
    match share.map(IntOrString::decimal) {
        Some(None) => violations.add(path, "string is not a number"),
        Some(Some(share)) if share < Decimal::from_int(0) || share > Decimal::from_int(100) => {
            violations.add(path, "must be between 0 and 100");
        }
        _ => {}
    }
}

fn backend(backend: &Backend, path: &Path, violations: &mut Violations) {
    const DEFINED: &str = "must be defined";
    match backend.kind {
        BackendType::Datadog => {
            let path = path.field("datadog");
            let Some(agent) = &backend.datadog else { return violations.add(&path, DEFINED) };
            datadog_url(&agent.url, &path.field("url"), violations);
        }
        BackendType::Zipkin => {
            let path = path.field("zipkin");
            let Some(collector) = &backend.zipkin else { return violations.add(&path, DEFINED) };
            if collector.url.is_empty() {
                violations.add(&path.field("url"), "must not be empty");
            } else if !is_url(&collector.url) {
                violations.add(&path.field("url"), "must be a valid url");
            }
        }
        BackendType::OpenTelemetry => {
            let path = path.field("openTelemetry");
            if backend.open_telemetry.is_none() {
                violations.add(&path, DEFINED);
            }
        }
    }
}

/// The URL of a Datadog agent has a scheme, a host and a port, and nothing else.
fn datadog_url(url: &str, path: &Path, violations: &mut Violations) {
    let Some(url) = RequestUri::parse(url) else { return violations.add(path, "must be a valid url") };
    if !url.scheme.eq_ignore_ascii_case("http") {
        violations.add(path, "scheme must be http");
    }
    if url.port.is_empty() {
        violations.add(path, "port must be defined");
    } else if url.port.parse::<u16>().unwrap_or_default() == 0 {
        violations.add(path, "port must be a valid (1-65535)");
    }
    let parts =
        [("opaque", url.is_opaque), ("user", url.has_user), ("path", !url.path.is_empty()), ("query", url.has_query)];
    for (name, _) in parts.iter().filter(|(_, present)| *present) {
        violations.add(path, format!("{name} must not be defined"));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshTrace;

    #[test]
    fn defaults_are_applied() {
        let mut spec =
            json!({"default": {"backends": [{"type": "Zipkin", "zipkin": {"url": "http://jaeger:9411/api"}}]}});
        assert_eq!(check(MeshTrace, &mut spec), "");
        let expected = json!({
            "url": "http://jaeger:9411/api", "traceId128bit": false, "apiVersion": "httpJson", "sharedSpanContext": true
        });
        assert_eq!(spec["default"]["backends"][0]["zipkin"], expected);
    }

    #[test]
    fn violations() {
        refused(
            MeshTrace,
            json!({"default": {"sampling": {"client": "x", "random": 101}, "tags": [{"name": ""}]}}),
            &[
                "spec.default.backends: must be defined",
                "spec.default.tags[0].name: must not be empty",
                "spec.default.tags[0]: tag must have only one type defined: header, literal",
                "spec.default.sampling.client: string is not a number",
                "spec.default.sampling.random: must be between 0 and 100",
            ],
        );
        let datadog = |url: &str| json!({"default": {"backends": [{"type": "Datadog", "datadog": {"url": url}}]}});
        refused(
            MeshTrace,
            datadog("https://user@agent/path"),
            &[
                "spec.default.backends[0].datadog.url: scheme must be http",
                "spec.default.backends[0].datadog.url: port must be defined",
                "spec.default.backends[0].datadog.url: user must not be defined",
                "spec.default.backends[0].datadog.url: path must not be defined",
            ],
        );
        refused(MeshTrace, datadog("agent"), &["spec.default.backends[0].datadog.url: must be a valid url"]);
    }
}
