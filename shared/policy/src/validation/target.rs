//! Validation of `targetRef`.
//!
//! Source: Kuma `pkg/core/resources/apis/mesh/validators.go`.

use std::collections::BTreeMap;

use tandem_model::violation::{Path, Violations};

use crate::target_ref::{TargetKind, TargetRef};

/// What a position in a policy allows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TargetRules<'a> {
    /// Kinds that may be referred to.
    pub kinds: &'a [TargetKind],
    /// Text for other kinds, in place of the usual one.
    pub other_kind: Option<&'a str>,
    /// Whether a MeshGateway may be narrowed down to listeners by tags.
    pub listener_tags: bool,
    /// Whether the policy is about incoming traffic, which comes in by sections.
    pub inbound: bool,
    /// A name that is accepted although it is malformed.
    pub malformed_name: Option<&'a str>,
}

impl<'a> TargetRules<'a> {
    /// Only these kinds.
    pub(crate) fn kinds(kinds: &'a [TargetKind]) -> Self {
        Self { kinds, ..Self::default() }
    }

    /// These rules, with sections allowed if the policy is about incoming traffic.
    pub(crate) fn inbound(self, inbound: bool) -> Self {
        Self { inbound, ..self }
    }

    /// These rules, with tags of gateway listeners allowed.
    pub(crate) fn with_listener_tags(self) -> Self {
        Self { listener_tags: true, ..self }
    }
}

/// A reference under validation.
struct Check<'a> {
    target: &'a TargetRef,
    path: &'a Path,
    violations: &'a mut Violations,
}

impl Check<'_> {
    fn add(&mut self, field: &str, text: impl Into<String>) {
        self.violations.add(&self.path.field(field), text);
    }

    fn kind(&self) -> &'static str {
        self.target.kind.name()
    }

    fn refuse(&mut self, field: &str, is_set: bool) {
        if is_set {
            self.add(field, format!("must not be set with kind {}", self.kind()));
        }
    }

    fn no_name(&mut self) {
        self.refuse("name", !self.target.name().is_empty());
    }

    fn no_mesh(&mut self) {
        self.refuse("mesh", self.target.mesh.as_ref().is_some_and(|mesh| !mesh.is_empty()));
    }

    fn no_tags(&mut self) {
        self.refuse("tags", self.target.tags.as_ref().is_some_and(|tags| !tags.is_empty()));
    }

    fn no_labels(&mut self) {
        self.refuse("labels", self.target.labels().is_some());
    }

    fn no_namespace(&mut self) {
        self.refuse("namespace", !self.target.namespace().is_empty());
    }

    fn no_section(&mut self) {
        self.refuse("sectionName", !self.target.section_name().is_empty());
    }

    fn no_proxy_types(&mut self) {
        self.refuse("proxyTypes", self.target.proxy_types.as_ref().is_some_and(|types| !types.is_empty()));
    }

    fn proxy_types(&mut self) {
        if self.target.proxy_types.as_ref().is_some_and(Vec::is_empty) {
            self.add("proxyTypes", "must be undefined or have at least one element");
        }
    }

    fn name_characters(&mut self, accepted: Option<&str>) {
        let name = self.target.name();
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
        if Some(name) != accepted && !name.bytes().all(valid) {
            self.add(
                "name",
                "invalid characters: must consist of lower case alphanumeric characters, '-', '.' and '_'.",
            );
        }
    }

    fn name_required(&mut self) {
        if self.target.name().is_empty() {
            self.add("name", format!("must be set with kind {}", self.kind()));
        }
    }

    fn labels_or_name(&mut self, text: &str) {
        let named = !self.target.name().is_empty() || !self.target.namespace().is_empty();
        if self.target.labels().is_some() && named {
            self.add("labels", text);
        }
    }
}

/// Adds what is wrong with a reference at `path`.
pub(crate) fn target_ref(target: &TargetRef, path: &Path, rules: &TargetRules<'_>, violations: &mut Violations) {
    let mut check = Check { target, path, violations };
    if !rules.kinds.contains(&target.kind) {
        let text = rules.other_kind.map(str::to_owned);
        check.add("kind", text.unwrap_or_else(|| format!("value '{}' is not supported", target.kind.name())));
        return;
    }
    match target.kind {
        TargetKind::Mesh => {
            if !target.name().is_empty() {
                check.add("name", "using name with kind Mesh is not yet supported");
            }
            check.no_mesh();
            check.no_tags();
            check.no_labels();
            check.no_namespace();
            check.no_section();
            check.proxy_types();
        }
        TargetKind::Dataplane => {
            check.no_tags();
            check.no_mesh();
            check.no_proxy_types();
            check.labels_or_name("either labels or name and namespace must be specified");
            if !rules.inbound && !target.section_name().is_empty() {
                check.add("sectionName", "can only be used with inbound policies");
            }
        }
        TargetKind::MeshSubset => {
            check.no_name();
            check.no_mesh();
            tags(target, path, TagValues::Exact, check.violations);
            check.no_labels();
            check.no_namespace();
            check.no_section();
            check.proxy_types();
        }
        TargetKind::MeshService | TargetKind::MeshHTTPRoute | TargetKind::MeshExternalService => {
            check.name_characters(rules.malformed_name);
            check.no_mesh();
            check.no_tags();
            check.no_proxy_types();
            if target.kind == TargetKind::MeshHTTPRoute {
                check.no_section();
            }
            if target.labels().is_none() {
                check.name_required();
            }
            check.labels_or_name(match target.kind {
                TargetKind::MeshExternalService => "either labels or name must be specified",
                _ => "either labels or name and namespace must be specified",
            });
            if target.kind == TargetKind::MeshExternalService {
                check.no_section();
            }
        }
        TargetKind::MeshServiceSubset | TargetKind::MeshGateway => {
            check.name_required();
            check.name_characters(rules.malformed_name);
            check.no_mesh();
            check.no_proxy_types();
            tags(target, path, TagValues::Selector, check.violations);
            if target.kind == TargetKind::MeshGateway && !rules.listener_tags {
                check.no_tags();
            }
            check.no_labels();
            check.no_namespace();
            check.no_section();
        }
        TargetKind::MeshMultiZoneService => {}
    }
}

