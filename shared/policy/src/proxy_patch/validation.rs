//! Validation of MeshProxyPatch.
//!
//! Source: Kuma `pkg/plugins/policies/meshproxypatch/api/v1alpha1/validator.go` and
//! `pkg/plugins/policies/core/jsonpatch/validators`. Of resources given as YAML the form is checked and, when people write them, that they
//! have the members of their messages; not the further rules that Envoy has for these.

use tandem_model::validation::native_resource_problem;
use tandem_model::violation::{Path, Violations};

use super::native;
use super::schema::{FilterMatch, FilterOperation, JsonPatch, JsonPatchOp, Modification, Operation, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{TargetRules, Validate, list, spec, target_deprecation, target_ref};

const TOP_OF_SYSTEM: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset, MeshGateway, Dataplane];
const TOP_OF_OTHERS: &[TargetKind] = &[Mesh, MeshSubset, Dataplane, MeshService, MeshServiceSubset];
const DEFINED: &str = "must be defined";
const NOT_DEFINED: &str = "must not be defined";

impl Validate for Spec {
    fn validate(&self, role: Role, violations: &mut Violations) {
        let path = spec();
        if let Some(target) = &self.target_ref {
            let allowed = if role == Role::System { TOP_OF_SYSTEM } else { TOP_OF_OTHERS };
            target_ref(target, &path.field("targetRef"), &TargetRules::kinds(allowed), violations);
        }
        let path = path.field("default").field("appendModifications");
        let modifications = list(&self.default.append_modifications);
        if modifications.is_empty() {
            violations.add(&path, "must not be empty");
        }
        for (index, item) in modifications.iter().enumerate() {
            modification(item, &path.index(index), violations);
        }
    }

