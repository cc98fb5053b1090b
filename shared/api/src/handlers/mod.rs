//! The answers of the API, one module for each family of endpoints.

pub mod apply;
pub mod dry_run;
pub mod envoy_admin;
pub mod explain;
pub mod global_insight;
pub mod gui;
pub mod history;
pub mod hostnames;
pub mod index;
pub mod inspect;
pub mod kri;
pub mod lists;
pub mod overviews;
pub mod policy_problems;
pub mod problems;
pub mod proxy_config;
pub mod resources;
pub mod service_insights;
pub mod sync;
pub mod tokens;
pub mod types;
pub mod watch;
pub mod writes;

use serde::Deserialize;
use tandem_model::{Kind, ResourceKey};

use crate::context::ApiContext;
use crate::problem::Problem;

/// Parameters in the path of a route.
#[derive(Debug, Default, Deserialize)]
pub struct Place {
    /// The mesh, for routes below `/meshes/{mesh}/`.
    pub mesh: Option<String>,
    /// The item, for routes of single items.
    pub name: Option<String>,
}

impl Place {
    /// The key of the item this path names.
    pub fn key(&self, kind: Kind) -> ResourceKey {
        let mesh = if kind.is_mesh_scoped() { self.mesh.clone().unwrap_or_default() } else { String::new() };
        ResourceKey::new(kind, mesh, self.name.clone().unwrap_or_default())
    }
}

/// Answers 404 when a path goes through a mesh that does not exist.
pub(crate) async fn require_mesh(context: &ApiContext, mesh: Option<&str>) -> Result<(), Problem> {
    const TITLE: &str = "Failed to retrieve Mesh";
    let Some(mesh) = mesh else { return Ok(()) };
    let key = ResourceKey::global(Kind::Mesh, mesh);
    match context.store.get(&key).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Problem::mesh_not_found()),
        Err(error) => Err(Problem::store(TITLE, &error)),
    }
}
