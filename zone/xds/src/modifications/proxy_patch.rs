//! MeshProxyPatches: modifications of what is generated.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use tandem_policy::envoy::Origin;
use tandem_policy::proxy_patch::{
    ClusterMod, FilterMatch, FilterOperation, HttpFilterMod, JsonPatch, ListenerMod, Modification, NetworkFilterMod,
    Operation, Patches, VirtualHostMod,
};

use super::edit::{Change, Select};
use super::edits::{Builder, Edits, Step, addition};
use super::filters::ListEdit;
use super::patch::Patch;
use crate::cache::{ByAddress, Shared};
use crate::encoded::ResourceType;
use crate::generate::names::Naming;
use tandem_policy::proxy_patch::native::{CLUSTER, HTTP_FILTER, LISTENER, NETWORK_FILTER, VIRTUAL_HOST, parsed};

/// Modifications that were read, by their policies.
pub(crate) type PatchesCache = Shared<ByAddress<Patches>, Edits>;

/// Reads modifications, once for all proxies that the same policies select.
pub(crate) fn edits_of(cache: &PatchesCache, patches: &Arc<Patches>) -> Arc<Edits> {
    let build = || Ok::<_, Infallible>(Arc::new(read_all(patches)));
    cache.get_or_build(ByAddress(patches.clone()), build).unwrap_or_else(|never| match never {})
}

fn read_all(patches: &Patches) -> Edits {
    let mut builder = Builder::default();
    for patch in &patches.0 {
        let place = format!("spec.default.appendModifications[{}]", patch.index);
        builder.step(&patch.policy, place, read(&patch.modification));
    }
    builder.finish()
}

/// A modification, read. What it does not say selects anything.
fn read(modification: &Modification) -> Result<Step, String> {
    let Modification { cluster, listener, network_filter, http_filter, virtual_host } = modification;
    if let Some(ClusterMod { matches, operation, value, json_patches }) = cluster {
        let selected = matches.clone().unwrap_or_default();
        let names = selected.name.into_iter().collect();
        let select = Select { names, origin: selected.origin, ..Select::default() };
        // Not its own, but Kuma's.
        let origin = Origin::ProxyTemplateModifications;
        return whole(ResourceType::Cluster, (CLUSTER, origin), select, *operation, (value, json_patches));
    }
    if let Some(ListenerMod { matches, operation, value, json_patches }) = listener {
        let selected = matches.clone().unwrap_or_default();
        let select = listeners(selected.name, selected.origin, selected.tags);
        let origin = Origin::MeshProxyPatch;
        return whole(ResourceType::Listener, (LISTENER, origin), select, *operation, (value, json_patches));
    }
    let (select, change) = if let Some(change) = network_filter {
        let NetworkFilterMod { matches, operation, value, json_patches } = change;
        let (select, name) = of_filters(matches);
        (select, Change::NetworkFilters(name, filters(*operation, NETWORK_FILTER, (value, json_patches))?))
    } else if let Some(HttpFilterMod { matches, operation, value, json_patches }) = http_filter {
        let (select, name) = of_filters(matches);
        (select, Change::HttpFilters(name, filters(*operation, HTTP_FILTER, (value, json_patches))?))
    } else if let Some(VirtualHostMod { matches, operation, value, json_patches }) = virtual_host {
        let contents = (value, json_patches);
        let edit = match operation {
            Operation::Add => ListEdit::AddLast(parsed(VIRTUAL_HOST, given(value)?)?),
            Operation::Remove => ListEdit::Remove,
            Operation::Patch => ListEdit::Patch(patch(VIRTUAL_HOST, contents)?),
        };
        let matches = matches.clone();
        let (table, host) = (matches.route_configuration_name, matches.name);
        let select = Select { origin: matches.origin, ..Select::default() };
        (select, Change::VirtualHosts { table, host, edit })
    } else {
        return Err("it says nothing to do".to_owned());
    };
    Ok(Step::Edit(ResourceType::Listener, select, change))
}

/// What a modification brings.
type Contents<'a> = (&'a Option<String>, &'a Option<Vec<JsonPatch>>);

fn given(value: &Option<String>) -> Result<&str, String> {
    value.as_deref().ok_or_else(|| "it has no value".to_owned())
}

/// Listeners. Those of what is passed through are known by the names of both ways of naming.
fn listeners(name: Option<String>, origin: Option<String>, tags: Option<BTreeMap<String, String>>) -> Select {
    let mut names: Vec<String> = name.into_iter().collect();
    for (direction, family) in [("inbound", 4), ("inbound", 6), ("outbound", 4), ("outbound", 6)] {
        let both = [Naming::Legacy, Naming::Unified].map(|naming| naming.passthrough(direction, family));
        if names.iter().any(|name| both.contains(name)) {
            names = both.into();
        }
    }
    Select { names, origin, tags: tags.unwrap_or_default() }
}

/// Listeners whose filters are meant, and the name of these.
fn of_filters(matches: &Option<FilterMatch>) -> (Select, Option<String>) {
    let selected = matches.clone().unwrap_or_default();
    (listeners(selected.listener_name, selected.origin, selected.listener_tags), selected.name)
}

fn whole(
    resource_type: ResourceType,
    (message, origin): (&str, Origin),
    select: Select,
    operation: Operation,
    contents: Contents<'_>,
) -> Result<Step, String> {
    let change = match operation {
        Operation::Add => return addition(resource_type, message, given(contents.0)?, origin),
        Operation::Remove => Change::Remove,
        Operation::Patch => Change::Patch(patch(message, contents)?),
    };
    Ok(Step::Edit(resource_type, select, change))
}

fn filters(operation: FilterOperation, message: &str, contents: Contents<'_>) -> Result<ListEdit, String> {
    let new = || parsed(message, given(contents.0)?);
    Ok(match operation {
        FilterOperation::AddFirst => ListEdit::AddFirst(new()?),
        FilterOperation::AddLast => ListEdit::AddLast(new()?),
        FilterOperation::AddAfter => ListEdit::AddAfter(new()?),
        FilterOperation::AddBefore => ListEdit::AddBefore(new()?),
        FilterOperation::Remove => ListEdit::Remove,
        FilterOperation::Patch => ListEdit::Patch(patch(message, contents)?),
    })
}

fn patch(message: &str, (value, json_patches): Contents<'_>) -> Result<Patch, String> {
    match json_patches.as_deref().unwrap_or_default() {
        [] => Ok(Patch::Merge(parsed(message, given(value)?)?)),
        patches => Ok(Patch::Json(patches.to_vec())),
    }
}
