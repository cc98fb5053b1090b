//! SPIFFE identities of proxies: which MeshIdentity applies to a proxy, and the trust domain and identity it gives.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/meshidentity/api/v1alpha1/helpers.go`, for Universal.

use crate::core::common::ConditionStatus;
use crate::core::mesh_identity::{MeshIdentity, Status};
use crate::label::{K8S_NAMESPACE, K8S_SERVICE_ACCOUNT, WORKLOAD, ZONE};
use crate::resource::{Labels, Resource};
use crate::template::{RenderError, Template, TemplateError};

/// Form of the trust domain unless the MeshIdentity tells another.
const TRUST_DOMAIN: &str = "{{ .Mesh }}.{{ .Zone }}.mesh.local";
/// Form of the path unless the MeshIdentity tells another.
const PATH: &str = "/workload/{{ .Workload }}";

/// Type of the condition that sums up a MeshIdentity.
pub const READY: &str = "Ready";
/// Reason of the condition [`READY`] when identities are told but no certificates issued.
pub const PARTIALLY_READY: &str = "PartiallyReady";

/// Why there is no trust domain or identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// The template is wrong.
    #[error("failed compiling Go template: {0}")]
    Template(#[from] TemplateError),
    /// The template asks for something that is not there.
    #[error("executing template failed: {0}")]
    Render(#[from] RenderError),
    /// The result is no SPIFFE ID.
    #[error("failed to parse SPIFFE ID {0:?}: {1}")]
    Invalid(String, &'static str),
}

impl MeshIdentity {
    /// True when it applies to a Dataplane with these labels, perhaps among others. Without a selector it applies to none.
    pub fn selects(&self, labels: &Labels) -> bool {
        let selector = self.selector.as_ref().and_then(|selector| selector.dataplane.as_ref());
        selector.is_some_and(|selector| selector.matches(labels))
    }

    /// How specific the selector is: its number of labels.
    pub fn specificity(&self) -> usize {
        let selector = self.selector.as_ref().and_then(|selector| selector.dataplane.as_ref());
        selector.and_then(|selector| selector.match_labels.as_ref()).map_or(0, |labels| labels.len())
    }

    /// The trust domain as seen from `resource`, a Dataplane or the MeshIdentity itself. `zone` stands in for the zone of a
    /// resource that has no such label.
    ///
    /// # Errors
    /// When the template is wrong or asks for something that is not there.
    pub fn trust_domain(&self, resource: &Resource, zone: &str) -> Result<String, SpiffeError> {
        let given = self.spiffe_id.as_ref().and_then(|spiffe| spiffe.trust_domain.as_deref());
        let field = |name: &str| match name {
            "Mesh" => Some(resource.key.mesh.as_str()),
            "Zone" => Some(resource.label(ZONE).filter(|zone| !zone.is_empty()).unwrap_or(zone)),
            _ => None,
        };
        let template = Template::parse(given.unwrap_or(TRUST_DOMAIN))?;
        Ok(template.render(field, |name| resource.label(name))?)
    }

    /// Form of the path of identities.
    pub fn path(&self) -> &str {
        self.spiffe_id.as_ref().and_then(|spiffe| spiffe.path.as_deref()).unwrap_or(PATH)
    }

    /// True when the label `kuma.io/workload` of a Dataplane is part of its identity.
    pub fn uses_workload(&self) -> bool {
        let template = Template::parse(self.path());
        template.is_ok_and(|template| template.uses_field("Workload") || template.uses_label(WORKLOAD))
    }

    /// The identity of a Dataplane in a trust domain.
    ///
    /// # Errors
    /// When the template is wrong, asks for something that is not there, or what comes out is no SPIFFE ID.
    pub fn spiffe_id(&self, trust_domain: &str, dataplane: &Resource) -> Result<String, SpiffeError> {
        let label = |name: &str| dataplane.label(name);
        let field = |name: &str| match name {
            "TrustDomain" => Some(trust_domain),
            "Namespace" => Some(label(K8S_NAMESPACE).unwrap_or_default()),
            "ServiceAccount" => Some(label(K8S_SERVICE_ACCOUNT).unwrap_or_default()),
            "Workload" => Some(label(WORKLOAD).unwrap_or_default()),
            _ => None,
        };
        let path = Template::parse(self.path())?.render(field, label)?;
        let id = format!("spiffe://{trust_domain}{path}");
        match check(trust_domain, &path) {
            Ok(()) => Ok(id),
            Err(reason) => Err(SpiffeError::Invalid(id, reason)),
        }
    }
}

/// The MeshIdentity that a Dataplane with these labels gets its certificate from: the most specific one, of equal ones the
/// first by name. Each comes with its name.
pub fn best_match<'a, T>(
    identities: impl IntoIterator<Item = (&'a str, &'a MeshIdentity, T)>,
    labels: &Labels,
) -> Option<T> {
    let selecting = identities.into_iter().filter(|(_, identity, _)| identity.selects(labels));
    let best = selecting.min_by_key(|(name, identity, _)| (std::cmp::Reverse(identity.specificity()), *name));
    best.map(|(_, _, value)| value)
}

impl Status {
    /// True when proxies get certificates.
    pub fn is_initialized(&self) -> bool {
        self.conditions.iter().any(|c| c.kind == READY && c.status == ConditionStatus::True)
    }

    /// True when proxies are told identities, and another product issues the certificates.
    pub fn is_partially_ready(&self) -> bool {
        let partially = |reason: &str| reason == PARTIALLY_READY;
        self.conditions.iter().any(|c| c.kind == READY && c.status == ConditionStatus::False && partially(&c.reason))
    }
}

/// Rules of the SPIFFE standard for both parts of an identity.
fn check(trust_domain: &str, path: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if trust_domain.is_empty() {
        return Err("trust domain is missing");
    }
    if !trust_domain.bytes().all(|byte| allowed(byte) && !byte.is_ascii_uppercase()) {
        return Err("trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores");
    }
    let Some(segments) = path.strip_prefix('/') else {
        return if path.is_empty() { Ok(()) } else { Err("path must have a leading slash") };
    };
    for segment in segments.split('/') {
        match segment {
            "" => return Err("path cannot contain empty segments or a trailing slash"),
            "." | ".." => return Err("path cannot contain dot segments"),
            segment if !segment.bytes().all(allowed) => {
                return Err("path segment characters are limited to letters, numbers, dots, dashes, and underscores");
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Kind;
    use crate::resource::ResourceKey;

    fn identity(spec: serde_json::Value) -> MeshIdentity {
        serde_json::from_value(spec).expect("a MeshIdentity")
    }

    fn dataplane(labels: &[(&str, &str)]) -> Resource {
        let key = ResourceKey::new(Kind::Dataplane, "demo", "web-1");
        Resource::from_proto(key, &tandem_proto::mesh::v1alpha1::Dataplane::default())
            .with_labels(labels.iter().copied())
    }

    #[test]
    fn identities_by_default() {
        let identity = identity(json!({}));
        let web = dataplane(&[("kuma.io/workload", "web")]);
        assert_eq!(identity.trust_domain(&web, "east").as_deref(), Ok("demo.east.mesh.local"));
        assert_eq!(
            identity.trust_domain(&dataplane(&[("kuma.io/zone", "west")]), "east").as_deref(),
            Ok("demo.west.mesh.local")
        );
        assert_eq!(identity.spiffe_id("td", &web).as_deref(), Ok("spiffe://td/workload/web"));
        // Without the label there is no workload to name.
        let error = identity.spiffe_id("td", &dataplane(&[])).expect_err("a trailing slash");
        assert_eq!(
            error.to_string(),
            "failed to parse SPIFFE ID \"spiffe://td/workload/\": path cannot contain empty segments or a trailing slash"
        );
    }

    #[test]
    fn identities_by_template() {
        let identity = identity(json!({"spiffeID": {
            "trustDomain": "{{ label \"team\" }}.{{ .Mesh }}",
            "path": "/ns/{{ .Namespace }}/sa/{{ .ServiceAccount }}/{{ .TrustDomain }}",
        }}));
        let labels = [("team", "a"), ("k8s.kuma.io/namespace", "ns"), ("k8s.kuma.io/service-account", "sa")];
        assert_eq!(identity.trust_domain(&dataplane(&labels), "east").as_deref(), Ok("a.demo"));
        assert_eq!(
            identity.spiffe_id("a.demo", &dataplane(&labels)).as_deref(),
            Ok("spiffe://a.demo/ns/ns/sa/sa/a.demo")
        );
        assert!(matches!(identity.trust_domain(&dataplane(&[]), "east"), Err(SpiffeError::Render(_))));
    }

    #[test]
    fn some_identities_name_the_workload() {
        for (path, expected) in [
            (None, true),
            (Some("/w/{{.Workload}}"), true),
            (Some("/w/{{ label \"kuma.io/workload\" }}"), true),
            (Some("/ns/{{ .Namespace }}/workload"), false),
            (Some("/w/{{ .Workload"), false),
        ] {
            let identity = identity(path.map_or(json!({}), |path| json!({"spiffeID": {"path": path}})));
            assert_eq!(identity.uses_workload(), expected, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_identity() {
        for (trust_domain, path) in
            [("", "/a"), ("A", "/a"), ("a/b", "/a"), ("a", "a"), ("a", "/a//b"), ("a", "/.."), ("a", "/ä")]
        {
            let identity = identity(json!({"spiffeID": {"path": path}}));
            let outcome = identity.spiffe_id(trust_domain, &dataplane(&[]));
            assert!(matches!(outcome, Err(SpiffeError::Invalid(..))), "{trust_domain} {path}: {outcome:?}");
        }
    }

    #[test]
    fn the_most_specific_identity_applies() {
        let none = identity(json!({}));
        let all = identity(json!({"selector": {"dataplane": {"matchLabels": {}}}}));
        let app = identity(json!({"selector": {"dataplane": {"matchLabels": {"app": "web"}}}}));
        let candidates = [("a-none", &none), ("b-all", &all), ("d-app", &app), ("c-app", &app)];
        let best = |labels: &[(&str, &str)]| {
            let labels = dataplane(labels).labels;
            best_match(candidates.iter().map(|(name, identity)| (*name, *identity, *name)), &labels)
        };
        assert_eq!(best(&[("app", "web")]), Some("c-app"));
        assert_eq!(best(&[("app", "api")]), Some("b-all"));
        assert_eq!(best_match([("a", &none, ())], &Labels::new()), None);
    }
}
