//! One edit of the clusters or listeners of a proxy.

use tandem_envoy_json::prost_reflect::{DynamicMessage, MapKey, Value};
use tandem_model::ResourceKey;
use tandem_model::tags::{Tags, selects};
use tandem_policy::envoy::{Origin, names};

use super::filters::{self, ListEdit, edit_managers, for_each_filters, list, text};
use super::patch::Patch;
use crate::encoded::ResourceType;

/// An edit of finished resources.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edit {
    /// The policy that it is part of.
    pub policy: ResourceKey,
    /// Where it is written there, for a person.
    pub place: String,
    /// Whether clusters or listeners are edited.
    pub resource_type: ResourceType,
    /// Which of them.
    pub select: Select,
    pub change: Change,
}

/// Which resources; what is absent or empty selects any.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Select {
    /// Names of which a resource has to have one.
    pub names: Vec<String>,
    /// Name of the part of generation that they come from, see [`Origin::name`].
    pub origin: Option<String>,
    /// Tags of listeners.
    pub tags: Tags,
}

/// What happens to a selected resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Remove,
    Patch(Patch),
    /// Edits the network filters with a name, or all, in every chain of a listener.
    NetworkFilters(Option<String>, ListEdit),
    /// Edits the HTTP filters with a name, or all, in every connection manager of a listener.
    HttpFilters(Option<String>, ListEdit),
    /// Edits virtual hosts of the route tables that are part of a listener.
    VirtualHosts {
        /// Name of the route table; absent for any.
        table: Option<String>,
        /// Name of the virtual host; absent for any.
        host: Option<String>,
        edit: ListEdit,
    },
}

/// What became of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Unchanged,
    Changed,
    Removed,
}

impl Edit {
    /// False when the edit has nothing to do with a resource, whatever is in it.
    pub fn may_select(&self, resource_type: ResourceType, name: &str, origin: Option<Origin>) -> bool {
        let Select { names, origin: from, .. } = &self.select;
        self.resource_type == resource_type
            && (names.is_empty() || names.iter().any(|wanted| wanted == name))
            && from.as_ref().is_none_or(|from| origin.is_some_and(|origin| origin.name() == from))
    }

    /// Edits a resource that [`Edit::may_select`] let pass. What goes wrong is added to `problems`.
    pub fn apply(&self, message: &mut DynamicMessage, problems: &mut Vec<String>) -> Effect {
        if !self.select.tags.is_empty() && !selects(&self.select.tags, &tags(message)) {
            return Effect::Unchanged;
        }
        let mut changed = false;
        match &self.change {
            Change::Remove => return Effect::Removed,
            Change::Patch(patch) => match patch.apply(message) {
                Ok(()) => changed = true,
                Err(problem) => problems.push(problem),
            },
            Change::NetworkFilters(name, edit) => {
                for_each_filters(message, |list| changed |= filters::edit(list, name.as_deref(), edit, problems));
            }
            Change::HttpFilters(name, edit) => {
                changed = edit_managers(message, problems, |manager, problems| {
                    list(manager, "http_filters")
                        .is_some_and(|list| filters::edit(list, name.as_deref(), edit, problems))
                });
            }
            Change::VirtualHosts { table, host, edit } => {
                changed = edit_managers(message, problems, |manager, problems| {
                    let Some(routes) = inline_table(manager) else { return false };
                    let is_meant = table.as_ref().is_none_or(|table| text(routes, "name") == *table);
                    let hosts = list(routes, "virtual_hosts").filter(|_| is_meant);
                    hosts.is_some_and(|hosts| filters::edit(hosts, host.as_deref(), edit, problems))
                });
            }
        }
        if changed { Effect::Changed } else { Effect::Unchanged }
    }
}

/// The route table that is part of a connection manager.
fn inline_table(manager: &mut DynamicMessage) -> Option<&mut DynamicMessage> {
    const TABLE: &str = "route_config";
    if !manager.has_field_by_name(TABLE) {
        return None;
    }
    manager.get_field_by_name_mut(TABLE)?.as_message_mut()
}

/// The tags that are published with a listener.
fn tags(listener: &DynamicMessage) -> Tags {
    let found = (|| {
        let metadata = listener.get_field_by_name("metadata")?;
        let spaces = metadata.as_message()?.get_field_by_name("filter_metadata")?;
        let space = spaces.as_map()?.get(&MapKey::String(names::TAGS_METADATA.to_owned()))?.as_message()?;
        let fields = space.get_field_by_name("fields")?;
        let tag = |(key, value): (&MapKey, &Value)| {
            let value = value.as_message()?.get_field_by_name("string_value")?.as_str()?.to_owned();
            Some((key.as_str()?.to_owned(), value))
        };
        Some(fields.as_map()?.iter().filter_map(tag).collect())
    })();
    found.unwrap_or_default()
}
