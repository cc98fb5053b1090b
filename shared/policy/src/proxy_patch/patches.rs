//! What several policies amount to.

use std::sync::Arc;

use tandem_model::ResourceKey;

use super::schema::{Conf, Modification};
use crate::policy::Policy;
use crate::validation::list;

/// Modifications of the configuration of a proxy, in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patches(pub Vec<Patch>);

/// A modification and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// The policy.
    pub policy: ResourceKey,
    /// Its index in `spec.default.appendModifications`.
    pub index: usize,
    /// The modification.
    pub modification: Modification,
}

impl Patches {
    /// The modifications of policies one after the other, weakest first; `None` without any.
    pub(crate) fn new(policies: &[Arc<Policy>]) -> Option<Arc<Self>> {
        let mut patches = Vec::new();
        for policy in policies {
            let conf = policy.default.clone().and_then(|conf| serde_json::from_value::<Conf>(conf).ok());
            let modifications = conf.unwrap_or_default().append_modifications;
            patches.extend(list(&modifications).iter().enumerate().map(|(index, modification)| Patch {
                policy: policy.resource.key.clone(),
                index,
                modification: modification.clone(),
            }));
        }
        (!patches.is_empty()).then(|| Arc::new(Self(patches)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tandem_model::kind::Kind::MeshProxyPatch;

    use super::*;
    use crate::testing::policy;

    #[test]
    fn modifications_of_all_policies_follow_each_other() {
        let removing = |names: &[&str]| {
            let modifications: Vec<_> =
                names.iter().map(|name| json!({"cluster": {"operation": "Remove", "match": {"name": name}}})).collect();
            json!({"default": {"appendModifications": modifications}})
        };
        let policies = [("a", &["1", "2"][..]), ("b", &["3"])];
        let policies = policies.map(|(name, names)| Arc::new(policy(MeshProxyPatch, name, removing(names))));
        let patches = Patches::new(&policies).expect("three");
        let shown = patches.0.iter().map(|patch| {
            let cluster = patch.modification.cluster.as_ref().and_then(|cluster| cluster.matches.as_ref());
            (patch.policy.name.as_str(), patch.index, cluster.and_then(|cluster| cluster.name.as_deref()))
        });
        assert_eq!(shown.collect::<Vec<_>>(), [("a", 0, Some("1")), ("a", 1, Some("2")), ("b", 0, Some("3"))]);
        assert_eq!(Patches::new(&[]), None);
    }
}
