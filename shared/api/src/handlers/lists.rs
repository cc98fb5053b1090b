//! What all lists have in common: pages, filters, and the object around the items.
//!
//! A list costs what its page costs: the rest of it is counted, or looked at piece by piece when there are conditions. Only
//! the items of the page are turned into JSON, and those of a page without limit one after the other while it is sent.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tandem_model::{Kind, Resource};

use super::require_mesh;
use crate::context::ApiContext;
use crate::json;
use crate::problem::Problem;
use crate::query::filter::Filter;
use crate::query::paging::{LIST_TITLE, MAX_SIZE, Page, next_link};
use crate::router::OriginalUri;
use crate::server::PublicOrigin;

/// Resources looked at together when a list has conditions.
const PIECE: usize = 1024;

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
    /// The answer that shows each item of the page by `show`.
    ///
    /// # Errors
    /// Those of `show`, unless the page is so long that it is sent while it is made. Then the connection breaks.
    pub fn answer<T: Serialize>(
        self,
        show: impl Fn(Arc<Resource>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        if self.items.len() <= MAX_SIZE {
            let items: Vec<T> = self.items.into_iter().map(show).collect::<Result<_, _>>()?;
            return Ok(page(self.total, &items, self.next.as_deref()));
        }
        Ok(self.stream(show))
    }

    /// The same text as [`page`] makes, in pieces.
    fn stream<T: Serialize>(self, show: impl Fn(Arc<Resource>) -> Result<T, Problem> + Send + 'static) -> Response {
        let around = json!({ "total": self.total, "items": ["items"], "next": self.next });
        let around = String::from_utf8_lossy(&json::text_of(&around)).into_owned();
        let (start, end) = around.split_once("\n  \"items\"").expect("the only item has a line of its own");
        let (start, end) = (Bytes::from(start.to_owned()), Bytes::from(end.to_owned()));
        let mut items = self.items.into_iter();
        let mut separator = "\n  ";
        let pieces = std::iter::from_fn(move || {
            let mut piece = Vec::new();
            for resource in items.by_ref().take(PIECE / 8) {
                let item = show(resource).map_err(|problem| std::io::Error::other(problem.title));
                let item = match item.and_then(|item| json::written(&item).map_err(std::io::Error::other)) {
                    Ok(item) => item,
                    Err(error) => return Some(Err(error)),
                };
                piece.extend_from_slice(separator.as_bytes());
                separator = ",\n  ";
                // Line breaks in JSON text are indentation; those of strings are escaped.
                for line in item.trim_ascii_end().split_inclusive(|byte| *byte == b'\n') {
                    piece.extend_from_slice(line);
                    if line.ends_with(b"\n") {
                        piece.extend_from_slice(b"  ");
                    }
                }
            }
            (!piece.is_empty()).then(|| Ok(Bytes::from(piece)))
        });
        let all = std::iter::once(Ok(start)).chain(pieces).chain(std::iter::once(Ok(end)));
        json::verbatim(StatusCode::OK, Body::from_stream(futures::stream::iter(all)))
    }
}

/// The object around the items of a list.
pub fn page(total: usize, items: &[impl Serialize], next: Option<&str>) -> Response {
    #[derive(Serialize)]
    struct Page<'a, T> {
        total: usize,
        items: &'a [T],
        next: Option<&'a str>,
    }
    json::ok(&Page { total, items, next })
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
        let (items, total) = if filter.is_empty() {
            let window = context.store.window(self.kind, self.mesh, page.offset, page.room()).await;
            let window = window.map_err(|error| Problem::store(LIST_TITLE, &error))?;
            (window.resources, window.total)
        } else {
            self.matching(context, page, &filter).await?
        };
        Ok(Listed { items, total, next: page.next(total).map(|offset| self.link(offset)), filter })
    }

    /// The items of the page among those that satisfy the filter, and how many do. Writes may happen in between.
    async fn matching(
        &self,
        context: &ApiContext,
        page: Page,
        filter: &Filter,
    ) -> Result<(Vec<Arc<Resource>>, usize), Problem> {
        let mut items = Vec::new();
        let mut total = 0;
        let mut last: Option<Arc<Resource>> = None;
        loop {
            let after = last.as_ref().map(|resource| &resource.key);
            let piece = context.store.page(self.kind, self.mesh, after, PIECE).await;
            let piece = piece.map_err(|error| Problem::store(LIST_TITLE, &error))?.resources;
            last = piece.last().cloned();
            let is_end = piece.len() < PIECE;
            for resource in piece {
                if filter.matches(&resource).map_err(|error| Problem::internal(LIST_TITLE, &error))? {
                    if page.shows(total) {
                        items.push(resource);
                    }
                    total += 1;
                }
            }
            if is_end {
                return Ok((items, total));
            }
            // Other requests get their turn.
            tokio::task::yield_now().await;
        }
    }
}
