//! ProxyTemplates: what the configuration of a proxy is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value as Json;
use tandem_envoy_json::from_json;
use tandem_envoy_json::prost_reflect::DynamicMessage;
use tandem_policy::envoy::Origin;
use tandem_policy::legacy::Decoded;
use tandem_proto::mesh::v1alpha1::ProxyTemplate;
use tandem_proto::mesh::v1alpha1::proxy_template::modifications::Type;
use tandem_proto::mesh::v1alpha1::proxy_template::{Modifications, modifications};

use super::edit::{Change, Edit, Select};
use super::filters::ListEdit;
use super::resource::{ModifiedCache, close, full_name, modified};
use crate::cache::{ByAddress, Shared};
use crate::encoded::{Encoded, ResourceType};
use crate::generate::collect::Collector;

/// The profile of sidecars: everything that is generated for them.
const DEFAULT_PROFILE: &str = "default-proxy";

/// Templates that were read, by their resources.
pub(crate) type TemplateCache = Shared<ByAddress<Decoded<ProxyTemplate>>, Template>;

/// A ProxyTemplate, read.
#[derive(Debug)]
pub(crate) struct Template {
    /// The template imports what is generated for every proxy.
    pub imports_default: bool,
    edits: Vec<Edit>,
    /// The resources that the template adds, after the edits that come after them.
    added: Vec<(ResourceType, Arc<Encoded>)>,
    /// Types and names of the resources that those of the template replace.
    replaced: BTreeSet<(ResourceType, String)>,
    /// What of the template makes no sense, for a person.
    problems: Vec<String>,
}

/// A resource of the template with the number of edits that do not concern it, by the name under which edits know it.
type Additions = BTreeMap<(ResourceType, String), (usize, Arc<Encoded>)>;

impl Template {
    /// Reads a template, once for all proxies that it selects.
    ///
    /// # Errors
    /// When it imports a profile that is none of sidecars: then it makes no sense as a whole, and is without effect.
    pub fn of(cache: &TemplateCache, resource: &Arc<Decoded<ProxyTemplate>>) -> Result<Arc<Self>, String> {
        let imports = resource.spec.conf.as_ref().map(|conf| conf.imports.as_slice()).unwrap_or_default();
        let key = &resource.resource.key;
        if let Some(other) = imports.iter().find(|profile| *profile != DEFAULT_PROFILE) {
            return Err(format!(
                "{key} is without effect: it imports the profile {other:?}, and the one of a sidecar is {DEFAULT_PROFILE:?}"
            ));
        }
        let build = || Ok::<_, Infallible>(Arc::new(Self::new(resource)));
        Ok(cache.get_or_build(ByAddress(resource.clone()), build).unwrap_or_else(|never| match never {}))
    }

    fn new(template: &Decoded<ProxyTemplate>) -> Self {
        let conf = template.spec.conf.clone().unwrap_or_default();
        let mut problems = Vec::new();
        let label = |part: String| format!("{}: conf.{part}", template.resource.key);
        let mut additions = Additions::new();
        for (index, raw) in conf.resources.iter().enumerate() {
            match self::raw(&raw.resource) {
                Ok((resource_type, resource)) => {
                    additions.insert((resource_type, raw.name.clone()), (0, resource));
                }
                Err(reason) => problems.push(format!("{}: {reason}", label(format!("resources[{index}].resource")))),
            }
        }
        let mut edits = Vec::new();
        for (index, modification) in conf.modifications.iter().enumerate() {
            let label = label(format!("modifications[{index}]"));
            match read(modification, &label) {
                Ok(Read::Edit(edit)) => edits.push(edit),
                Ok(Read::Add(resource_type, resource)) => {
                    additions.insert((resource_type, resource.name.to_string()), (edits.len(), resource));
                }
                Err(reason) => problems.push(format!("{label}: {reason}")),
            }
        }
        let mut replaced = BTreeSet::new();
        let mut added = Vec::new();
        for ((resource_type, key), (from, resource)) in additions {
            let result = modified(resource_type, &key, &resource, &edits[from..]);
            problems.extend(result.problems);
            replaced.insert((resource_type, key));
            if let Some(resource) = result.resource {
                replaced.insert((resource_type, resource.name.to_string()));
                added.push((resource_type, resource));
            }
        }
        let imports_default = !conf.imports.is_empty();
        Self { imports_default, edits, added, replaced, problems }
    }

    pub(super) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Adds the resources of the template to those of a proxy, and edits them all.
    pub fn apply(self: &Arc<Self>, cache: &ModifiedCache, collector: &mut Collector<'_>) {
        collector.warn(&self.problems);
        for (resource_type, resource) in collector.take_resources() {
            if self.replaced.contains(&(resource_type, resource.name.to_string())) {
                continue;
            }
            if !self.edits.iter().any(|edit| edit.may_select(resource_type, &resource.name, resource.origin)) {
                collector.add(resource_type, resource);
                continue;
            }
            let result = self.modified(cache, resource_type, &resource);
            collector.warn(&result.problems);
            if let Some(resource) = &result.resource {
                collector.add(resource_type, resource.clone());
            }
            collector.keep(result);
        }
        for (resource_type, resource) in &self.added {
            collector.add(*resource_type, resource.clone());
        }
        collector.keep(self.clone());
    }
}

