//! References of policies that lead nowhere.

use crate::destinations::Destinations;
use crate::policy::Policy;
use crate::target_ref::{TargetKind, TargetRef};

/// What `to` of a policy refers to that does not exist, for a person. `is_service` tells whether a service has a value of the tag
/// `kuma.io/service`.
pub fn references_to_nothing(
    policy: &Policy,
    destinations: &Destinations,
    is_service: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let dangling = policy.to.iter().enumerate().filter_map(|(index, item)| {
        let target = &item.target;
        let is_resource = target.kind != TargetKind::Mesh && target.kind.resource_kind().is_some();
        let is_tag = || target.kind == TargetKind::MeshService && is_service(target.name());
        let leads_nowhere = is_resource && destinations.resolve(target, &policy.kri).is_empty() && !is_tag();
        leads_nowhere
            .then(|| format!("to[{index}] refers to {}, which does not exist: it has no effect", named(target)))
    });
    dangling.collect()
}

fn named(target: &TargetRef) -> String {
    let section = match target.section_name() {
        "" => String::new(),
        section => format!(" with the section {section:?}"),
    };
    match target.labels() {
        Some(labels) => {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            format!("a {} with the labels {}{section}", target.kind.name(), labels.join(", "))
        }
        None => format!("the {} {:?}{section}", target.kind.name(), target.name()),
    }
}
