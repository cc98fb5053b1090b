//! Edits that people make to finished resources, without knowing more of them than their types: those of a ProxyTemplate.
//!
//! An [`Edit`] selects clusters or listeners by name, by the part of generation that they come from, and by tags; what it
//! changes is decoded, edited and encoded again. The result depends on the resource and the edits alone, so it is computed once for all
//! proxies that share the resource, and kept in the [`Cache`](crate::Cache).
//!
//! Source: Kuma `pkg/xds/generator/modifications/v3`, `pkg/xds/generator/proxy_template.go`.

mod edit;
mod filters;
mod resource;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use resource::ModifiedCache;
pub(crate) use template::{Template, TemplateCache};