fn yaml(text: &str) -> Result<Json, String> {
    serde_norway::from_str(text).map_err(|error| format!("it is not YAML: {error}"))
}

/// A native resource of Envoy.
fn raw(text: &str) -> Result<(ResourceType, Arc<Encoded>), String> {
    let mut json = yaml(text)?;
    let url = json.as_object_mut().and_then(|members| members.remove("@type"));
    let url = url.as_ref().and_then(Json::as_str).ok_or("it has no @type")?;
    let resource_type = ResourceType::from_type_url(url).ok_or_else(|| {
        let known: Vec<_> = ResourceType::ALL.into_iter().map(ResourceType::type_url).collect();
        format!("the type {url:?} is not one of {}", known.join(", "))
    })?;
    let message = from_json(full_name(resource_type), &json).map_err(|error| error.to_string())?;
    let resource = close(resource_type, &message, Some(Origin::ProxyTemplateRaw));
    if resource.name.is_empty() { Err("it has no name".to_owned()) } else { Ok((resource_type, resource)) }
}

/// A modification, read.
enum Read {
    Edit(Edit),
    /// A resource to be added.
    Add(ResourceType, Arc<Encoded>),
}

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const NETWORK_FILTER: &str = "envoy.config.listener.v3.Filter";
const HTTP_FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
const VIRTUAL_HOST: &str = "envoy.config.route.v3.VirtualHost";

fn read(modification: &Modifications, label: &str) -> Result<Read, String> {
    let edit =
        |resource_type, select, change| Ok(Read::Edit(Edit { label: label.to_owned(), resource_type, select, change }));
    match modification.r#type.as_ref().ok_or("it says nothing to do")? {
        Type::Cluster(modifications::Cluster { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = Select { name: selected.name, origin: selected.origin, tags: Default::default() };
            whole(ResourceType::Cluster, CLUSTER, select, operation, value, edit)
        }
        Type::Listener(modifications::Listener { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = Select { name: selected.name, origin: selected.origin, tags: selected.tags };
            whole(ResourceType::Listener, LISTENER, select, operation, value, edit)
        }
        Type::NetworkFilter(modifications::NetworkFilter { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let (name, tags) = (selected.listener_name, selected.listener_tags);
            let select = Select { name, origin: selected.origin, tags };
            let change = Change::NetworkFilters(selected.name, filters(operation, NETWORK_FILTER, value)?);
            edit(ResourceType::Listener, select, change)
        }
        Type::HttpFilter(modifications::HttpFilter { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let (name, tags) = (selected.listener_name, selected.listener_tags);
            let select = Select { name, origin: selected.origin, tags };
            let change = Change::HttpFilters(selected.name, filters(operation, HTTP_FILTER, value)?);
            edit(ResourceType::Listener, select, change)
        }
        Type::VirtualHost(modifications::VirtualHost { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = Select { origin: selected.origin, ..Select::default() };
            let edit_hosts = match operation.as_str() {
                "add" => ListEdit::AddLast(parsed(VIRTUAL_HOST, value)?),
                "remove" => ListEdit::Remove,
                "patch" => ListEdit::Patch(parsed(VIRTUAL_HOST, value)?),
                other => return Err(unknown(other)),
            };
            let (table, host) = (selected.route_configuration_name, selected.name);
            edit(ResourceType::Listener, select, Change::VirtualHosts { table, host, edit: edit_hosts })
        }
    }
}

fn whole(
    resource_type: ResourceType,
    message: &str,
    select: Select,
    operation: &str,
    value: &str,
    edit: impl FnOnce(ResourceType, Select, Change) -> Result<Read, String>,
) -> Result<Read, String> {
    match operation {
        "add" => {
            let added = close(resource_type, &parsed(message, value)?, Some(Origin::ProxyTemplateModifications));
            if added.name.is_empty() {
                return Err("what it adds has no name".to_owned());
            }
            Ok(Read::Add(resource_type, added))
        }
        "remove" => edit(resource_type, select, Change::Remove),
        "patch" => edit(resource_type, select, Change::Patch(parsed(message, value)?)),
        other => Err(unknown(other)),
    }
}

fn filters(operation: &str, message: &str, value: &str) -> Result<ListEdit, String> {
    let new = || parsed(message, value);
    Ok(match operation {
        "addFirst" => ListEdit::AddFirst(new()?),
        "addLast" => ListEdit::AddLast(new()?),
        "addAfter" => ListEdit::AddAfter(new()?),
        "addBefore" => ListEdit::AddBefore(new()?),
        "remove" => ListEdit::Remove,
        "patch" => ListEdit::Patch(new()?),
        other => return Err(unknown(other)),
    })
}

fn unknown(operation: &str) -> String {
    format!("the operation {operation:?} is not known")
}

fn parsed(message: &str, value: &str) -> Result<DynamicMessage, String> {
    let json = match yaml(value)? {
        Json::Null => Json::Object(Default::default()),
        json => json,
    };
    from_json(message, &json).map_err(|error| error.to_string())
}
