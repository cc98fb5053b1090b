//! Settings of a control plane about policies.

use std::collections::BTreeSet;

use tandem_model::kind::Kind;

/// Settings of a control plane about policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// The kinds that have an effect (`policies.pluginPoliciesEnabled`); `None` for all.
    pub enabled: Option<BTreeSet<Kind>>,
    /// Whether what a MeshTrafficPermission denies stays denied unless an exception is made to it
    /// (`policies.denyOverridesAllow`); else the order of precedence alone decides, as in Kuma.
    pub deny_overrides_allow: bool,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { enabled: None, deny_overrides_allow: true }
    }
}

impl PolicySettings {
    /// True when policies of a kind have an effect.
    pub fn is_enabled(&self, kind: Kind) -> bool {
        self.enabled.as_ref().is_none_or(|enabled| enabled.contains(&kind))
    }
}
