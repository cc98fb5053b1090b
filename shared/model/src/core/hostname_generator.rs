//! HostnameGenerator: a rule for the host names of services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Extension, LabelSelector};
use crate::template::Template;
use crate::violation::{Path, Violations};

/// Specification of a HostnameGenerator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostnameGenerator {
    /// The services it names.
    #[serde(default)]
    pub selector: Selector,
    /// Form of the host names; see [`Template`].
    pub template: String,
    /// Settings for a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
}

/// Selection of services of one kind. Exactly one member is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// MeshServices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_service: Option<LabelSelector>,
    /// MeshExternalServices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_external_service: Option<LabelSelector>,
    /// MeshMultiZoneServices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_multi_zone_service: Option<LabelSelector>,
}

impl HostnameGenerator {
    /// Rules beyond the schema.
    pub(super) fn validate(&self) -> Violations {
        let mut violations = Violations::none();
        let spec = Path::new("spec");
        let Selector { mesh_service, mesh_external_service, mesh_multi_zone_service } = &self.selector;
        let selectors = [mesh_service, mesh_external_service, mesh_multi_zone_service];
        if selectors.into_iter().flatten().count() != 1 {
            violations
                .add(&spec.field("selector"), "exact one selector (meshService, meshExternalService) must be defined");
        }
        let template = spec.field("template");
        if self.template.is_empty() {
            violations.add(&template, "must not be empty");
        } else if let Err(error) = Template::parse(&self.template) {
            violations.add(&template, format!("couldn't parse template: {error}"));
        }
        if self.extension.as_ref().is_some_and(|extension| extension.kind.is_empty()) {
            violations.add(&spec.field("extension").field("type"), "must not be empty");
        }
        violations
    }
}
