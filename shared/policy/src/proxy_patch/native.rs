//! Resources of Envoy that people write as YAML.

use serde_json::Value;
use tandem_envoy_json::from_json;
use tandem_envoy_json::prost_reflect::DynamicMessage;
use tandem_model::violation::{Path, Violations};

use super::schema::{FilterOperation, Modification, Operation};

/// Full name of the message of a cluster.
pub const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
/// Full name of the message of a listener.
pub const LISTENER: &str = "envoy.config.listener.v3.Listener";
/// Full name of the message of a network filter.
pub const NETWORK_FILTER: &str = "envoy.config.listener.v3.Filter";
/// Full name of the message of an HTTP filter.
pub const HTTP_FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
/// Full name of the message of a virtual host.
pub const VIRTUAL_HOST: &str = "envoy.config.route.v3.VirtualHost";

/// The JSON that a YAML text stands for.
///
/// # Errors
/// When it is not YAML, with the reason.
pub fn yaml(text: &str) -> Result<Value, String> {
    serde_norway::from_str(text).map_err(|error| format!("it is not YAML: {error}"))
}

/// A message with this full name, written as YAML. Nothing at all is an empty one.
///
/// # Errors
/// When it is none, with the reason.
pub fn parsed(message: &str, text: &str) -> Result<DynamicMessage, String> {
    let json = match yaml(text)? {
        Value::Null => Value::Object(Default::default()),
        json => json,
    };
    from_json(message, &json).map_err(|error| error.to_string())
}

/// Adds what keeps the resource that a modification brings from being one of Envoy: members that its message does not have, values
/// of another type, no name where one is needed. What is no object at all is told elsewhere.
pub(super) fn check(modification: &Modification, path: &Path, violations: &mut Violations) {
    let Modification { cluster, listener, network_filter, http_filter, virtual_host } = modification;
    let of_resource = |operation| match operation {
        Operation::Add => Some(true),
        Operation::Patch => Some(false),
        Operation::Remove => None,
    };
    let of_filter = |operation| match operation {
        FilterOperation::Patch => Some(false),
        FilterOperation::Remove => None,
        _ => Some(true),
    };
    let resources = [
        cluster.as_ref().map(|change| ("cluster", CLUSTER, of_resource(change.operation), &change.value)),
        listener.as_ref().map(|change| ("listener", LISTENER, of_resource(change.operation), &change.value)),
        network_filter
            .as_ref()
            .map(|change| ("networkFilter", NETWORK_FILTER, of_filter(change.operation), &change.value)),
        http_filter.as_ref().map(|change| ("httpFilter", HTTP_FILTER, of_filter(change.operation), &change.value)),
        virtual_host.as_ref().map(|change| ("virtualHost", VIRTUAL_HOST, of_resource(change.operation), &change.value)),
    ];
    for (member, message, is_new, value) in resources.into_iter().flatten() {
        let object = value.as_deref().filter(|value| matches!(yaml(value), Ok(Value::Object(_))));
        let Some((is_new, value)) = is_new.zip(object) else { continue };
        let problem = match parsed(message, value) {
            Err(reason) => reason,
            Ok(resource) if is_new && !has_name(&resource) => {
                let message = message.rsplit('.').next().unwrap_or(message);
                format!("invalid {message}.Name: value length must be at least 1 runes")
            }
            Ok(_) => continue,
        };
        violations.add(&path.field(member).field("value"), format!("native Envoy resource is not valid: {problem}"));
    }
}

fn has_name(message: &DynamicMessage) -> bool {
    message.get_field_by_name("name").is_some_and(|name| name.as_str().is_some_and(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tandem_model::kind::Kind::MeshProxyPatch;

    use crate::testing::refused;

    #[test]
    fn people_are_told_what_a_message_does_not_have() {
        let network = "name: n\ntypedConfig:\n  '@type': type.googleapis.com/envoy.Nothing";
        let spec = json!({"default": {"appendModifications": [
            {"cluster": {"operation": "Add", "value": "name: c\nconnect_timeout: 1s"}},
            {"cluster": {"operation": "Patch", "value": "conectTimeout: 1s"}},
            {"listener": {"operation": "Patch", "value": "name: 5"}},
            {"networkFilter": {"operation": "AddFirst", "value": network}},
            {"httpFilter": {"operation": "AddFirst", "value": "disabled: true"}},
            {"httpFilter": {"operation": "Patch", "match": {"name": "f"}, "value": "disabled: true"}},
            {"virtualHost": {"operation": "Remove", "match": {}}},
        ]}});
        let value = |index: usize, member: &str, problem: &str| {
            format!(
                "spec.default.appendModifications[{index}].{member}.value: native Envoy resource is not valid: {problem}"
            )
        };
        let expected = [
            value(1, "cluster", "this is no envoy.config.cluster.v3.Cluster: unrecognized field name 'conectTimeout'"),
            value(
                2,
                "listener",
                "this is no envoy.config.listener.v3.Listener: invalid type: integer `5`, expected a string",
            ),
            value(3, "networkFilter", "this is no envoy.config.listener.v3.Filter: message 'envoy.Nothing' not found"),
            value(4, "httpFilter", "invalid HttpFilter.Name: value length must be at least 1 runes"),
        ];
        refused(MeshProxyPatch, spec.clone(), &expected.each_ref().map(String::as_str));
        assert!(crate::check_received(MeshProxyPatch, &spec).is_empty(), "a peer has taken it");
    }
}
