//! Rules for a Mesh.

use std::collections::BTreeSet;

use tandem_proto::json::Unknown;
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_proto::mesh::v1alpha1::mesh::{Constraints, Mtls};

use super::observability;
use super::tags::{Rules, selector};
use crate::violation::{Path, Violations};

pub(super) fn validate(mesh: &Mesh) -> Violations {
    let mut violations = Violations::none();
    if let Some(mtls) = &mesh.mtls {
        violations.extend(validate_mtls(mtls));
    }
    if let Some(logging) = &mesh.logging {
        violations.extend(observability::logging(logging));
    }
    if let Some(tracing) = &mesh.tracing {
        violations.extend(observability::tracing(tracing));
    }
    if let Some(metrics) = &mesh.metrics {
        violations.extend(observability::metrics(metrics, Unknown::Refuse));
    }
    if let Some(constraints) = &mesh.constraints {
        violations.extend(validate_constraints(constraints));
    }
    let egress = mesh.routing.as_ref().is_some_and(|routing| routing.zone_egress);
    if egress && mesh.mtls.as_ref().is_none_or(|mtls| mtls.enabled_backend.is_empty()) {
        violations.add(&Path::new("mtls"), "has to be set when zoneEgress enabled");
    }
    violations
}

fn validate_mtls(mtls: &Mtls) -> Violations {
    let mut violations = Violations::none();
    let path = Path::new("mtls");
    let backends = path.field("backends");
    let mut names = BTreeSet::new();
    for (index, backend) in mtls.backends.iter().enumerate() {
        violations.extend(new_name(&mut names, &backends.index(index), &backend.name));
        if let Some(certificate) = &backend.dp_cert {
            let expiration = certificate.rotation.as_ref().map_or("", |rotation| &rotation.expiration);
            if !is_validity(expiration) {
                violations.add(&path.field("dpcert").field("rotation").field("expiration"), "has to be a valid format");
            }
        }
    }
    if !mtls.enabled_backend.is_empty() && !names.contains(mtls.enabled_backend.as_str()) {
        violations.add(&path.field("enabledBackend"), "has to be set to one of the backends in the mesh");
    }
    violations
}

/// Records the name of a backend; a violation when another one has it.
pub(super) fn new_name<'a>(names: &mut BTreeSet<&'a str>, path: &Path, name: &'a str) -> Violations {
    if names.insert(name) {
        Violations::none()
    } else {
        Violations::one(&path.field("name"), format!("{name:?} name is already used for another backend"))
    }
}

/// One number with one unit, such as `30d`; or `0`.
fn is_validity(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = &text[number.len()..];
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    text == "0" || (digits && matches!(unit, "y" | "w" | "d" | "h" | "m" | "s" | "ms"))
}

fn validate_constraints(constraints: &Constraints) -> Violations {
    let mut violations = Violations::none();
    let Some(rules) = &constraints.dataplane_proxy else { return violations };
    let path = Path::new("constraints").field("dataplaneProxy");
    for (name, list) in [("requirements", &rules.requirements), ("restrictions", &rules.restrictions)] {
        for (index, rule) in list.iter().enumerate() {
            violations.extend(selector(&path.field(name).index(index).field("tags"), &rule.tags, Rules::ANY_TAGS));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::testing::violations;
    use super::*;
    use serde_json::json;

    #[test]
    fn authorities() {
        assert_eq!(
            violations(json!({"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "ca-3", "backends": [
                {"name": "ca-1", "type": "builtin", "dpCert": {"rotation": {"expiration": "1d"}}},
                {"name": "ca-1", "type": "builtin", "dpCert": {"rotation": {"expiration": "1x"}}},
                {"name": "ca-2", "type": "builtin", "dpCert": {}},
            ]}})),
            [
                "mtls.backends[1].name: \"ca-1\" name is already used for another backend",
                "mtls.dpcert.rotation.expiration: has to be a valid format",
                "mtls.dpcert.rotation.expiration: has to be a valid format",
                "mtls.enabledBackend: has to be set to one of the backends in the mesh",
            ]
        );
    }

    #[test]
    fn egress_needs_mutual_tls() {
        let mesh = |enabled: &str| {
            violations(json!({"type": "Mesh", "name": "m", "routing": {"zoneEgress": true},
                "mtls": {"enabledBackend": enabled, "backends": [{"name": "ca", "type": "builtin"}]}}))
        };
        assert_eq!(mesh("ca"), [""; 0]);
        assert_eq!(mesh(""), ["mtls: has to be set when zoneEgress enabled"]);
    }

    #[test]
    fn constraints() {
        assert_eq!(
            violations(json!({"type": "Mesh", "name": "m", "constraints": {"dataplaneProxy": {
                "requirements": [{"tags": {"team": "*"}}, {}], "restrictions": [{"tags": {"a b": "c"}}],
            }}})),
            [
                "constraints.dataplaneProxy.requirements[1].tags: must have at least one tag",
                "constraints.dataplaneProxy.restrictions[0].tags[\"a b\"]: tag name must consist of alphanumeric \
                 characters, dots, dashes, slashes and underscores",
            ]
        );
    }

    #[test]
    fn validity_periods() {
        for good in ["0", "10y", "1w", "30d", "24h", "5m", "1s", "100ms"] {
            assert!(is_validity(good), "{good}");
        }
        for bad in ["", "1", "d", "1d1h", "-1d", "1.5h", "1 d", "1D"] {
            assert!(!is_validity(bad), "{bad}");
        }
    }
}
