//! Validation of MeshAccessLog.
//!
//! Source: Kuma `pkg/plugins/policies/meshaccesslog/api/v1alpha1/validator.go`.

use tandem_model::violation::{Path, Violations};

use super::schema::{Backend, BackendType, Conf, Format, FormatType, Spec};
use crate::role::Role;
use crate::target_ref::TargetKind::{self, *};
use crate::validation::{
    TargetRules, Validate, from_deprecation, is_file_path, is_url, list, spec, target_deprecation, target_ref, top_kind,
};

const TOP: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, MeshService, MeshServiceSubset, Dataplane];
const TO: &[TargetKind] = &[Mesh, MeshService, MeshExternalService, MeshMultiZoneService, MeshHTTPRoute];

impl Validate for Spec {
    fn validate(&self, _role: Role, violations: &mut Violations) {
        let (to, from, rules) = (list(&self.to), list(&self.from), list(&self.rules));
        let path = spec();
        if let Some(target) = &self.target_ref {
            let inbound = !rules.is_empty() || !from.is_empty();
            let allowed = TargetRules::kinds(TOP).with_listener_tags().inbound(inbound);
            target_ref(target, &path.field("targetRef"), &allowed, violations);
        }
        if !rules.is_empty() && to.len() + from.len() > 0 {
            violations.add(&path, "fields 'to' and 'from' must be empty when 'rules' is defined");
        }
        if rules.is_empty() && to.is_empty() && from.is_empty() {
            violations.add(&path, "at least one of 'from', 'to' or 'rules' has to be defined");
        }
        let of_gateway = top_kind(self.target_ref.as_ref()) == MeshGateway;
        let allowed = TargetRules::kinds(if of_gateway { &[Mesh] } else { TO });
        for (index, item) in to.iter().enumerate() {
            let path = path.field("to").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &allowed, violations);
            conf(&item.default, &path.field("default"), violations);
        }
        for (index, item) in from.iter().enumerate() {
            let path = path.field("from").index(index);
            target_ref(&item.target_ref, &path.field("targetRef"), &TargetRules::kinds(&[Mesh]), violations);
            conf(&item.default, &path.field("default"), violations);
        }
        for (index, item) in rules.iter().enumerate() {
            conf(&item.default, &path.field("rules").index(index).field("default"), violations);
        }
    }

    fn warnings(&self) -> Vec<String> {
        let from = from_deprecation(!list(&self.from).is_empty());
        from.into_iter().chain(target_deprecation(self.target_ref.as_ref())).collect()
    }
}

fn conf(conf: &Conf, path: &Path, violations: &mut Violations) {
    let path = path.field("backends");
    if conf.backends.is_none() {
        violations.add(&path, "must be defined");
    }
    for (index, item) in list(&conf.backends).iter().enumerate() {
        backend(item, &path.index(index), violations);
    }
}

fn backend(backend: &Backend, path: &Path, violations: &mut Violations) {
    const DEFINED: &str = "must be defined";
    match backend.kind {
        BackendType::File => {
            let path = path.field("file");
            let Some(file) = &backend.file else { return violations.add(&path, DEFINED) };
            format(file.format.as_ref(), &path.field("format"), violations);
            if !is_file_path(&file.path) {
                violations.add(&path.field("path"), "file backend requires a valid path");
            }
        }
        BackendType::Tcp => {
            let path = path.field("tcp");
            let Some(tcp) = &backend.tcp else { return violations.add(&path, DEFINED) };
            format(tcp.format.as_ref(), &path.field("format"), violations);
            if !is_url(&tcp.address) {
                violations.add(&path.field("address"), "tcp backend requires valid address");
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

fn format(format: Option<&Format>, path: &Path, violations: &mut Violations) {
    let Some(format) = format else { return };
    match format.kind {
        FormatType::Plain => match format.plain.as_deref() {
            None => violations.add(&path.field("plain"), "must be defined"),
            Some("") => violations.add(&path.field("plain"), "must not be empty"),
            Some(_) => {}
        },
        FormatType::Json => {
            let path = path.field("json");
            match format.json.as_deref() {
                None => violations.add(&path, "must be defined"),
                Some([]) => violations.add(&path, "must not be empty"),
                Some(_) => {}
            }
            for (index, member) in list(&format.json).iter().enumerate() {
                let path = path.index(index);
                if member.key.is_empty() {
                    violations.add(&path.field("key"), "key cannot be empty");
                }
                if member.value.is_empty() {
                    violations.add(&path.field("value"), "value cannot be empty");
                }
                let object = format!(r#"{{"{}": "{}"}}"#, member.key, member.value);
                if serde_json::from_str::<serde_json::Value>(&object).is_err() {
                    violations.add(&path, "is not a valid JSON object");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refused};
    use serde_json::json;
    use tandem_model::kind::Kind::MeshAccessLog;

    #[test]
    fn valid_policies_are_normalised() {
        let mut spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"backends": [
            {"type": "Tcp", "tcp": {"address": "127.0.0.1:5000", "format": {"type": "Plain", "plain": "x"}}},
            {"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel:4317", "body": {"kvlistValue": {}}}}
        ]}}]});
        assert_eq!(check(MeshAccessLog, &mut spec), "");
        let backends = &spec["to"][0]["default"]["backends"];
        assert_eq!(backends[0]["tcp"]["format"]["omitEmptyValues"], false);
        assert_eq!(backends[1]["openTelemetry"]["body"], json!({"kvlistValue": {}}));
    }

    #[test]
    fn violations() {
        refused(
            MeshAccessLog,
            json!({"to": [
                {"targetRef": {"kind": "Mesh"}, "default": {}},
                {"targetRef": {"kind": "Mesh"}, "default": {"backends": [
                    {"type": "File"},
                    {"type": "File", "file": {"path": "#not_valid", "format": {"type": "Plain", "plain": ""}}},
                    {"type": "Tcp", "tcp": {"address": "not_valid url", "format": {"type": "Json"}}},
                    {"type": "File", "file": {"path": "/x", "format": {"type": "Json", "json": [
                        {"key": "", "value": "\""}]}}}
                ]}}
            ]}),
            &[
                "spec.to[0].default.backends: must be defined",
                "spec.to[1].default.backends[0].file: must be defined",
                "spec.to[1].default.backends[1].file.format.plain: must not be empty",
                "spec.to[1].default.backends[1].file.path: file backend requires a valid path",
                "spec.to[1].default.backends[2].tcp.format.json: must be defined",
                "spec.to[1].default.backends[2].tcp.address: tcp backend requires valid address",
                "spec.to[1].default.backends[3].file.format.json[0].key: key cannot be empty",
                "spec.to[1].default.backends[3].file.format.json[0]: is not a valid JSON object",
            ],
        );
    }
}
