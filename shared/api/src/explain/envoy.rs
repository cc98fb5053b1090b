//! What of the configurations of Envoys an explanation tells.

use serde_json::Value;
use tandem_model::Kind;
use tandem_policy::explain::{EnvoyKnowledge, KindExplanation};
use tandem_proto::mesh::v1alpha1::DataplaneInsight;

use super::carriers::{Carriers, places};
use super::scene::Inspected;
use crate::inspect::Proxy;
use crate::json_patch::diff;
use crate::proxies::{Difference, ProxyConfigurations, SupposedChange};

/// What is known of Envoys, with the place to ask where that is nothing. `zone` is that of the proxy.
pub fn elsewhere(zone: Option<&str>) -> EnvoyKnowledge {
    let zone = match zone {
        Some(zone) => format!("zone {zone:?}"),
        None => "the zone of the proxy".to_owned(),
    };
    let message =
        format!("this control plane makes no configurations: ask the one of {zone} which resources of Envoy these are");
    EnvoyKnowledge { known: false, message: Some(message) }
}

/// Names the resources of Envoy in explanations of a proxy, in the state after `changes`. What keeps them from being known is told
/// in the result.
pub fn name_resources(
    configurations: &dyn ProxyConfigurations,
    inspected: &Inspected,
    proxy: &Proxy,
    insight: &DataplaneInsight,
    changes: &[SupposedChange],
    explanations: &mut [KindExplanation],
) -> EnvoyKnowledge {
    let key = &proxy.resource.key;
    let mut name = || -> Result<(), String> {
        let Some(state) = configurations.suppose(changes, changes) else {
            return Err("this control plane makes no configurations".to_owned());
        };
        let made = state.before(key, insight).map_err(|error| format!("no configuration can be made: {error}"))?;
        let carriers = Carriers::read(&made, &proxy.spec);
        for explanation in explanations.iter_mut().filter(|explanation| !explanation.selected.is_empty()) {
            let Ok(kind) = explanation.kind.parse::<Kind>() else { continue };
            let policies = inspected.mesh.policies(kind).iter();
            let mut without: Vec<SupposedChange> =
                changes.iter().filter(|(key, _)| key.kind != kind).cloned().collect();
            without.extend(policies.map(|policy| (policy.resource.key.clone(), None)));
            let difference = configurations.suppose(&without, changes).map(|states| states.compare(key, insight));
            let difference = difference.transpose();
            let difference =
                difference.map_err(|error| format!("no configuration without {kind} can be made: {error}"))?;
            let difference = difference.flatten().map(|difference| patch(&difference)).unwrap_or_default();
            carriers.name_in(explanation, &places(&difference));
        }
        Ok(())
    };
    match name() {
        Ok(()) => EnvoyKnowledge { known: true, message: None },
        Err(message) => EnvoyKnowledge { known: false, message: Some(message) },
    }
}

/// A difference as a JSON patch.
pub fn patch(difference: &Difference) -> Vec<Value> {
    diff(&Value::Object(difference.before.clone()), &Value::Object(difference.after.clone()))
}
