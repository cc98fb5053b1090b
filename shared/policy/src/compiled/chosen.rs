//! Policies chosen for something, and what those of one kind amount to.

use std::cell::RefCell;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::kind::Kind;

use super::MeshPolicies;
use super::memo::Key;
use crate::merge::merge;
use crate::policy::Policy;
use crate::rules::{InboundRule, ToRules, inbound_rules, merged_inbound, to_rules};

/// Policies of a mesh that were chosen for something.
pub(super) struct Chosen<'a> {
    pub mesh: &'a MeshPolicies,
    pub key: &'a Key,
    /// What went wrong, for a person.
    pub warnings: RefCell<Vec<String>>,
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
        to_rules(&self.policies(kind), routes, self.mesh.destinations()).unwrap_or_else(|error| {
            self.warnings.borrow_mut().push(format!("couldn't create To rules: {error}"));
            ToRules::default()
        })
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
