//! Edits of lists of named messages inside a listener: network filters, HTTP filters, virtual hosts.

use tandem_envoy_json::prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use tandem_envoy_json::{EnvoyJsonError, decode, encode};

use super::patch::Patch;

/// What happens to a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ListEdit {
    AddFirst(DynamicMessage),
    AddLast(DynamicMessage),
    /// After the first one with the name.
    AddAfter(DynamicMessage),
    /// Before the first one with the name.
    AddBefore(DynamicMessage),
    /// All with the name.
    Remove,
    /// All with the name.
    Patch(Patch),
}

/// Member of filters with their packed configuration.
const CONFIG: &str = "typed_config";

/// A member with text; empty when there is none.
pub(super) fn text(message: &DynamicMessage, member: &str) -> String {
    let value = message.get_field_by_name(member);
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// True when messages of this type can have the member.
fn can_have(message: &DynamicMessage, member: &str) -> bool {
    message.descriptor().get_field_by_name(member).is_some()
}

/// The messages of a list that is a member.
pub(super) fn list<'a>(message: &'a mut DynamicMessage, member: &str) -> Option<&'a mut Vec<Value>> {
    message.get_field_by_name_mut(member)?.as_list_mut()
}

/// Edits the messages called `name`, or all without one. Filters are patched by `patch_filter`, everything else by merging.
/// True when something changed; what goes wrong is added to `problems`.
pub(super) fn edit(list: &mut Vec<Value>, name: Option<&str>, edit: &ListEdit, problems: &mut Vec<String>) -> bool {
    let called = |item: &Value, name: &str| item.as_message().is_some_and(|item| text(item, "name") == name);
    let is_meant = |item: &Value| name.is_none_or(|name| called(item, name));
    let position = |list: &[Value]| list.iter().position(|item| name.is_some_and(|name| called(item, name)));
    let before = list.len();
    match edit {
        ListEdit::AddFirst(new) => list.insert(0, Value::Message(new.clone())),
        ListEdit::AddLast(new) => list.push(Value::Message(new.clone())),
        ListEdit::AddAfter(new) => {
            if let Some(index) = position(list) {
                list.insert(index + 1, Value::Message(new.clone()));
            }
        }
        ListEdit::AddBefore(new) => {
            if let Some(index) = position(list) {
                list.insert(index, Value::Message(new.clone()));
            }
        }
        ListEdit::Remove => list.retain(|item| !is_meant(item)),
        ListEdit::Patch(patch) => {
            let mut patched = false;
            for item in list.iter_mut().filter(|item| is_meant(item)).filter_map(Value::as_message_mut) {
                let result = match can_have(item, CONFIG) {
                    true => patch_filter(item, patch),
                    false => patch.apply(item).map(|()| true),
                };
                match result {
                    Ok(changed) => patched |= changed,
                    Err(problem) => problems.push(problem),
                }
            }
            return patched;
        }
    }
    list.len() != before
}

/// Patches the configuration of a filter.
fn patch_filter(filter: &mut DynamicMessage, patch: &Patch) -> Result<bool, String> {
    match patch {
        Patch::Merge(patch) => merge_filter(filter, patch),
        Patch::Json(_) => {
            let known = config_of(filter).ok_or_else(|| {
                format!("the filter {:?} has no configuration that could be patched", text(filter, "name"))
            })?;
            edit_config(filter, &known, |config| patch.apply(config)).map(|()| true)
        }
    }
}

/// Merges the configuration of a filter with that of a patch, which has to be of the same type. Nothing else of the patch counts.
fn merge_filter(filter: &mut DynamicMessage, patch: &DynamicMessage) -> Result<bool, String> {
    let Some(new) = config_of(patch) else { return Ok(false) };
    let Some(known) = config_of(filter) else {
        filter.set_field_by_name(CONFIG, Value::Message(new));
        return Ok(true);
    };
    let (url, new_url) = (text(&known, "type_url"), text(&new, "type_url"));
    if url != new_url {
        return Err(format!(
            "the filter {:?} is a {url}, which cannot be patched with a {new_url}",
            text(filter, "name")
        ));
    }
    edit_config(filter, &known, |config| {
        let new = unpack(&new).map_err(|error| error.to_string())?;
        Patch::Merge(new).apply(config)
    })?;
    Ok(true)
}

/// Edits the configuration of a filter, which is `packed`.
fn edit_config(
    filter: &mut DynamicMessage,
    packed: &DynamicMessage,
    edit: impl FnOnce(&mut DynamicMessage) -> Result<(), String>,
) -> Result<(), String> {
    let edited = unpack(packed).map_err(|error| error.to_string()).and_then(|mut config| {
        edit(&mut config)?;
        Ok(config)
    });
    let edited = edited.map_err(|reason| format!("the filter {:?}: {reason}", text(filter, "name")))?;
    pack(filter, &edited);
    Ok(())
}

/// The packed configuration of a filter.
fn config_of(filter: &DynamicMessage) -> Option<DynamicMessage> {
    if !filter.has_field_by_name(CONFIG) {
        return None;
    }
    filter.get_field_by_name(CONFIG)?.as_message().cloned()
}

/// The message in an `Any`.
fn unpack(any: &DynamicMessage) -> Result<DynamicMessage, EnvoyJsonError> {
    let url = text(any, "type_url");
    let value = any.get_field_by_name("value");
    let bytes = value.as_ref().and_then(|value| value.as_bytes()).cloned().unwrap_or_default();
    decode(url.rsplit('/').next().unwrap_or(&url), &bytes)
}

/// Replaces the configuration of a filter by another one of the same type.
fn pack(filter: &mut DynamicMessage, config: &DynamicMessage) {
    if let Some(any) = filter.get_field_by_name_mut(CONFIG).and_then(Value::as_message_mut) {
        any.set_field_by_name("value", Value::Bytes(encode(config).into()));
    }
}

/// Edits the connection managers of a listener. True when something changed.
pub(super) fn edit_managers(
    listener: &mut DynamicMessage,
    problems: &mut Vec<String>,
    mut edit: impl FnMut(&mut DynamicMessage, &mut Vec<String>) -> bool,
) -> bool {
    let mut changed = false;
    for_each_filters(listener, |filters| {
        let filters = filters.iter_mut().filter_map(Value::as_message_mut);
        for filter in
            filters.filter(|filter| text(filter, "name") == tandem_policy::envoy::names::HTTP_CONNECTION_MANAGER)
        {
            let Some(config) = config_of(filter) else { continue };
            let mut manager = match unpack(&config) {
                Ok(manager) => manager,
                Err(error) => {
                    problems.push(error.to_string());
                    continue;
                }
            };
            if edit(&mut manager, problems) {
                pack(filter, &manager);
                changed = true;
            }
        }
    });
    changed
}

/// Hands out the filters of each chain of a listener, in order; not of the default chain.
pub(super) fn for_each_filters(listener: &mut DynamicMessage, mut visit: impl FnMut(&mut Vec<Value>)) {
    let chains = list(listener, "filter_chains").into_iter().flatten();
    for chain in chains.filter_map(Value::as_message_mut) {
        if let Some(filters) = list(chain, "filters") {
            visit(filters);
        }
    }
}
