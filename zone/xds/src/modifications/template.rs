//! ProxyTemplates: what the configuration of a proxy is made of.

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value as Json;
use tandem_envoy_json::from_json;
use tandem_policy::envoy::Origin;
use tandem_policy::legacy::Decoded;
use tandem_proto::mesh::v1alpha1::ProxyTemplate;
use tandem_proto::mesh::v1alpha1::proxy_template::modifications::Type;
use tandem_proto::mesh::v1alpha1::proxy_template::{Modifications, modifications};

use super::edit::{Change, Select};
use super::edits::{Builder, Edits, Step, addition};
use super::filters::ListEdit;
use super::patch::Patch;
use super::resource::{close, full_name};
use crate::cache::{ByAddress, Shared};
use crate::encoded::{Encoded, ResourceType};
use tandem_policy::proxy_patch::native::{CLUSTER, HTTP_FILTER, LISTENER, NETWORK_FILTER, VIRTUAL_HOST, parsed, yaml};

/// The profile of sidecars: everything that is generated for them.
const DEFAULT_PROFILE: &str = "default-proxy";

/// Templates that were read, by their resources.
pub(crate) type TemplateCache = Shared<ByAddress<Decoded<ProxyTemplate>>, Template>;

/// A ProxyTemplate, read.
#[derive(Debug)]
pub(crate) struct Template {
    /// The template imports what is generated for every proxy.
    pub imports_default: bool,
    /// What it makes of the resources, and adds to them.
    pub edits: Arc<Edits>,
}

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
        let key = &template.resource.key;
        let mut builder = Builder::default();
        for (index, raw) in conf.resources.iter().enumerate() {
            match self::raw(&raw.resource) {
                Ok((resource_type, resource)) => builder.add(resource_type, raw.name.clone(), resource),
                Err(reason) => builder.step(key, format!("conf.resources[{index}].resource"), Err(reason)),
            }
        }
        for (index, modification) in conf.modifications.iter().enumerate() {
            builder.step(key, format!("conf.modifications[{index}]"), read(modification));
        }
        Self { imports_default: !conf.imports.is_empty(), edits: Arc::new(builder.finish()) }
    }
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

/// A modification, read. What it does not say selects anything.
fn read(modification: &Modifications) -> Result<Step, String> {
    match modification.r#type.as_ref().ok_or("it says nothing to do")? {
        Type::Cluster(modifications::Cluster { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = select(selected.name, selected.origin);
            whole(ResourceType::Cluster, CLUSTER, select, operation, value)
        }
        Type::Listener(modifications::Listener { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = Select { tags: selected.tags, ..select(selected.name, selected.origin) };
            whole(ResourceType::Listener, LISTENER, select, operation, value)
        }
        Type::NetworkFilter(modifications::NetworkFilter { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = Select { tags: selected.listener_tags, ..select(selected.listener_name, selected.origin) };
            let change = Change::NetworkFilters(given(selected.name), filters(operation, NETWORK_FILTER, value)?);
            Ok(Step::Edit(ResourceType::Listener, select, change))
        }
        Type::HttpFilter(modifications::HttpFilter { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let select = Select { tags: selected.listener_tags, ..select(selected.listener_name, selected.origin) };
            let change = Change::HttpFilters(given(selected.name), filters(operation, HTTP_FILTER, value)?);
            Ok(Step::Edit(ResourceType::Listener, select, change))
        }
        Type::VirtualHost(modifications::VirtualHost { r#match, operation, value }) => {
            let selected = r#match.clone().unwrap_or_default();
            let edit = match operation.as_str() {
                "add" => ListEdit::AddLast(parsed(VIRTUAL_HOST, value)?),
                "remove" => ListEdit::Remove,
                "patch" => ListEdit::Patch(Patch::Merge(parsed(VIRTUAL_HOST, value)?)),
                other => return Err(unknown(other)),
            };
            let (table, host) = (given(selected.route_configuration_name), given(selected.name));
            let select = select(String::new(), selected.origin);
            Ok(Step::Edit(ResourceType::Listener, select, Change::VirtualHosts { table, host, edit }))
        }
    }
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn select(name: String, origin: String) -> Select {
    Select { names: given(name).into_iter().collect(), origin: given(origin), ..Select::default() }
}

fn whole(
    resource_type: ResourceType,
    message: &str,
    select: Select,
    operation: &str,
    value: &str,
) -> Result<Step, String> {
    let change = match operation {
        "add" => return addition(resource_type, message, value, Origin::ProxyTemplateModifications),
        "remove" => Change::Remove,
        "patch" => Change::Patch(Patch::Merge(parsed(message, value)?)),
        other => return Err(unknown(other)),
    };
    Ok(Step::Edit(resource_type, select, change))
}

fn filters(operation: &str, message: &str, value: &str) -> Result<ListEdit, String> {
    let new = || parsed(message, value);
    Ok(match operation {
        "addFirst" => ListEdit::AddFirst(new()?),
        "addLast" => ListEdit::AddLast(new()?),
        "addAfter" => ListEdit::AddAfter(new()?),
        "addBefore" => ListEdit::AddBefore(new()?),
        "remove" => ListEdit::Remove,
        "patch" => ListEdit::Patch(Patch::Merge(new()?)),
        other => return Err(unknown(other)),
    })
}

fn unknown(operation: &str) -> String {
    format!("the operation {operation:?} is not known")
}
