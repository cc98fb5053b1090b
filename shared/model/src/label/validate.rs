//! Rules for the labels of a resource that a user writes.
//!
//! Source of rules and texts: Kuma `pkg/api-server/resource_endpoints.go`.

use super::{
    DISPLAY_NAME, LabelContext, MESH, ORIGIN, ORIGIN_GLOBAL, ORIGIN_ZONE, WORKLOAD, ZONE, label_key_errors,
    label_value_errors,
};
use crate::kind::Kind;
use crate::mode::Mode;
use crate::name::dns1035_errors;
use crate::resource::{Labels, ResourceKey};
use crate::violation::{Path, Violations};

/// Checks the labels that a user gave to the resource `key`, before any label is computed.
/// Fields: `labels["<key>"]`.
pub fn validate(key: &ResourceKey, labels: &Labels, context: &LabelContext) -> Violations {
    let mut violations = Violations::none();
    let root = Path::new("labels");
    let origin = labels.get(ORIGIN).map(String::as_str);
    let at_origin = root.key(ORIGIN);
    if let Some(origin) = origin
        && origin != ORIGIN_GLOBAL
        && origin != ORIGIN_ZONE
    {
        violations.add(&at_origin, format!("unknown resource origin {origin:?}"));
    }
    match context.mode {
        Mode::Global if context.check_origin && origin.is_some_and(|origin| origin != ORIGIN_GLOBAL) => {
            violations.add(&at_origin, "the origin label must be set to 'global'");
        }
        Mode::Zone { federated: true } if context.check_origin && key.kind.is_json() && origin != Some(ORIGIN_ZONE) => {
            violations.add(&at_origin, "the origin label must be set to 'zone'");
        }
        _ => {}
    }
    if !context.mode.is_global() && origin != Some(ORIGIN_GLOBAL) {
        if labels.get(ZONE).is_some_and(|zone| *zone != context.zone) {
            violations.add(&root.key(ZONE), format!("{ZONE} label should have {} value", context.zone));
        }
        if labels.get(MESH).is_some_and(|mesh| *mesh != key.mesh) {
            violations.add(&root.key(MESH), format!("{MESH} label must not differ from mesh set on resource"));
        }
    }
    for (name, value) in labels {
        for error in label_key_errors(name).into_iter().chain(label_value_errors(value)) {
            violations.add(&root.key(name), error);
        }
    }
    violations
}

/// Checks that an update keeps the labels that must never change. Both sets are the computed ones.
/// Fields: `labels["<key>"]`.
pub fn validate_unchanged(stored: &Labels, updated: &Labels) -> Violations {
    let mut violations = Violations::none();
    let root = Path::new("labels");
    for name in [ORIGIN, ZONE, DISPLAY_NAME] {
        let Some(old) = stored.get(name) else { continue };
        match updated.get(name) {
            None => violations.add(&root.key(name), format!("is immutable, cannot be removed (was {old:?})")),
            Some(new) if new != old => {
                violations.add(&root.key(name), format!("is immutable, cannot be changed from {old:?} to {new:?}"));
            }
            Some(_) => {}
        }
    }
    violations
}