/// What values of tags may look like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TagValues {
    /// A value.
    Exact,
    /// A value, which may have slashes, or `*`.
    Selector,
}

fn tags(target: &TargetRef, path: &Path, values: TagValues, violations: &mut Violations) {
    let path = path.field("tags");
    let empty = BTreeMap::new();
    let common = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b':');
    let with_slash = |c: u8| common(c) || c == b'/';
    for (key, value) in target.tags.as_ref().unwrap_or(&empty) {
        if key.is_empty() {
            violations.add(&path, "tag name must be non-empty");
        }
        let path = path.key(key);
        if !key.bytes().all(with_slash) {
            violations
                .add(&path, "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores");
        }
        if value.is_empty() {
            violations.add(&path, "tag value must be non-empty");
        }
        match values {
            TagValues::Exact if !value.bytes().all(common) => {
                violations
                    .add(&path, "tag value must consist of alphanumeric characters, dots, dashes and underscores");
            }
            TagValues::Selector if value != "*" && !value.bytes().all(with_slash) => violations.add(
                &path,
                "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
            ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(target: serde_json::Value, rules: &TargetRules<'_>) -> String {
        let target: TargetRef = serde_json::from_value(target).expect("a reference");
        let mut violations = Violations::none();
        target_ref(&target, &Path::new("t"), rules, &mut violations);
        violations.to_string()
    }

    #[test]
    fn kinds_are_limited_by_position() {
        let rules = TargetRules::kinds(&[TargetKind::Mesh]);
        assert_eq!(found(json!({"kind": "Dataplane"}), &rules), "t.kind: value 'Dataplane' is not supported");
        assert_eq!(found(json!({"kind": "Mesh"}), &rules), "");
    }

    #[test]
    fn fields_are_limited_by_kind() {
        use TargetKind::*;
        let rules = TargetRules::kinds(&[Mesh, Dataplane, MeshSubset, MeshService, MeshServiceSubset, MeshGateway]);
        let cases = [
            (json!({"kind": "Mesh", "name": "x"}), "t.name: using name with kind Mesh is not yet supported"),
            (json!({"kind": "Mesh", "proxyTypes": []}), "t.proxyTypes: must be undefined or have at least one element"),
            (json!({"kind": "Mesh", "tags": {"a": "b"}}), "t.tags: must not be set with kind Mesh"),
            (json!({"kind": "MeshService"}), "t.name: must be set with kind MeshService"),
            (json!({"kind": "MeshService", "labels": {"a": "b"}}), ""),
            (
                json!({"kind": "MeshService", "labels": {"a": "b"}, "name": "x"}),
                "t.labels: either labels or name and namespace must be specified",
            ),
            (
                json!({"kind": "MeshService", "name": "X"}),
                "t.name: invalid characters: must consist of lower case alphanumeric characters, '-', '.' and '_'.",
            ),
            (
                json!({"kind": "Dataplane", "sectionName": "http"}),
                "t.sectionName: can only be used with inbound policies",
            ),
            (json!({"kind": "MeshSubset", "tags": {"a": ""}}), "t.tags[\"a\"]: tag value must be non-empty"),
            (
                json!({"kind": "MeshSubset", "tags": {"a": "*"}}),
                "t.tags[\"a\"]: tag value must consist of alphanumeric characters, dots, dashes and underscores",
            ),
            (json!({"kind": "MeshServiceSubset", "name": "x", "tags": {"a": "*"}}), ""),
            (
                json!({"kind": "MeshGateway", "name": "x", "tags": {"a": "*"}}),
                "t.tags: must not be set with kind MeshGateway",
            ),
        ];
        for (target, expected) in cases {
            assert_eq!(found(target.clone(), &rules), expected, "{target}");
        }
        assert_eq!(found(json!({"kind": "Dataplane", "sectionName": "http"}), &rules.inbound(true)), "");
    }
}
