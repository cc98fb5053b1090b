//! What all lists have in common: pages, filters, and the object around the items.

use std::sync::Arc;

use axum::extract::MatchedPath;
use axum::response::Response;
use serde_json::{Value, json};
use tandem_model::{Kind, Resource};

use super::require_mesh;
use crate::context::ApiContext;
use crate::json;
use crate::problem::Problem;
use crate::query::filter::Filter;
use crate::query::paging::{LIST_TITLE, Page, next_link};
use crate::router::OriginalUri;
use crate::server::PublicOrigin;

/// One list as it was asked for.
pub struct ListRequest<'a> {
    /// Type of the items.
    pub kind: Kind,
    /// Mesh to list; `None` for all.
    pub mesh: Option<&'a str>,
    /// Template of the route.
    pub route: &'a MatchedPath,
    /// Address as the client wrote it.
    pub uri: &'a OriginalUri,
    /// Where the client found this server.
    pub origin: &'a PublicOrigin,
}

/// A page of resources.
pub struct Listed {
    /// All conditions of the request.
    pub filter: Filter,
    /// The items of the page.
    pub items: Vec<Arc<Resource>>,
    total: usize,
    next: Option<String>,
}

impl Listed {
    /// The answer that shows the page with these items.
    pub fn answer(&self, items: Vec<Value>) -> Response {
        page(self.total, items, self.next.clone())
    }
}

/// The object around the items of a list.
pub fn page(total: usize, items: Vec<Value>, next: Option<String>) -> Response {
    json::ok(&json!({ "total": total, "items": items, "next": next }))
}

impl ListRequest<'_> {
    fn query(&self) -> Option<&str> {
        self.uri.0.query()
    }

    /// The page that is asked for, if the parameters are well formed.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub fn page(&self) -> Result<Page, Problem> {
        Page::read(self.query())
    }

    /// The link to the page at `offset`.
    pub fn link(&self, offset: usize) -> String {
        next_link(&self.origin.0, &self.uri.0, offset)
    }

    /// Loads the page.
    ///
    /// `access` is asked once parameters and mesh are found to be in order.
    ///
    /// # Errors
    /// 400 for parameters, 404 for the mesh, 403 when access is refused.
    pub async fn load(
        &self,
        context: &ApiContext,
        access: impl FnOnce() -> Result<(), Problem>,
    ) -> Result<Listed, Problem> {
        let page = self.page()?;
        let filter = Filter::read(self.kind, self.route.as_str(), self.query())?;
        require_mesh(context, self.mesh).await?;
        access()?;
        let all = context.store.list(self.kind, self.mesh).await.map_err(|error| Problem::store(LIST_TITLE, &error))?;
        let mut matching = Vec::with_capacity(all.len());
        for resource in all {
            if filter.matches(&resource).map_err(|error| Problem::internal(LIST_TITLE, &error))? {
                matching.push(resource);
            }
        }
        let (items, next) = page.cut(&matching);
        Ok(Listed { items: items.to_vec(), total: matching.len(), next: next.map(|offset| self.link(offset)), filter })
    }
}
