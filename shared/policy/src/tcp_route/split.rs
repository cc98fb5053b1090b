//! Where connections to one destination go.
//!
//! Source: Kuma `pkg/plugins/policies/meshtcproute/plugin/v1alpha1/listeners_backendrefs.go`.

use serde::Deserialize;
use serde_json::Value;
use tandem_model::resource::ResourceKey;

use super::schema::Rule;
use crate::backend::{Backend, check_weights};
use crate::destinations::Destinations;
use crate::policy::Policy;

/// Where connections to a destination go.
#[derive(Debug, PartialEq)]
pub struct Split {
    /// The policy that says it.
    pub key: ResourceKey,
    /// Where they go.
    pub backends: Vec<Backend>,
    /// What is left out of the policy, and why.
    pub problems: Vec<String>,
}

impl Split {
    /// Translates the merged configuration of policies, the strongest of which is `policy`; `None` for one that Envoy cannot be given.
    pub(crate) fn new(conf: &Value, policy: &Policy, destinations: &Destinations) -> Option<Self> {
        // Merged from what the schema encoded, so it decodes.
        let rule = Rule::deserialize(conf).ok()?;
        let key = policy.resource.key.clone();
        let (mut backends, mut problems) = (Vec::new(), Vec::new());
        for reference in rule.default.backend_refs.iter().flatten() {
            match Backend::resolve(reference, &policy.kri, destinations) {
                Some(backend) => backends.push(backend),
                None => {
                    let kind = reference.kind.name();
                    problems.push(format!("a backendRef is left out: no {kind} has its labels"));
                }
            }
        }
        check_weights(&backends).ok()?;
        Some(Self { key, backends, problems })
    }
}
