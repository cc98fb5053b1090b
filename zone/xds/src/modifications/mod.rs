//! Edits that people make to finished resources, without knowing more of them than their types: those of MeshProxyPatches and of
//! ProxyTemplates.
//!
//! An edit selects clusters or listeners by name, by the part of generation that they come from, and by tags; what it changes is
//! decoded, edited and encoded again. The result depends on the resource and the [`Edits`] alone, so it is computed once for all proxies
//! that share the resource, and kept in the [`Cache`](crate::Cache); so is what becomes of all that proxies have in common. What does not
//! fit is left out alone, and named at its policy.
//!
//! Source: Kuma `pkg/plugins/policies/meshproxypatch/plugin`, `pkg/xds/generator/modifications/v3`, `pkg/xds/generator/proxy_template.go`.

mod edit;
mod edits;
mod filters;
mod json_patch;
mod patch;
mod proxy_patch;
#[cfg(test)]
mod proxy_patch_tests;
mod resource;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use edits::EditedCache;
pub(crate) use proxy_patch::{PatchesCache, edits_of};
pub(crate) use resource::ModifiedCache;
pub(crate) use template::{Template, TemplateCache};
