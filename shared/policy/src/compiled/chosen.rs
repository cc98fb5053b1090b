//! Policies chosen for something, and what those of one kind amount to.

use std::cell::RefCell;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::kind::Kind;

use super::memo::Key;
use super::{MeshPolicies, PolicyWarning};
use crate::merge::merge;
use crate::policy::Policy;
use crate::rules::{InboundRule, RuleError, ToRules, inbound_rules, merged_inbound, usable_to_rules};

/// Policies of a mesh that were chosen for something.
pub(super) struct Chosen<'a> {
    pub mesh: &'a MeshPolicies,
    pub key: &'a Key,
    /// Policies that have no effect.
    pub warnings: RefCell<Vec<PolicyWarning>>,
}

impl<'a> Chosen<'a> {
    pub fn new(mesh: &'a MeshPolicies, key: &'a Key) -> Self {
        Self { mesh, key, warnings: RefCell::default() }
    }

    /// Those of one kind, weakest first.
    pub fn policies(&self, kind: Kind) -> Vec<Arc<Policy>> {
        self.key.policies.get(&kind).into_iter().flatten().map(|policy| policy.0.clone()).collect()
    }

    /// What those of one kind say about outgoing traffic.
    pub fn to_rules(&self, kind: Kind) -> ToRules {
        let routes = self.mesh.of_kind(Kind::MeshHTTPRoute);
        let (rules, unusable) = usable_to_rules(&self.policies(kind), routes, self.mesh.destinations());
        let left_out = |(policy, error): &(Arc<Policy>, RuleError)| PolicyWarning {
            policy: policy.resource.key.clone(),
            reason: format!("what it says about services by tags has no effect: {error}"),
        };
        self.warnings.borrow_mut().extend(unusable.iter().map(left_out));
        rules
    }

    /// What those of one kind say about incoming traffic, entry by entry.
    pub fn inbound_rules(&self, kind: Kind) -> Vec<InboundRule> {
        inbound_rules(&self.policies(kind))
    }

    /// What those of one kind say about all incoming traffic; `None` without any.
    pub fn inbound<C: DeserializeOwned + Default>(&self, kind: Kind) -> Option<C> {
        self.key.policies.contains_key(&kind).then(|| decoded(merged_inbound(&self.inbound_rules(kind))))
    }

    /// What those of a kind that configures the proxy itself say; `None` without any.
    pub fn own<C: DeserializeOwned + Default>(&self, kind: Kind) -> Option<C> {
        let policies = self.policies(kind);
        let confs: Vec<&Value> = policies.iter().filter_map(|policy| policy.default.as_ref()).collect();
        merge(kind, &confs).into_iter().next().map(decoded)
    }
}

/// A configuration. Those of policies are merges of what the schema encoded, so they decode.
fn decoded<C: DeserializeOwned + Default>(conf: Value) -> C {
    serde_json::from_value(conf).unwrap_or_default()
}