/// Checks the label `kuma.io/workload` of a Dataplane that a user creates; other kinds always pass.
///
/// # Errors
/// The text of the refusal, which clients get as `bad request: <text>`.
pub fn validate_workload(kind: Kind, labels: &Labels, mode: Mode) -> Result<(), String> {
    let workload = match labels.get(WORKLOAD) {
        Some(workload) if kind == Kind::Dataplane && !workload.is_empty() => workload,
        _ => return Ok(()),
    };
    if mode.is_global() {
        return Err(format!("labels[{WORKLOAD:?}]: not allowed on Global control plane"));
    }
    let errors = dns1035_errors(workload);
    if errors.is_empty() {
        return Ok(());
    }
    Err(format!(
        "labels[{WORKLOAD:?}]: must be a valid DNS-1035 label (at most 63 characters, matching regex \
         [a-z]([-a-z0-9]*[a-z0-9])?): {}",
        errors.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEDERATED: Mode = Mode::Zone { federated: true };
    const ALONE: Mode = Mode::Zone { federated: false };

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn check(mode: Mode, kind: Kind, pairs: &[(&str, &str)]) -> String {
        let context = LabelContext { mode, zone: "zone-1".into(), check_origin: true };
        let mesh = if kind.is_mesh_scoped() { "default" } else { "" };
        validate(&ResourceKey::new(kind, mesh, "x"), &labels(pairs), &context).to_string()
    }

    #[test]
    fn origin_names_the_side_written_to() {
        let must_be_zone = r#"labels["kuma.io/origin"]: the origin label must be set to 'zone'"#;
        let must_be_global = r#"labels["kuma.io/origin"]: the origin label must be set to 'global'"#;
        assert_eq!(check(Mode::Global, Kind::MeshTimeout, &[]), "");
        assert_eq!(check(Mode::Global, Kind::MeshTimeout, &[(ORIGIN, "global")]), "");
        assert_eq!(check(Mode::Global, Kind::MeshTimeout, &[(ORIGIN, "zone")]), must_be_global);
        assert_eq!(check(FEDERATED, Kind::MeshTimeout, &[]), must_be_zone);
        assert_eq!(check(FEDERATED, Kind::MeshTimeout, &[(ORIGIN, "global")]), must_be_zone);
        assert_eq!(check(FEDERATED, Kind::MeshTimeout, &[(ORIGIN, "zone")]), "");
        assert_eq!(check(FEDERATED, Kind::Dataplane, &[]), "");
        assert_eq!(check(ALONE, Kind::MeshTimeout, &[]), "");
        assert_eq!(
            check(ALONE, Kind::MeshTimeout, &[(ORIGIN, "xxx")]),
            r#"labels["kuma.io/origin"]: unknown resource origin "xxx""#
        );
    }

    #[test]
    fn origin_rules_can_be_switched_off() {
        let context = LabelContext { mode: FEDERATED, zone: "zone-1".into(), check_origin: false };
        let key = ResourceKey::new(Kind::MeshTimeout, "default", "x");
        assert!(validate(&key, &Labels::new(), &context).is_empty());
    }

    #[test]
    fn zone_and_mesh_are_the_own_ones() {
        assert_eq!(
            check(ALONE, Kind::MeshTimeout, &[(ZONE, "other"), (MESH, "m")]),
            "labels[\"kuma.io/zone\"]: kuma.io/zone label should have zone-1 value; labels[\"kuma.io/mesh\"]: \
             kuma.io/mesh label must not differ from mesh set on resource"
        );
        assert_eq!(check(ALONE, Kind::MeshTimeout, &[(ZONE, "zone-1"), (MESH, "default")]), "");
        assert_eq!(check(Mode::Global, Kind::MeshTimeout, &[(ZONE, "other"), (MESH, "m")]), "");
    }

    #[test]
    fn keys_and_values_are_checked_in_order() {
        let found = check(ALONE, Kind::MeshTrafficPermission, &[("foo/bar/baz", "bar"), ("", "bar"), ("foo", "^*bar")]);
        let fields: Vec<&str> = found.split("; ").filter_map(|v| v.split(": ").next()).collect();
        assert_eq!(fields, [r#"labels[""]"#, r#"labels[""]"#, r#"labels["foo"]"#, r#"labels["foo/bar/baz"]"#]);
    }

    #[test]
    fn some_labels_never_change() {
        let stored = labels(&[(ORIGIN, "zone"), (ZONE, "a"), ("team", "x")]);
        assert!(validate_unchanged(&stored, &stored).is_empty());
        assert_eq!(
            validate_unchanged(&stored, &labels(&[(ZONE, "b"), (DISPLAY_NAME, "added")])).to_string(),
            "labels[\"kuma.io/origin\"]: is immutable, cannot be removed (was \"zone\"); labels[\"kuma.io/zone\"]: \
             is immutable, cannot be changed from \"a\" to \"b\""
        );
    }

    #[test]
    fn workload_of_a_dataplane() {
        let good = labels(&[(WORKLOAD, "wl")]);
        assert_eq!(validate_workload(Kind::Dataplane, &good, ALONE), Ok(()));
        assert_eq!(validate_workload(Kind::Dataplane, &labels(&[(WORKLOAD, "")]), Mode::Global), Ok(()));
        assert_eq!(validate_workload(Kind::MeshTimeout, &good, Mode::Global), Ok(()));
        assert_eq!(
            validate_workload(Kind::Dataplane, &good, Mode::Global),
            Err(r#"labels["kuma.io/workload"]: not allowed on Global control plane"#.to_owned())
        );
        let refused = validate_workload(Kind::Dataplane, &labels(&[(WORKLOAD, "1x")]), ALONE);
        assert!(refused.is_err_and(|text| text.contains("([-a-z0-9]*[a-z0-9])?): a DNS-1035 label must consist")));
    }
}