    fn validate_written(&self, violations: &mut Violations) {
        let path = spec().field("default").field("appendModifications");
        for (index, item) in list(&self.default.append_modifications).iter().enumerate() {
            native::check(item, &path.index(index), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        target_deprecation(self.target_ref.as_ref()).into_iter().collect()
    }
}

fn modification(item: &Modification, path: &Path, violations: &mut Violations) {
    let Modification { cluster, listener, network_filter, http_filter, virtual_host } = item;
    let count = [
        cluster.is_some(),
        listener.is_some(),
        network_filter.is_some(),
        http_filter.is_some(),
        virtual_host.is_some(),
    ]
    .iter()
    .filter(|is_set| **is_set)
    .count();
    if count != 1 {
        let text =
            format!("exactly one modification can be defined at a time. Currently, {count} modifications are defined");
        return violations.add(path, text);
    }
    if let Some(change) = cluster {
        let contents = (change.value.as_deref(), list(&change.json_patches));
        of_resource("cluster", change.operation, ("match", change.matches.is_some()), contents, path, violations);
    } else if let Some(change) = listener {
        let contents = (change.value.as_deref(), list(&change.json_patches));
        of_resource("listener", change.operation, ("match", change.matches.is_some()), contents, path, violations);
    } else if let Some(change) = virtual_host {
        let contents = (change.value.as_deref(), list(&change.json_patches));
        let named = ("match.name", change.matches.name.is_some());
        of_resource("virtualHost", change.operation, named, contents, path, violations);
    } else if let Some(change) = network_filter {
        let contents = (change.value.as_deref(), list(&change.json_patches));
        of_filter("networkFilter", change.operation, change.matches.as_ref(), contents, path, violations);
    } else if let Some(change) = http_filter {
        let contents = (change.value.as_deref(), list(&change.json_patches));
        of_filter("httpFilter", change.operation, change.matches.as_ref(), contents, path, violations);
    }
}

/// What a modification brings: a resource as YAML, and changes to one.
type Contents<'a> = (Option<&'a str>, &'a [JsonPatch]);

/// `selects` is the member that makes no sense when a resource is added, and whether it is there.
fn of_resource(
    kind: &str,
    operation: Operation,
    selects: (&str, bool),
    contents: Contents<'_>,
    path: &Path,
    violations: &mut Violations,
) {
    let path = path.field(kind);
    match operation {
        Operation::Add => {
            if selects.1 {
                violations.add(&path.field(selects.0), NOT_DEFINED);
            }
            value(contents.0, &path, violations);
        }
        Operation::Patch => patch(contents, kind, &path, violations),
        Operation::Remove => no_value(contents.0, &path, violations),
    }
}

fn of_filter(
    kind: &str,
    operation: FilterOperation,
    matches: Option<&FilterMatch>,
    contents: Contents<'_>,
    path: &Path,
    violations: &mut Violations,
) {
    let path = path.field(kind);
    let name_missing = match operation {
        FilterOperation::AddBefore => {
            Some("must be defined. You need to pick a filter before which this one will be added")
        }
        FilterOperation::AddAfter => {
            Some("must be defined. You need to pick a filter after which this one will be added")
        }
        FilterOperation::Patch => Some(DEFINED),
        _ => None,
    };
    if let Some(text) = name_missing.filter(|_| matches.is_none_or(|matches| matches.name.is_none())) {
        violations.add(&path.field("match").field("name"), text);
    }
    match operation {
        FilterOperation::Patch => patch(contents, kind, &path, violations),
        FilterOperation::Remove => no_value(contents.0, &path, violations),
        _ => value(contents.0, &path, violations),
    }
}

fn no_value(value: Option<&str>, path: &Path, violations: &mut Violations) {
    if value.is_some() {
        violations.add(&path.field("value"), NOT_DEFINED);
    }
}

/// A resource as YAML: an object.
fn value(value: Option<&str>, path: &Path, violations: &mut Violations) {
    let path = path.field("value");
    let Some(value) = value else { return violations.add(&path, DEFINED) };
    if let Some(problem) = native_resource_problem(value) {
        violations.add(&path, problem);
    }
}

fn patch((given, patches): Contents<'_>, kind: &str, path: &Path, violations: &mut Violations) {
    match given {
        Some(_) if !patches.is_empty() => {
            violations.add(path, format!("{kind} must have only one type defined: value, jsonPatches"));
        }
        Some(_) => value(given, path, violations),
        None if patches.is_empty() => {
            violations.add(path, format!("{kind} must have exactly one defined: value, jsonPatches"));
        }
        None => {
            for (index, patch) in patches.iter().enumerate() {
                json_patch(patch, &path.field("jsonPatches").index(index), violations);
            }
        }
    }
}

fn json_patch(patch: &JsonPatch, path: &Path, violations: &mut Violations) {
    let moves = matches!(patch.op, JsonPatchOp::Move | JsonPatchOp::Copy);
    let writes = matches!(patch.op, JsonPatchOp::Add | JsonPatchOp::Replace);
    let mut required = |name: &str, is_set: bool, wanted: bool, operations: &str| {
        let problem = match (is_set, wanted) {
            (false, true) => "must not be empty",
            (true, false) => "is allowed only",
            _ => return,
        };
        violations.add(&path.field(name), format!("\"{name}\" {problem} when \"op\" is one of [{operations}]"));
    };
    required("from", patch.from.is_some(), moves, r#""move", "copy""#);
    required("value", patch.value.is_some(), writes, r#""add", "replace""#);
    if patch.op == JsonPatchOp::Remove && matches!(patch.path.as_str(), "" | "/") {
        violations.add(&path.field("path"), "root path cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::{Value, json};
    use tandem_model::kind::Kind::MeshProxyPatch;

    fn patches(modifications: Value) -> Value {
        json!({"default": {"appendModifications": modifications}})
    }

    #[test]
    fn valid_policies() {
        let mut spec = patches(json!([
            {"cluster": {"operation": "Add", "value": "name: x\nconnectTimeout: 5s"}},
            {"networkFilter": {"operation": "Patch", "match": {"name": "f"}, "jsonPatches":
                [{"op": "replace", "path": "/statPrefix", "value": "x"}]}}
        ]));
        assert_eq!(check(MeshProxyPatch, &mut spec), "");
    }

    #[test]
    fn violations() {
        refused(MeshProxyPatch, patches(json!([])), &["spec.default.appendModifications: must not be empty"]);
        refused(
            MeshProxyPatch,
            patches(json!([
                {},
                {"cluster": {"operation": "Add", "match": {}, "value": "- x"}},
                {"listener": {"operation": "Patch"}},
                {"httpFilter": {"operation": "AddBefore"}},
                {"virtualHost": {"operation": "Remove", "match": {}, "value": "x: y"}},
                {"networkFilter": {"operation": "Patch", "match": {"name": "f"}, "jsonPatches":
                    [{"op": "remove", "path": "/", "value": 1}, {"op": "move", "path": "/a"}]}}
            ])),
            &[
                "spec.default.appendModifications[0]: exactly one modification can be defined at a time. Currently, 0 \
                 modifications are defined",
                "spec.default.appendModifications[1].cluster.match: must not be defined",
                "spec.default.appendModifications[1].cluster.value: native Envoy resource is not valid: json: cannot unmarshal array into Go value of type map[string]json.RawMessage",
                "spec.default.appendModifications[2].listener: listener must have exactly one defined: value, \
                 jsonPatches",
                "spec.default.appendModifications[3].httpFilter.match.name: must be defined. You need to pick a filter \
                 before which this one will be added",
                "spec.default.appendModifications[3].httpFilter.value: must be defined",
                "spec.default.appendModifications[4].virtualHost.value: must not be defined",
                "spec.default.appendModifications[5].networkFilter.jsonPatches[0].value: \"value\" is allowed \
                 only when \"op\" is one of [\"add\", \"replace\"]",
                "spec.default.appendModifications[5].networkFilter.jsonPatches[0].path: root path cannot be removed",
                "spec.default.appendModifications[5].networkFilter.jsonPatches[1].from: \"from\" must not be \
                 empty when \"op\" is one of [\"move\", \"copy\"]",
            ],
        );
    }
}
